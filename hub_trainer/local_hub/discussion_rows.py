"""The rows of discussions, pull requests and their events."""

import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub_trainer.local_hub.git_read import record_of
from hub_trainer.local_hub.names import new_id, now_iso
from hub_trainer.local_hub.repo_rows import Repo
from hub_trainer.local_hub.store import Store, row, rows

if TYPE_CHECKING:
    from hub_trainer.local_hub.refs import Move


@dataclass(frozen=True)
class Discussion:
    """A discussion or pull request of a repo; both count in one row of numbers."""

    repo_id: str
    num: int
    is_pull: bool
    title: str
    author: str
    status: str
    base: str
    base_sha: str
    merge_sha: str
    created: str

    @property
    def ref(self) -> str:
        """The git ref of a pull request."""
        return f"refs/pr/{self.num}"


@dataclass(frozen=True)
class Opening:
    """What a new discussion or pull request starts with. It goes into an intent as JSON."""

    num: int
    title: str
    author: str
    description: str
    base: str = ""
    base_sha: str = ""
    status: str = "open"

    @property
    def is_pull(self) -> bool:
        """Only a pull request has a base."""
        return bool(self.base)


def take_number(store: Store, repo: Repo) -> int:
    """The next number of a repo; it is never given out twice."""
    with store.write() as db:
        found = db.execute(
            "UPDATE repo SET next_number = next_number + 1 WHERE id = ? RETURNING next_number - 1",
            (repo.id,),
        ).fetchone()
    return int(found[0])


def insert_discussion(store: Store, repo_id: str, opening: Opening) -> None:
    """Add a discussion and its first comment."""
    values = (
        new_id(),
        repo_id,
        opening.num,
        opening.is_pull,
        opening.title,
        opening.author,
        opening.status,
        opening.base,
        opening.base_sha,
        now_iso(),
    )
    with store.write() as db:
        db.execute(
            "INSERT INTO discussion(id, repo_id, num, is_pull, title, author, status, base,"
            " base_sha, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        if opening.description or not opening.is_pull:
            add_comment(store, repo_id, opening.num, opening.author, opening.description)


def find_discussion(store: Store, repo_id: str, num: int) -> Discussion | None:
    """The discussion of that number."""
    found = row(store, "SELECT * FROM discussion WHERE repo_id = ? AND num = ?", repo_id, num)
    return None if found is None else _discussion(found)


def list_discussions(store: Store, repo_id: str) -> list[Discussion]:
    """All of a repo, newest first."""
    found = rows(store, "SELECT * FROM discussion WHERE repo_id = ? ORDER BY num DESC", repo_id)
    return [_discussion(each) for each in found]


def count_events(store: Store, repo_id: str) -> dict[int, int]:
    """How many comments each discussion has."""
    found = rows(
        store,
        "SELECT num, count(*) AS total FROM event"
        " WHERE repo_id = ? AND type = 'comment' GROUP BY num",
        repo_id,
    )
    return {each["num"]: each["total"] for each in found}


def events_of(store: Store, repo_id: str, num: int) -> list[dict[str, Any]]:
    """What happened in a discussion, oldest first."""
    found = rows(
        store, "SELECT * FROM event WHERE repo_id = ? AND num = ? ORDER BY seq", repo_id, num
    )
    return [_event(each) for each in found]


def find_event(store: Store, repo_id: str, num: int, event_id: str) -> dict[str, Any] | None:
    """One event of a discussion."""
    found = row(
        store,
        "SELECT * FROM event WHERE id = ? AND repo_id = ? AND num = ?",
        event_id,
        repo_id,
        num,
    )
    return None if found is None else _event(found)


def add_event(
    store: Store, repo_id: str, num: int, kind: str, author: str, data: dict[str, Any]
) -> dict[str, Any]:
    """Append an event."""
    event_id = new_id() + "00000000"
    with store.write() as db:
        db.execute(
            "INSERT INTO event(id, repo_id, num, type, author, created, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event_id, repo_id, num, kind, author, now_iso(), json.dumps(data)),
        )
    found = find_event(store, repo_id, num, event_id)
    assert found is not None
    return found


def add_comment(store: Store, repo_id: str, num: int, author: str, text: str) -> dict[str, Any]:
    """Append a comment."""
    version = {"raw": text, "updatedAt": now_iso(), "author": {"name": author}}
    data = {"edited": False, "hidden": False, "numEdits": 0, "latest": version, "history": []}
    return add_event(store, repo_id, num, "comment", author, data)


def set_event_data(store: Store, event: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Replace what an event says."""
    with store.write() as db:
        db.execute("UPDATE event SET data = ? WHERE id = ?", (json.dumps(data), event["id"]))
    return {**event, "data": data}


def set_title(store: Store, repo_id: str, num: int, title: str) -> None:
    """Rename a discussion."""
    with store.write() as db:
        db.execute(
            "UPDATE discussion SET title = ? WHERE repo_id = ? AND num = ?", (title, repo_id, num)
        )


def set_status(store: Store, repo_id: str, num: int, status: str, merge_sha: str = "") -> None:
    """Open, close or mark as merged."""
    with store.write() as db:
        db.execute(
            "UPDATE discussion SET status = ?, merge_sha = ? WHERE repo_id = ? AND num = ?",
            (status, merge_sha, repo_id, num),
        )


def follow_move(store: Store, repo: Repo, git: Any, move: "Move") -> None:
    """Bring the rows up to a ref that has moved."""
    action = move.action
    if action["type"] == "open_pull":
        insert_discussion(store, repo.id, Opening(**action["opening"]))
    if action["type"] == "merge":
        num = action["num"]
        if action["comment"]:
            add_comment(store, repo.id, num, move.actor, action["comment"])
        set_status(store, repo.id, num, "merged", move.new)
        add_event(store, repo.id, num, "status-change", move.actor, {"status": "merged"})
    number = move.ref.removeprefix("refs/pr/")
    if move.ref != number and number.isdigit() and move.new != move.old:
        _add_commit_event(store, repo, git, move, int(number))


def _add_commit_event(store: Store, repo: Repo, git: Any, move: "Move", num: int) -> None:
    opening = move.action.get("opening")
    if opening is not None and opening["base_sha"] == move.new:
        return
    data = {"subject": record_of(git[move.new]).title, "oid": move.new}
    add_event(store, repo.id, num, "commit", move.actor, data)


def _discussion(found: sqlite3.Row) -> Discussion:
    fields = {key: found[key] for key in Discussion.__dataclass_fields__ if key != "is_pull"}
    return Discussion(**fields, is_pull=bool(found["is_pull"]))


def _event(found: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": found["id"],
        "type": found["type"],
        "author": {"name": found["author"]},
        "createdAt": found["created"],
        "data": json.loads(found["data"]),
    }
