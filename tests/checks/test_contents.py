from hub_trainer.checks.contents import (
    check_duplicates,
    check_label_quality,
    check_personal_data,
    check_rows,
    check_text,
)
from hub_trainer.checks.labels import LabelQuality
from hub_trainer.checks.verdict import decide

COUNTS = dict.fromkeys(
    ("within_exact", "within_near", "base_exact", "base_near", "conflicting"),
    0,
)


def _counts(**changes: int) -> dict[str, int]:
    return {**COUNTS, "rows": 100, "base_rows": 1000, **changes}


def test_rows_when_too_many_none_or_broken_then_refused() -> None:
    assert decide(check_rows(5, {}, max_rows=10)) == "merge"
    assert decide(check_rows(11, {}, max_rows=10)) == "refuse"
    assert decide(check_rows(0, {}, max_rows=10)) == "refuse"
    broken = check_rows(5, {"no label": 2}, max_rows=10)[1]
    assert broken.detail == "2 with no label"
    assert not broken.passed


def test_duplicates_when_over_the_share_then_refused() -> None:
    assert decide(check_duplicates(_counts(base_exact=20), max_fraction=0.2)) == "merge"
    checks = check_duplicates(_counts(base_exact=15, within_near=6), max_fraction=0.2)
    assert decide(checks) == "refuse"
    assert "21.0% of the rows, at most 20%" in checks[0].detail


def test_contradictions_when_several_then_a_person_decides() -> None:
    assert decide(check_duplicates(_counts(conflicting=1), max_fraction=1)) == "merge"
    assert decide(check_duplicates(_counts(conflicting=2), max_fraction=1)) == "human"


def test_personal_data_when_as_usual_for_the_dataset_then_passes() -> None:
    usual = check_personal_data({"phone": 12}, {"phone": 100}, num_rows=100, num_base_rows=1000)
    assert decide(usual) == "merge"
    more = check_personal_data({"phone": 30}, {"phone": 100}, num_rows=100, num_base_rows=1000)
    assert decide(more) == "human"
    new = check_personal_data({"email": 1}, {}, num_rows=100, num_base_rows=1000)
    assert decide(new) == "human"
    assert new[1].detail == "email in 1 rows"


def test_secret_when_found_then_refused_even_if_the_dataset_has_some() -> None:
    checks = check_personal_data(
        {"hub token": 1}, {"hub token": 500}, num_rows=100, num_base_rows=1000
    )
    assert decide(checks) == "refuse"


def test_formula_when_found_then_only_noted() -> None:
    flags = {"bidi": 0, "hidden": 0, "html": 0, "formula": 2}
    assert check_text(flags).passed
    assert "spreadsheet formulas in 2 rows" in check_text(flags).detail
    assert decide([check_text({**flags, "bidi": 1})]) == "human"


def test_label_quality_when_nobody_can_judge_then_says_so() -> None:
    check = check_label_quality(None, judge="", max_wrong_fraction=0.1)
    assert check.passed
    assert "no model knows the labels well enough" in check.detail


def test_label_quality_when_many_look_wrong_then_the_figures_are_named() -> None:
    quality = LabelQuality(0.2, 0.14, 0.27, 0.005, 0.24, 0.05, 100)
    check = check_label_quality(quality, judge="the published model", max_wrong_fraction=0.1)
    assert (check.passed, check.blocks) == (False, "refuse")
    assert check.detail == (
        "the published model disagrees with 24% of the labels (it errs on 5% of held-out rows); "
        "20% look wrong (14% to 27%), at most 10%"
    )
