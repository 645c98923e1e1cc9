import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "kill_test.py"


def kill_test(trials: int, how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--trials", str(trials), "--signal", how],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize(
    ("trials", "how"),
    [(2, "KILL"), pytest.param(15, "KILL", marks=pytest.mark.slow)]
    + [pytest.param(15, "TERM", marks=pytest.mark.slow)],
)
def test_a_killed_run_ends_in_the_bits_of_one_that_was_not(trials: int, how: str) -> None:
    finished = kill_test(trials, how)
    assert finished.returncode == 0, finished.stderr
    last = finished.stdout.splitlines()[-1]
    assert re.match(rf"trials {trials}, identical {trials}, manual steps 0 ", last)
