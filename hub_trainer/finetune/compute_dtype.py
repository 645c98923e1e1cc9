"""Whether bfloat16 is worth while on this machine: its flags say what it can, a product how fast.

A processor with AVX512-BF16 and without AMX multiplies bfloat16 at half the speed of float32.
"""

import hashlib
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch.nn.functional import linear

from hub_trainer.hub import cache_folder

WIDE = 512
"""Width of the layers of a small language model, where none is named."""
ROWS = 256
TURNS = 20
GAIN = 1.25
"""Casts to and from bfloat16 take time too."""
KEPT = "hub-trainer/bfloat16"
"""Folder in the client's cache with an answer for each processor, so that a resumed run and the
processes of one machine go by the same one."""


@cache
def fast_bfloat16(width: int = WIDE) -> bool:
    """Whether products of layers so wide take less time in bfloat16 than in float32.

    A GPU is asked what it supports. A processor that has instructions for it multiplies once in
    both, for some milliseconds; what it answered then holds for it from there on.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    return _kept(f"{_processor()} {width}", lambda: _is_faster(width))


def _is_faster(width: int) -> bool:
    """By the best of some turns each, on one core and in its time: other work adds to both."""
    width, threads = min(width, WIDE), torch.get_num_threads()
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    torch.set_num_threads(1)
    try:
        for _ in range(TURNS):
            for dtype, taken in seconds.items():
                given, weight = (torch.ones(size, width, dtype=dtype) for size in (ROWS, width))
                begun = time.thread_time()
                linear(given, weight)
                taken.append(time.thread_time() - begun)
    finally:
        torch.set_num_threads(threads)
    exact, low = (min(taken) for taken in seconds.values())
    return GAIN * low < exact


def _processor() -> str:
    """What the answer depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = [line for line in lines if line.startswith(("model name", "flags"))][:2]
    except OSError:
        named = [platform.processor()]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return " ".join([*named, torch.__version__, limit])


def _kept(subject: str, ask: Callable[[], bool]) -> bool:
    """The answer of an earlier call, by whichever process; else that of `ask`, kept."""
    place = cache_folder() / KEPT / hashlib.sha256(subject.encode()).hexdigest()[:16]
    if not place.exists():
        own = place.with_suffix(f".{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            own.write_text("faster" if ask() else "slower")
            # A link is there whole or not at all, and never in the place of another's.
            os.link(own, place)
        except FileExistsError:
            pass
        except OSError:
            return ask()
        finally:
            with suppress(OSError):
                own.unlink()
    return place.read_text() == "faster"
