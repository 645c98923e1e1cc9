"""Two processes of four rows give what one of eight gives; each case starts Python three times."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.finetune.language.kinds import LOSSES
from tests.finetune.test_processes import report_of
from tests.finetune.tiny import largest_difference

SCRIPT = Path(__file__).with_name("two_processes.py")
pytestmark = pytest.mark.slow


def run(folder: Path, micro: int, name: str, processes: int) -> None:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc_per_node", str(processes)]
    finished = subprocess.run(
        [*launcher, str(SCRIPT), str(folder), str(micro), name],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_give_the_result_of_one(name: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, 8, name, 1)
    run(two, 4, name, 2)
    weights = [load_file(folder / "model.safetensors") for folder in (one, two)]
    assert largest_difference(*weights) < 2e-5
    alone, together = report_of(one), report_of(two)
    assert together["num_processes"] == 2
    for key in ("rows", "tokens", "steps", "trainable_parameters"):
        assert alone[key] == together[key]
    figures = [
        [e["loss"] for e in report["history"] if "loss" in e] for report in (alone, together)
    ]
    assert figures[0] == pytest.approx(figures[1], abs=1e-5)
