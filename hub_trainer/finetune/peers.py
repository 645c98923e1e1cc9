"""Processes of one run watch each other: one that is gone or fails takes the others down.

A process that waits for a lost one in an exchange of gradients waits half an hour, and by then
nobody knows for what. A thread of each tells the others every second that it is alive, through the
store that they met at.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from torch.distributed import DistBackendError, PrefixStore, TCPStore

from hub_trainer.errors import ExitCode, Interrupted, laid_out

SILENT_SECONDS = 20.0
"""Without a sign for so long, a process is gone."""
LOOK_SECONDS = 2.0
"""The most that counts between two looks, which are a second apart."""
GRACE_SECONDS = 3.0
"""For a process that failed as well to say so itself."""
ATTEMPT = "TORCHELASTIC_RESTART_COUNT"
"""Under a launcher, processes of one attempt meet each other and none of another."""


@dataclass
class Peers:
    """This process's view of the others."""

    store: Any
    rank: int
    count: int
    ended: threading.Event = field(default_factory=threading.Event)

    def fail(self, error: BaseException) -> None:
        """Tell the others why this process stops."""
        told = str(error).splitlines() or [type(error).__name__]
        self._tell("failed", f"Process {self.rank} of {self.count} stopped: {' '.join(told)}")

    def done(self) -> None:
        """Tell the others that no sign of this process is to be expected any more."""
        self._tell(f"done-{self.rank}", "1")

    def _tell(self, key: str, value: str) -> None:
        # Where the one that holds the store has ended before, nobody is left to be told.
        with suppress(RuntimeError):
            self.store.set(key, value)

    def begin_again(self) -> None:
        """Start every process anew, in its place: each goes on from the last checkpoint."""
        self.store.set("again", "1")
        start_anew()

    def watch(self) -> None:
        """Until training has ended: give signs, look for those of the others."""
        beats: dict[int, tuple[bytes, float]] = {}
        looked = time.monotonic()
        try:
            while not self.ended.wait(1.0):
                self.store.set(f"beat-{self.rank}", str(time.time()))
                if self.store.check(["again"]):
                    start_anew()
                if self.store.check(["failed"]):
                    self._go_down(self.store.get("failed").decode())
                looked, before = time.monotonic(), looked
                for silent in self._silent(beats, looked - before):
                    last = beats[silent][0].decode()
                    when = f", the last at {_clock(float(last))}" if last else ", nor any before"
                    self._go_down(
                        f"Process {silent} of {self.count} is gone: no sign of it for"
                        f" {SILENT_SECONDS:.0f} seconds{when}."
                    )
        except RuntimeError as error:
            # The store lives in the launcher or in the first process.
            told = str(error).splitlines()[0]
            self._go_down(f"The first process or the launcher is gone: {told}")

    def _silent(self, beats: dict[int, tuple[bytes, float]], passed: float) -> list[int]:
        """Those without a new sign for too long, so many seconds after the look before."""
        # While this process stood still itself it saw nobody, and that says nothing of them.
        passed = min(passed, LOOK_SECONDS)
        for other in range(self.count):
            key = f"beat-{other}"
            beat = self.store.get(key) if self.store.check([key]) else b""
            last, silence = beats.get(other, (None, 0.0))
            beats[other] = (beat, silence + passed if beat == last else 0.0)
        done = [other for other in beats if self.store.check([f"done-{other}"])]
        return [
            other
            for other, (_, silence) in beats.items()
            if silence > SILENT_SECONDS and other not in done
        ]

    def _go_down(self, why: str) -> None:
        if self.ended.wait(GRACE_SECONDS):
            return
        do = "run the same command again: it goes on from the last checkpoint"
        sys.stderr.write(f"error: {laid_out(why, where=None, got=None, do=do)}\n")
        sys.stderr.flush()
        os._exit(ExitCode.TRAINING)


@contextmanager
def watched_peers(rank: int, count: int) -> Iterator[Peers | None]:
    """Within, the processes of this run watch each other; alone there is nobody to watch."""
    if count == 1:
        yield None
        return
    peers = Peers(_store(), rank, count)
    thread = threading.Thread(target=peers.watch, name="peers", daemon=True)
    thread.start()
    try:
        yield peers
    except Interrupted:
        peers.done()
        raise
    except BaseException as error:
        if is_of_exchange(error):
            # Another process is gone, and the thread will say which.
            thread.join(2 * SILENT_SECONDS + GRACE_SECONDS)
        peers.fail(error)
        raise
    else:
        peers.done()
    finally:
        peers.ended.set()
        thread.join()


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def start_anew() -> None:
    """This process again, by the same command line, as the next attempt."""
    os.environ[ATTEMPT] = str(int(os.environ.get(ATTEMPT, "0")) + 1)
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def is_of_exchange(error: BaseException) -> bool:
    """Whether another process was lost in the middle of an exchange with it."""
    return isinstance(error, DistBackendError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def _store() -> Any:
    """A connection of its own: that of the exchange may be waiting."""
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=SILENT_SECONDS),
    )
    return PrefixStore(f"hub_trainer-peers-{os.environ.get(ATTEMPT, '0')}", store)
