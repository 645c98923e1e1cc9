"""The one connection that writes to a SQLite file: groups what waits into one transaction.

A second writer, or a second process that checkpoints, can corrupt the file under SQLite before
3.51.3 (https://sqlite.org/wal.html, the WAL-reset bug), so there is one thread with one connection,
and a lock file keeps other processes out.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Full, Queue
from typing import Any, TypeVar

from hub_trainer.errors import UsageError
from hub_trainer.ratings.rating_records import RatingRefused

Answer = TypeVar("Answer")
Work = Callable[[sqlite3.Connection], Any]
MAX_GROUP = 256
LATER = "Try again shortly."
SETTINGS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "mmap_size=0",
    "secure_delete=ON",
)


class Writer:
    """Carries out work in its own thread; a future is set only once its work is on the disk."""

    def __init__(self, path: Path, *, max_waiting: int = 2_000) -> None:
        self._lock = _lock_file(path)
        self._queue: Queue[tuple[Work, Future[Any]] | None] = Queue(max_waiting)
        self._gate = threading.Lock()
        self._closed = False
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(path, opened), name="ratings-writer", daemon=True
        )
        self._thread.start()
        try:
            opened.result()
        except sqlite3.Error:
            os.close(self._lock)
            raise

    def submit(self, work: Callable[[sqlite3.Connection], Answer]) -> "Future[Answer]":
        """Queue `work`; it runs in a savepoint of its own. Raises RatingRefused when full."""
        future: Future[Answer] = Future()
        with self._gate:
            if self._closed:
                raise RatingRefused("The server is stopping.", reason="busy", do=LATER)
            try:
                self._queue.put_nowait((work, future))
            except Full:
                raise RatingRefused(
                    "Too many people are rating at once.", reason="busy", do=LATER
                ) from None
        return future

    def close(self) -> None:
        """Finish what waits, then let go of the file."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        os.close(self._lock)

    def _run(self, path: Path, opened: "Future[None]") -> None:
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            for setting in SETTINGS:
                connection.execute(f"PRAGMA {setting}")
        except sqlite3.Error as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        while group := self._next_group():
            _carry_out(connection, group)
        connection.close()

    def _next_group(self) -> list[tuple[Work, "Future[Any]"]]:
        """All that waits, at least one; empty once the writer is closed and nothing waits."""
        first = self._queue.get()
        if first is None:
            return []
        group = [first]
        while len(group) < MAX_GROUP and not self._queue.empty():
            following = self._queue.get()
            if following is None:
                self._queue.put(None)
                break
            group.append(following)
        return group


def _carry_out(connection: sqlite3.Connection, group: list[tuple[Work, "Future[Any]"]]) -> None:
    """One transaction for the group; an error in one work undoes that one only."""
    group = [(work, future) for work, future in group if future.set_running_or_notify_cancel()]
    settle: list[Callable[[], None]] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for work, future in group:
            settle.append(_attempt(connection, work, future))
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for _, future in group:
            future.set_exception(error)
        return
    for resolve in settle:
        resolve()


def _attempt(
    connection: sqlite3.Connection, work: Work, future: "Future[Any]"
) -> Callable[[], None]:
    """Run one work in a savepoint; returns what tells its caller, for after the commit."""
    connection.execute("SAVEPOINT one")
    try:
        answer = work(connection)
    except Exception as error:
        failure = error
        if not connection.in_transaction:  # a full disk undoes the whole transaction by itself
            raise
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return lambda: future.set_exception(failure)
    connection.execute("RELEASE one")
    return lambda: future.set_result(answer)


def _lock_file(path: Path) -> int:
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UsageError(
            "Another process keeps its ratings in this folder.",
            where=str(path.parent),
            do="Stop it, or set RATINGS_DIR to another folder.",
        ) from None
    return descriptor
