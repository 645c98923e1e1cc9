"""Runs of several processes that stop, are killed, and go on: on as many processes or on others."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub_trainer.errors import Interrupted
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.trainer import FitTrainer
from hub_trainer.ranks import Sharding
from tests.finetune.processes import together
from tests.finetune.split import ask
from tests.finetune.tiny import (
    accuracy,
    bert,
    largest_difference,
    same_weights,
    text_data,
    weights_of,
)

STEPS = 6
EARLY = {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 2, "eval_steps": 2}


def trained(
    folder: Path,
    micro: int,
    sharding: Sharding | None,
    *,
    method: Any = "lora",
    stop: int | None = None,
    how: int = signal.SIGTERM,
    rank: int = 0,
) -> Any:
    """Weights and report of six steps, or where it stopped; `rank` is sent the signal."""
    ask(sharding)

    class Watched(FitTrainer):
        def _count_step(self) -> None:
            super()._count_step()
            if self.state.global_step == stop and self.args.process_index == rank:
                os.kill(os.getpid(), how)

    arguments = {"learning_rate": 1e-2, "per_device_train_batch_size": micro, "max_steps": STEPS}
    data = text_data(train=61, validation=13)
    plan = FitPlan(method, arguments | EARLY, compute_metrics=accuracy, metric_for_best="accuracy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub_trainer.finetune.engine.FitTrainer", Watched)
        patch.setattr("hub_trainer.finetune.peers.SILENT_SECONDS", 3.0)
        try:
            model, report = fine_tune(bert(dropout=0), data, plan, out_dir=folder, run_digest="x")
        except Interrupted as stopped:
            return str(stopped)
    return weights_of(model), report.to_json()


def run(count: int, folder: Path, results: str, micro: int, **options: Any) -> list[Any]:
    split = options.pop("split", True)
    sharding = Sharding(count) if split and count > 1 else None
    alive = options.pop("alive", count)
    return together(
        count, trained, folder / results, folder / "run", micro, sharding, alive=alive, **options
    )


def test_split_run_when_one_process_is_told_to_stop_then_all_stop_and_go_on_to_the_same_bits(
    tmp_path: Path,
) -> None:
    whole = run(2, tmp_path / "whole", "r", 8)
    cut = tmp_path / "cut"
    stopped = run(2, cut, "stopped", 8, stop=3, rank=1)
    assert all("checkpoint-3" in told for told in stopped)
    checkpoint = cut / "run" / "checkpoints" / "checkpoint-3"
    assert {"__0_0.distcp", "__1_0.distcp"} <= {f.name for f in checkpoint.glob("sharded/*")}
    # Adapters and what Adam holds of them: nothing of the base.
    learned = sum(tensor.nbytes for tensor in whole[0][0].values()) // 2
    assert sum(file.stat().st_size for file in checkpoint.glob("sharded/*.distcp")) < 12 * learned
    resumed = run(2, cut, "resumed", 8)
    assert resumed[0][1]["resumed_from"] == 3
    assert resumed[0][1]["bit_reproducible"]
    assert same_weights(whole[0][0], resumed[0][0])


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "stop"), [(0, 3), (1, 3), (1, 5)])
def test_split_run_when_a_process_is_killed_then_the_next_goes_on_to_the_same_bits(
    rank: int, stop: int, tmp_path: Path
) -> None:
    whole = run(2, tmp_path / "whole", "r", 8)
    cut = tmp_path / "cut"
    run(2, cut, "killed", 8, stop=stop, rank=rank, how=signal.SIGKILL, alive=0)
    resumed = run(2, cut, "resumed", 8)
    assert resumed[0][1]["resumed_from"] == stop - 1
    assert same_weights(whole[0][0], resumed[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("split", [True, False])
def test_run_when_it_goes_on_on_other_numbers_of_processes_then_it_learns_the_same(
    split: bool, tmp_path: Path
) -> None:
    whole = run(4, tmp_path / "whole", "r", 4, split=split, method="full")
    cut = tmp_path / "cut"
    run(4, cut, "four", 4, split=split, method="full", stop=2)
    run(2, cut, "two", 4, split=split, method="full", stop=4)
    three = run(3, cut, "three", 4, split=split, method="full")
    assert largest_difference(whole[0][0], three[0][0]) < 1e-3
    reports = [whole[0][1], three[0][1]]
    losses = [[e["eval_loss"] for e in r["history"] if "eval_loss" in e] for r in reports]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert reports[0]["rows"] == reports[1]["rows"]
    assert not reports[1]["bit_reproducible"]
    [told] = [note for note in reports[1]["notes"] if "on 3 processes" in note]
    assert "the same batches of 16 rows" in told
    assert "no longer bit for bit" in told
