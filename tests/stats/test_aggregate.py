"""Majority labels: ties, too few raters, floods, second thoughts."""

import pytest

from hub_trainer.stats import Annotation, majority_labels


def _votes(example_id, *labels, first_rater=0):
    return [(example_id, f"r{first_rater + n}", label) for n, label in enumerate(labels)]


def _only(aggregation):
    (label,) = aggregation.labels
    return label


def test_majority_of_three_raters_decides():
    found = _only(majority_labels(_votes("x", "cat", "dog", "cat")))
    assert (found.label, found.num_raters, found.decided) == ("cat", 3, True)
    assert found.confidence == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        (("cat", "cat"), "cat"),  # too few raters
        (("cat", "cat", "dog", "dog"), None),  # a tie
        (("cat", "dog", "bird"), None),  # a tie of three
        (("cat", "cat", "dog", "bird"), "cat"),  # most votes, but no more than half
    ],
)
def test_majority_without_more_than_half_of_enough_raters_is_undecided(votes, label):
    aggregation = majority_labels(_votes("x", *votes))
    found = _only(aggregation)
    assert (found.label, found.decided) == (label, False)
    assert aggregation.decided == {}


def test_majority_when_a_rater_votes_again_counts_the_last_vote():
    votes = [*_votes("x", "cat", "cat", "dog"), ("x", "r0", "dog")]
    found = _only(majority_labels(votes))
    assert (found.label, found.num_raters) == ("dog", 3)


def test_rater_accuracy_is_agreement_with_the_others():
    votes = [vote for n in range(4) for vote in _votes(f"e{n}", "cat", "cat", "cat")]
    votes += [(f"e{n}", "saboteur", "dog") for n in range(4)]
    raters = {rater.rater_id: rater for rater in majority_labels(votes).raters}
    assert raters["saboteur"].accuracy == 0
    assert raters["r0"].accuracy == 1
    assert raters["r0"].excluded is None


def test_rater_alone_with_an_example_has_no_accuracy():
    (rater,) = majority_labels([("x", "r", "cat")]).raters
    assert rater.accuracy is None


def test_aggregation_sorts_and_sums_up():
    votes = [*_votes("b", "cat", "cat", "dog"), *_votes("a", "dog", "dog", "dog")]
    aggregation = majority_labels(votes)
    assert aggregation.decided == {"a": "dog", "b": "cat"}
    assert [one.example_id for one in aggregation.labels] == ["a", "b"]
    assert aggregation.flip_fraction == pytest.approx(1 / 6)
    assert aggregation.num_effective_raters == pytest.approx(3)


def test_effective_raters_of_a_flood_are_few():
    votes = [(f"e{n}", "flooder", "dog") for n in range(96)]
    votes += [(f"e{n}", f"r{n}", "cat") for n in range(4)]
    assert majority_labels(votes).num_effective_raters == pytest.approx(100**2 / (96**2 + 4))


def test_majority_of_nothing_is_empty():
    aggregation = majority_labels([])
    assert (aggregation.labels, aggregation.raters) == ((), ())
    assert (aggregation.flip_fraction, aggregation.num_effective_raters) == (0, 0)


def test_annotation_is_the_tuple_that_functions_take():
    votes = [Annotation("x", f"r{n}", "cat") for n in range(3)]
    assert majority_labels(votes) == majority_labels([tuple(vote) for vote in votes])
