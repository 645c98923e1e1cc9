"""A check's outcome, and the verdict over all of them: merge, refuse, or ask a human."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hub_trainer.errors import DataError

VerdictName = Literal["merge", "refuse", "human"]
Blocks = Literal["refuse", "human"]
MAX_NUMBERS = 12
"""Row numbers that are named of a check; of more, the count is told."""
UNDECIDED = frozenset({"collisions", "left out"})
"""Checks that leave open what a merge would add: their files have to be mended first."""


@dataclass(frozen=True)
class Check:
    """One check: `blocks` says what follows when it did not pass.

    Of rows `detail` holds a few names and values at most, each by `quoting`.
    """

    name: str
    passed: bool
    detail: str
    blocks: Blocks = "refuse"
    rows: tuple[int, ...] = ()
    """Numbers of the rows that it is about, from 1, over all added files in order."""
    hostile: bool = False
    """No honest pull request fails it: one that does is closed."""

    @property
    def outcome(self) -> Literal["pass", "refuse", "human"]:
        """What follows from it."""
        return "pass" if self.passed else self.blocks

    @property
    def numbers(self) -> str:
        """Which rows it is about, as far as there is room: `rows 3, 8 and 40 more`, or nothing."""
        if not self.rows:
            return ""
        shown = ", ".join(str(int(number)) for number in self.rows[:MAX_NUMBERS])
        more = len(self.rows) - MAX_NUMBERS
        rest = f" and {more:,} more" if more > 0 else ""
        return f"{'row' if len(self.rows) == 1 else 'rows'} {shown}{rest}"

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        shown = {"name": self.name, "passed": self.passed, "detail": self.detail}
        return {**shown, "outcome": self.outcome, "rows": list(self.rows)}


@dataclass(frozen=True)
class MadeFile:
    """A file in the dataset's own schema, written by the child that read the pull request's."""

    target: str
    """Its path in the repo."""
    path: Path
    sha256: str
    """As the child reported it: nothing else is uploaded."""

    def content(self) -> bytes:
        """The bytes that were checked. Raises DataError when the file holds others."""
        content = self.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            do = "Review it again."
            raise DataError("A converted file is not as it was written.", where=self.target, do=do)
        return content


@dataclass(frozen=True)
class Verdict:
    """What review says of one pull request at one commit."""

    number: int
    sha: str
    base_sha: str
    """The tip of main that it was compared with."""
    verdict: VerdictName
    checks: tuple[Check, ...]
    files: tuple[str, ...] = ()
    """Data files that it adds: what a merge copies, unless it has made others of them."""
    rows: int = 0
    """Rows that it brings, 0 when they could not be read."""
    author: str = ""
    left_out: int = 0
    """Rows that a merge leaves out: those that repeat others."""
    made: tuple[MadeFile, ...] = ()
    """What a merge adds in place of the files, where those are not in the dataset's own schema."""
    accepted: bool = False
    """Merged by a person, who has looked at what review would not decide."""

    @property
    def reasons(self) -> list[str]:
        """Why it is not merged: the names and details of the checks that did not pass."""
        return [f"{check.name}: {check.detail}" for check in self.checks if not check.passed]

    @property
    def can_be_accepted(self) -> bool:
        """Whether a person may have it merged: its rows were read, and no check refuses them."""
        failed = {check.name for check in self.checks if not check.passed}
        return self.verdict == "human" and self.rows > 0 and not failed & UNDECIDED

    @property
    def closes(self) -> bool:
        """Whether the pull request is closed unmerged: what can be mended stays open."""
        return any(check.hostile and not check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "number": self.number,
            "sha": self.sha,
            "base_sha": self.base_sha,
            "verdict": self.verdict,
            "rows": self.rows,
            "left_out": self.left_out,
            "converted": bool(self.made),
            "accepted": self.accepted,
            "reasons": self.reasons,
            "checks": [check.to_dict() for check in self.checks],
        }


def decide(checks: Iterable[Check]) -> VerdictName:
    """Refuse when a hard check fails, ask a human when only soft ones do, merge when none does."""
    failed = {check.blocks for check in checks if not check.passed}
    if not failed:
        return "merge"
    return "refuse" if "refuse" in failed else "human"
