"""Log-probabilities of a model that stays as it is, computed once and kept on disk.

They are the reference of preference losses, so that no second model is run in training, and what
perplexities and win rates are made of.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn
from torch.distributed.tensor import DTensor

from hub_trainer.artifacts import write_durably
from hub_trainer.finetune.evaluation import evaluation_mode
from hub_trainer.finetune.language.packing import Packing, Part, Row, mismatched, pack
from hub_trainer.finetune.language.scoring import answer_log_probs, scoring
from hub_trainer.finetune.sharding import evened, is_split, rest

Scores = NDArray[np.float64]
POOL_PARTS = 16
"""Rows are packed in pools of so many parts: good fits without packing everything at once."""


def with_references(
    model: nn.Module, rows: Sequence[Row], packing: Packing, folder: Path
) -> list[dict[str, Any]]:
    """Each row with the log-probabilities of its answers (and mismatched one) under the model."""
    path = folder / f"{_digest(model, rows, packing)}.safetensors"
    found = _read(path)
    if found is None:
        found = {"reference": score_rows(model, rows, packing)}
        if "mismatched" in rows[0]:
            others = [mismatched(row) for row in rows]
            found["mismatched_reference"] = score_rows(model, others, packing)[:, 0]
        folder.mkdir(parents=True, exist_ok=True)
        if _this_process()[0] == 0:
            write_durably(path, save(found))
    return [
        {**row, **{name: scores[i].tolist() for name, scores in found.items()}}
        for i, row in enumerate(rows)
    ]


@torch.no_grad()
def score_rows(model: nn.Module, rows: Sequence[Row], packing: Packing) -> Scores:
    """(rows, K) log-probabilities of the learned tokens of each answer, over all processes."""
    index, count = _this_process()
    mine = list(range(index, len(rows), count))
    device, found = next(model.parameters()).device, []
    learning = {module: module.training for module in model.modules()}
    evaluation_mode(model)
    with scoring(model, dense=packing.dense):
        for (pool, part), counts in evened(_parts(mine, rows, packing), model):
            scores = answer_log_probs(model, part.to(device)).double().cpu().numpy()
            members = part.members.tolist() if counts else []
            found += [(pool[m], row) for m, row in zip(members, scores, strict=counts)]
    rest(model)
    for module, mode in learning.items():
        module.training = mode
    if count > 1:
        found = gather_object(found)
    return np.stack([scores for _, scores in sorted(found, key=lambda pair: pair[0])])


def _parts(
    indices: Sequence[int], rows: Sequence[Row], packing: Packing
) -> list[tuple[list[int], Part]]:
    """Each part with the rows that it was packed from; a process without rows has the first one."""
    return [
        (pool, part)
        for pool in _pools(indices or [0], rows, packing.budget)
        for part in pack([rows[i] for i in pool], packing)
    ]


def _pools(indices: Sequence[int], rows: Sequence[Row], budget: int) -> list[list[int]]:
    pools: list[list[int]] = [[]]
    size = 0
    for i in indices:
        size += len(rows[i]["prompt"]) + sum(map(len, rows[i]["answers"]))
        if size > POOL_PARTS * budget and pools[-1]:
            pools.append([])
            size = 0
        pools[-1].append(i)
    return [pool for pool in pools if pool]


def _this_process() -> tuple[int, int]:
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _digest(model: nn.Module, rows: Sequence[Row], packing: Packing) -> str:
    """Digest of every weight and every token, and of how they are computed."""
    digest = hashlib.blake2b(repr((packing.dense, len(rows))).encode(), digest_size=16)
    rest(model)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        part = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        content = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(content.numpy()))
    if is_split(model):
        digest.update(repr(gather_object([digest.hexdigest()])).encode())
    for row in rows:
        kept = (row["prompt"], row["answers"], row["trained"], row.get("mismatched"))
        digest.update(repr(kept).encode())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Scores] | None:
    try:
        return dict(load(path.read_bytes()))
    except (FileNotFoundError, SafetensorError):
        return None
