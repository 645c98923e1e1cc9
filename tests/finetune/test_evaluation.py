from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from hub_trainer.finetune.batches import BatchShape, DrawCollate, DrawnRows, OrderedDraws
from hub_trainer.finetune.classifier_objective import LabelObjective
from hub_trainer.finetune.evaluation import Evaluation, evaluate_draws, keep_enough
from tests.finetune.tiny import bert, collate_text, text_rows


def evaluated(model: nn.Module, rows: list[dict[str, Any]], collate: Any = None) -> Evaluation:
    lengths = [len(row["input_ids"]) for row in rows]
    loader = DataLoader(
        DrawnRows(rows),
        batch_sampler=OrderedDraws(len(rows), BatchShape(4), lengths=lengths),
        collate_fn=DrawCollate(collate or collate_text),
    )
    return evaluate_draws(model, loader, LabelObjective(), keep=keep_enough)


def test_predictions_come_back_in_the_order_of_the_rows() -> None:
    rows = text_rows(11)
    model = bert().eval()
    found = evaluated(model, rows)
    with torch.no_grad():
        expected = torch.cat([model(**collate_text([row])).logits for row in rows])
    assert np.allclose(found.predictions, expected.numpy(), atol=1e-5)
    assert found.references.tolist() == [row["labels"] for row in rows]


def test_the_loss_is_the_weighted_mean_over_rows_and_not_over_batches() -> None:
    rows = [{**row, "weight": 1.0 + index} for index, row in enumerate(text_rows(9))]
    model = bert().eval()
    with torch.no_grad():
        losses = [
            float(model(**collate_text([{k: v for k, v in row.items() if k != "weight"}])).loss)
            for row in rows
        ]
    weights = [row["weight"] for row in rows]
    assert evaluated(model, rows).loss == pytest.approx(
        np.average(losses, weights=weights), abs=1e-5
    )


class PerToken(nn.Module):
    """(B, T, 50) logits that choose the id itself."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(logits=torch.nn.functional.one_hot(input_ids, 50).float() * 9)


def collate_tokens(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    batch = collate_text(rows)
    return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


def test_tokens_are_kept_as_classes_and_padded_over_batches() -> None:
    rows = text_rows(10)
    found = evaluated(PerToken(), rows, collate_tokens)
    width = max(len(row["input_ids"]) for row in rows)
    assert found.predictions.shape == found.references.shape == (10, width)
    assert found.predictions.dtype.kind == "i"
    for row, prediction, reference in zip(rows, found.predictions, found.references, strict=True):
        length = len(row["input_ids"])
        assert prediction[:length].tolist() == reference[:length].tolist() == row["input_ids"]
        assert set(reference[length:].tolist()) <= {-100}
