"""Probabilities per label from a classifier, and a base model's frozen features as a baseline.

Legend: N rows, C labels, D features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

FloatArray = NDArray[np.float32]
Batches = Iterable[tuple[Sequence[int], Mapping[str, torch.Tensor]]]
"""The rows of a batch by their index, and what the model takes."""

Row = Mapping[str, Any]

BATCH_SIZE = 64
MAX_ROWS_PER_LABEL = 200
COSINE_SCALE = 20.0
MAX_KNOWN_ROWS = 4_000
NEAREST = 10


def softmax(logits: torch.Tensor) -> torch.Tensor:
    """(N, C) probabilities that add up to 1."""
    return logits.softmax(dim=-1)


@dataclass(frozen=True)
class LabelledRows:
    """Rows and the index of each one's label."""

    rows: Sequence[Row]
    label_ids: Sequence[int]
    num_labels: int


def device() -> torch.device:
    """Where models answer: the accelerator if there is one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def batches_by_length(lengths: Sequence[int], size: int = BATCH_SIZE) -> list[list[int]]:
    """Indices of all rows in batches of similar length, longest first."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [order[start : start + size] for start in range(0, len(order), size)]


def label_scores(
    model: nn.Module,
    batches: Batches,
    num_rows: int,
    of_logits: Callable[[torch.Tensor], torch.Tensor] = softmax,
) -> FloatArray:
    """(N, C) softmax of the model's logits, or what else is made of them, each row in its place."""

    def scores(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = model(**inputs).logits
        return of_logits(logits.float())

    return row_outputs(scores, model, batches, num_rows)


def frozen_features(model: nn.Module, batches: Batches, num_rows: int) -> FloatArray:
    """(N, D) what the body says of each row: the mean over its positions, padding left out."""

    def features(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        hidden: torch.Tensor = model(**inputs).last_hidden_state.float()
        if hidden.ndim == 4:  # (B, D, height, width) of a convolutional net
            return hidden.mean(dim=(2, 3))
        mask = inputs.get("attention_mask")
        if mask is None or hidden.ndim != 3:
            return hidden.mean(dim=1)
        if mask.shape[1] != hidden.shape[1]:  # of samples, of which a frame has many
            mask = model._get_feature_vector_attention_mask(hidden.shape[1], mask)
        weight = mask[:, :, None].float()
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1)

    return row_outputs(features, model, batches, num_rows)


def nearest_mean_scores(
    model: nn.Module,
    batches: Callable[[Sequence[Row]], Batches],
    known: LabelledRows,
    rows: Sequence[Row],
) -> FloatArray:
    """(N, C) scores by the label whose known rows have the nearest mean of frozen features."""
    chosen = _first_of_each_label(known.label_ids)
    sample = [known.rows[index] for index in chosen]
    return centroid_scores(
        frozen_features(model, batches(sample), len(sample)),
        [known.label_ids[index] for index in chosen],
        frozen_features(model, batches(rows), len(rows)),
        num_labels=known.num_labels,
    )


def nearest_values(
    model: nn.Module,
    batches: Callable[[Sequence[Row]], Batches],
    known: tuple[Sequence[Row], Sequence[float]],
    rows: Sequence[Row],
) -> NDArray[np.float64]:
    """(N,) the mean number of the known rows with the most similar frozen features."""
    some = max(1, -(-len(known[0]) // MAX_KNOWN_ROWS))
    sample, values = known[0][::some], np.asarray(known[1], dtype=np.float64)[::some]
    features = _unit(frozen_features(model, batches(sample), len(sample)))
    queries = _unit(frozen_features(model, batches(rows), len(rows)))
    near = np.argsort(-(queries @ features.T), axis=1, kind="stable")[:, :NEAREST]
    found: NDArray[np.float64] = values[near].mean(axis=1)
    return found


def _first_of_each_label(label_ids: Sequence[int]) -> list[int]:
    counts: dict[int, int] = {}
    chosen = []
    for index, label in enumerate(label_ids):
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= MAX_ROWS_PER_LABEL:
            chosen.append(index)
    return chosen


def centroid_scores(
    features: FloatArray, label_ids: Sequence[int], queries: FloatArray, *, num_labels: int
) -> FloatArray:
    """(N, C) how near each query is to each label's mean: a softmax of scaled cosines.

    A label without rows gets 0.
    """
    labels = np.asarray(label_ids)
    present = [label for label in range(num_labels) if np.any(labels == label)]
    means = np.stack([_unit(features[labels == label]).mean(axis=0) for label in present])
    logits = COSINE_SCALE * _unit(queries) @ _unit(means).T
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = np.zeros((len(queries), num_labels), dtype=np.float32)
    scores[:, present] = exponents / exponents.sum(axis=1, keepdims=True)
    return scores


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norms, 1e-12)
    return unit


def row_outputs(
    answer: Callable[[Mapping[str, torch.Tensor]], torch.Tensor],
    model: nn.Module,
    batches: Batches,
    num_rows: int,
) -> FloatArray:
    """(N, D) what is made of the model's inputs, each row in its place."""
    model.eval()
    where = next(model.parameters()).device
    result: FloatArray | None = None
    for rows, batch in batches:
        inputs = {key: value.to(where) for key, value in batch.items()}
        with torch.inference_mode():
            values = answer(inputs).cpu().numpy()
        if result is None:
            result = np.zeros((num_rows, values.shape[1]), dtype=np.float32)
        result[list(rows)] = values
    assert result is not None
    return result
