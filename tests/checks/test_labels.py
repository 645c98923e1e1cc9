import numpy as np
import pytest

from hub_trainer.checks.label_quality import FloatArray, Judged, LabelQuality, Scored, judge_labels


def _scored(
    num_rows: int, num_labels: int, accuracy: float, wrong: float, rng: np.random.Generator
) -> Scored:
    """Rows of a model with this accuracy, a share of whose labels are replaced."""
    truth = rng.integers(num_labels, size=num_rows)
    right = rng.random(num_rows) < accuracy
    choice = np.where(
        right, truth, (truth + 1 + rng.integers(num_labels - 1, size=num_rows)) % num_labels
    )
    logits: FloatArray = rng.normal(0, 1, (num_rows, num_labels))
    logits[np.arange(num_rows), choice] += np.where(right, 5.0, 2.0)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = rng.permutation(num_rows) < round(wrong * num_rows)
    labels = np.where(
        flipped, (truth + 1 + rng.integers(num_labels - 1, size=num_rows)) % num_labels, truth
    )
    return Scored(scores, labels)


def _judge(wrong: float, seed: int, *, accuracy: float = 0.9, num_rows: int = 120) -> LabelQuality:
    rng = np.random.default_rng(seed)
    held_out = _scored(400, 5, accuracy, 0.0, rng)
    return judge_labels(held_out, _scored(num_rows, 5, accuracy, wrong, rng))


@pytest.mark.parametrize("seed", range(5))
def test_fifth_of_labels_when_wrong_then_refused(seed: int) -> None:
    quality = _judge(0.2, seed)
    assert quality.blocks(0.1) == "refuse"
    assert quality.low <= 0.2 <= quality.high


def test_clean_labels_when_judged_then_rarely_stopped() -> None:
    stopped = [seed for seed in range(40) if _judge(0.0, seed).blocks(0.1)]
    assert len(stopped) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_tenth_of_labels_when_wrong_then_not_merged(seed: int) -> None:
    assert _judge(0.1, seed).blocks(0.1) in ("refuse", "human")


def test_weak_model_when_it_knows_nothing_then_refuses_nothing() -> None:
    stopped = [s for s in range(20) if _judge(0.0, s, accuracy=0.25).blocks(0.1)]
    assert len(stopped) <= 2


def test_hard_label_when_contributed_then_not_taken_for_wrong() -> None:
    """The model is weak at label 0; clean rows of only that label are no wrong labels."""
    rng = np.random.default_rng(0)

    def draw(labels: FloatArray) -> Scored:
        chance = np.where(labels == 0, 0.5, 0.98)
        right = rng.random(len(labels)) < chance
        choice = np.where(right, labels, (labels + 1) % 4).astype(int)
        logits = rng.normal(0, 0.5, (len(labels), 4))
        logits[np.arange(len(labels)), choice] += 4
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return Scored(scores, labels.astype(int))

    held_out = draw(rng.integers(4, size=800))
    quality = judge_labels(held_out, draw(np.zeros(100)))
    assert quality.disagreement > 0.3
    assert quality.reference_disagreement < 0.2
    assert quality.blocks(0.1) is None


def test_judgement_when_repeated_then_the_same() -> None:
    assert _judge(0.1, 3) == _judge(0.1, 3)


def test_allowed_share_when_raised_then_less_is_refused() -> None:
    quality = _judge(0.2, 1)
    assert quality.blocks(0.5) is None


def test_few_rows_when_clean_then_pass() -> None:
    assert _judge(0.0, 0, num_rows=3).blocks(0.1) is None


@pytest.mark.parametrize(
    ("low", "p_value", "right"),
    [(0.14, 0.01, "refuse"), (0.14, 0.015, None), (0.03, 0.005, "human"), (0.004, 0.005, None)],
)
def test_verdict_when_chance_explains_it_then_nobody_is_troubled(
    low: float, p_value: float, right: str | None
) -> None:
    assert LabelQuality(0.2, low, 0.4, p_value, 0.3, 0.1, 50).blocks(0.1) == right


def test_verdict_when_rows_are_few_then_a_person_decides() -> None:
    """Three honest rows of which a judge errs on two are read in a minute."""
    few, many = (LabelQuality(0.9, 0.44, 1.0, 0.005, 0.67, 0.1, n) for n in (3, 20))
    assert (few.blocks(0.1), many.blocks(0.1)) == ("human", "refuse")


def test_judge_when_no_better_than_a_constant_then_may_not_judge() -> None:
    names = ("a", "b", "c", "d", "e")
    rng = np.random.default_rng(0)
    for accuracy, able in ((0.9, True), (0.5, True), (0.2, False)):
        held_out = _scored(200, 5, accuracy, 0.0, rng)
        assert Judged(held_out, held_out, names).can_judge is able
    constant = Scored(np.tile([0.6, 0.1, 0.1, 0.1, 0.1], (200, 1)), rng.integers(5, size=200))
    assert not Judged(constant, constant, names).can_judge
