"""Recall of retrieval: computed pair by pair, with ties, without vectors, without any pair."""

import numpy as np
import pytest

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.metrics.retrieval import RETRIEVAL_METRICS, retrieval_statistics
from hub_trainer.metrics.senses import lower_is_better
from hub_trainer.stats import measure


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def recall(name: str, numbers: list[float], pairs: list) -> float:
    return float(measure(RETRIEVAL_METRICS[name], retrieval_statistics(name, numbers, pairs)))


@pytest.mark.parametrize(("name", "best"), [("recall_at_1", 1), ("recall_at_10", 10)])
def test_recall_when_computed_then_is_the_share_of_pairs_that_belong_together(
    name: str, best: int
) -> None:
    first, second = unit(60, 0), unit(60, 1)
    second[:20] = first[:20] + 0.4 * unit(20, 2)
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    numbers = [5.0] * 30 + [float(n % 4) for n in range(30)]
    found = []
    for number in range(30):
        cosines = second @ first[number]
        found.append(int((cosines > cosines[number]).sum()) < best)
    pairs = list(zip(first, second, strict=True))
    assert recall(name, numbers, pairs) == pytest.approx(np.mean(found))
    assert 0.2 < np.mean(found) < 1


def test_recall_when_a_text_stands_in_several_pairs_then_it_is_one_text() -> None:
    texts = unit(3, 0)
    pairs = [(texts[0], texts[0]), (texts[1], texts[2]), (texts[1], texts[2]), (texts[0], texts[2])]
    assert recall("recall_at_1", [5.0, 0.0, 0.0, 0.0], pairs) == 1.0


def test_recall_when_texts_are_equally_near_then_goes_by_chance() -> None:
    asked, twice = np.array([1.0, 0.0]), [np.array([0.6, 0.8]), np.array([0.6, -0.8])]
    pairs = [(asked, twice[0]), (asked, twice[1])]
    assert recall("recall_at_1", [1.0, 0.0], pairs) == pytest.approx(0.5)


def test_recall_when_a_model_has_no_vectors_then_it_finds_by_chance_alone() -> None:
    numbers = [5.0] * 5 + [0.0] * 15
    assert recall("recall_at_1", numbers, [None] * 20) == pytest.approx(1 / 20)
    assert recall("recall_at_10", numbers, [None] * 20) == pytest.approx(10 / 20)
    assert recall("recall_at_10", [5.0, 0.0], [None] * 2) == 1.0


def test_recall_when_no_pair_belongs_together_then_is_0() -> None:
    pairs = list(zip(unit(3, 0), unit(3, 1), strict=True))
    assert recall("recall_at_1", [0.0, 0.0, 0.0], pairs) == 0.0
    assert recall("triplet_accuracy", [0.0, 0.0, 0.0], pairs) == 0.0


def test_recall_when_all_pairs_have_one_number_then_all_belong_together() -> None:
    vectors = unit(4, 0)
    pairs = list(zip(vectors, vectors, strict=True))
    assert recall("recall_at_1", [1.0] * 4, pairs) == 1.0
    assert recall("recall_at_1", [1.0] * 4, list(zip(vectors, vectors[::-1], strict=True))) == 0.0


def test_triplets_when_measured_then_are_counted_one_by_one() -> None:
    rng = np.random.default_rng(3)
    anchors, others = unit(12, 5), unit(60, 6)
    rows = [(int(rng.integers(12)), place, float(rng.integers(0, 6))) for place in range(60)]
    pairs = [(anchors[a], others[o]) for a, o, _ in rows]
    numbers = [number for *_, number in rows]
    shares = []
    for anchor, place, number in rows:
        wrong = [o for a, o, n in rows if a == anchor and n <= 1.0]
        if number >= 4.0 and wrong:
            right = float(anchors[anchor] @ others[place])
            beaten = [float(anchors[anchor] @ others[o]) < right for o in wrong]
            shares.append(sum(beaten) / len(beaten))
    assert len(shares) > 5
    assert recall("triplet_accuracy", numbers, pairs) == pytest.approx(np.mean(shares))
    assert recall("triplet_accuracy", numbers, [None] * 60) == 0.5


def test_triplets_when_two_texts_are_one_then_neither_wins() -> None:
    first, second = unit(2, 1)
    assert recall("triplet_accuracy", [1.0, 0.0], [(first, second), (first, second)]) == 0.5


def test_number_when_two_models_are_compared_then_by_their_vectors() -> None:
    answer, first = load_answer("number"), unit(40, 0)
    others = unit(40, 1)
    numbers = [5.0] * 20 + [0.0] * 20
    right = [Prediction(1.0, vectors=(one, one)) for one in first]
    wrong = [Prediction(1.0, vectors=pair) for pair in zip(first, others, strict=True)]
    found = answer.compare("recall_at_1", numbers, (right, wrong), [], seed=0)
    assert found.difference > 0.7
    assert found.p_value < 0.01
    estimate = answer.estimates(["recall_at_1"], numbers, right, [], seed=0)["recall_at_1"]
    assert estimate.value == 1.0
    assert not lower_is_better("recall_at_1")
    assert not answer.metrics & RETRIEVAL_METRICS.keys()
    assert right[0] == Prediction(1.0)
