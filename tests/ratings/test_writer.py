"""The writer: groups of work, each on its own, and told only once it is on the disk."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_trainer.ratings.rating_records import RatingRefused
from hub_trainer.ratings.writer import Writer


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path / "file.sqlite3", max_waiting=3)
    writer.submit(lambda c: c.execute("CREATE TABLE t (x UNIQUE)")).result()
    yield writer
    writer.close()


def _hold(writer: Writer) -> threading.Event:
    """Keep the writer busy until the event is set."""
    begun, release = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        begun.set()
        release.wait(10)

    writer.submit(wait)
    begun.wait(10)
    return release


def _insert(writer: Writer, value: int) -> object:
    return writer.submit(lambda c: c.execute("INSERT INTO t VALUES (?)", (value,)).rowcount)


def _values(writer: Writer) -> list[int]:
    return [x for (x,) in writer.submit(lambda c: c.execute("SELECT x FROM t").fetchall()).result()]


def test_group_when_one_work_fails_keeps_the_others(writer: Writer) -> None:
    release = _hold(writer)
    futures = [_insert(writer, value) for value in (1, 1, 2)]
    release.set()
    assert futures[0].result() == 1  # type: ignore[attr-defined]
    with pytest.raises(sqlite3.IntegrityError):
        futures[1].result()  # type: ignore[attr-defined]
    assert futures[2].result() == 1  # type: ignore[attr-defined]
    assert _values(writer) == [1, 2]


def test_submit_when_the_queue_is_full_is_refused_and_not_lost(writer: Writer) -> None:
    release = _hold(writer)
    futures = [_insert(writer, value) for value in range(3)]
    with pytest.raises(RatingRefused, match="Too many people") as refused:
        _insert(writer, 9)
    assert refused.value.reason == "busy"
    release.set()
    assert [future.result() for future in futures] == [1, 1, 1]  # type: ignore[attr-defined]
    assert _values(writer) == [0, 1, 2]


def test_submit_when_closed_is_refused(writer: Writer) -> None:
    writer.close()
    with pytest.raises(RatingRefused, match="is stopping"):
        _insert(writer, 1)


def test_close_when_work_waits_carries_it_out(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "file.sqlite3")
    writer.submit(lambda c: c.execute("CREATE TABLE t (x)"))
    futures = [_insert(writer, value) for value in range(20)]
    writer.close()
    assert all(future.result() == 1 for future in futures)  # type: ignore[attr-defined]


def test_work_when_its_caller_has_gone_is_left_out_and_the_writer_goes_on(writer: Writer) -> None:
    release = _hold(writer)
    gone = _insert(writer, 1)
    assert gone.cancel()  # type: ignore[attr-defined]
    release.set()
    assert _insert(writer, 2).result() == 1  # type: ignore[attr-defined]
    assert _values(writer) == [2]


def test_group_when_the_disk_is_full_fails_as_a_whole_and_the_writer_goes_on(
    writer: Writer,
) -> None:
    [(pages,)] = writer.submit(lambda c: c.execute("PRAGMA page_count").fetchall()).result()
    writer.submit(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall()).result()
    release = _hold(writer)
    small = _insert(writer, 1)
    large = writer.submit(lambda c: c.execute("INSERT INTO t VALUES (zeroblob(100000))").rowcount)
    release.set()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        large.result()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        small.result()  # type: ignore[attr-defined]
    assert _values(writer) == []
    assert _insert(writer, 3).result() == 1  # type: ignore[attr-defined]
