from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_trainer.finetune.batches import TOKENS
from hub_trainer.finetune.language.packing import Packing, PackingCollate, best_fit, pack
from hub_trainer.finetune.language.sequence_layout import Segment
from tests.finetune.language.tiny import token_rows


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 50))
@settings(deadline=None)
def test_best_fit_places_each_once_and_overfills_no_bin(sizes: list[int], budget: int) -> None:
    bins = best_fit(sizes, budget)
    assert sorted(index for chosen in bins for index in chosen) == list(range(len(sizes)))
    for chosen in bins:
        assert len(chosen) == 1 or sum(sizes[i] for i in chosen) <= budget


def test_best_fit_fills_the_fullest_bin_first() -> None:
    assert best_fit([6, 5, 4, 3], 10) == [[0, 2], [1, 3]]
    assert best_fit([7, 5, 3], 10) == [[0, 2], [1]]


def test_part_has_no_padding_and_starts_positions_anew() -> None:
    rows = token_rows([(2, 3), (0, 4)])
    (part,) = pack(rows, Packing(100))
    assert part.input_ids.tolist() == [
        rows[0]["prompt"] + rows[0]["answers"][0] + rows[1]["answers"][0]
    ]
    assert part.position_ids is not None
    assert part.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3]]
    assert part.layout is not None
    assert part.layout.segments == (Segment(0, 5), Segment(5, 9))
    assert part.layout.num_tokens == 9


def test_learned_tokens_are_predicted_from_the_one_before() -> None:
    rows = token_rows([(2, 3), (0, 4)])
    rows[0]["trained"] = [[True, False, True]]
    (part,) = pack(rows, Packing(100))
    assert part.sources.tolist() == [1, 3, 5, 6, 7]
    assert part.targets.tolist() == part.input_ids[0, [2, 4, 6, 7, 8]].tolist()
    assert part.places.tolist() == [0, 0, 1, 1, 1]


def test_prompt_of_two_answers_is_read_once() -> None:
    rows = token_rows([(4, 3, 2)])
    (part,) = pack(rows, Packing(100))
    assert part.input_ids.shape == (1, 9)
    assert part.position_ids is not None
    assert part.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 4, 5]]
    assert part.layout is not None
    assert part.layout.segments == (Segment(0, 7), Segment(7, 9, 0, 4))
    assert part.sources.tolist() == [3, 4, 5, 3, 7]
    assert part.places.tolist() == [0, 0, 0, 1, 1]


def test_rows_with_the_same_prompt_share_it_within_the_budget() -> None:
    rows = token_rows([(4, 3), (4, 2), (5, 2)])
    rows[1]["prompt"] = rows[0]["prompt"]
    (part,) = pack(rows, Packing(100))
    assert part.input_ids.shape == (1, 4 + 3 + 2 + 5 + 2)
    assert [p.input_ids.shape[1] for p in pack(rows, Packing(8))] == [7, 7, 6]


def test_row_longer_than_the_budget_is_alone_and_whole() -> None:
    parts = pack(token_rows([(2, 30), (2, 3), (2, 4)]), Packing(12))
    assert [part.input_ids.shape[1] for part in parts] == [32, 11]
    assert sorted(m for part in parts for m in part.members.tolist()) == [0, 1, 2]


def test_padded_parts_keep_to_the_budget_and_hold_the_same_tokens() -> None:
    rows = token_rows([(2, 3, 5), (1, 9, 2), (4, 4, 4)])
    parts = pack(rows, Packing(36, dense=False))
    assert [tuple(part.input_ids.shape) for part in parts] == [(2, 10), (4, 8)]
    for part in parts:
        assert part.attention_mask is not None
        assert part.input_ids.reshape(-1)[part.sources + 1].shape == part.targets.shape
    learned = sorted(t for part in parts for t in part.targets.tolist())
    (dense,) = pack(rows, Packing(100))
    assert learned == sorted(dense.targets.tolist())


def test_collate_counts_tokens_and_learned_ones() -> None:
    rows: list[dict[str, Any]] = token_rows([(2, 3), (0, 4)])
    batch = PackingCollate(Packing(100))(rows)
    assert batch[TOKENS] == 9
    assert batch["num_learned"].tolist() == [3.0, 3.0]
    assert "reference" not in batch


def test_collate_packs_mismatched_answers_after_the_rows_own_prompts() -> None:
    rows = token_rows([(2, 3), (1, 4)])
    extra = {"mismatched": [7, 8], "reference": [-1.0], "mismatched_reference": -2.0}
    rows = [{**row, **extra, "desirable": index == 0} for index, row in enumerate(rows)]
    batch = PackingCollate(Packing(100))(rows)
    (part,) = batch["mismatched"]
    assert part.input_ids.tolist() == [rows[0]["prompt"] + [7, 8] + rows[1]["prompt"] + [7, 8]]
    assert batch["labels"].tolist() == [True, False]
    assert batch["reference"].shape == (2, 1)
    assert batch["mismatched_reference"].dtype == torch.float64


def test_part_moves_to_a_device() -> None:
    (part,) = pack(token_rows([(2, 3)]), Packing(100))
    moved = part.to("meta")
    assert moved.input_ids.device.type == moved.sources.device.type == "meta"
    assert moved.layout is part.layout


@pytest.mark.parametrize("dense", [True, False])
def test_every_answer_of_a_row_stays_in_one_part(dense: bool) -> None:
    rows = token_rows([(3, 5, 4)] * 6)
    for part in pack(rows, Packing(20, dense=dense)):
        counts = part.places.bincount().tolist()
        assert counts == [5, 4] * len(part.members)
