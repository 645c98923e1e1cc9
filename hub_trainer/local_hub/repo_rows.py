"""The rows of repos: names, redirects after a rename, settings, likes and downloads."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.local_hub.errors import conflict
from hub_trainer.local_hub.names import URL_PREFIX, RepoType, now_iso
from hub_trainer.local_hub.store import Store, row, rows


@dataclass(frozen=True)
class Repo:
    """One repo as the database knows it; the files are in git."""

    id: str
    type: RepoType
    namespace: str
    name: str
    private: bool
    gated: Literal["", "auto", "manual"]
    disabled: bool
    created: str
    modified: str
    head_sha: str
    downloads: int
    likes: int
    discussions_disabled: bool
    card: dict[str, Any]
    tags: list[str]
    facts: dict[str, Any]

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def url_path(self) -> str:
        """The path of the repo's page, without the slash in front."""
        return f"{URL_PREFIX[self.type]}{self.full_name}"


_LIKES = "(SELECT count(*) FROM liked WHERE liked.repo_id = repo.id) AS likes"
_SELECT = f"SELECT repo.*, {_LIKES} FROM repo "  # noqa: S608 - a constant


def find_repo(store: Store, repo_type: str, full_name: str) -> Repo | None:
    """The repo of that name, in any case."""
    query = _SELECT + "WHERE type = ? AND full_ci = ?"
    found = row(store, query, repo_type, full_name.lower())
    return None if found is None else _repo(found)


def find_renamed(store: Store, repo_type: str, full_name: str) -> Repo | None:
    """The repo that once had that name."""
    query = _SELECT + "JOIN redirect ON redirect.repo_id = repo.id WHERE redirect.type = ?"
    found = row(store, query + " AND redirect.full_ci = ?", repo_type, full_name.lower())
    return None if found is None else _repo(found)


def find_repo_by_id(store: Store, repo_id: str) -> Repo | None:
    """The repo of that internal id."""
    found = row(store, _SELECT + "WHERE repo.id = ?", repo_id)
    return None if found is None else _repo(found)


def all_repos(store: Store, repo_type: str | None = None) -> list[Repo]:
    """Every repo, or every one of a type, newest first."""
    where = "" if repo_type is None else "WHERE type = ? "
    values = () if repo_type is None else (repo_type,)
    found = rows(store, _SELECT + where + "ORDER BY created DESC, id", *values)
    return [_repo(each) for each in found]


def insert_repo(
    store: Store, repo_id: str, repo_type: str, full: tuple[str, str], *, private: bool
) -> None:
    """Give a repo its (namespace, name); 409 if it is taken."""
    namespace, name = full
    full_name = f"{namespace}/{name}"
    created = now_iso()
    try:
        with store.write() as db:
            db.execute(
                "INSERT INTO repo(id, type, namespace, name, full_ci, private, created, modified)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (repo_id, repo_type, namespace, name, full_name.lower(), private, created, created),
            )
            db.execute(
                "DELETE FROM redirect WHERE type = ? AND full_ci = ?",
                (repo_type, full_name.lower()),
            )
    except sqlite3.IntegrityError:
        raise conflict(f"You already created this {repo_type} repo: {full_name}") from None


def rename_repo(store: Store, repo: Repo, namespace: str, name: str) -> None:
    """Move a repo to another name; the old one redirects from now on."""
    full_name = f"{namespace}/{name}"
    try:
        with store.write() as db:
            db.execute(
                "UPDATE repo SET namespace = ?, name = ?, full_ci = ? WHERE id = ?",
                (namespace, name, full_name.lower(), repo.id),
            )
            db.execute(
                "DELETE FROM redirect WHERE type = ? AND full_ci = ?",
                (repo.type, full_name.lower()),
            )
            if full_name.lower() != repo.full_name.lower():
                db.execute(
                    "INSERT OR REPLACE INTO redirect VALUES (?, ?, ?)",
                    (repo.type, repo.full_name.lower(), repo.id),
                )
    except sqlite3.IntegrityError:
        raise conflict(f"A {repo.type} repository called {full_name} already exists") from None


_TABLES_OF_A_REPO = (
    "redirect",
    "discussion",
    "event",
    "liked",
    "access_request",
    "space_setting",
    "space_runtime",
    "lfs_grant",
    "ref_intent",
)


def delete_repo_row(store: Store, repo: Repo) -> None:
    """Forget a repo and everything that belongs to it."""
    with store.write() as db:
        for table in _TABLES_OF_A_REPO:
            db.execute(f"DELETE FROM {table} WHERE repo_id = ?", (repo.id,))  # noqa: S608
        db.execute("DELETE FROM repo WHERE id = ?", (repo.id,))


def set_private(store: Store, repo: Repo, private: bool) -> None:
    """Hide a repo from strangers, or show it."""
    with store.write() as db:
        db.execute("UPDATE repo SET private = ? WHERE id = ?", (private, repo.id))


def set_gated(store: Store, repo: Repo, gated: str) -> None:
    """Whose files need a granted request: '' nobody asks, 'auto', 'manual'."""
    with store.write() as db:
        db.execute("UPDATE repo SET gated = ? WHERE id = ?", (gated, repo.id))


def set_discussions_disabled(store: Store, repo: Repo, disabled: bool) -> None:
    """Turn the community tab off or on."""
    with store.write() as db:
        db.execute("UPDATE repo SET discussions_disabled = ? WHERE id = ?", (disabled, repo.id))


def add_downloads(store: Store, counted: dict[str, int]) -> None:
    """More downloads: repo id -> how many."""
    with store.write() as db:
        db.executemany(
            "UPDATE repo SET downloads = downloads + ? WHERE id = ?",
            [(number, repo_id) for repo_id, number in counted.items()],
        )


def set_summary(store: Store, repo_id: str, head_sha: str, modified: str, card: "Card") -> None:
    """Keep what lists and filters need to know of the tip of main."""
    texts = [json.dumps(each) for each in (card.data, card.tags, card.facts)]
    with store.write() as db:
        db.execute(
            "UPDATE repo SET head_sha = ?, modified = ?, card = ?, tags = ?, facts = ?"
            " WHERE id = ?",
            (head_sha, modified, *texts, repo_id),
        )


@dataclass(frozen=True)
class Card:
    """What a README's metadata says: as it is, as tags, and as fields of the repo's info."""

    data: dict[str, Any]
    tags: list[str]
    facts: dict[str, Any]


def set_liked(store: Store, repo: Repo, user_id: str, liked: bool) -> None:
    """Like or unlike; doing it twice changes nothing."""
    with store.write() as db:
        if liked:
            values = (repo.id, user_id, now_iso())
            db.execute("INSERT OR IGNORE INTO liked VALUES (?, ?, ?)", values)
        else:
            db.execute("DELETE FROM liked WHERE repo_id = ? AND user_id = ?", (repo.id, user_id))


def likes_of(store: Store, user_id: str) -> list[tuple[Repo, str]]:
    """What a user likes and since when, newest first."""
    query = _SELECT.replace(" FROM repo ", ", liked.created AS liked_at FROM repo ")
    found = rows(
        store,
        query + "JOIN liked ON liked.repo_id = repo.id WHERE liked.user_id = ?"
        " ORDER BY liked.created DESC",
        user_id,
    )
    return [(_repo(each), each["liked_at"]) for each in found]


def likers_of(store: Store, repo: Repo) -> list[sqlite3.Row]:
    """The accounts that like a repo."""
    return rows(
        store,
        "SELECT account.* FROM liked JOIN account ON account.id = liked.user_id"
        " WHERE liked.repo_id = ? ORDER BY liked.created",
        repo.id,
    )


def _repo(found: sqlite3.Row) -> Repo:
    return Repo(
        id=found["id"],
        type=found["type"],
        namespace=found["namespace"],
        name=found["name"],
        private=bool(found["private"]),
        gated=found["gated"],
        disabled=bool(found["disabled"]),
        created=found["created"],
        modified=found["modified"],
        head_sha=found["head_sha"],
        downloads=found["downloads"],
        likes=found["likes"],
        discussions_disabled=bool(found["discussions_disabled"]),
        card=json.loads(found["card"]),
        tags=json.loads(found["tags"]),
        facts=json.loads(found["facts"]),
    )
