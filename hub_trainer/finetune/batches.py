"""Batches of rows: pools sorted by length, the same on any number of processes.

A draw is one micro-batch. A batch is what one optimizer step sees over all processes and
accumulation; it is cut into draws, so how it is cut changes nothing but memory.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hub_trainer.finetune.plan import Batch, RowSource

POOL_BATCHES = 16
WEIGHT = "example_weight"
ROWS = "drawn_rows"
TOKENS = "num_tokens"
NUM_ROWS = "num_rows"
OURS = (WEIGHT, ROWS, TOKENS, NUM_ROWS)


@dataclass(frozen=True)
class Draw:
    """One micro-batch: its rows and the seed of the epoch, from which each row has its own."""

    rows: tuple[int, ...]
    seed: int
    counted: bool = True
    """False for a filler that keeps all processes in step: its rows weigh nothing."""


@dataclass(frozen=True)
class BatchShape:
    """How one batch is spread over processes and accumulation."""

    micro_batch: int
    accumulation: int = 1
    num_processes: int = 1
    process_index: int = 0
    rows: int | None = None
    """Rows of a batch, where they are fewer than the draws could hold."""

    @property
    def slots(self) -> int:
        """Draws per batch."""
        return self.accumulation * self.num_processes

    @property
    def total(self) -> int:
        """Rows per batch."""
        return self.rows or self.micro_batch * self.slots


class PooledBatches:
    """Batches of rows of similar length in an order of (seed, epoch); this process's draws."""

    def __init__(
        self, num_rows: int, shape: BatchShape, *, lengths: Sequence[int] | None = None, seed: int
    ) -> None:
        assert lengths is None or len(lengths) == num_rows
        self.num_rows, self.shape, self.seed = num_rows, shape, seed
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches * self.shape.accumulation

    @property
    def num_batches(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-self.num_rows // self.shape.total)

    def __iter__(self) -> Iterator[Draw]:
        for batch in self.batches():
            yield from _cut(batch, self.shape, seed=self.seed, epoch=self.epoch)

    def batches(self) -> list[NDArray[np.int64]]:
        """All batches of the epoch: sizes differ by one row at most, so there is no tiny last."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.num_rows)
        if self.lengths is None:
            return np.array_split(order, self.num_batches)
        sizes = [len(part) for part in np.array_split(order, self.num_batches)]
        cuts = np.cumsum(sizes)
        pools = np.split(order, cuts[POOL_BATCHES - 1 : -1 : POOL_BATCHES])
        by_length = [pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools]
        batches = np.split(np.concatenate(by_length), cuts[:-1])
        return [batches[i] for i in rng.permutation(len(batches))]


class OrderedDraws:
    """Every row once, longest first, for evaluation; short of rows, a process gets a filler."""

    def __init__(
        self, num_rows: int, shape: BatchShape, *, lengths: Sequence[int] | None = None
    ) -> None:
        order = np.arange(num_rows)
        if lengths is not None:
            order = np.argsort(-np.asarray(lengths), kind="stable")
        parts = [order[i : i + shape.total] for i in range(0, num_rows, shape.total)]
        self.draws = [draw for part in parts for draw in _cut(part, shape, seed=0, epoch=0)]

    def __len__(self) -> int:
        return len(self.draws)

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws)


def _cut(batch: NDArray[np.int64], shape: BatchShape, *, seed: int, epoch: int) -> Iterator[Draw]:
    parts = np.array_split(batch, shape.slots)
    of_epoch = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    for i in range(shape.accumulation):
        part = parts[i * shape.num_processes + shape.process_index]
        rows = part if len(part) else batch[:1]
        yield Draw(tuple(rows.tolist()), of_epoch, counted=len(part) > 0)


@dataclass(frozen=True)
class Drawn:
    """Rows as read for a draw."""

    rows: list[dict[str, Any]]
    draw: Draw


@dataclass(frozen=True)
class DrawnRows:
    """A row source that a loader asks for draws; what is random of a row depends on the row alone.

    On seed and epoch beside it, and so on no rank: the same rows come out however a batch is cut,
    whatever was read ahead, in whichever worker, before or after a resume.
    """

    source: RowSource
    varies: bool = True
    """Whether rows differ from epoch to epoch; those that do not may be read together."""

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.source[index]

    def __getitems__(self, draw: Draw) -> Drawn:
        read = None if self.varies else getattr(self.source, "__getitems__", None)
        if read is not None:
            return Drawn([dict(row) for row in read(list(draw.rows))], draw)
        return Drawn([dict(self._row(index, draw.seed)) for index in draw.rows], draw)

    def _row(self, index: int, seed: int) -> Mapping[str, Any]:
        if not self.varies:
            return self.source[index]
        own = np.random.SeedSequence([seed, index]).generate_state(1)
        with _random_state_of(int(own[0])):
            return self.source[index]


@dataclass(frozen=True)
class DrawCollate:
    """The task's collate, with the weight of each row and the counts of the draw beside it."""

    collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]

    def __call__(self, drawn: Drawn) -> Batch:
        """One draw as a batch."""
        weights = [_weight(row) if drawn.draw.counted else 0.0 for row in drawn.rows]
        rows = [{k: v for k, v in row.items() if k != "weight"} for row in drawn.rows]
        batch: Batch = dict(self.collate(rows))
        batch[WEIGHT] = torch.tensor(weights, dtype=torch.float32)
        batch[ROWS] = drawn.draw.rows
        batch[NUM_ROWS] = len(rows) if drawn.draw.counted else 0
        batch[TOKENS] = _real_tokens(batch) if drawn.draw.counted else 0
        return batch


def _real_tokens(batch: Mapping[str, Any]) -> int:
    """As the collate counted them, or by its attention mask; 0 where there are no tokens.

    The mask of a wave is one of samples.
    """
    mask = batch.get("attention_mask") if "input_ids" in batch else None
    return int(batch.get(TOKENS, 0) if mask is None else mask.sum())


def _weight(row: Mapping[str, Any]) -> float:
    weight = row.get("weight")
    return 1.0 if weight is None else float(weight)


def padding_collate(
    tokenizer: Any, *, on_accelerator: bool, labels_per_token: bool = False
) -> Callable[[list[dict[str, Any]]], Batch]:
    """Pad to the longest row of the draw; to a multiple of 8 where tensor cores want it.

    Labels of single tokens are padded with the one that is ignored.
    """
    from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

    multiple = 8 if on_accelerator else None
    made = DataCollatorForTokenClassification if labels_per_token else DataCollatorWithPadding
    pad: Callable[[list[dict[str, Any]]], Batch] = made(tokenizer, pad_to_multiple_of=multiple)
    return pad


@contextmanager
def _random_state_of(seed: int) -> Iterator[None]:
    """Python's, NumPy's and PyTorch's CPU randomness seeded within, and put back after."""
    python, numpy_state, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(cpu)
