"""Gold-anchored Dawid-Skene: against two real crowds and against simulated coalitions."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hub_trainer.errors import DataError
from hub_trainer.stats import dawid_skene_labels, majority_labels
from hub_trainer.stats.aggregate import latest_annotations

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LABELS = ("a", "b", "c", "d")


def _crowd(seed, num_liars=0, flood=1, num_votes=3, num_examples=1500):
    """60 raters right about 8 times in 10; liars agree on one wrong label per example; 4 % gold."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, num_examples)
    wrong = (truth + rng.integers(1, 4, num_examples)) % 4
    accuracy = np.clip(rng.normal(0.8, 0.08, 60), 0.5, 0.98)
    weights = np.where(np.arange(60) < num_liars, flood, 1.0)
    annotations = []
    for example in range(num_examples):
        for rater in rng.choice(60, num_votes, replace=False, p=weights / weights.sum()):
            slip = rng.random() > accuracy[rater]
            label = (truth[example] + rng.integers(1, 4) * slip) % 4
            label = wrong[example] if rater < num_liars else label
            annotations.append((f"e{example:04}", f"r{rater:02}", LABELS[label]))
    names = {f"e{example:04}": LABELS[label] for example, label in enumerate(truth)}
    gold = {f"e{example:04}" for example in rng.choice(num_examples, num_examples // 25, False)}
    return annotations, names, {key: names[key] for key in gold}


def _accuracy(aggregation, truth, gold=()):
    judged = [one for one in aggregation.labels if one.example_id not in gold]
    return np.mean([one.label == truth[one.example_id] for one in judged])


def test_dawid_skene_without_gold_says_what_to_do():
    with pytest.raises(DataError, match=r"no gold[\s\S]*take the majority"):
        dawid_skene_labels([("x", "r", "a")], {})


def test_dawid_skene_of_a_clean_crowd_is_no_worse_than_the_majority():
    annotations, truth, gold = _crowd(0)
    found = dawid_skene_labels(annotations, gold, min_gold=0)
    majority = _accuracy(majority_labels(annotations), truth, gold)
    assert _accuracy(found, truth) >= majority - 0.01
    assert _accuracy(found, truth) > 0.88


@pytest.mark.parametrize(
    ("num_liars", "flood", "num_votes", "at_least"),
    [(12, 1, 3, 0.86), (12, 1, 5, 0.93), (12, 4, 3, 0.72), (24, 1, 3, 0.77)],
)
def test_dawid_skene_of_a_crowd_with_a_coalition_finds_the_truth(
    num_liars, flood, num_votes, at_least
):
    annotations, truth, gold = _crowd(1, num_liars, flood, num_votes)
    found = dawid_skene_labels(annotations, gold, min_gold=0)
    majority = _accuracy(majority_labels(annotations), truth, gold)
    accuracy = _accuracy(found, truth)
    print(f"{num_liars} liars x{flood}, {num_votes} votes: majority {majority:.3f}, {accuracy:.3f}")
    assert accuracy > at_least
    assert accuracy > majority + 0.1
    trust = {rater.rater_id: rater.accuracy for rater in found.raters}
    liars = [trust[f"r{rater:02}"] for rater in range(num_liars)]
    honest = [trust[f"r{rater:02}"] for rater in range(num_liars, 60)]
    assert max(liars) < min(honest)


def test_dawid_skene_with_a_cap_undoes_a_flood():
    annotations, truth, gold = _crowd(2, num_liars=12, flood=8)
    most = int(np.median(list(Counter(rater for _, rater, _ in annotations).values())))
    flooded = _accuracy(dawid_skene_labels(annotations, gold, min_gold=0), truth)
    given: Counter[str] = Counter()
    within = []
    for vote in latest_annotations(annotations):
        given[vote.rater_id] += 1
        within += [vote] if given[vote.rater_id] <= most else []
    capped = dawid_skene_labels(within, gold, min_gold=0)
    heard = {one.example_id: one.label for one in capped.labels if one.num_raters}
    share = np.mean([label == truth[key] for key, label in heard.items()])
    print(f"flooded {flooded:.3f}, capped {share:.3f} of {len(heard)} still rated")
    assert share > flooded


def test_dawid_skene_excludes_raters_short_of_gold():
    gold = {f"g{n}": "a" for n in range(3)}
    annotations = [(key, rater, "a") for key in gold for rater in ("old1", "old2", "old3")]
    annotations += [("x", rater, "a") for rater in ("old1", "old2", "old3")]
    annotations += [("x", f"new{n}", "b") for n in range(9)]
    found = dawid_skene_labels(annotations, gold)
    (label,) = found.labels
    assert (label.example_id, label.label, label.num_raters) == ("x", "a", 3)
    assert label.decided
    raters = {rater.rater_id: rater for rater in found.raters}
    assert raters["new0"].excluded == "0 gold answers, 3 needed"
    assert (raters["new0"].num_counted, raters["new0"].accuracy) == (0, None)
    assert raters["old1"].excluded is None
    assert raters["old1"].accuracy > 0.9


def test_dawid_skene_when_nobody_has_gold_decides_nothing():
    found = dawid_skene_labels([("x", f"r{n}", "a") for n in range(3)], {"g": "a"})
    (label,) = found.labels
    assert (label.label, label.confidence, label.decided) == (None, 0, False)


def test_dawid_skene_with_doubt_or_few_raters_is_undecided():
    annotations, _, gold = _crowd(3, num_examples=300)
    found = dawid_skene_labels(annotations, gold, min_gold=0, min_confidence=0.9)
    unsure = [one for one in found.labels if not one.decided]
    assert unsure
    assert all(one.confidence < 0.9 for one in unsure)
    lonely = dawid_skene_labels(annotations, gold, min_gold=0, min_raters=4)
    assert lonely.decided == {}


def test_dawid_skene_flip_fraction_is_near_the_true_one():
    annotations, truth, gold = _crowd(4)
    found = dawid_skene_labels(annotations, gold, min_gold=0)
    wrong = np.mean([label != truth[key] for key, label in found.decided.items()])
    assert found.flip_fraction == pytest.approx(wrong, abs=0.03)


def test_dawid_skene_of_shuffled_annotations_is_the_same():
    annotations, _, gold = _crowd(5, num_examples=300)
    shuffled = np.random.default_rng(0).permutation(len(annotations))
    first = dawid_skene_labels(annotations, gold)
    second = dawid_skene_labels([annotations[row] for row in shuffled], gold)
    assert [one.label for one in first.labels] == [one.label for one in second.labels]
    assert first == dawid_skene_labels(annotations, gold)
    confidences = [one.confidence for one in first.labels]
    assert confidences == pytest.approx([one.confidence for one in second.labels], abs=1e-9)


def _real_crowd(name):
    parquet = pytest.importorskip("pyarrow.parquet")
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not here")
    annotations, gold = (
        parquet.read_table(SHARED / name / "data" / f"{split}-00000-of-00001.parquet").to_pylist()
        for split in ("annotations", "gold")
    )
    votes = [(row["item"], row["worker"], str(row["label"])) for row in annotations]
    return votes, {row["item"]: str(row["label"]) for row in gold}


def _anchors(truth, fraction, seed):
    keys = sorted(truth)
    chosen = np.random.default_rng(seed).permutation(len(keys))[: int(fraction * len(keys))]
    return {keys[row]: truth[keys[row]] for row in chosen}


def _judged(aggregation, truth):
    """Accuracy over the examples whose truth is known; a tie counts as wrong."""
    judged = [one for one in aggregation.labels if one.example_id in truth]
    return np.mean([one.label == truth[one.example_id] for one in judged])


def test_real_bluebirds_crowd_is_read_as_published():
    votes, truth = _real_crowd("crowd-bluebirds")
    assert _judged(majority_labels(votes), truth) == pytest.approx(0.759, abs=0.001)
    found = [
        _judged(dawid_skene_labels(votes, _anchors(truth, 0.1, seed)), truth) for seed in range(5)
    ]
    print(f"bluebirds with 10 gold: {np.mean(found):.3f}")
    assert np.mean(found) > 0.88  # Dawid-Skene: 0.898


def test_real_adult_content_crowd_is_read_at_least_as_well_as_by_majority():
    votes, truth = _real_crowd("crowd-adult-content2")
    gold = _anchors(truth, 0.5, 0)
    rest = {key: label for key, label in truth.items() if key not in gold}
    majority = _judged(majority_labels(votes), rest)
    found = _judged(dawid_skene_labels(votes, gold, min_gold=0), rest)
    strict = _judged(dawid_skene_labels(votes, gold), rest)
    print(f"adult content: majority {majority:.3f}, anchored {found:.3f}, min_gold=3 {strict:.3f}")
    assert found > majority - 0.01
    assert strict > majority - 0.01
