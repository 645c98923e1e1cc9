"""Sense of a metric by its name, whatever the answer that it measures."""

from hub_trainer.metrics import METRICS
from hub_trainer.metrics.label_sets import LABEL_SET_METRICS
from hub_trainer.metrics.numbers import NUMBER_METRICS
from hub_trainer.metrics.probabilities import PROBABILITY_METRICS
from hub_trainer.metrics.retrieval import RETRIEVAL_METRICS
from hub_trainer.metrics.span_metrics import SPAN_METRICS
from hub_trainer.metrics.transcripts import TRANSCRIPT_METRICS

_ALL = (
    METRICS,
    LABEL_SET_METRICS,
    NUMBER_METRICS,
    SPAN_METRICS,
    PROBABILITY_METRICS,
    TRANSCRIPT_METRICS,
    RETRIEVAL_METRICS,
)


def lower_is_better(name: str) -> bool:
    """Whether a smaller value of this metric is a better one; False for an unknown name."""
    known = next((table[name] for table in _ALL if name in table), None)
    return bool(known and known.lower_is_better)


def with_sense(name: str, *, shown: str | None = None) -> str:
    """A metric's name, or what is shown of it, with its unit and that lower is better."""
    unit = METRICS[name].unit if name in METRICS else None
    parts = [shown or name, unit, "lower is better" if lower_is_better(name) else None]
    return ", ".join(filter(None, parts))
