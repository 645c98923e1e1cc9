"""Rows of a split's files as a review holds them: where they lie, and what reading them showed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub_trainer.checks.schema_changes import Schema
from hub_trainer.rows import RowSpec


@dataclass(frozen=True)
class Reading:
    """What became of a split's files."""

    path: Path
    """The file of canonical rows."""
    schema: Schema
    """Columns, types and label names of the files themselves."""
    spec: RowSpec
    """How their columns were read."""
    rows: int
    """Canonical rows."""
    labels: Mapping[str, int]
    """Label name -> rows."""
    dropped: Mapping[str, int]
    """Reason -> rows that were left out."""
    first_dropped: Sequence[int] = ()
    """The first of them: numbers of rows of the split, from 1."""
    no_dates: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Column of dates -> numbers of the rows, from 1, whose text is none and was read as a gap."""
    names_from_folders: bool = False
    """Whether the label names are those of folders, and no card declares them."""

    def to_json(self) -> dict[str, Any]:
        """As the child that read the files answers; of folders it knows nothing."""
        return {
            "schema": self.schema.to_json(),
            "spec": self.spec.to_json(),
            "rows": self.rows,
            "labels": dict(self.labels),
            "dropped": dict(self.dropped),
            "first_dropped": list(self.first_dropped),
            "no_dates": {name: list(rows) for name, rows in self.no_dates.items()},
        }

    @classmethod
    def from_json(cls, path: Path, content: Mapping[str, Any]) -> "Reading":
        """What the child that wrote the rows at `path` answered."""
        return cls(
            path,
            Schema.from_json(content["schema"]),
            RowSpec.from_json(content["spec"]),
            rows=int(content["rows"]),
            labels={str(name): int(count) for name, count in content["labels"].items()},
            dropped={str(reason): int(count) for reason, count in content["dropped"].items()},
            first_dropped=tuple(int(number) for number in content["first_dropped"]),
            no_dates={name: tuple(map(int, rows)) for name, rows in content["no_dates"].items()},
        )
