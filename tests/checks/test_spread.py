import numpy as np

from hub_trainer.checks.spread import check_known_labels, check_label_spread, total_variation


def test_distance_when_computed_then_half_the_sum_of_differences() -> None:
    assert total_variation({"a": 1, "b": 1}, {"a": 5, "b": 5}) == 0
    assert total_variation({"a": 1}, {"b": 7}) == 1
    assert total_variation({"a": 1, "b": 1}, {"a": 3, "b": 1}) == 0.25


def test_spread_when_like_the_dataset_then_passes_however_few_rows() -> None:
    base = {str(n): 100 for n in range(77)}
    for seed in range(20):
        drawn = np.random.default_rng(seed).integers(77, size=20).astype(str)
        new = {name: int((drawn == name).sum()) for name in set(drawn)}
        assert total_variation(base, new) > 0.5
        assert check_label_spread(base, new, max_shift=0.5).passed


def test_spread_when_of_one_label_then_a_person_decides() -> None:
    check = check_label_spread({"a": 50, "b": 50, "c": 50}, {"a": 60}, max_shift=0.5)
    assert (check.passed, check.blocks) == (False, "human")
    assert check.detail == (
        "66.7% of the rows would need another label for the labels to be spread as in the dataset, "
        "at most 50.0% may"
    )


def test_spread_when_so_few_are_of_one_label_that_the_dataset_stays_then_passes() -> None:
    base = {"a": 200, "b": 200, "c": 200}
    check = check_label_spread(base, {"a": 8}, max_shift=0.5)
    assert check.passed
    assert check.detail.endswith("so few rows that the dataset's own spread moves by 0.9%")
    assert not check_label_spread(base, {"a": 60}, max_shift=0.5).passed


def test_label_when_unknown_then_a_person_decides_and_its_name_is_not_repeated() -> None:
    check = check_known_labels({"a": 1}, {"a": 3, "@evil": 2})
    assert (check.passed, check.blocks) == (False, "human")
    assert check.detail == "1 label that the dataset does not have, in 2 rows"
    assert check_known_labels({"a": 1, "b": 1}, {"a": 1}).passed
