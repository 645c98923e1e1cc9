"""The script of rounds that nobody starts, in a small form: an outage and a killed job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import REPO


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_rounds_when_nobody_starts_them_then_none_and_no_row_is_missing(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.unattended", "--rounds", "3"]
        + ["--folder", str(tmp_path / "u")],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    closing = told.stdout.splitlines()[-1]
    for part in ("rounds 3 (", "not in time 0", "regressions promoted 0", "rows lost 0 of 60"):
        assert part in closing, told.stdout
    assert "hostile merged 0 of 1" in closing
