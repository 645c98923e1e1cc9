import pytest

from hub_trainer.checks.leakage_check import Leakage, check_leakage
from hub_trainer.checks.verdict import decide


def _found(
    remoteness: list[float],
    usual: list[float] | None = None,
    *,
    rows: int = 100,
    base_rows: int = 1000,
    test_rows: int = 200,
) -> Leakage:
    return Leakage(
        rows=rows,
        test_rows=test_rows,
        exact=sum(one == 0 for one in remoteness),
        near=sum(0 < one < 1 for one in remoteness),
        remoteness=tuple(remoteness),
        base_rows=base_rows,
        base_remoteness=tuple(usual or ()),
    )


@pytest.mark.parametrize("remoteness", [0.0, 0.4])
def test_leakage_when_a_dataset_repeats_nothing_then_a_few_copies_are_refused(
    remoteness: float,
) -> None:
    assert decide([check_leakage(_found([remoteness] * 4))]) == "refuse"
    check = check_leakage(_found([remoteness]))
    assert check.passed
    assert "left out of what is merged" in check.detail


def test_leakage_when_as_frequent_as_in_the_dataset_then_the_copies_are_left_out() -> None:
    usual = [0.0] * 30 + [0.5] * 40
    check = check_leakage(_found([0.0] * 4 + [0.5] * 5, usual))
    assert check.passed
    assert check.detail.startswith("4 exact and 5 near repeats of sealed test rows, no more than")
    check = check_leakage(_found([0.0] * 20, usual))
    assert not check.passed
    assert check.detail == (
        "20 exact and 0 near repeats of sealed test rows, "
        "more than the dataset's own rows bring by chance"
    )


def test_leakage_when_many_rows_are_a_little_too_near_then_refused_though_none_is_a_copy() -> None:
    usual = [1.2 + n / 100 for n in range(50)]
    assert decide([check_leakage(_found([1.3] * 6, usual))]) == "merge"
    assert decide([check_leakage(_found([1.3] * 40, usual))]) == "refuse"


def test_leakage_when_nothing_would_be_left_then_refused() -> None:
    check = check_leakage(_found([0.0], [0.0] * 900, rows=1))
    assert not check.passed
    assert check.detail.endswith("no row would be left")


def test_leakage_when_nothing_is_sealed_then_says_so() -> None:
    check = check_leakage(_found([], test_rows=0))
    assert check.passed
    assert check.detail == "there is no sealed test split to compare with"
