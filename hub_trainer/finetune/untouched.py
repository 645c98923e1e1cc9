"""What an untouched body says by the training rows that lie nearest to a row in its features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from hub_trainer.answers import Answer, Prediction
from hub_trainer.finetune.heads import label_ids, label_predictions
from hub_trainer.finetune.label_scores import (
    Batches,
    LabelledRows,
    nearest_mean_scores,
    nearest_values,
)

Row = Mapping[str, Any]
Told = tuple[str, list[Prediction]]
"""How it was done, and a prediction per row."""


def untouched(
    answer: Answer,
    body: nn.Module,
    batches: Callable[[Sequence[Row]], Batches],
    splits: Any,
    rows: Sequence[Row],
) -> Told:
    """The baseline of a base model that has no head for the answer."""
    return _WAYS[answer.name](body, batches, splits, rows)


def _label(body: nn.Module, batches: Any, splits: Any, rows: Sequence[Row]) -> Told:
    names = splits.label_names
    known = LabelledRows(splits.train, label_ids(splits.train, names), len(names))
    scores = nearest_mean_scores(body, batches, known, rows)
    told = "the untouched base model: the label whose training rows have the nearest mean embedding"
    return told, label_predictions(scores, names)


def _labels(body: nn.Module, batches: Any, splits: Any, rows: Sequence[Row]) -> Told:
    """A row counts for each of its labels; as many are predicted as rows have on average."""
    names = splits.label_names
    place = {name: index for index, name in enumerate(names)}
    pairs = [(row, place[name]) for row in splits.train for name in row["labels"] if name in place]
    known = LabelledRows([row for row, _ in pairs], [label for _, label in pairs], len(names))
    scores = nearest_mean_scores(body, batches, known, rows)
    count = max(1, round(len(pairs) / max(len(splits.train), 1)))
    told = (
        f"the untouched base model: the {count} label{'s' if count > 1 else ''} whose training "
        "rows have the nearest mean embedding"
    )
    found = []
    for row in scores.astype(np.float64):
        best = np.argsort(-row, kind="stable")[:count]
        shares = dict(zip(names, row.tolist(), strict=True))
        found.append(Prediction(frozenset(names[index] for index in best), shares))
    return told, found


def _number(body: nn.Module, batches: Any, splits: Any, rows: Sequence[Row]) -> Told:
    known = splits.train, [row["target"] for row in splits.train]
    values = nearest_values(body, batches, known, rows)
    told = "the untouched base model: the mean of the training rows with the nearest embeddings"
    return told, [Prediction(float(value)) for value in values]


_WAYS: Mapping[str, Callable[..., Told]] = {
    "label": _label,
    "labels": _labels,
    "number": _number,
}
