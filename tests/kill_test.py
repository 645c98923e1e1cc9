"""Kills training at random moments; every run, run again, must end in the same bits.

    python tests/kill_test.py --trials 50                  SIGKILL
    python tests/kill_test.py --trials 50 --signal TERM    a request to stop, answered by 75

A fork server: the libraries are imported once, each run is a child process. A tiny encoder with
dropout trains with a checkpoint every second step. One line is printed at the end, and the exit
status is 0 only if every resumed run gave the weights of a run that was never killed.
"""

import argparse
import gc
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import transformers.trainer  # noqa: F401  imported once, before the runs are forked

from hub_trainer.errors import ExitCode, HubTrainerError
from hub_trainer.finetune.checkpoints import newest_valid_checkpoint
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import EarlyStopping, FitPlan
from tests.finetune.tiny import accuracy, bert, text_data

METHODS = ("full", "lora", "head")


@dataclass(frozen=True)
class Tally:
    """What became of the trials."""

    trials: int
    identical: int
    killed_with_a_checkpoint: int
    killed_without: int
    finished_before: int

    def __str__(self) -> str:
        return (
            f"trials {self.trials}, identical {self.identical}, manual steps 0"
            f" (killed with a checkpoint {self.killed_with_a_checkpoint},"
            f" before the first one {self.killed_without},"
            f" finished before the kill {self.finished_before})"
        )


def train(folder: Path, method: str) -> None:
    """One run; its weights' hash is written last."""
    fit = FitPlan(
        method,  # type: ignore[arg-type]
        {
            "learning_rate": 3e-3,
            "num_train_epochs": 3,
            "per_device_train_batch_size": 8,
            "save_strategy": "steps",
            "save_steps": 2,
        },
        compute_metrics=accuracy,
        metric_for_best="accuracy",
        early_stopping=EarlyStopping(12),
    )
    model, _ = fine_tune(bert(), text_data(), fit, out_dir=folder, run_digest="kill test")
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    (folder / "sha256").write_text(digest.hexdigest(), encoding="utf-8")


def start(run: Callable[[], None]) -> int:
    """Fork a child that does it in silence; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        run()
        status = 0
    except HubTrainerError as error:
        status = int(error.exit_code)
    finally:
        os._exit(status)


def finish(folder: Path, method: str) -> tuple[str, float]:
    """Run to the end: the hash of the weights, and the seconds it took."""
    began = time.monotonic()
    _, status = os.waitpid(start(lambda: train(folder, method)), 0)
    if status:
        return f"failed with status {status}", time.monotonic() - began
    return (folder / "sha256").read_text(encoding="utf-8"), time.monotonic() - began


def kill_after(folder: Path, method: str, seconds: float, how: signal.Signals) -> bool:
    """Start a run and kill it; whether that ended it before its end."""
    child = start(lambda: train(folder, method))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(child, how)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) in (0, ExitCode.INTERRUPTED)
    return status != 0


def run_trials(trials: int, how: signal.Signals, rng: random.Random, scratch: Path) -> Tally:
    """Kill and resume, method by method in turn, against one whole run of each."""
    whole = {method: finish(scratch / method, method) for method in METHODS[:trials]}
    outcomes: list[str] = []
    identical = 0
    for trial in range(trials):
        method = METHODS[trial % len(METHODS)]
        folder = scratch / f"trial-{trial}"
        expected, seconds = whole[method]
        alive = kill_after(folder, method, rng.uniform(0, seconds), how)
        saved = newest_valid_checkpoint(folder / "checkpoints") is not None
        outcomes.append("finished" if not alive else "saved" if saved else "unsaved")
        found, _ = finish(folder, method)
        identical += found == expected
        if found != expected:
            print(f"trial {trial}: {method} {found}, expected {expected}", file=sys.stderr)
    return Tally(
        trials,
        identical,
        outcomes.count("saved"),
        outcomes.count("unsaved"),
        outcomes.count("finished"),
    )


def main() -> int:
    """Run the trials asked for and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    options = parser.parse_args()
    how = signal.Signals[f"SIG{options.signal}"]
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="kill-test-") as scratch:
        tally = run_trials(options.trials, how, random.Random(options.seed), Path(scratch))
    print(tally)
    return 0 if tally.identical == tally.trials else 1


if __name__ == "__main__":
    sys.exit(main())
