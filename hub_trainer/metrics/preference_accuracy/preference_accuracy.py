"""The share of sealed pairs whose chosen answer is likelier, as a whole, than the rejected."""

from typing import Any

import evaluate

from hub_trainer.metrics.preferences import info_of_preferences, margins


class PreferenceAccuracy(evaluate.Metric):
    """The share of sealed pairs whose chosen answer is likelier, as a whole, than the rejected."""

    def _info(self) -> evaluate.MetricInfo:
        return info_of_preferences(__doc__ or "")

    def _compute(self, *, chosen: list[float], rejected: list[float]) -> dict[str, Any]:
        scores = [float(margin > 0) for margin in margins(chosen, rejected)]
        return {"preference_accuracy": sum(scores) / len(scores), "scores": scores}
