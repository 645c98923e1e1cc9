"""What a stage hands on as JSON: dataclasses that write themselves and are read back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class FitReport:
    """One training run, in numbers: over every process and every resume that led to the result."""

    method: str
    rows: int
    """Rows of the training split."""
    tokens: int | None
    """Real tokens seen in training, padding not counted; None where rows have no tokens."""
    seconds: float
    """The training loop alone: no start-up, no evaluation, no checkpoint."""
    rows_per_second: float
    """Rows seen in training, each epoch counted, by those seconds."""
    tokens_per_second: float | None
    peak_mb: float
    """Largest resident (or GPU) memory of the process, in MiB."""
    trainable_parameters: int
    epochs: float
    num_processes: int
    steps: int | None = None
    best_metric: float | None = None
    resumed_from: int | None = None
    """The step of the checkpoint that the last process went on from."""
    bit_reproducible: bool = True
    """The same run again gives the same weights to the last bit: a CPU, one environment."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Logged values in order of steps, for the training curve."""
    evaluation_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    per_device_train_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    notes: tuple[str, ...] = ()
    """What a reader should know: skipped steps, memory that ran out, another environment."""

    def to_json(self) -> dict[str, Any]:
        """As fit.json holds it."""
        return {**asdict(self), "notes": list(self.notes)}

    def summary(self) -> dict[str, Any]:
        """The same without the curve, as round.json holds it."""
        return {name: value for name, value in self.to_json().items() if name != "history"}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "FitReport":
        """A report as `to_json` wrote it; earlier versions had fewer fields, or others."""
        known = {one.name: content[one.name] for one in fields(cls) if one.name in content}
        return cls(**{**known, "notes": tuple(known.get("notes") or ())})
