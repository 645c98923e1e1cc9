import json
from pathlib import Path

import pytest

from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from tests.finetune.tiny import bert, text_data


@pytest.mark.parametrize("max_steps", [12, 2, 1])
def test_a_profile_is_a_trace_and_ten_lines(tmp_path: Path, max_steps: int) -> None:
    fit = FitPlan("full", {"max_steps": max_steps}, profile=True)
    fine_tune(bert(), text_data(validation=None), fit, out_dir=tmp_path)
    trace = json.loads((tmp_path / "profile/trace.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"data", "forward", "training_step"} <= names
    lines = (tmp_path / "profile/summary.txt").read_text().splitlines()
    assert len(lines) == 10
    assert lines[0].endswith("ms in a step, profiled")
    parts = [line.split() for line in lines[1:5]]
    assert [part[0] for part in parts] == ["data", "forward", "backward", "optimizer"]
    shares = [float(part[1].rstrip("%")) for part in parts]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert all(share > 0 for share in shares)
    assert all(line.strip().startswith("aten::") for line in lines[5:])


def test_without_profile_nothing_is_written(tmp_path: Path) -> None:
    fine_tune(
        bert(), text_data(validation=None), FitPlan("full", {"max_steps": 1}), out_dir=tmp_path
    )
    assert not (tmp_path / "profile").exists()
