"""Sense of a metric by its name, whatever the answer that it measures."""

from hub_trainer.metrics import METRICS
from hub_trainer.metrics.label_sets import LABEL_SET_METRICS
from hub_trainer.metrics.numbers import NUMBER_METRICS


def lower_is_better(name: str) -> bool:
    """Whether a smaller value of this metric is a better one; False for an unknown name."""
    known = METRICS.get(name) or LABEL_SET_METRICS.get(name) or NUMBER_METRICS.get(name)
    return bool(known and known.lower_is_better)
