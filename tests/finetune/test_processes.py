"""Two processes over gloo give what one gives; each case starts Python twice, so they are slow."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.finetune.tiny import largest_difference, same_weights

SCRIPT = Path(__file__).with_name("two_processes.py")
pytestmark = pytest.mark.slow


def run(
    folder: Path, *arguments: object, processes: int = 2, script: Path = SCRIPT
) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc_per_node", str(processes)]
    return subprocess.run(
        [*launcher, str(script), str(folder), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())  # type: ignore[no-any-return]


def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(one, 8, processes=1).returncode == 0
    finished = run(two, 4)
    assert finished.returncode == 0, finished.stderr
    weights = [load_file(folder / "model.safetensors") for folder in (one, two)]
    assert largest_difference(*weights) < 2e-5
    alone, together = report_of(one), report_of(two)
    assert together["num_processes"] == 2
    for key in ("rows", "tokens", "steps", "trainable_parameters"):
        assert alone[key] == together[key]
    for key in ("eval_loss", "eval_accuracy", "loss"):
        figures = [[e[key] for e in report["history"] if key in e] for report in (alone, together)]
        assert figures[0] == pytest.approx(figures[1], abs=1e-5)


def test_two_processes_stop_together_and_go_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(whole, 4).returncode == 0
    stopped = run(cut, 4, 15)
    assert stopped.returncode != 0
    assert (cut / "checkpoints/checkpoint-15/rng_state_1.pth").is_file()
    assert not (cut / "report.json").exists()
    assert run(cut, 4).returncode == 0
    assert report_of(cut)["resumed_from"] == 15
    assert report_of(cut)["bit_reproducible"]
    weights = [load_file(folder / "model.safetensors") for folder in (whole, cut)]
    assert same_weights(*weights)


SHORT = Path(__file__).with_name("short_of_memory.py")


def test_memory_when_it_is_short_on_one_process_then_all_begin_again_under_the_launcher(
    tmp_path: Path,
) -> None:
    finished = run(tmp_path, script=SHORT)
    assert finished.returncode == 0, finished.stderr
    report = report_of(tmp_path)
    assert report["per_device_train_batch_size"] == 4
    assert report["gradient_accumulation_steps"] == 2
    assert report["resumed_from"] == 2
    assert report["steps"] == 4
    assert "out of memory at step 3" in " ".join(report["notes"])


def test_process_when_it_is_killed_then_the_launcher_and_all_others_are_down_in_half_a_minute(
    tmp_path: Path,
) -> None:
    finished = run(tmp_path, 2, script=SHORT)
    ended = time.time()
    assert finished.returncode != 0
    last = (tmp_path / "checkpoints" / "checkpoint-1").stat().st_mtime
    assert ended - last < 30
    assert "rank      : 1" in finished.stderr
    assert "Signal 9" in finished.stderr
    assert not (tmp_path / "report.json").exists()
    again = run(tmp_path, script=SHORT)
    assert again.returncode == 0, again.stderr
    # From step 1 for two steps, when memory ran out, and then anew.
    assert report_of(tmp_path)["resumed_from"] == 3
