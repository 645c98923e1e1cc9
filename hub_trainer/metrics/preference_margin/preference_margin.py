"""Nats by which the chosen answer of a sealed pair is likelier than the rejected; the mean."""

from typing import Any

import evaluate

from hub_trainer.metrics.preferences import info_of_preferences, margins


class PreferenceMargin(evaluate.Metric):
    """Nats by which the chosen answer of a sealed pair is likelier than the rejected; the mean."""

    def _info(self) -> evaluate.MetricInfo:
        return info_of_preferences(__doc__ or "")

    def _compute(self, *, chosen: list[float], rejected: list[float]) -> dict[str, Any]:
        scores = margins(chosen, rejected)
        return {"preference_margin": sum(scores) / len(scores), "scores": scores}
