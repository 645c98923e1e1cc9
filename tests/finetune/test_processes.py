"""Two processes over gloo give what one gives; each case starts Python twice, so they are slow."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.finetune.tiny import largest_difference, same_weights

SCRIPT = Path(__file__).with_name("two_processes.py")
pytestmark = pytest.mark.slow


def run(folder: Path, *arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc_per_node", str(processes)]
    return subprocess.run(
        [*launcher, str(SCRIPT), str(folder), *map(str, arguments)],
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
