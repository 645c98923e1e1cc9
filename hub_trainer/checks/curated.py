"""Pull requests of curate's own: rows that raters agreed on, often against the model.

People rate what a model gets wrong more often than what it gets right, and a judge of new rows errs
where the model errs. So a judge that disagrees says little against such rows: a person decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from hub_trainer.checks.verdict import Check

TITLE = "Add examples that raters agree on"
FILE_PREFIX = "ratings-"
JUDGED = ("label quality", "labels one by one", "answers to their prompts")
"""Names of the checks that go by what a judge thinks of the answers."""


def is_curated(title: str, files: Sequence[str]) -> bool:
    """Whether a pull request of the dataset's own people is curate's: its title and files alone."""
    named = all(FILE_PREFIX in PurePosixPath(path).name for path in files)
    return title == TITLE and bool(files) and named


def as_curated(checks: Iterable[Check]) -> list[Check]:
    """The checks, of which those that go by a judge ask a person where they would refuse."""
    told = "; raters agreed on these rows, so a person decides"
    return [
        replace(check, blocks="human", detail=check.detail + told)
        if check.name in JUDGED and check.outcome == "refuse"
        else check
        for check in checks
    ]
