"""Processes that watch each other: one that is gone, fails or lacks memory is not waited for."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from hub_trainer.errors import Interrupted, TrainingError
from hub_trainer.finetune import checkpoints, peers
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.peers import watched_peers
from hub_trainer.finetune.plan import FitPlan
from tests.finetune.processes import together
from tests.finetune.test_engine import ShortOfMemory
from tests.finetune.tiny import bert, text_data


def waiting(folder: Path, how: str) -> None:
    """The second process goes in some way, and the first waits for it."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    with (folder / f"told-{rank}").open("w") as told, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", told)
        patch.setattr(peers, "SILENT_SECONDS", 2.0)
        patch.setattr(peers, "GRACE_SECONDS", 0.5)
        with watched_peers(rank, 2):
            time.sleep(1.5)
            if rank == 1:
                go(how)
            if how == "kill":
                distributed.all_reduce(torch.ones(1))
            time.sleep(20)


def go(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        os.kill(os.getpid(), signal.SIGSTOP)
    raise TrainingError("The disk is full.", where="checkpoint-7")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fail", ["Process 1 of 2 stopped: The disk is full.", "checkpoint-7"]),
        ("kill", ["Process 1 of 2 is gone: no sign of it for 2 seconds, the last at "]),
        pytest.param("hang", ["Process 1 of 2 is gone"], marks=pytest.mark.slow),
    ],
)
def test_process_when_another_goes_then_it_says_so_and_goes_too(
    how: str, words: list[str], tmp_path: Path
) -> None:
    started = time.time()
    together(2, waiting, tmp_path, tmp_path, how, alive=0, seconds=12)
    assert (tmp_path / "told-0").stat().st_mtime - started < 11
    told = (tmp_path / "told-0").read_text()
    assert [word for word in [*words, "run the same command again"] if word not in told] == []


class Store(dict[str, bytes]):
    """What the processes have told."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


def test_silence_when_this_process_stood_still_itself_then_it_says_nothing_of_others() -> None:
    store, beats = Store({"beat-0": b"1", "beat-1": b"1"}), {}
    watching = peers.Peers(store, 0, 2)
    assert watching._silent(beats, 0.0) == []
    for look in range(9):
        store["beat-0"] = str(look).encode()
        assert watching._silent(beats, 600.0) == []
    for _ in range(9):
        watching._silent(beats, 1.0)
    store["beat-0"] = b"new"
    assert watching._silent(beats, 2.0) == [1]
    store["beat-1"] = b"2"
    assert watching._silent(beats, 2.0) == []
    for _ in range(11):
        found = watching._silent(beats, 2.0)
    store["done-0"], store["done-1"] = b"1", b"1"
    assert found
    assert watching._silent(beats, 2.0) == []


def test_process_when_it_never_gave_a_sign_then_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    def go_down(self: peers.Peers, why: str) -> None:
        told.append(why)
        self.ended.set()

    monkeypatch.setattr(peers.Peers, "_go_down", go_down)
    monkeypatch.setattr(peers, "SILENT_SECONDS", 0.5)
    peers.Peers(Store(), 0, 2).watch()
    assert told == ["Process 1 of 2 is gone: no sign of it for 0 seconds, nor any before."]


def test_exchange_when_it_breaks_while_a_checkpoint_is_written_then_no_disk_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")

    monkeypatch.setattr(checkpoints, "write_checkpoint", breaks)
    arguments = {"max_steps": 1, "save_strategy": "steps", "save_steps": 1}
    with pytest.raises(RuntimeError, match="closed by peer"):
        fine_tune(bert(), text_data(validation=None), FitPlan("full", arguments), out_dir=tmp_path)


class GoneStore(Store):
    """Its process has ended."""

    def set(self, key: str, value: str) -> None:
        raise distributed.DistNetworkError("Broken pipe")


def test_end_when_the_store_is_gone_already_then_it_is_the_end_all_the_same() -> None:
    ending = peers.Peers(GoneStore(), 1, 2)
    ending.done()
    ending.fail(TrainingError("The disk is full."))


def test_process_when_it_is_alone_or_all_end_then_nothing_is_said(tmp_path: Path) -> None:
    with watched_peers(0, 1) as alone:
        assert alone is None
    assert together(2, ended, tmp_path) == ["interrupted", None]


def ended() -> str | None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    try:
        with watched_peers(rank, 2):
            if rank == 0:
                raise Interrupted("Training was stopped by a signal.")
    except Interrupted:
        return "interrupted"
    finally:
        distributed.barrier()
    return None


def short(folder: Path, attempt: int) -> Any:
    """The second process alone has too little memory for eight rows."""
    rank = int(os.environ["RANK"])

    def anew() -> None:
        (folder / f"anew-{rank}").touch()
        os._exit(0)

    arguments = {"per_device_train_batch_size": 8, "max_steps": 3, "logging_steps": 1}
    model = ShortOfMemory(5 if rank else 99, 1 if attempt == 1 else 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "start_anew", anew)
        data = text_data(validation=None)
        _, report = fine_tune(
            model, data, FitPlan("full", arguments), out_dir=folder / "run", run_digest="x"
        )
    return report.to_json()


def test_run_when_memory_is_short_on_one_process_then_all_begin_again_with_smaller_draws(
    tmp_path: Path,
) -> None:
    together(2, short, tmp_path / "first", tmp_path, 1, alive=0, seconds=30)
    assert (tmp_path / "anew-0").exists()
    assert (tmp_path / "anew-1").exists()
    for report in together(2, short, tmp_path / "second", tmp_path, 2):
        assert report["per_device_train_batch_size"] == 4
        assert report["gradient_accumulation_steps"] == 2
        assert report["steps"] == 3
        assert "out of memory at step 2: per_device_train_batch_size 8 -> 4" in report["notes"][0]
