"""Frozen features computed once: a head then trains on them as it would behind the whole model.

The body is swapped for a stand-in that hands out what it would have computed, so the head runs
in the model's own forward, with its own dropout, and the result is the plain one.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from hub_trainer.finetune.batches import (
    ROWS,
    TOKENS,
    WEIGHT,
    BatchShape,
    DrawCollate,
    DrawnRows,
    OrderedDraws,
)
from hub_trainer.finetune.evaluation import model_inputs
from hub_trainer.finetune.methods import base_of, pooler_of
from hub_trainer.finetune.plan import FitData, RowSource

FEATURES = "features"
TOLERANCE = 1e-5
MAX_CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class CachedData:
    """The data with features in place of raw inputs, and the seconds the encoder took."""

    data: FitData
    seconds: float


@dataclass(frozen=True)
class FeatureRows:
    """Rows of a split after the body: features (N, D), labels and weights."""

    features: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    tokens: torch.Tensor

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        index = torch.tensor(rows)
        columns = (self.features[index], self.labels[index], self.weights[index].tolist())
        return [
            {FEATURES: features, "labels": label, "weight": weight, TOKENS: count}
            for features, label, weight, count in zip(
                *columns, self.tokens[index].tolist(), strict=True
            )
        ]


class StandIn(nn.Module):
    """Gives back the body's output from features packed as (B, D): pooled, then first position.

    A pooler with parameters of its own trains with the head, so it runs here and is not packed.
    """

    def __init__(self, input_name: str, example: Any, pooler: nn.Module | None) -> None:
        super().__init__()
        self.input_name, self.output_class, self.pooler = input_name, type(example), pooler
        pooled = example.get("pooler_output") if pooler is None else None
        self.pooled_shape = None if pooled is None else pooled.shape[1:]

    def pack(self, outputs: Any) -> torch.Tensor:
        """(B, D) of the body's outputs, all that a head may look at."""
        parts = []
        if self.pooled_shape is not None:
            parts.append(outputs["pooler_output"].flatten(1))
        if outputs["last_hidden_state"].ndim == 3:
            parts.append(outputs["last_hidden_state"][:, 0])
        return torch.cat(parts, dim=1).float()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The body's output, with one position."""
        packed = args[0] if args else kwargs[self.input_name]
        width = 0 if self.pooled_shape is None else self.pooled_shape.numel()
        outputs: dict[str, Any] = {"last_hidden_state": packed[:, None, width:]}
        if self.pooled_shape is not None:
            outputs["pooler_output"] = packed[:, :width].reshape(-1, *self.pooled_shape)
        elif self.pooler is not None:
            outputs["pooler_output"] = self.pooler(outputs["last_hidden_state"])
        return self.output_class(**outputs)


@contextmanager
def cached_features(
    model: nn.Module, data: FitData, args: TrainingArguments
) -> Iterator[CachedData | None]:
    """Within, the model holds a stand-in for its body; None where the head cannot be separated."""
    body = base_of(model)
    name = next((name for name, child in model.named_children() if child is body), None)
    model.eval()
    stand_in = _stand_in(model, data, args) if name else None
    if name is None or stand_in is None:
        yield None
        return
    started = time.perf_counter()
    train = _encode(body, stand_in, data, data.train, args)
    validation = data.validation and _encode(body, stand_in, data, data.validation, args)
    seconds = time.perf_counter() - started
    setattr(model, name, stand_in)
    collate = _collate_for(stand_in.input_name)
    cached = replace(data, train=train, validation=validation, collate=collate)
    try:
        yield CachedData(cached, seconds)
    finally:
        setattr(model, name, body)


@torch.no_grad()
def _stand_in(model: nn.Module, data: FitData, args: TrainingArguments) -> StandIn | None:
    """A stand-in proved on a few rows: the same logits, within rounding."""
    body, few = base_of(model), [data.train[i] for i in range(min(len(data.train), 4))]
    batch = next(iter(_batches(few, data, args)))
    inputs = model_inputs(batch, with_labels=False)
    expected = model(**inputs).logits
    outputs = body(**inputs)
    if not isinstance(outputs, Mapping) or "last_hidden_state" not in outputs:
        return None
    input_name = getattr(model, "main_input_name", "input_ids")
    stand_in = StandIn(input_name, outputs, pooler_of(body))
    name = next(name for name, child in model.named_children() if child is body)
    packed = stand_in.pack(outputs)
    if packed.shape[1] * 4 * (len(data.train) + len(data.validation or ())) > MAX_CACHE_BYTES:
        return None
    setattr(model, name, stand_in)
    try:
        found = model(**{input_name: packed}).logits
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        # A head that needs more than the stand-in gives is no error: it trains the plain way.
        return None
    finally:
        setattr(model, name, body)
    same = found.shape == expected.shape and torch.allclose(found, expected, atol=TOLERANCE)
    return stand_in if same else None


@torch.no_grad()
def _encode(
    body: nn.Module, stand_in: StandIn, data: FitData, rows: RowSource, args: TrainingArguments
) -> FeatureRows:
    order: list[int] = []
    parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    tokens: list[int] = []
    for batch in _batches(rows, data, args):
        with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):
            outputs = body(**model_inputs(batch, with_labels=False))
        order += batch[ROWS]
        parts.append((stand_in.pack(outputs).cpu(), batch["labels"].cpu(), batch[WEIGHT].cpu()))
        tokens += _tokens_per_row(batch)
    back = torch.tensor(order).argsort()
    features, labels, weights = (torch.cat(column)[back] for column in zip(*parts, strict=True))
    return FeatureRows(features, labels, weights, torch.tensor(tokens)[back])


def _batches(rows: RowSource, data: FitData, args: TrainingArguments) -> Iterator[dict[str, Any]]:
    lengths = {id(data.train): data.lengths, id(data.validation): data.validation_lengths}
    shape = BatchShape(args.per_device_eval_batch_size)
    draws = OrderedDraws(len(rows), shape, lengths=lengths.get(id(rows)))
    loader = DataLoader(
        DrawnRows(rows),
        batch_sampler=draws,
        collate_fn=DrawCollate(data.collate),
        num_workers=args.dataloader_num_workers,
    )
    for batch in loader:
        yield {
            key: value.to(args.device) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }


def _tokens_per_row(batch: Mapping[str, Any]) -> list[int]:
    mask = batch.get("attention_mask") if "input_ids" in batch else None
    return [0] * len(batch[ROWS]) if mask is None else mask.sum(dim=1).tolist()


def _collate_for(input_name: str) -> Any:
    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            input_name: torch.stack([row[FEATURES] for row in rows]),
            "labels": torch.stack([row["labels"] for row in rows]),
            TOKENS: sum(row[TOKENS] for row in rows),
        }

    return collate
