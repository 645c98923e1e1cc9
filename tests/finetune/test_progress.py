import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.progress import ProgressCallback, StepProgress
from tests.finetune.tiny import accuracy, bert, text_data

FIT = FitPlan(
    "full", {"num_train_epochs": 2, "per_device_train_batch_size": 16}, compute_metrics=accuracy
)


def test_off_a_terminal_each_evaluation_is_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine_tune(bert(), text_data(), FIT, out_dir=tmp_path)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == ""
    assert [line.split("  ")[0] for line in lines] == ["step 6/12", "step 12/12"]
    assert all("loss " in line and "accuracy " in line for line in lines)
    assert "runtime" not in shown.err


def test_on_progress_hears_of_every_step(tmp_path: Path) -> None:
    heard: list[StepProgress] = []
    fine_tune(bert(), text_data(), FIT, out_dir=tmp_path, on_progress=heard.append)
    assert [now.step for now in heard] == list(range(1, 13))
    assert {now.max_steps for now in heard} == {12}
    assert {"loss", "learning_rate", "eval_accuracy"} <= set(heard[-1].logged)


def state(step: int, **changes: Any) -> Any:
    known = {"global_step": step, "max_steps": 9, "epoch": 0.5, "is_world_process_zero": True}
    return SimpleNamespace(**{**known, **changes})


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def test_on_a_terminal_a_bar_shows_step_and_loss() -> None:
    console = terminal()
    callback = ProgressCallback(None, console)
    callback.on_train_begin(None, state(0), None)
    callback.on_log(None, state(3), None, logs={"loss": 0.25, "note": "text"})
    callback.on_step_end(None, state(3), None)
    callback.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "3/9" in shown
    assert "loss 0.25" in shown
    assert callback.bar is None


def test_other_processes_show_nothing() -> None:
    console = terminal()
    heard: list[StepProgress] = []
    callback = ProgressCallback(heard.append, console)
    other = state(1, is_world_process_zero=False)
    callback.on_train_begin(None, other, None)
    callback.on_log(None, other, None, logs={"eval_loss": 1.0})
    callback.on_step_end(None, other, None)
    callback.close()
    assert heard == []
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
