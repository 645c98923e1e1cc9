"""A check's outcome, and the verdict over all of them: merge, refuse, or ask a human."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

VerdictName = Literal["merge", "refuse", "human"]
Blocks = Literal["refuse", "human"]


@dataclass(frozen=True)
class Check:
    """One check: `blocks` says what follows when it did not pass; `detail` never holds row text."""

    name: str
    passed: bool
    detail: str
    blocks: Blocks = "refuse"

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail}


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
    """Data files that it adds: what a merge copies."""
    rows: int = 0
    """Rows that it brings, 0 when they could not be read."""

    @property
    def reasons(self) -> list[str]:
        """Why it is not merged: the names and details of the checks that did not pass."""
        return [f"{check.name}: {check.detail}" for check in self.checks if not check.passed]

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "number": self.number,
            "sha": self.sha,
            "base_sha": self.base_sha,
            "verdict": self.verdict,
            "rows": self.rows,
            "reasons": self.reasons,
            "checks": [check.to_dict() for check in self.checks],
        }


def decide(checks: Iterable[Check]) -> VerdictName:
    """Refuse when a hard check fails, ask a human when only soft ones do, merge when none does."""
    failed = {check.blocks for check in checks if not check.passed}
    if not failed:
        return "merge"
    return "refuse" if "refuse" in failed else "human"
