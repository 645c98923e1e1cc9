"""Errors of the user's world: each says what, where, what was found and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What `hub-trainer` exits with."""

    DONE = 0
    RECIPE = 2
    DATA = 3
    HUB = 4
    TRAINING = 5
    NOT_PROMOTED = 6
    INTERRUPTED = 75


def laid_out(what: str, *, where: str | None, got: str | None, do: str | None) -> str:
    """What, where, got, do: the one layout of all errors."""
    parts = [what]
    parts += [f"  where: {where}"] if where else []
    parts += [f"  got:   {got}"] if got else []
    parts += [f"  do:    {do}"] if do else []
    return "\n".join(parts)


class HubTrainerError(Exception):
    """What went wrong, where (file, line, key), what was found, and what to do about it."""

    exit_code = ExitCode.RECIPE

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: str | None = None,
        do: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.do = what, where, got, do
        super().__init__(what)

    def __str__(self) -> str:
        return laid_out(self.what, where=self.where, got=self.got, do=self.do)


class UsageError(HubTrainerError):
    """A command line that cannot be carried out: a missing file, a port in use."""


class DataError(HubTrainerError):
    """Data that cannot be used: a missing column, an unseen label, an empty split."""

    exit_code = ExitCode.DATA


class RowRefused(DataError):
    """A row that cannot be used with this base model; the others may be.

    `reason` is the same for all rows like it, and holds nothing of them.
    """

    def __init__(
        self,
        what: str,
        *,
        reason: str,
        where: str | None = None,
        got: str | None = None,
        do: str | None = None,
    ) -> None:
        self.reason = reason
        super().__init__(what, where=where, got=got, do=do)


class CellsRefused(DataError):
    """Cells of one column for which a dataset has no room; other rows may be good."""

    def __init__(
        self,
        what: str,
        *,
        rows: Sequence[int],
        where: str | None = None,
        got: str | None = None,
        do: str | None = None,
    ) -> None:
        self.rows = tuple(rows)
        """Numbers of their rows, from 1."""
        super().__init__(what, where=where, got=got, do=do)


class HubError(HubTrainerError):
    """The Hub said no or did not answer."""

    exit_code = ExitCode.HUB


class TrainingError(HubTrainerError):
    """Training cannot start or go on: not enough memory or disk, a loss that is not finite."""

    exit_code = ExitCode.TRAINING


class Interrupted(HubTrainerError):
    """Stopped by a signal with a checkpoint on disk: the same command goes on."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True)
class Problem:
    """One fault: the dotted key, its line in the recipe if it has one, and a message."""

    key: str
    message: str
    line: int | None = None
    where: str | None = None
    """Beside the line of the recipe, as the repo or the file in question."""
    got: str | None = None
    do: str | None = None
    override: str | None = None
    """What of the command line it is about, as written there."""

    @classmethod
    def of(cls, error: "HubTrainerError", key: str) -> "Problem":
        """An error met at a key of the recipe, with all that it says."""
        return cls(key, f"{key}: {error.what}", where=error.where, got=error.got, do=error.do)

    def to_json(self) -> dict[str, Any]:
        """Key, line and the whole as one message."""
        at = self._at(None)
        parts = [("where", at), ("got", self.got), ("do", self.do)]
        told = [self.message, *(f"{name}: {text}" for name, text in parts if text)]
        return {"key": self.key, "line": self.line, "message": " | ".join(told)}

    def told(self, source: str) -> str:
        """The problem in the layout of every error."""
        return laid_out(self.message, where=self._at(source), got=self.got, do=self.do)

    def _at(self, source: str | None) -> str | None:
        """Where it is: on a line of the file, on the command line, in what is named there."""
        given = f"on the command line: {self.override}" if self.override else None
        at = f"{source}:{self.line}" if source and self.line else source
        file = at if self.line or not given else None
        return ", ".join(part for part in (file, given, self.where) if part) or None


class ProblemsError(HubTrainerError):
    """Several faults at once, so that one run of `check` finds them all."""

    def __init__(self, problems: Sequence[Problem], *, source: str) -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        super().__init__(f"{source}: {count} problem{'s' if count > 1 else ''}")

    def __str__(self) -> str:
        lines = [self.what]
        lines += [problem.told(self.source) for problem in self.problems]
        return "\n".join(lines)


class RecipeError(ProblemsError):
    """The recipe or an override of it is wrong."""
