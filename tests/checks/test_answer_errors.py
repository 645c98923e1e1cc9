"""How many rows look wrong, by errors of a judge that errs itself."""

import numpy as np
import pytest

from hub_trainer.answers import load_answer
from hub_trainer.checks.answer_errors import compare_errors, judge_errors
from tests.tasks.factory import tagged_rows

NUMBERS = range(1, 1001)


@pytest.mark.parametrize(
    ("held_out", "new", "expected"),
    [
        (0.05, 0.05, 0.0),
        (0.05, 0.43, 0.4),
        (0.3, 0.3, 0.0),  # errors that can be no larger, and that many held-out rows have
        (0.3, 0.65, 0.5),
        (0.0, 1.0, 1.0),
    ],
)
def test_rows_when_more_are_off_than_held_out_ones_then_the_rest_looks_wrong(
    held_out: float, new: float, expected: float
) -> None:
    def errors(share: float, count: int) -> np.ndarray:
        return np.where(np.arange(count) < share * count, 0.0, -1.0 + np.arange(count) / 1e6)

    found = compare_errors(errors(held_out, 1000), errors(new, 200), list(NUMBERS))
    assert found.wrong_fraction == pytest.approx(expected, abs=0.06)
    assert len(found.doubtful) == round(found.wrong_fraction * 200)


@pytest.mark.parametrize(("moves", "least", "most"), [(0, 0.0, 0.1), (1, 0.7, 1.0)])
def test_spans_when_tags_stand_by_other_words_then_a_probe_of_words_doubts_them(
    moves: int, least: float, most: float
) -> None:
    new = tagged_rows(60, seed=5)
    for row in new:
        tags = [tag for _, tag in row["tags"]]
        row["tags"] = [[word, tag] for (word, _), tag in
                       zip(row["tags"], [*tags[moves:], *tags[:moves]], strict=True)]  # fmt: skip
    found = judge_errors(new, tagged_rows(120), [], model=None, modality="text",
                         answer=load_answer("spans"))  # fmt: skip
    assert found is not None
    assert found["judge"] == "a probe of the dataset"
    assert least <= found["quality"]["wrong_fraction"] <= most
