"""A run stops the processes of its launcher: at one step, within a time, and leaves none."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_trainer.errors import Interrupted, TrainingError
from hub_trainer.launch import launch_train, run_link
from hub_trainer.launch.run_link import LINK, STOP, linked_to_run

REPO = Path(__file__).parents[1]
TRAINS = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
from hub_trainer.errors import Interrupted
from hub_trainer.finetune.interrupts import stop_on_sigterm
from hub_trainer.launch.run_link import linked_to_run
with linked_to_run(), stop_on_sigterm() as stop:
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
    while not stop.received:
        time.sleep(0.05)
    raise Interrupted("It is on disk.", where="step " + sys.argv[2])
"""
DEAF = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(600)
"""
LAUNCHER = """
import os, subprocess, sys
code, *files = sys.argv[1:]
started = [
    subprocess.Popen(
        [sys.executable, "-c", code, file, str(rank)],
        env={**os.environ, "RANK": str(rank)},
        start_new_session=True,
    )
    for rank, file in enumerate(files)
]
raise SystemExit(max(abs(one.wait()) for one in started))
"""
FORGETFUL = LAUNCHER.replace("raise SystemExit(max(abs(one.wait()) for one in started))", "")


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Launch two processes of some code, each in a session of its own, as torchrun does."""
    monkeypatch.setenv("PYTHONPATH", str(REPO))

    def start(code: str, launcher: str = LAUNCHER) -> Path:
        files = [str(tmp_path / name) for name in "ab"]
        command = [sys.executable, "-c", launcher, code, *files]
        monkeypatch.setattr("hub_trainer.launch.train_command", lambda *a: (command, {}))
        launch_train(tmp_path / "two.yaml", [])
        return tmp_path

    return start


def _signal_when_both_run(folder: Path, *numbers: signal.Signals) -> threading.Thread:
    def send() -> None:
        while not all((folder / name).exists() for name in "ab"):
            time.sleep(0.05)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(run_link.APART_SECONDS + 0.2)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def _assert_none_left(folder: Path) -> None:
    assert not [name for name in "ab" if _runs(int((folder / name).read_text()))]
    assert not list(folder.glob("hub-trainer-*"))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_when_signalled_then_its_processes_stop_and_say_where(
    tmp_path: Path, launch: Callable[..., Path], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    sender = _signal_when_both_run(tmp_path, number)
    with pytest.raises(Interrupted, match="It is on disk") as caught:
        launch(TRAINS)
    sender.join()
    assert caught.value.where == "step 0"
    assert signal.getsignal(number) is before
    _assert_none_left(tmp_path)


def test_run_when_its_processes_do_not_stop_then_they_are_ended(
    tmp_path: Path, launch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_link, "STOP_SECONDS", 1.0)
    sender = _signal_when_both_run(tmp_path, signal.SIGTERM)
    with pytest.raises(Interrupted, match="ended before they had stopped") as caught:
        launch(DEAF)
    sender.join()
    assert "goes on from the last checkpoint" in str(caught.value)
    _assert_none_left(tmp_path)


def test_run_when_interrupted_twice_then_it_does_not_wait(
    tmp_path: Path, launch: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    sender = _signal_when_both_run(tmp_path, signal.SIGINT, signal.SIGINT)
    with pytest.raises(Interrupted, match="ended before they had stopped"):
        launch(DEAF)
    sender.join()
    assert "Ctrl-C once more ends it at once." in caplog.text
    _assert_none_left(tmp_path)


def test_run_when_its_launcher_goes_first_then_the_processes_stop_and_none_is_left(
    tmp_path: Path, launch: Callable[..., Path]
) -> None:
    with pytest.raises(Interrupted, match=r"It is on disk|Interrupted\."):
        launch(TRAINS, FORGETFUL)
    _assert_none_left(tmp_path)


def test_run_when_told_after_training_then_no_stage_follows(
    tmp_path: Path, launch: Callable[..., Path]
) -> None:
    done = DEAF.replace("600", "1")
    sender = _signal_when_both_run(tmp_path, signal.SIGTERM)
    with pytest.raises(Interrupted, match="Interrupted when training had ended"):
        launch(done)
    sender.join()


def test_run_when_a_process_fails_after_the_signal_then_it_is_no_stop(
    tmp_path: Path, launch: Callable[..., Path]
) -> None:
    fails = TRAINS.replace("raise Interrupted(", "raise SystemExit(3) #")
    sender = _signal_when_both_run(tmp_path, signal.SIGTERM)
    with pytest.raises(TrainingError, match="their messages stand above") as caught:
        launch(fails)
    sender.join()
    assert caught.value.got == "exit code 3"


def test_processes_when_the_run_is_killed_then_they_stop_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = (
        "import sys; from hub_trainer.launch.run_link import run_launcher;"
        "run_launcher([sys.executable, '-c', *sys.argv[1:]], {})"
    )
    files = [str(tmp_path / name) for name in "ab"]
    process = subprocess.Popen(
        [sys.executable, "-c", run, LAUNCHER, TRAINS, *files],
        env={**os.environ, "PYTHONPATH": str(REPO), "TMPDIR": str(tmp_path)},
    )
    until = time.monotonic() + 30
    while not all(Path(file).exists() for file in files):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.wait()
    pids = [int(Path(file).read_text()) for file in files]
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_process_when_no_run_has_launched_it_then_an_interruption_is_raised(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt), linked_to_run({}):
        raise KeyboardInterrupt
    (tmp_path / STOP).touch()
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    with linked_to_run({LINK: str(tmp_path)}):
        assert told.wait(5)
    signal.signal(signal.SIGTERM, before)
