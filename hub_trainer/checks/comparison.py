"""What the child of a review answers of new rows: what they repeat and hold, and their signs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hub_trainer.checks.leakage_check import Leakage
from hub_trainer.checks.personal import Traces
from hub_trainer.checks.shifts import Shift
from hub_trainer.checks.triggers import Trigger


@dataclass(frozen=True)
class Repeats:
    """Counts of new rows that bring nothing new, or contradict what is there."""

    rows: int
    """New rows in all."""
    within_exact: int = 0
    """That repeat an earlier new row."""
    within_near: int = 0
    base_exact: int = 0
    """That repeat a row of the dataset."""
    base_near: int = 0
    conflicting: int = 0
    """Whose like is in the dataset with another answer."""
    numbers: tuple[int, ...] = ()
    """Of the rows that repeat others, from 1."""
    conflicting_numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """New rows beside the dataset's and the sealed ones."""

    repeats: Repeats
    leakage: Leakage
    copies: tuple[int, ...]
    """Places, from 0, of copies of sealed rows."""
    unknown_labels: Mapping[str, tuple[int, ...]]
    """Label that no row of the dataset has -> numbers of the rows that have it, from 1."""
    flags: Mapping[str, int]
    """Kind of hidden or active text -> rows that hold such."""
    personal: Traces
    base_personal: Traces
    """The same of the dataset's own rows."""

    def to_json(self) -> dict[str, Any]:
        """As the child answers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Comparison":
        """From what the child answered."""
        return cls(
            repeats=Repeats(**{name: _whole(value) for name, value in content["repeats"].items()}),
            leakage=Leakage(**content["leakage"]),
            copies=tuple(map(int, content["copies"])),
            unknown_labels={n: tuple(map(int, r)) for n, r in content["unknown_labels"].items()},
            flags={str(flag): int(count) for flag, count in content["flags"].items()},
            personal=Traces(**content["personal"]),
            base_personal=Traces(**content["base_personal"]),
        )


def _whole(value: Any) -> Any:
    """A count, or numbers of rows."""
    return tuple(map(int, value)) if isinstance(value, list) else int(value)


@dataclass(frozen=True)
class Signs:
    """Signs of poison in new rows."""

    triggers: tuple[Trigger, ...]
    shifts: tuple[Shift, ...]
    repeats: tuple[int, ...]
    """Places, from 0, of rows that repeat an earlier one or one of the dataset exactly."""

    def to_json(self) -> dict[str, Any]:
        """As the child answers."""
        return {
            "triggers": [one.to_json() for one in self.triggers],
            "shifts": [one.to_json() for one in self.shifts],
            "repeats": list(self.repeats),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Signs":
        """From what the child answered."""
        return cls(
            tuple(Trigger.from_json(one) for one in content["triggers"]),
            tuple(Shift.from_json(one) for one in content["shifts"]),
            tuple(map(int, content["repeats"])),
        )
