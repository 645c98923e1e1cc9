"""The card's part on spans that are nearly right."""

from collections.abc import Mapping
from typing import Any

from hub_trainer.answers import Section
from hub_trainer.metrics.partial_spans import MEANINGS, WAYS

COUNTED = ("correct", "incorrect", "partial", "missed", "spurious")
FIGURES = ("precision", "recall", "f1")


def partial_sections(detail: Mapping[str, Any]) -> list[Section]:
    """Each way of matching over all types, and its F1 type by type; older results have neither."""
    found = detail.get("partial")
    if not found:
        return []
    meanings = "; ".join(f"{way}: {told}" for way, told in MEANINGS.items())
    text = f"What counts as right, {meanings} (SemEval 2013, as nervaluate counts)."
    rows = [
        [way, *(int(found[way][key]) for key in COUNTED), *(found[way][key] for key in FIGURES)]
        for way in WAYS
    ]
    by_type = [
        [one["label"], *(float(one["partial_f1"][way]) for way in WAYS)]
        for one in detail["per_type"]
    ]
    header = ["way", *COUNTED, "precision", "recall", "F1"]
    return [
        Section("Nearly right", header, rows, text=text),
        Section("Nearly right by type", ["type", *(f"{way} F1" for way in WAYS)], by_type),
    ]
