"""The SQLite database: connections, transactions, schema. Its neighbours hold the queries."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS account(
  id TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('user', 'org')), name TEXT NOT NULL,
  name_ci TEXT NOT NULL UNIQUE, fullname TEXT NOT NULL, email TEXT NOT NULL DEFAULT '',
  new_repos_are_private INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS member(
  org_id TEXT NOT NULL, user_id TEXT NOT NULL, role TEXT NOT NULL, PRIMARY KEY (org_id, user_id));
CREATE TABLE IF NOT EXISTS token(
  id TEXT PRIMARY KEY, user_id TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL, scopes TEXT NOT NULL DEFAULT '[]', created TEXT NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS page_session(
  digest TEXT PRIMARY KEY, token_digest TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS repo(
  id TEXT PRIMARY KEY, type TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  full_ci TEXT NOT NULL, private INTEGER NOT NULL, gated TEXT NOT NULL DEFAULT '',
  disabled INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL, modified TEXT NOT NULL,
  head_sha TEXT NOT NULL DEFAULT '', downloads INTEGER NOT NULL DEFAULT 0,
  next_number INTEGER NOT NULL DEFAULT 1, discussions_disabled INTEGER NOT NULL DEFAULT 0,
  card TEXT NOT NULL DEFAULT '{}', tags TEXT NOT NULL DEFAULT '[]',
  facts TEXT NOT NULL DEFAULT '{}',
  UNIQUE (type, full_ci));
CREATE TABLE IF NOT EXISTS redirect(
  type TEXT NOT NULL, full_ci TEXT NOT NULL, repo_id TEXT NOT NULL, PRIMARY KEY (type, full_ci));
CREATE TABLE IF NOT EXISTS discussion(
  id TEXT PRIMARY KEY, repo_id TEXT NOT NULL, num INTEGER NOT NULL, is_pull INTEGER NOT NULL,
  title TEXT NOT NULL, author TEXT NOT NULL, status TEXT NOT NULL, base TEXT NOT NULL DEFAULT '',
  base_sha TEXT NOT NULL DEFAULT '', merge_sha TEXT NOT NULL DEFAULT '', created TEXT NOT NULL,
  UNIQUE (repo_id, num));
CREATE TABLE IF NOT EXISTS event(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, repo_id TEXT NOT NULL,
  num INTEGER NOT NULL, type TEXT NOT NULL, author TEXT NOT NULL, created TEXT NOT NULL,
  data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_of ON event(repo_id, num);
CREATE TABLE IF NOT EXISTS liked(
  repo_id TEXT NOT NULL, user_id TEXT NOT NULL, created TEXT NOT NULL,
  PRIMARY KEY (repo_id, user_id));
CREATE TABLE IF NOT EXISTS access_request(
  id TEXT PRIMARY KEY, repo_id TEXT NOT NULL, user_id TEXT NOT NULL, status TEXT NOT NULL,
  created TEXT NOT NULL, fields TEXT NOT NULL DEFAULT '{}', reason TEXT NOT NULL DEFAULT '',
  UNIQUE (repo_id, user_id));
CREATE TABLE IF NOT EXISTS collection(
  id TEXT PRIMARY KEY, namespace TEXT NOT NULL, slug TEXT NOT NULL, title TEXT NOT NULL,
  description TEXT NOT NULL, private INTEGER NOT NULL, theme TEXT NOT NULL, updated TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS collection_item(
  id TEXT PRIMARY KEY, collection_id TEXT NOT NULL, type TEXT NOT NULL, item_id TEXT NOT NULL,
  note TEXT NOT NULL, position INTEGER NOT NULL, UNIQUE (collection_id, type, item_id));
CREATE TABLE IF NOT EXISTS webhook(
  id TEXT PRIMARY KEY, user_id TEXT NOT NULL, url TEXT NOT NULL, watched TEXT NOT NULL,
  domains TEXT NOT NULL, secret TEXT NOT NULL, disabled INTEGER NOT NULL DEFAULT 0,
  created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS webhook_job(
  webhook_id TEXT PRIMARY KEY, namespace TEXT NOT NULL, request TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS delivery(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, webhook_id TEXT NOT NULL, body TEXT NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL);
CREATE TABLE IF NOT EXISTS space_setting(
  repo_id TEXT NOT NULL, key TEXT NOT NULL, secret INTEGER NOT NULL, value TEXT NOT NULL,
  description TEXT NOT NULL, updated TEXT NOT NULL, PRIMARY KEY (repo_id, key, secret));
CREATE TABLE IF NOT EXISTS space_runtime(repo_id TEXT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS job(
  id TEXT PRIMARY KEY, namespace TEXT NOT NULL, user_id TEXT NOT NULL, spec TEXT NOT NULL,
  labels TEXT NOT NULL, stage TEXT NOT NULL, message TEXT, created TEXT NOT NULL, started TEXT,
  finished TEXT);
CREATE TABLE IF NOT EXISTS scheduled_job(
  id TEXT PRIMARY KEY, namespace TEXT NOT NULL, user_id TEXT NOT NULL, request TEXT NOT NULL,
  schedule TEXT NOT NULL, suspend INTEGER NOT NULL, concurrency INTEGER NOT NULL,
  created TEXT NOT NULL, last_job TEXT, last_at TEXT, next_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lfs_grant(
  repo_id TEXT NOT NULL, oid TEXT NOT NULL, size INTEGER NOT NULL, pushed TEXT NOT NULL,
  PRIMARY KEY (repo_id, oid));
CREATE INDEX IF NOT EXISTS lfs_grant_oid ON lfs_grant(oid);
CREATE TABLE IF NOT EXISTS ref_intent(
  id TEXT PRIMARY KEY, repo_id TEXT NOT NULL, ref TEXT NOT NULL, old TEXT NOT NULL,
  new TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL);
"""

VERSION = 1
"""Version of the schema, which the file names. New tables are added by themselves; whoever changes
a table raises it, and brings older folders up to it in `_bring_up_to_date`."""


class _Connection(sqlite3.Connection):
    """A connection that can be found again while its thread lives, and closes with it."""

    def __del__(self) -> None:
        self.close()


class Store:
    """One database file. Every thread has its own connection; writers take turns."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._synchronous = "FULL" if durable else "OFF"
        self._local = threading.local()
        self._write_lock = threading.RLock()
        self._connections: WeakSet[_Connection] = WeakSet()
        try:
            with self.write() as db:
                _bring_up_to_date(db, path)
        except sqlite3.DatabaseError as error:
            self.close()
            raise RuntimeError(
                f"{path} cannot be used as a Local Hub's database: {error}. "
                "Choose another --data folder."
            ) from error
        except BaseException:
            self.close()
            raise

    def read(self) -> sqlite3.Connection:
        """This thread's connection, for queries."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            self._local.connection = connection
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on disk after the block, or none. Nested blocks join it."""
        with self._write_lock:
            db = self.read()
            if db.in_transaction:
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out, for work on files that must agree with the rows."""
        with self._write_lock:
            yield

    def close(self) -> None:
        """Close every thread's connection; the store is unusable afterwards."""
        with self._write_lock:
            for connection in list(self._connections):
                connection.close()

    def _connect(self) -> _Connection:
        db = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            timeout=30,
            factory=_Connection,
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        with self._write_lock:
            self._connections.add(db)
        return db


def _bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    """Make what tables are missing, unless the file is of a version that we do not know."""
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise RuntimeError(
            f"{path} was written by a newer Local Hub: its data version is {found}, this one "
            f"knows {VERSION}. Update hub_trainer, or choose another --data folder."
        )
    for statement in SCHEMA.split(";\n"):
        db.execute(statement)
    _check_columns(db)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _check_columns(db: sqlite3.Connection) -> None:
    """Tables of the same names may be of something else, or of a version before the first."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA)
        for (table,) in fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            missing = _columns(fresh, table) - _columns(db, table)
            if missing:
                raise sqlite3.DatabaseError(f"table {table} has no {', '.join(sorted(missing))}")


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {str(found[1]) for found in db.execute(f"PRAGMA table_info({table})")}


def get_meta(store: Store, key: str) -> str | None:
    """A value of the database's own settings."""
    row = store.read().execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row["value"])


def set_meta(store: Store, key: str, value: str) -> None:
    """Set a value of the database's own settings."""
    with store.write() as db:
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def rows(store: Store, query: str, *values: Any) -> list[sqlite3.Row]:
    """All rows of a query."""
    return store.read().execute(query, values).fetchall()


def row(store: Store, query: str, *values: Any) -> sqlite3.Row | None:
    """The first row of a query."""
    found: sqlite3.Row | None = store.read().execute(query, values).fetchone()
    return found
