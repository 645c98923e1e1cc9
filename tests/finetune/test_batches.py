import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hub_trainer.finetune.batches import (
    NUM_ROWS,
    ROWS,
    TOKENS,
    WEIGHT,
    BatchShape,
    Draw,
    DrawCollate,
    DrawnRows,
    OrderedDraws,
    PooledBatches,
    padding_collate,
)
from tests.finetune.tiny import collate_text, text_rows


def draws_of(num_rows: int, shape: BatchShape, *, epoch: int = 0, **options: Any) -> list[Draw]:
    batches = PooledBatches(num_rows, shape, seed=3, **options)
    batches.set_epoch(epoch)
    assert len(batches) == len(list(batches))
    return list(batches)


def counted_rows(draws: list[Draw]) -> list[int]:
    return [row for draw in draws if draw.counted for row in draw.rows]


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 200),
    micro=st.integers(1, 9),
    accumulation=st.integers(1, 4),
    processes=st.integers(1, 3),
)
def test_draws_of_all_processes_hold_every_row_once(
    num_rows: int, micro: int, accumulation: int, processes: int
) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, size=num_rows).tolist()
    per_process = [
        draws_of(num_rows, BatchShape(micro, accumulation, processes, index), lengths=lengths)
        for index in range(processes)
    ]
    rows = [row for draws in per_process for row in counted_rows(draws)]
    assert sorted(rows) == list(range(num_rows))
    assert len({len(draws) for draws in per_process}) == 1
    assert all(0 < len(draw.rows) <= micro for draws in per_process for draw in draws)


@pytest.mark.parametrize(("micro", "accumulation", "processes"), [(2, 4, 1), (4, 1, 2), (1, 4, 2)])
def test_batches_are_the_same_however_they_are_cut(
    micro: int, accumulation: int, processes: int
) -> None:
    lengths = [len(row["input_ids"]) for row in text_rows(61)]
    whole = draws_of(61, BatchShape(8), lengths=lengths)
    cut = [
        draws_of(61, BatchShape(micro, accumulation, processes, index), lengths=lengths)
        for index in range(processes)
    ]
    for number, batch in enumerate(whole):
        parts = [
            draws[i]
            for draws in cut
            for i in range(number * accumulation, (number + 1) * accumulation)
        ]
        assert sorted(counted_rows(parts)) == sorted(batch.rows)


def test_batches_differ_by_one_row_at_most_so_there_is_no_small_last_one() -> None:
    sizes = Counter(len(draw.rows) for draw in draws_of(33, BatchShape(8)))
    assert sizes == {7: 3, 6: 2}


def test_order_depends_on_epoch_and_seed_alone() -> None:
    first = draws_of(50, BatchShape(8), epoch=0)
    assert first == draws_of(50, BatchShape(8), epoch=0)
    assert first != draws_of(50, BatchShape(8), epoch=1)


def test_pools_cut_padding_and_keep_batches_shuffled() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, size=4096)
    shape = BatchShape(32)

    def padding(draws: list[Draw]) -> float:
        padded = sum(lengths[list(draw.rows)].max() * len(draw.rows) for draw in draws)
        return float(1 - lengths.sum() / padded)

    pooled = draws_of(4096, shape, lengths=lengths.tolist())
    assert padding(draws_of(4096, shape)) > 0.45
    assert padding(pooled) < 0.08
    means = [lengths[list(draw.rows)].mean() for draw in pooled]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_pools_larger_than_the_data_hold_all_of_it() -> None:
    rows = counted_rows(draws_of(5, BatchShape(2), lengths=[3, 1, 2, 5, 4]))
    assert sorted(rows) == [0, 1, 2, 3, 4]


def test_a_process_short_of_rows_gets_a_filler_that_weighs_nothing() -> None:
    draws = draws_of(1, BatchShape(1, 1, 2, 1))
    assert [draw.counted for draw in draws] == [False]
    rows = DrawnRows([{"input_ids": [1, 2], "labels": 0, "weight": 5.0}])
    batch = DrawCollate(collate_text)(rows.__getitems__(draws[0]))
    assert batch[WEIGHT].tolist() == [0.0]
    assert (batch[NUM_ROWS], batch[TOKENS]) == (0, 0)


def test_ordered_draws_show_every_row_once_longest_first() -> None:
    lengths = [3, 9, 1, 7, 5]
    parts = [list(OrderedDraws(5, BatchShape(2, 1, 2, index), lengths=lengths)) for index in (0, 1)]
    assert sorted(row for draws in parts for row in counted_rows(draws)) == [0, 1, 2, 3, 4]
    assert parts[0][0].rows == (1, 3)
    assert len(parts[0]) == len(parts[1])


def test_collate_takes_weights_away_and_counts_real_tokens() -> None:
    rows = [{"input_ids": [1, 2, 3], "labels": 0, "weight": 0.5}, {"input_ids": [1], "labels": 1}]
    batch = DrawCollate(collate_text)(DrawnRows(rows).__getitems__(Draw((1, 0), seed=0)))
    assert batch[WEIGHT].tolist() == [1.0, 0.5]
    assert batch[ROWS] == (1, 0)
    assert (batch[NUM_ROWS], batch[TOKENS]) == (2, 4)
    assert batch["input_ids"].tolist() == [[1, 0, 0], [1, 2, 3]]
    assert "weight" not in batch


class RandomRows:
    """Rows that a transform changes at random, by all three generators."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return {"input_ids": [index], "labels": 0, "noise": noise}


def noises(num_workers: int) -> list[Any]:
    draws = PooledBatches(12, BatchShape(4), seed=1)
    loader = DataLoader(
        DrawnRows(RandomRows()),
        batch_sampler=draws,
        collate_fn=lambda drawn: [row["noise"] for row in drawn.rows],
        num_workers=num_workers,
    )
    return list(loader)


@pytest.mark.parametrize(("micro", "accumulation", "processes"), [(2, 2, 1), (2, 1, 2)])
def test_random_transforms_when_a_batch_is_cut_then_each_row_is_what_it_was(
    micro: int, accumulation: int, processes: int
) -> None:
    def by_row(draws: list[Draw]) -> dict[int, Any]:
        read = [DrawnRows(RandomRows()).__getitems__(draw) for draw in draws]
        return {row["input_ids"][0]: row["noise"] for drawn in read for row in drawn.rows}

    whole = by_row(draws_of(12, BatchShape(4)))
    shapes = [BatchShape(micro, accumulation, processes, index) for index in range(processes)]
    assert by_row([draw for shape in shapes for draw in draws_of(12, shape)]) == whole
    assert len({tuple(noise) for noise in whole.values()}) == 12
    assert by_row(draws_of(12, BatchShape(4), epoch=1)) != whole


def test_random_transforms_depend_on_the_row_and_leave_the_generators_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = DrawnRows(RandomRows()).__getitems__(Draw((1, 2), seed=5))
    assert torch.equal(before, torch.get_rng_state())
    random.seed(99)
    np.random.seed(99)
    again = DrawnRows(RandomRows()).__getitems__(Draw((1, 2), seed=5))
    other = DrawnRows(RandomRows()).__getitems__(Draw((1, 2), seed=6))
    assert first.rows == again.rows
    assert first.rows != other.rows
    assert noises(0) == noises(0)


def test_random_transforms_are_the_same_in_worker_processes() -> None:
    assert noises(0) == noises(2)


class Tokenizer:
    """What DataCollatorWithPadding asks of a tokenizer."""

    deprecation_warnings: dict[str, bool] = {}

    def __init__(self) -> None:
        self.asked: Any = None

    def pad(self, rows: Any, **options: Any) -> dict[str, Any]:
        self.asked = options["pad_to_multiple_of"]
        return {"rows": rows}


@pytest.mark.parametrize(("on_accelerator", "multiple"), [(True, 8), (False, None)])
def test_padding_is_to_a_multiple_of_eight_on_an_accelerator(
    on_accelerator: bool, multiple: int | None
) -> None:
    tokenizer = Tokenizer()
    padding_collate(tokenizer, on_accelerator=on_accelerator)([{"input_ids": [1]}])
    assert tokenizer.asked == multiple
