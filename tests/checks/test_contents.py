import numpy as np

from hub_trainer.checks.comparison import Repeats
from hub_trainer.checks.contents import (
    check_duplicates,
    check_label_quality,
    check_personal_data,
    check_rows,
    check_text,
)
from hub_trainer.checks.judgement import Judgement
from hub_trainer.checks.label_quality import LabelQuality
from hub_trainer.checks.personal import NO_TRACES, Traces, find_traces
from hub_trainer.checks.verdict import decide


def _counts(*, rows: int = 100, **changes: int) -> Repeats:
    return Repeats(rows, **changes)


def traces(rows: int, **counts: int) -> Traces:
    return Traces({"": rows}, {kind: {"": count} for kind, count in counts.items()})


def test_rows_when_too_many_none_or_broken_then_refused() -> None:
    assert decide(check_rows(5, {}, max_rows=10)) == "merge"
    assert decide(check_rows(11, {}, max_rows=10)) == "refuse"
    assert decide(check_rows(0, {}, max_rows=10)) == "refuse"
    broken = check_rows(5, {"no label": 2}, max_rows=10)[1]
    assert broken.detail == "2 with no label"
    assert not broken.passed
    named = check_rows(5, {"no label": 4}, max_rows=10, first_dropped=[2, 7, 9])[1]
    assert named.detail == "4 with no label; the first: rows 2, 7, 9"


def test_duplicates_when_over_the_share_then_refused() -> None:
    assert decide(check_duplicates(_counts(base_exact=20), max_fraction=0.2)) == "merge"
    checks = check_duplicates(_counts(base_exact=25, within_near=10), max_fraction=0.2)
    assert decide(checks) == "refuse"
    assert "35.0% of the rows, at most 20%" in checks[0].detail


def test_duplicates_when_a_few_rows_may_repeat_by_chance_then_a_person_decides() -> None:
    few = check_duplicates(Repeats(8, base_exact=3, numbers=(2, 5, 6)), max_fraction=0.2)
    assert few[0].numbers == "rows 2, 5, 6"
    assert decide(few) == "human"
    assert "37.5% of the rows" in few[0].detail
    assert decide(check_duplicates(_counts(base_exact=21), max_fraction=0.2)) == "human"
    assert decide(check_duplicates(_counts(rows=8, base_exact=7), max_fraction=0.2)) == "refuse"


def test_contradictions_when_several_then_a_person_decides() -> None:
    assert decide(check_duplicates(_counts(conflicting=1), max_fraction=1)) == "merge"
    assert decide(check_duplicates(_counts(conflicting=2), max_fraction=1)) == "human"


def test_personal_data_when_as_usual_for_the_dataset_then_passes() -> None:
    base = traces(1000, phone=100)
    assert decide(check_personal_data(traces(100, phone=12), base)) == "merge"
    assert decide(check_personal_data(traces(100, phone=30), base)) == "human"
    new = check_personal_data(traces(100, email=1), traces(1000))
    assert decide(new) == "human"
    assert new[1].detail == "email in 1 row"


def test_personal_data_when_its_label_has_it_then_more_of_that_label_bring_more() -> None:
    base = Traces({"ham": 900, "spam": 100}, {"phone": {"ham": 9, "spam": 50}})
    even = Traces({"ham": 20, "spam": 20}, {"phone": {"ham": 0, "spam": 11}})
    assert decide(check_personal_data(even, base)) == "merge"
    in_ham = Traces({"ham": 20, "spam": 20}, {"phone": {"ham": 5, "spam": 6}})
    assert decide(check_personal_data(in_ham, base)) == "human"


def test_personal_data_when_of_a_label_that_the_dataset_lacks_then_all_of_it_is_compared() -> None:
    base = Traces({"ham": 900, "spam": 100}, {"phone": {"spam": 50}})
    assert decide(check_personal_data(Traces({"ad": 30}, {"phone": {"ad": 20}}), base)) == "human"
    assert decide(check_personal_data(Traces({"ad": 30}, {"phone": {"ad": 2}}), base)) == "merge"


def test_personal_data_when_by_chance_alone_then_seldom_stopped() -> None:
    rng, labels = np.random.default_rng(5), ("a", "b", "c")
    shares, sizes = (0.02, 0.2, 0.5), (900, 400, 80)
    stopped = 0
    for _ in range(400):
        base = {x: int(rng.binomial(n, p)) for x, n, p in zip(labels, sizes, shares, strict=True)}
        new = {x: int(rng.binomial(40, p)) for x, p in zip(labels, shares, strict=True)}
        known = Traces(dict(zip(labels, sizes, strict=True)), {"phone": base})
        stopped += bool(Traces(dict.fromkeys(labels, 40), {"phone": new}).beyond(known))
    assert stopped <= 8


def test_secret_when_found_then_refused_even_if_the_dataset_has_some() -> None:
    token = "hub token"
    checks = check_personal_data(traces(100, **{token: 1}), traces(1000, **{token: 500}))
    assert decide(checks) == "refuse"


def test_formula_when_found_then_only_noted() -> None:
    flags = {"bidi": 0, "hidden": 0, "html": 0, "formula": 2}
    assert check_text(flags).passed
    assert "spreadsheet formulas in 2 rows" in check_text(flags).detail
    assert decide([check_text({**flags, "bidi": 1})]) == "human"


def test_label_quality_when_nobody_can_judge_then_says_so() -> None:
    check = check_label_quality(None, 0.1)
    assert check.passed
    assert "no model knows the labels well enough" in check.detail


def test_label_quality_when_many_look_wrong_then_the_figures_are_named() -> None:
    quality = LabelQuality(0.2, 0.14, 0.27, 0.005, 0.24, 0.05, 100)
    check = check_label_quality(Judgement("the published model", quality), 0.1)
    assert (check.passed, check.blocks) == (False, "refuse")
    assert check.detail == (
        "the published model disagrees with 24% of the labels (it errs on 5% of held-out rows); "
        "20% look wrong (14% to 27%), at most 10%"
    )


def test_personal_data_when_found_then_its_rows_are_named() -> None:
    rows = [{"text": text} for text in ("hi", "call 0171 5550 123", "write to ann.smith@gmail.com")]
    new = find_traces(rows, ["a"] * 3)
    secrets, personal = check_personal_data(new, NO_TRACES)
    assert (secrets.passed, secrets.rows) == (True, ())
    assert 3 in personal.rows
    assert 1 not in personal.rows
