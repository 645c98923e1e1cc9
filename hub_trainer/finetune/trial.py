"""One training step tried on random weights: the seconds it takes here, and what it keeps.

Only shapes matter to either, so no weights are downloaded for it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from hub_trainer.finetune.auto_classes import auto_class
from hub_trainer.finetune.batches import BatchShape, PooledBatches
from hub_trainer.finetune.label_scores import device
from hub_trainer.finetune.language.folders import training_dtype, width_of
from hub_trainer.finetune.language.tune import tokens_per_pass
from hub_trainer.finetune.methods import apply_method, same_adapter
from hub_trainer.finetune.plan import Batch, FitData
from hub_trainer.recipe import TrainSection

MAX_PARAMETERS = 100_000_000
"""Of a model that is tried; a larger one is only laid out, without memory, for its activations."""
TRY_SECONDS = 3.0
MAX_TRIES = 8


@dataclass(frozen=True)
class Trial:
    """What was found of one micro-batch."""

    activation_bytes: int | None
    """Kept for the backward pass of the longest micro-batch; None where it cannot be laid out."""
    step_seconds: float | None = None
    """Forward, backward and update of one of middling length; None where nothing was run."""
    answer_seconds: float | None = None
    """Forward alone."""
    num_tokens: int | None = None
    """In such a micro-batch, padding counted."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What a row is to the model: `tokens` of an epoch and of the `longest` row, or `pixels`,
    or what is `heard`: samples of a wave, or the sides of a spectrogram."""


@dataclass(frozen=True)
class RowLengths:
    """Tokens of language rows."""

    longest: int
    middling: int


def try_classifier(
    auto_name: str, model_dir: Path, train: TrainSection, data: FitData, *, num_labels: int
) -> Trial:
    """A step on real rows, in batches as training would make them."""
    size = min(int(train.arguments.get("per_device_train_batch_size", 8)), len(data.train))
    lengths = data.lengths or [1] * len(data.train)
    longest = sorted(range(len(lengths)), key=lambda row: -lengths[row])[:size]
    batches = PooledBatches(len(lengths), BatchShape(size), lengths=data.lengths, seed=0).batches()
    batches = sorted(batches, key=lambda rows: sum(lengths[row] for row in rows))
    middle = batches[len(batches) // 2].tolist()
    config = transformers.AutoConfig.from_pretrained(model_dir, trust_remote_code=False)
    batch, usual = _batch(data, longest), _batch(data, middle)
    if num_labels:
        config.num_labels = num_labels
    else:  # a base without letters gets those of the transcripts
        letters = max(int(one["labels"].max()) for one in (batch, usual)) + 1
        config.vocab_size = max(config.vocab_size, letters)
    model = _laid_out(auto_name, config, train, torch.float32)
    trial = _tried(model, batch, usual)
    if data.lengths and "input_ids" in batch:
        return replace(trial, inputs={"tokens": sum(lengths), "longest": max(lengths)})
    if "pixel_values" in batch:
        return replace(trial, inputs={"pixels": list(batch["pixel_values"].shape[1:])})
    heard = next(one for one in batch.values() if torch.is_tensor(one) and one.is_floating_point())
    return replace(trial, inputs={"heard": list(heard.shape[1:])})


def try_language_model(
    auto_name: str, folder: Path, adapter: Path | None, train: TrainSection, *, rows: RowLengths
) -> Trial:
    """A pass over as many tokens as training packs into one."""
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    dtype = training_dtype(train.method, width_of(config), bfloat16=train.arguments.get("bf16"))
    model = _laid_out(auto_name, config, train, dtype, adapter)
    size = int(train.arguments.get("per_device_train_batch_size", 8))
    budget = tokens_per_pass(device().type, dtype)
    longest = _tokens(config.vocab_size, size, rows.longest, budget)
    return _tried(model, longest, _tokens(config.vocab_size, size, rows.middling, budget))


def _laid_out(
    auto_name: str, config: Any, train: TrainSection, dtype: Any, adapter: Path | None = None
) -> nn.Module:
    """The model by its method, without memory."""
    with torch.device("meta"):
        model = auto_class(auto_name).from_config(config, dtype=dtype, trust_remote_code=False)
        if adapter is not None:
            model = same_adapter(model, adapter)
        model, _ = apply_method(model, train.method, **train.method_settings)
    if train.arguments.get("gradient_checkpointing"):
        model.gradient_checkpointing_enable()
    return model.train()


def _tried(model: nn.Module, longest: Batch, middling: Batch) -> Trial:
    total = sum(parameter.numel() for parameter in model.parameters())
    tokens = middling["input_ids"].numel() if "input_ids" in middling else None
    if total > MAX_PARAMETERS:
        return Trial(_laid_out_bytes(model, longest), num_tokens=tokens)
    where = device()
    model = model.to_empty(device=where)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.zero_() if tensor.is_floating_point() else tensor.fill_(0)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
    longest, middling = _on(longest, where), _on(middling, where)
    kept = _kept_bytes(model, longest)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.0)

    def step() -> None:
        model(**middling).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def answer() -> None:
        with torch.no_grad():
            model(**middling)

    return Trial(kept, _seconds(step), _seconds(answer), tokens)


def _seconds(act: Any) -> float:
    """The quickest of a few tries after the first, which warms up; others are other programs'."""
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < MAX_TRIES and sum(taken) < TRY_SECONDS):
        started = time.perf_counter()
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _laid_out_bytes(model: nn.Module, batch: Batch) -> int | None:
    """Without memory; None for a model that looks at values on its way."""
    try:
        return _kept_bytes(model, _on(batch, torch.device("meta")))
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return None


def _kept_bytes(model: nn.Module, batch: Batch) -> int:
    """Bytes of the tensors that the backward pass needs, each once, weights left out."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**batch)
        return sum(storage.nbytes() for storage in kept.values())


def _batch(data: FitData, chosen: Sequence[int]) -> Batch:
    rows = [dict(data.train[index]) for index in chosen]
    return dict(data.collate([{k: v for k, v in row.items() if k != "weight"} for row in rows]))


def _tokens(vocabulary: int, rows: int, length: int, budget: int) -> Batch:
    length = max(2, min(length, budget))
    shape = (max(1, min(rows, budget // length)), length)
    tokens = torch.randint(vocabulary, shape)
    return {"input_ids": tokens, "labels": tokens}


def _on(batch: Mapping[str, Any], where: torch.device) -> Batch:
    return {key: value.to(where) for key, value in batch.items() if isinstance(value, torch.Tensor)}
