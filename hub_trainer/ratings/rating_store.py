"""The SQLite file of a Space: every generation, every rating, and which of them have been sent."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from hub_trainer.artifacts import sync_folder
from hub_trainer.errors import DataError, UsageError
from hub_trainer.ratings.rating_records import (
    Generation,
    NewRating,
    Pair,
    RatedGeneration,
    RatingRefused,
    facet_of,
)
from hub_trainer.ratings.sql_tables import prepare
from hub_trainer.ratings.writer import Writer

Answer = TypeVar("Answer")
FILE = "ratings.sqlite3"
HOUR_SECONDS = 3600.0

GENERATION = (
    "g.generation_id, g.fields, g.media_column, m.content, g.row_id, g.model, g.prediction,"
    " g.scores, g.rater, g.created, g.sampling"
)
RATED = f"""
SELECT r.seq, r.rating_id, r.generation_id, r.rater, r.rater_tier, r.kind, r.answer, r.consent,
  r.created, r.pair_id, r.source, p.left_id, p.right_id, {GENERATION}
FROM rating r JOIN generation g USING (generation_id)
LEFT JOIN media m ON m.sha256 = g.media_sha256
LEFT JOIN pair p USING (pair_id)
WHERE r.seq BETWEEN ? AND ? ORDER BY r.seq
"""  # noqa: S608 - names of columns
ONE = (
    f"SELECT {GENERATION} FROM generation g"  # noqa: S608 - names of columns
    " LEFT JOIN media m ON m.sha256 = g.media_sha256 WHERE g.generation_id = ?"
)


@dataclass(frozen=True)
class Shard:
    """A run of ratings that is sent as one file, first and last `seq` included."""

    first: int
    last: int


@dataclass(frozen=True)
class Counts:
    """Ratings kept, and how many of them are not on the Hub yet."""

    kept: int
    waiting: int


class RatingStore:
    """Ratings in a folder that one process owns; an answer means that it is on the disk."""

    def __init__(self, folder: Path, *, max_waiting: int = 2_000) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / FILE
        try:
            self._writer = Writer(self.path, max_waiting=max_waiting)
        except sqlite3.DatabaseError as error:
            raise _unreadable(self.path, error) from error
        try:
            self.epoch: str = self._write(prepare)
        except sqlite3.DatabaseError as error:
            self.close()
            raise _unreadable(self.path, error) from error
        sync_folder(folder)

    def close(self) -> None:
        """Finish what waits and let go of the file."""
        self._writer.close()

    # --- what people do

    def add_generation(self, generation: Generation) -> "Future[None]":
        """Keep a prediction, so that it can be rated."""
        return self._writer.submit(lambda connection: _insert_generation(connection, generation))

    def add_pair(self, pair: Pair, sides: tuple[Generation, Generation]) -> "Future[None]":
        """Keep two answers that are shown side by side, together or not at all."""
        return self._writer.submit(lambda connection: _insert_pair(connection, pair, sides))

    def add_rating(self, rating: NewRating, *, max_per_hour: int) -> "Future[str]":
        """Keep a rating; the future gives the id under which it is kept.

        The same rating of the same rater again is the one that is there. Another one of the same
        rater supersedes it. Fails with RatingRefused for a generation that is not the rater's, and
        over `max_per_hour`.
        """
        return self._writer.submit(lambda c: _insert_rating(c, rating, max_per_hour=max_per_hour))

    def generation(self, generation_id: str) -> Generation | None:
        """A generation, None when it was never made or was forgotten."""
        found = self._read(ONE, (generation_id,))
        return _generation(found[0]) if found else None

    def pair(self, pair_id: str) -> Pair | None:
        """A pair, None when it was never shown or was forgotten."""
        found = self._read(
            "SELECT pair_id, left_id, right_id FROM pair WHERE pair_id = ?", (pair_id,)
        )
        return Pair(*found[0]) if found else None

    def preferred(self, pair_id: str) -> str | None:
        """Id of the side of a pair that its rater prefers, None while it is not rated."""
        found = self._read(
            "SELECT generation_id FROM rating WHERE pair_id = ? AND superseded_by IS NULL"
            " AND facet = 'opinion'",
            (pair_id,),
        )
        return str(found[0][0]) if found else None

    def forget_unrated(self, before: float) -> int:
        """Delete generations made before then that nobody rated; returns how many."""
        return self._write(lambda connection: _forget_unrated(connection, before))

    # --- what is sent

    def assert_for(self, purpose: str) -> None:
        """Raise UsageError when the file's ratings were given for something else.

        A rater has agreed to one dataset, and a row of one task is no row of another.
        """
        earlier = self._write(lambda connection: _purpose(connection, purpose))
        if earlier != purpose:
            raise UsageError(
                "The ratings in this file were given for another dataset or task.",
                where=str(self.path),
                got=f"{earlier}, not {purpose}",
                do="Move the file aside: what was not sent stays in it, and a new one is made.",
            )

    def next_shard(self, *, max_rows: int, max_bytes: int) -> Shard | None:
        """The oldest ratings that are not sent, as a run that stays the same after a crash."""
        return self._write(lambda c: _next_shard(c, max_rows=max_rows, max_bytes=max_bytes))

    def rated(self, shard: Shard) -> list[RatedGeneration]:
        """The ratings of a shard in order."""
        return [self._rated(row) for row in self._read(RATED, (shard.first, shard.last))]

    def mark_sent(self, shard: Shard, commit_sha: str) -> None:
        """Remember that the Hub has a shard."""
        self._write(
            lambda connection: (
                connection.execute(
                    "UPDATE shard SET commit_sha = ? WHERE first = ?", (commit_sha, shard.first)
                ).rowcount
            )
        )

    def settle(self, remote: Sequence[Shard], commit_sha: str) -> None:
        """Take over what the Hub says it has: those are sent, all others are not."""
        self._write(lambda connection: _settle(connection, remote, commit_sha))

    def counts(self) -> Counts:
        """How many ratings there are, and how many wait."""
        [(kept, begun, loose)] = self._read(
            "SELECT (SELECT count(*) FROM rating),"
            " (SELECT count(*) FROM rating r JOIN shard s ON r.seq BETWEEN s.first AND s.last"
            "  WHERE s.commit_sha IS NULL),"
            " (SELECT count(*) FROM rating"
            "  WHERE seq > (SELECT coalesce(max(last), 0) FROM shard))"
        )
        return Counts(kept, begun + loose)

    def _rated(self, found: tuple[Any, ...]) -> RatedGeneration:
        seq, rating, (left_id, right_id) = found[0], NewRating(*found[1:11]), found[11:13]
        generation = _generation(found[13:])
        if left_id is None:
            return RatedGeneration(seq, rating, generation)
        is_left = left_id == rating.generation_id
        rival = self.generation(right_id if is_left else left_id)
        return RatedGeneration(seq, rating, generation, rival, "right" if is_left else "left")

    def _write(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        return self._writer.submit(work).result()

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _reader(self.path) as connection:
            return connection.execute(query, values).fetchall()


def _unreadable(path: Path, error: sqlite3.DatabaseError) -> DataError:
    return DataError(
        "The file of ratings cannot be read.",
        where=str(path),
        got=str(error),
        do="Move it aside; what was sent is on the Hub, and a new file will be made.",
    )


@contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can neither write nor checkpoint."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        yield connection


def _purpose(connection: sqlite3.Connection, purpose: str) -> str:
    """What the ratings are for, as the first to ask has said."""
    connection.execute("INSERT INTO meta VALUES ('purpose', ?) ON CONFLICT DO NOTHING", (purpose,))
    [(first,)] = connection.execute("SELECT value FROM meta WHERE key = 'purpose'").fetchall()
    return str(first)


def _insert_generation(connection: sqlite3.Connection, generation: Generation) -> None:
    media = [(name, value) for name, value in generation.row.items() if isinstance(value, bytes)]
    assert len(media) <= 1
    name, content = media[0] if media else (None, None)
    digest = hashlib.sha256(content).hexdigest() if content is not None else None
    if digest is not None:
        connection.execute("INSERT OR IGNORE INTO media VALUES (?, ?)", (digest, content))
    fields = {key: value for key, value in generation.row.items() if key != name}
    connection.execute(
        "INSERT INTO generation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            generation.generation_id,
            _to_json(fields),
            name,
            digest,
            generation.row_id,
            generation.model,
            generation.prediction,
            _to_json(dict(generation.scores)),
            generation.rater,
            generation.created,
            None if generation.sampling is None else _to_json(dict(generation.sampling)),
        ),
    )


def _insert_pair(
    connection: sqlite3.Connection, pair: Pair, sides: tuple[Generation, Generation]
) -> None:
    assert [side.generation_id for side in sides] == [pair.left_id, pair.right_id]
    for side in sides:
        _insert_generation(connection, side)
    connection.execute(
        "INSERT INTO pair VALUES (?, ?, ?)", (pair.pair_id, pair.left_id, pair.right_id)
    )


def _insert_rating(connection: sqlite3.Connection, rating: NewRating, *, max_per_hour: int) -> str:
    _check_rater(connection, rating)
    current = connection.execute(
        "SELECT rating_id, kind, answer, generation_id FROM rating"
        " WHERE rater = ? AND subject = ? AND facet = ? AND superseded_by IS NULL",
        (rating.rater, rating.subject, facet_of(rating.kind)),
    ).fetchone()
    if current and current[1:] == (rating.kind, rating.answer, rating.generation_id):
        return str(current[0])
    _check_rate(connection, rating, max_per_hour)
    if current:
        connection.execute(
            "UPDATE rating SET superseded_by = ? WHERE rating_id = ?",
            (rating.rating_id, current[0]),
        )
    values = {**vars(rating), "subject": rating.subject, "facet": facet_of(rating.kind)}
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO rating ({columns}) VALUES ({marks})",  # noqa: S608 - names of fields
        tuple(values.values()),
    )
    return rating.rating_id


def _check_rater(connection: sqlite3.Connection, rating: NewRating) -> None:
    """Only who asked may rate."""
    asked = connection.execute(
        "SELECT rater FROM generation WHERE generation_id = ?", (rating.generation_id,)
    ).fetchone()
    if asked is None:
        raise RatingRefused(
            "This prediction is not known here any more.", reason="unknown", do="Ask again."
        )
    if asked[0] != rating.rater:
        raise RatingRefused(
            "This prediction was made for somebody else.",
            reason="rater",
            do="Ask again, then rate.",
        )


def _check_rate(connection: sqlite3.Connection, rating: NewRating, max_per_hour: int) -> None:
    [(recent,)] = connection.execute(
        "SELECT count(*) FROM rating WHERE coalesce(source, rater) = ? AND created > ?",
        (rating.source or rating.rater, rating.created - HOUR_SECONDS),
    ).fetchall()
    if recent >= max_per_hour:
        raise RatingRefused(
            f"You have sent {recent} ratings within an hour, and {max_per_hour} is the limit.",
            reason="limit",
            do="Come back in a while. What you sent is kept.",
        )


def _forget_unrated(connection: sqlite3.Connection, before: float) -> int:
    """Generations that no rating names, by themselves or as the other side of a pair."""
    forgotten = connection.execute(
        "DELETE FROM generation WHERE created < ? AND NOT EXISTS"
        " (SELECT 1 FROM rating r WHERE r.generation_id = generation.generation_id)"
        " AND NOT EXISTS (SELECT 1 FROM pair p JOIN rating r USING (pair_id)"
        "  WHERE generation.generation_id IN (p.left_id, p.right_id))",
        (before,),
    ).rowcount
    if forgotten:
        connection.execute(
            "DELETE FROM media WHERE NOT EXISTS"
            " (SELECT 1 FROM generation g WHERE g.media_sha256 = media.sha256)"
        )
    return forgotten


def _next_shard(connection: sqlite3.Connection, *, max_rows: int, max_bytes: int) -> Shard | None:
    """A shard that was begun, or a new one; its bounds are on the disk before anything is sent."""
    begun = connection.execute(
        "SELECT first, last FROM shard WHERE commit_sha IS NULL ORDER BY first LIMIT 1"
    ).fetchone()
    if begun:
        return Shard(*begun)
    waiting = connection.execute(
        "SELECT r.seq, length(g.fields) + length(g.prediction) + length(r.answer)"
        " + coalesce(length(m.content), 0)"
        " FROM rating r JOIN generation g USING (generation_id)"
        " LEFT JOIN media m ON m.sha256 = g.media_sha256"
        " WHERE r.seq > (SELECT coalesce(max(last), 0) FROM shard) ORDER BY r.seq LIMIT ?",
        (max_rows,),
    ).fetchall()
    if not waiting:
        return None
    size_bytes, last = 0, waiting[0][0]
    for seq, row_bytes in waiting:
        size_bytes += row_bytes
        if size_bytes > max_bytes and seq != waiting[0][0]:
            break
        last = seq
    connection.execute("INSERT INTO shard VALUES (?, ?, NULL)", (waiting[0][0], last))
    return Shard(waiting[0][0], last)


def _settle(connection: sqlite3.Connection, remote: Sequence[Shard], commit_sha: str) -> None:
    known = {(shard.first, shard.last) for shard in remote}
    for first, last, sent in connection.execute("SELECT * FROM shard").fetchall():
        if ((first, last) in known) != (sent is not None):
            there = commit_sha if (first, last) in known else None
            connection.execute("UPDATE shard SET commit_sha = ? WHERE first = ?", (there, first))


def _generation(found: tuple[Any, ...]) -> Generation:
    (generation_id, fields, media_column, content, row_id, model, prediction) = found[:7]
    scores, rater, created, sampling = found[7:]
    row = json.loads(fields)
    if media_column is not None:
        row[media_column] = content
    return Generation(
        generation_id=generation_id,
        row=row,
        row_id=row_id,
        model=model,
        prediction=prediction,
        scores=json.loads(scores),
        rater=rater,
        created=created,
        sampling=None if sampling is None else json.loads(sampling),
    )


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
