import numpy as np
import pytest

from hub_trainer.checks.comment import render_comment
from hub_trainer.checks.spread import check_known_labels, check_label_spread, total_variation
from hub_trainer.checks.verdict import Verdict


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


def test_label_when_unknown_then_a_person_decides_and_is_told_which_rows_and_which_there_are() -> (
    None
):
    base = {"ham": 40, "spam": 40}
    check = check_known_labels(
        base, {"ham": 3, "Spamm": 2, "eggs": 1}, {"Spamm": [4, 2], "eggs": [5]}
    )
    assert (check.passed, check.blocks, check.rows) == (False, "human", (2, 4, 5))
    assert check.detail == (
        "the dataset does not have 'Spamm' in 2 rows, nearest to 'spam'; 'eggs' in 1 row; "
        "it has 'ham', 'spam'"
    )
    known = check_known_labels(base, {"ham": 1}, {})
    assert (known.passed, known.detail) == (True, "all known")


def test_label_when_unknown_then_the_comment_names_rows_and_the_command_that_mends_it() -> None:
    check = check_known_labels({"ham": 40}, {"hamm": 2}, {"hamm": [7, 9]})
    verdict = Verdict(3, "a" * 40, "b" * 40, "human", (check,), rows=9)
    lines = render_comment(verdict, dataset_id="o/d").splitlines()
    assert (
        "- human, **known labels**: the dataset does not have 'hamm' in 2 rows, nearest to 'ham'; "
        "it has 'ham'. Rows 7, 9."
    ) in lines
    assert "- Use the dataset's labels, or ask its owner to add the new ones." in lines
    assert "    hub-trainer contribute o/d FILE --pr 3" in lines


def test_labels_when_many_then_few_are_named_and_the_rest_counted() -> None:
    new = {f"new {n}": 1 for n in range(9)}
    base = {str(n): 10 for n in range(77)}
    check = check_known_labels(base, new, {name: [n + 1] for n, name in enumerate(new)})
    assert check.rows == tuple(range(1, 10))
    assert "'new 2' in 1 row; and 6 more; it has '0', '1', '2'" in check.detail
    assert check.detail.endswith("'11', 65 more")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("@evil **x**", r"'\[at\]evil \*\*x\*\*'"),
        ("<img src=x>\n# hi", r"'&lt;img src=x&gt; \# hi'"),
        ("[pay](https://evil.example)", r"'\[pay\](https\[:\]//evil\[.\]example)'"),
        ("a\u202eb\u200bc\u3164", "'a\ufffdb\ufffdc\ufffd'"),
        ("x" * 100, f"'{'x' * 39}…'"),
        ("ada.lovelace@example.org", "(a text that looks private)"),
        ("e" + "\u0301" * 50, "'e\u0301\u0301'"),
    ],
)
def test_label_when_hostile_then_shown_inert_and_short(name: str, shown: str) -> None:
    check = check_known_labels({"ham": 40}, {name: 1}, {name: [1]})
    verdict = Verdict(3, "a" * 40, "b" * 40, "human", (check,), rows=9)
    comment = render_comment(verdict, dataset_id="o/d")
    assert f"does not have {shown} in 1 row; it has" in comment
