"""The kill campaign in a small form."""

import re
import subprocess
import sys

import pytest

from tests.cli.conftest import REPO


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_training_when_killed_stopped_damaged_or_full_then_nothing_is_lost() -> None:
    counts = {"kills": 5, "terms": 4, "corruptions": 10, "disks": 4, "stock": 1}
    options = [text for name, count in counts.items() for text in (f"--{name}", str(count))]
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.kill_campaign", *options, "--seed", "3"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout
    closing = told.stdout.splitlines()[-1]
    for part in (
        r"5 kills over 1, 2 and 4 processes .*: 5 identical",
        r"4 SIGTERM .*: 4 stopped at one step and identical",
        r"10 corruptions: 10 refused by name",
        r"4 full disks: 4 named, with the old checkpoint, and identical",
        r"stock Trainer: 1 kills",
    ):
        assert re.search(part, closing), closing
