"""Link between a run and the training processes that a launcher started for it.

Launchers do not hand SIGTERM on: accelerate dies of it at once, and torchrun kills its processes
after 30 s. So the launcher is never told. The run leaves word in a folder; each training process
looks there, sends itself the signal, and says there that it has stopped.
"""

import fcntl
import json
import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hub_trainer.errors import ExitCode, Interrupted

log = logging.getLogger(__name__)

LINK = "HUB_TRAINER_LINK"
"""Variable of the launched processes: the folder."""
STOP, ALIVE, STOPPED = "stop", "alive", "stopped"
LOOK_SECONDS = 0.5
STOP_SECONDS = 300.0
"""For the step in progress and its checkpoint; then the processes are ended."""
KILL_SECONDS = 10.0
"""Until a killed process is gone; one that the system holds is not waited for any longer."""
APART_SECONDS = 1.0
"""Two signals within it are one that came on two ways."""
UNTOUCHED = ("sh", "-c", 'trap "" TERM; exec "$@"', "launcher")
"""Ignoring is inherited by the launcher; the training processes set a handler of their own."""


@dataclass(frozen=True)
class Ending:
    """How the processes of a launcher ended."""

    code: int
    """Exit code of the launcher."""
    was_told: bool
    """Whether this process was asked to stop meanwhile."""
    by_force: bool
    """Whether the processes took longer than they may, and were killed."""
    stopped: tuple[Interrupted, ...]
    """What the processes said that stopped at a signal, the first rank first."""


def run_launcher(command: Sequence[str], environment: Mapping[str, str]) -> Ending:
    """Run a launcher to its end; SIGTERM and SIGINT to this process stop what it has launched.

    Nothing that it has launched is left, however this ends.
    """
    with tempfile.TemporaryDirectory(prefix="hub-trainer-") as name:
        link = Path(name)
        with (link / ALIVE).open("w") as alive, _stop_wish(link / STOP) as wish:
            # The system lets go of the lock when this process is gone, by which the others know.
            fcntl.flock(alive, fcntl.LOCK_EX)
            process = subprocess.Popen(
                [*UNTOUCHED, *command],
                env={**os.environ, **environment, LINK: name},
                start_new_session=True,  # out of reach of a terminal's Ctrl-C
            )
            try:
                by_force = _wait(process, link, wish)
            finally:
                _kill(process, link)
        told = [_read(path) for path in sorted(link.glob(f"{STOPPED}-*"))]
    return Ending(process.returncode, wish.at is not None, by_force, tuple(told))


class _StopWish:
    """A signal that this process was sent, handed on by a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.at: float | None = None
        self.is_urgent = False

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """The first signal asks for a checkpoint; another Ctrl-C asks for the end."""
        del frame
        now = time.monotonic()
        if self.at is None:
            self.at = now
            self._file.touch()
        elif signum == signal.SIGINT and now - self.at > APART_SECONDS:
            self.is_urgent = True

    @property
    def is_over(self) -> bool:
        """Whether the processes had the time that they may take."""
        late = self.at is not None and time.monotonic() - self.at > STOP_SECONDS
        return self.is_urgent or late


@contextmanager
def _stop_wish(file: Path) -> Iterator[_StopWish]:
    wish = _StopWish(file)
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {one: signal.signal(one, wish.receive) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield wish
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _wait(process: "subprocess.Popen[bytes]", link: Path, wish: _StopWish) -> bool:
    """Wait for the end of all; whether their time was up before."""
    was_told = False
    while process.poll() is None or _members(link):
        if wish.at is not None and not was_told:
            was_told = True
            log.warning(
                "Stopping: the step in progress is finished and a checkpoint written, within %d s."
                " Ctrl-C once more ends it at once.",
                STOP_SECONDS,
            )
        if process.poll() is not None and wish.at is None:
            # The launcher is gone and has left processes behind.
            wish.receive(signal.SIGTERM, None)
        if wish.is_over:
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=LOOK_SECONDS)
        if process.poll() is not None:
            time.sleep(LOOK_SECONDS / 10)
    return False


def _kill(process: "subprocess.Popen[bytes]", link: Path) -> None:
    """Kill the launcher's group and what has left it, as torchrun's processes do."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    until = time.monotonic() + KILL_SECONDS
    while (left := _members(link)) and time.monotonic() < until:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS / 10)
    process.wait()


def _members(link: Path) -> list[int]:
    """Processes that name the folder in their environment; none where there is no /proc."""
    mark, found = f"{LINK}={link}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


@contextmanager
def linked_to_run(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Within a launched process: stop when its run is told to, or is gone.

    A stop is said to the run and raised no further: a launcher would take an exit code other than
    0 for a failure, kill the other processes and print a traceback.
    """
    if LINK not in environment:
        yield
        return
    link, ended = Path(environment[LINK]), threading.Event()
    thread = threading.Thread(target=_watch, args=(link, ended), name="run-link", daemon=True)
    thread.start()
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        rank = int(environment.get("RANK", "0"))
        _write(link / f"{STOPPED}-{rank:06d}", error)
    finally:
        ended.set()
        thread.join()


def _watch(link: Path, ended: threading.Event) -> None:
    # Not at once: a signal while this thread is being started would be lost on its way.
    is_to_stop = False
    while not is_to_stop:
        if ended.wait(LOOK_SECONDS):
            return
        is_to_stop = _is_to_stop(link)
    os.kill(os.getpid(), signal.SIGTERM)
    if not ended.wait(STOP_SECONDS):
        os._exit(ExitCode.INTERRUPTED)


def _is_to_stop(link: Path) -> bool:
    if (link / STOP).exists():
        return True
    try:
        with (link / ALIVE).open() as alive:
            fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _write(path: Path, error: BaseException) -> None:
    if not isinstance(error, Interrupted):
        error = Interrupted("Interrupted.", do="Run the same command again to go on.")
    told = {"what": error.what, "where": error.where, "got": error.got, "do": error.do}
    with suppress(FileNotFoundError):  # the run is gone, and nobody reads it
        path.write_text(json.dumps(told), encoding="utf-8")


def _read(path: Path) -> Interrupted:
    return Interrupted(**json.loads(path.read_text(encoding="utf-8")))
