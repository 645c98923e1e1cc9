"""The SQLite file of a Space: every generation, every rating, and which of them have been sent."""

import hashlib
import json
import secrets
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
from hub_trainer.ratings.records import Generation, NewRating, RatedGeneration, RatingRefused
from hub_trainer.ratings.writer import Writer

Answer = TypeVar("Answer")
FILE = "ratings.sqlite3"
HOUR_SECONDS = 3600.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS media (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS generation (
  generation_id TEXT PRIMARY KEY,
  fields TEXT NOT NULL,
  media_column TEXT,
  media_sha256 TEXT REFERENCES media (sha256),
  row_id TEXT NOT NULL,
  model TEXT NOT NULL,
  prediction TEXT NOT NULL,
  scores TEXT NOT NULL,
  rater TEXT NOT NULL,
  created REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS generation_media ON generation (media_sha256);
CREATE TABLE IF NOT EXISTS rating (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  rating_id TEXT NOT NULL UNIQUE,
  generation_id TEXT NOT NULL REFERENCES generation (generation_id),
  rater TEXT NOT NULL,
  rater_tier TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('right', 'wrong')),
  answer TEXT NOT NULL,
  consent TEXT NOT NULL,
  created REAL NOT NULL,
  superseded_by TEXT
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS current_rating
  ON rating (rater, generation_id) WHERE superseded_by IS NULL;
CREATE INDEX IF NOT EXISTS rating_generation ON rating (generation_id);
CREATE INDEX IF NOT EXISTS rating_by_time ON rating (rater, created);
CREATE TABLE IF NOT EXISTS shard (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  commit_sha TEXT
) STRICT;
"""

RATED = """
SELECT r.seq, r.rating_id, r.generation_id, r.rater, r.rater_tier, r.kind, r.answer, r.consent,
  r.created, g.fields, g.media_column, m.content, g.row_id, g.model, g.prediction, g.scores,
  g.rater, g.created
FROM rating r JOIN generation g USING (generation_id)
LEFT JOIN media m ON m.sha256 = g.media_sha256
WHERE r.seq BETWEEN ? AND ? ORDER BY r.seq
"""


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
            self.epoch: str = self._write(_prepare)
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

    def add_rating(self, rating: NewRating, *, max_per_hour: int) -> "Future[str]":
        """Keep a rating; the future gives the id under which it is kept.

        The same rating of the same rater again is the one that is there. Another one of the same
        rater supersedes it. Fails with RatingRefused for a generation that is not the rater's, and
        over `max_per_hour`.
        """
        return self._writer.submit(lambda c: _insert_rating(c, rating, max_per_hour=max_per_hour))

    def generation(self, generation_id: str) -> Generation | None:
        """A generation, None when it was never made or was forgotten."""
        found = self._read(
            "SELECT g.fields, g.media_column, m.content, g.row_id, g.model, g.prediction, g.scores,"
            " g.rater, g.created FROM generation g LEFT JOIN media m ON m.sha256 = g.media_sha256"
            " WHERE g.generation_id = ?",
            (generation_id,),
        )
        return _generation(generation_id, found[0]) if found else None

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
        return [_rated(row) for row in self._read(RATED, (shard.first, shard.last))]

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


def _prepare(connection: sqlite3.Connection) -> str:
    """Make the tables and the epoch: a random name of this very file, never given twice."""
    [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO meta VALUES ('epoch', ?) ON CONFLICT DO NOTHING", (secrets.token_hex(8),)
    )
    [(epoch,)] = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchall()
    return str(epoch)


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
        "INSERT INTO generation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ),
    )


def _insert_rating(connection: sqlite3.Connection, rating: NewRating, *, max_per_hour: int) -> str:
    key = (rating.rater, rating.generation_id)
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
    current = connection.execute(
        "SELECT rating_id, kind, answer FROM rating"
        " WHERE rater = ? AND generation_id = ? AND superseded_by IS NULL",
        key,
    ).fetchone()
    if current and current[1:] == (rating.kind, rating.answer):
        return str(current[0])
    _check_rate(connection, rating, max_per_hour)
    if current:
        connection.execute(
            "UPDATE rating SET superseded_by = ? WHERE rating_id = ?",
            (rating.rating_id, current[0]),
        )
    connection.execute(
        "INSERT INTO rating (rating_id, generation_id, rater, rater_tier, kind, answer, consent,"
        " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            rating.rating_id,
            rating.generation_id,
            rating.rater,
            rating.rater_tier,
            rating.kind,
            rating.answer,
            rating.consent,
            rating.created,
        ),
    )
    return rating.rating_id


def _check_rate(connection: sqlite3.Connection, rating: NewRating, max_per_hour: int) -> None:
    [(recent,)] = connection.execute(
        "SELECT count(*) FROM rating WHERE rater = ? AND created > ?",
        (rating.rater, rating.created - HOUR_SECONDS),
    ).fetchall()
    if recent >= max_per_hour:
        raise RatingRefused(
            f"You have sent {recent} ratings within an hour, and {max_per_hour} is the limit.",
            reason="limit",
            do="Come back in a while. What you sent is kept.",
        )


def _forget_unrated(connection: sqlite3.Connection, before: float) -> int:
    forgotten = connection.execute(
        "DELETE FROM generation WHERE created < ? AND NOT EXISTS"
        " (SELECT 1 FROM rating r WHERE r.generation_id = generation.generation_id)",
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
        "SELECT r.seq, length(g.fields) + coalesce(length(m.content), 0)"
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


def _rated(row: tuple[Any, ...]) -> RatedGeneration:
    return RatedGeneration(row[0], NewRating(*row[1:9]), _generation(row[2], row[9:]))


def _generation(generation_id: str, found: tuple[Any, ...]) -> Generation:
    fields, media_column, content, row_id, model, prediction, scores, rater, created = found
    row = json.loads(fields)
    if media_column is not None:
        row[media_column] = content
    return Generation(
        generation_id, row, row_id, model, prediction, json.loads(scores), rater, created
    )


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
