"""Curated pull requests: a judge that the raters correct may ask a person, and refuse nothing."""

import pytest

from hub_trainer.checks.curated import TITLE, as_curated, is_curated
from hub_trainer.checks.verdict import Check, decide

FILES = ("data/train_ratings-0123456789ab.parquet",)


@pytest.mark.parametrize(
    ("title", "files", "right"),
    [
        (TITLE, FILES, True),
        ("Add 5 rows", FILES, False),
        (TITLE, (*FILES, "data/more.parquet"), False),
        (TITLE, (), False),
    ],
)
def test_request_when_looked_at_then_is_curates_only_by_title_and_all_files(
    title: str, files: tuple[str, ...], right: bool
) -> None:
    assert is_curated(title, files) is right


def test_checks_when_curated_then_judges_ask_a_person_and_all_others_stay() -> None:
    doubt = Check("label quality", False, "40% look wrong", "refuse", (3, 4))
    secret = Check("secrets", False, "a token in 1 row", "refuse")
    agreed = Check("labels one by one", True, "none stands out")
    softer, other, passed = as_curated([doubt, secret, agreed])
    assert (softer.outcome, softer.rows) == ("human", (3, 4))
    assert softer.detail == "40% look wrong; raters agreed on these rows, so a person decides"
    assert (other, passed) == (secret, agreed)
    assert decide(as_curated([doubt, agreed])) == "human"
    assert decide(as_curated([doubt, secret])) == "refuse"
