import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hub_trainer.finetune import compute_dtype
from hub_trainer.finetune.compute_dtype import fast_bfloat16


@pytest.fixture(autouse=True)
def capable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor with the instructions, of which nothing is known yet."""
    monkeypatch.setattr(compute_dtype, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    fast_bfloat16.cache_clear()
    yield
    fast_bfloat16.cache_clear()


def multiply_taking(monkeypatch: pytest.MonkeyPatch, exact: float, low: float) -> None:
    """Products that take so many seconds of processor time in float32 and in bfloat16."""

    def linear(given: torch.Tensor, weight: torch.Tensor) -> None:
        until = time.thread_time() + (low if given.dtype == torch.bfloat16 else exact)
        while time.thread_time() < until:
            pass

    monkeypatch.setattr(compute_dtype, "linear", linear)


@pytest.mark.parametrize(("exact", "low", "found"), [(2e-3, 1e-3, True), (1e-3, 2e-3, False)])
def test_instructions_when_there_then_a_product_says_whether_they_are_faster(
    monkeypatch: pytest.MonkeyPatch, exact: float, low: float, found: bool
) -> None:
    multiply_taking(monkeypatch, exact, low)
    threads = torch.get_num_threads()
    assert fast_bfloat16(64) is found
    assert torch.get_num_threads() == threads


def test_gain_when_casts_would_eat_it_then_float32_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply_taking(monkeypatch, 1.1e-3, 1e-3)
    assert not fast_bfloat16(64)


def test_answer_when_given_once_then_it_holds_for_the_next_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    multiply_taking(monkeypatch, 1e-3, 2e-4)
    assert fast_bfloat16(64)
    fast_bfloat16.cache_clear()
    multiply_taking(monkeypatch, 2e-4, 1e-3)
    assert fast_bfloat16(64)
    assert not fast_bfloat16(65), "another width is another question"


def test_answer_when_another_processor_then_it_is_asked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    multiply_taking(monkeypatch, 1e-3, 2e-4)
    assert fast_bfloat16(64)
    fast_bfloat16.cache_clear()
    multiply_taking(monkeypatch, 2e-4, 1e-3)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not fast_bfloat16(64)


def test_cache_when_it_cannot_be_written_then_the_answer_is_given_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(compute_dtype, "cache_folder", lambda: tmp_path / "file")
    multiply_taking(monkeypatch, 1e-3, 2e-4)
    assert fast_bfloat16(64)


def test_instructions_when_absent_then_nothing_is_multiplied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(compute_dtype, "_is_faster", lambda width: pytest.fail("it was measured"))
    assert not fast_bfloat16()
