"""The plan: what a round would read, train, need and write."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from hub_trainer.hub_types import RepoType
from hub_trainer.lineage import Pins
from hub_trainer.plan.forecast import Amount, Forecast, Search
from hub_trainer.ranks import Sharding
from hub_trainer.recipe import Recipe
from hub_trainer.tasks import Preview


@dataclass(frozen=True)
class PlannedWrite:
    """What the round would write in one repo."""

    repo_type: RepoType
    repo_id: str
    what: str
    files: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    """File -> bytes, of the larger ones whose size is known beforehand."""


class PlannedRows(NamedTuple):
    """Rows of the splits, and those that are left out by reason."""

    counts: Mapping[str, int]
    dropped: Mapping[str, int]
    """By prepare, as its report counts them."""
    left_out: Mapping[str, int]
    """By collect and prepare."""


@dataclass(frozen=True)
class Plan:
    """What `hub-trainer plan` has found."""

    recipe: Recipe
    pins: Pins
    rows: PlannedRows
    num_labels: int | None
    """None where the answer is made of no names."""
    preview: Preview | None
    """The training rows in tokens, of a language model."""
    amount: Amount
    has_steps: bool
    """Whether the model learns in steps, as `amount` counts them."""
    sharding: Sharding | None
    """None where each process holds the whole model."""
    parameters: Mapping[str, int] | None
    """How many there are, and learn; None for what is no model of transformers."""
    forecast: Forecast
    search: Search | None
    writes: tuple[PlannedWrite, ...]

    def to_json(self) -> dict[str, Any]:
        """As `plan --json` prints it."""
        preview, amount, seen = self.preview, self.amount, self.forecast
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "round": self.pins.round,
            "pins": asdict(self.pins),
            "rows": dict(self.rows.counts),
            "labels": self.num_labels,
            "inputs": seen.inputs,
            "tokens": preview
            and {
                "train": preview.num_tokens,
                "truncated_rows": preview.num_truncated,
                "dropped_rows": preview.num_dropped,
                "longest": preview.longest,
            },
            "dropped": dict(self.rows.dropped),
            "left_out": dict(self.rows.left_out),
            "steps": amount.steps if self.has_steps else None,
            "epochs": amount.epochs if self.has_steps else None,
            "batch": amount.batch if self.has_steps else None,
            "processes": amount.processes,
            "sharding": self.sharding and asdict(self.sharding),
            "parameters": self.parameters and dict(self.parameters),
            "memory_mb": seen.memory_mb,
            "memory_basis": seen.memory_basis,
            "seconds": seen.seconds,
            "time_basis": seen.time_basis,
            "tune": self.search and asdict(self.search),
            "writes": [asdict(one) for one in self.writes],
        }
