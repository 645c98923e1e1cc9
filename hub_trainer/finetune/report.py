"""What a training run says of itself; free of heavy imports (owned by the engine)."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class FitReport:
    """One training run, in numbers."""

    method: str
    rows: int
    """Rows of the training split."""
    tokens: int | None
    """Real tokens seen in training, padding not counted; None where rows have no tokens."""
    seconds: float
    """Of the training loop alone."""
    rows_per_second: float
    tokens_per_second: float | None
    peak_mb: float
    """Largest resident (or GPU) memory of the process, in MiB."""
    trainable_parameters: int
    epochs: float
    num_processes: int
    steps: int | None = None
    best_metric: float | None = None
    resumed_from: str | None = None
    bit_reproducible: bool = True
    history: list[dict[str, Any]] = field(default_factory=list)
    """Logged values in order of steps, for the training curve."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
