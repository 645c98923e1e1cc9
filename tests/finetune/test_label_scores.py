from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hub_trainer.finetune.label_scores import (
    MAX_ROWS_PER_LABEL,
    LabelledRows,
    batches_by_length,
    centroid_scores,
    frozen_features,
    label_scores,
    nearest_mean_scores,
)


class Echo(nn.Module):
    """A body whose last hidden state is its input, and a head that passes it on."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, values: torch.Tensor, attention_mask: Any = None) -> SimpleNamespace:
        return SimpleNamespace(logits=values, last_hidden_state=values)


def test_batches_when_lengths_differ_then_neighbours_are_alike_and_none_is_lost() -> None:
    batches = batches_by_length([3, 9, 1, 9, 2], size=2)
    assert batches == [[1, 3], [0, 4], [2]]


def test_label_scores_when_batches_are_shuffled_then_rows_keep_their_place() -> None:
    logits = torch.arange(6.0).reshape(3, 2)
    batches = [([2, 0], {"values": logits[[2, 0]]}), ([1], {"values": logits[[1]]})]
    scores = label_scores(Echo(), batches, 3)
    assert scores == pytest.approx(logits.softmax(dim=-1).numpy())


def test_frozen_features_when_there_is_padding_then_it_is_left_out() -> None:
    hidden = torch.tensor([[[2.0], [4.0], [100.0]]])
    inputs = {"values": hidden, "attention_mask": torch.tensor([[1, 1, 0]])}
    assert frozen_features(Echo(), [([0], inputs)], 1).tolist() == [[3.0]]


@pytest.mark.parametrize("shape", [(1, 4, 2), (1, 2, 2, 2)])
def test_frozen_features_when_it_is_a_picture_then_positions_are_averaged(
    shape: tuple[int, ...],
) -> None:
    hidden = torch.arange(8.0).reshape(shape)
    expected = hidden.mean(dim=1) if len(shape) == 3 else hidden.mean(dim=(2, 3))
    found = frozen_features(Echo(), [([0], {"values": hidden})], 1)
    assert found == pytest.approx(expected.numpy())


def test_centroid_scores_when_a_label_has_no_rows_then_it_gets_zero() -> None:
    features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], dtype=np.float32)
    queries = np.array([[2.0, 0.0], [0.0, 0.5]], dtype=np.float32)
    scores = centroid_scores(features, [0, 0, 2], queries, num_labels=3)
    assert scores.argmax(axis=1).tolist() == [0, 2]
    assert scores[:, 1].tolist() == [0, 0]
    assert scores.sum(axis=1) == pytest.approx([1, 1])


def test_nearest_mean_when_a_label_has_many_rows_then_only_the_first_are_read() -> None:
    read: list[int] = []

    def batches(rows: Sequence[Any]) -> Iterator[tuple[Sequence[int], dict[str, torch.Tensor]]]:
        read.append(len(rows))
        yield range(len(rows)), {"values": torch.tensor([[row["at"]] for row in rows])}

    many = [{"at": [1.0, 0.0]}] * (MAX_ROWS_PER_LABEL + 50) + [{"at": [0.0, 1.0]}]
    ids = [0] * (MAX_ROWS_PER_LABEL + 50) + [1]
    scores = nearest_mean_scores(
        Echo(), batches, LabelledRows(many, ids, 2), [{"at": [0.1, 0.9]}, {"at": [1.0, 0.2]}]
    )
    assert scores.argmax(axis=1).tolist() == [1, 0]
    assert read == [MAX_ROWS_PER_LABEL + 1, 2]
