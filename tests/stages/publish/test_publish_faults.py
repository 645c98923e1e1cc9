"""The script that publishes under every fault while others read, in a small form."""

from pathlib import Path

import pytest

from tests.benchmarks.publish_faults import run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_publish_when_calls_fail_while_others_read_then_nobody_sees_a_mixture(
    tmp_path: Path,
) -> None:
    told = run(tmp_path, 12, seed=1)
    assert told.startswith("12 publishes with a fault each, of ")
    assert "12 faults met" in told
    assert told.endswith("0 mixtures, 0 steps back")
