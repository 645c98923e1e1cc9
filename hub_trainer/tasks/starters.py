"""First recipes of each task, for settings that nobody has chosen: small, and as shipped."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Starter:
    """A first recipe's base model, its training and its metrics."""

    base_model: str | None
    train: Mapping[str, Any]
    metrics: tuple[str, ...] = ()
    """None, and they are the usual ones of the answer."""
    metrics_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Those of rows that are all of one kind: kind -> the metrics."""
    train_on_base: Mapping[str, Any] | None = None
    """The training where a base model is named and none is usual; None when none can be used."""
    base_tags: tuple[str, ...] = ()
    """Pipeline tags under which the Hub lists models to start from; none where none is used."""

    def metrics_for(self, kinds: Collection[str]) -> tuple[str, ...]:
        """Of rows of these kinds, the primary first; none where the answer has usual ones."""
        if len(kinds) != 1:
            return self.metrics
        (kind,) = kinds
        return self.metrics_of.get(kind, self.metrics)


def _arguments(rate: float, epochs: int, batch: int) -> dict[str, Any]:
    return {
        "learning_rate": rate,
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch,
    }


STARTERS: Mapping[str, Starter] = {
    "text-classification": Starter(
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        train={"method": "full", "arguments": _arguments(1.0e-4, 3, 32)},
        base_tags=("fill-mask", "feature-extraction", "sentence-similarity"),
    ),
    "token-classification": Starter(
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        train={"method": "full", "arguments": _arguments(2.0e-4, 4, 16)},
        base_tags=("fill-mask", "feature-extraction", "sentence-similarity"),
    ),
    "image-classification": Starter(
        base_model=None,
        train={"method": "scratch", "arguments": _arguments(2.0e-3, 15, 32)},
        train_on_base={"method": "full", "arguments": _arguments(1.0e-4, 5, 32)},
        base_tags=("image-feature-extraction", "image-classification"),
    ),
    "audio-classification": Starter(
        base_model=None,
        train={"method": "scratch", "arguments": _arguments(2.0e-3, 15, 32)},
        train_on_base={"method": "full", "arguments": _arguments(1.0e-4, 5, 8)},
        base_tags=("audio-classification", "feature-extraction"),
    ),
    "automatic-speech-recognition": Starter(
        base_model="openai/whisper-tiny.en",
        train={"method": "full", "arguments": _arguments(1.0e-5, 3, 8)},
        base_tags=("automatic-speech-recognition",),
    ),
    "tabular-classification": Starter(
        base_model=None,
        train={"method": "full", "estimator": "hist_gradient_boosting"},
    ),
    "tabular-regression": Starter(
        base_model=None,
        train={"method": "full", "estimator": "hist_gradient_boosting"},
    ),
    "text-generation": Starter(
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
        train={"method": "full", "arguments": _arguments(5.0e-5, 2, 8)},
        metrics=("completion_loss", "perplexity"),
        metrics_of={"preference": ("preference_accuracy", "preference_margin", "completion_loss")},
        base_tags=("text-generation",),
    ),
    "sentence-similarity": Starter(
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        train={"method": "full", "arguments": _arguments(5.0e-5, 2, 32)},
        metrics=("spearman", "pearson"),
        base_tags=("sentence-similarity", "feature-extraction"),
    ),
}
