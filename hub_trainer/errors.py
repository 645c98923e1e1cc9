"""Errors of the user's world: each says what, where, what was found and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What `hub-trainer` exits with."""

    DONE = 0
    RECIPE = 2
    DATA = 3
    HUB = 4
    TRAINING = 5
    NOT_PROMOTED = 6
    INTERRUPTED = 75


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
        parts = [self.what]
        parts += [f"  where: {self.where}"] if self.where else []
        parts += [f"  got:   {self.got}"] if self.got else []
        parts += [f"  do:    {self.do}"] if self.do else []
        return "\n".join(parts)


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


class ProblemsError(HubTrainerError):
    """Several faults at once, so that one run of `check` finds them all."""

    def __init__(self, problems: Sequence[Problem], *, source: str) -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        super().__init__(f"{source}: {count} problem{'s' if count > 1 else ''}")

    def __str__(self) -> str:
        lines = [self.what]
        for problem in self.problems:
            where = f"{self.source}:{problem.line}" if problem.line else self.source
            lines.append(f"  {where}: {problem.message}")
        return "\n".join(lines)


class RecipeError(ProblemsError):
    """The recipe or an override of it is wrong."""
