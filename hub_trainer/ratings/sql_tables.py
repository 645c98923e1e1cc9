"""The tables of a Space's SQLite file, and how a file of an earlier version becomes one of ours."""

import secrets
import sqlite3

VERSION = 2
"""`user_version` of a file with these tables: 0 before answers and pairs were kept, 1 before the
source of a rating was."""

TABLES = """
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
  created REAL NOT NULL,
  sampling TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS generation_media ON generation (media_sha256);
CREATE TABLE IF NOT EXISTS pair (
  pair_id TEXT PRIMARY KEY,
  left_id TEXT NOT NULL REFERENCES generation (generation_id) ON DELETE CASCADE,
  right_id TEXT NOT NULL REFERENCES generation (generation_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX IF NOT EXISTS pair_left ON pair (left_id);
CREATE INDEX IF NOT EXISTS pair_right ON pair (right_id);
CREATE TABLE IF NOT EXISTS rating (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  rating_id TEXT NOT NULL UNIQUE,
  generation_id TEXT NOT NULL REFERENCES generation (generation_id),
  rater TEXT NOT NULL,
  rater_tier TEXT NOT NULL,
  kind TEXT NOT NULL,
  answer TEXT NOT NULL,
  consent TEXT NOT NULL,
  created REAL NOT NULL,
  superseded_by TEXT,
  pair_id TEXT REFERENCES pair (pair_id),
  subject TEXT NOT NULL,
  facet TEXT NOT NULL,
  source TEXT
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS current_rating
  ON rating (rater, subject, facet) WHERE superseded_by IS NULL;
CREATE INDEX IF NOT EXISTS rating_generation ON rating (generation_id);
CREATE INDEX IF NOT EXISTS rating_pair ON rating (pair_id);
CREATE INDEX IF NOT EXISTS rating_by_source ON rating (coalesce(source, rater), created);
CREATE TABLE IF NOT EXISTS shard (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  commit_sha TEXT
) STRICT;
"""

SET_ASIDE = (
    "ALTER TABLE generation ADD COLUMN sampling TEXT",
    "DROP INDEX current_rating",
    "DROP INDEX rating_generation",
    "DROP INDEX rating_by_time",
    "ALTER TABLE rating RENAME TO earlier_rating",
)
TAKE_OVER = (
    "INSERT INTO rating (seq, rating_id, generation_id, rater, rater_tier, kind, answer, consent,"
    " created, superseded_by, subject, facet) SELECT seq, rating_id, generation_id, rater,"
    " rater_tier, kind, answer, consent, created, superseded_by, generation_id, 'opinion'"
    " FROM earlier_rating ORDER BY seq",
    "DROP TABLE earlier_rating",
)


def prepare(connection: sqlite3.Connection) -> str:
    """Make or upgrade the tables; returns the epoch, a random name of this very file.

    Raises sqlite3.DatabaseError for a damaged file, and for one of a later version.
    """
    [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    if version > VERSION:
        raise sqlite3.DatabaseError(
            f"a later version of hub_trainer wrote it: format {version}, and {VERSION} is known"
        )
    if version == 1:
        connection.execute("ALTER TABLE rating ADD COLUMN source TEXT")
    upgrade = version == 0 and _has_ratings(connection)
    tables = [statement for statement in TABLES.split(";") if statement.strip()]
    for statement in [*SET_ASIDE, *tables, *TAKE_OVER] if upgrade else tables:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute(
        "INSERT INTO meta VALUES ('epoch', ?) ON CONFLICT DO NOTHING", (secrets.token_hex(8),)
    )
    [(epoch,)] = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchall()
    return str(epoch)


def _has_ratings(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rating'").fetchall()
    return bool(found)
