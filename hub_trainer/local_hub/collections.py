"""Collections: named lists of repos and of other collections."""

import re
import sqlite3
from dataclasses import dataclass
from typing import Any

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.errors import bad_request, conflict, forbidden, not_found
from hub_trainer.local_hub.names import new_id, now_iso
from hub_trainer.local_hub.permissions import can_see
from hub_trainer.local_hub.repo_rows import find_repo, find_repo_by_id
from hub_trainer.local_hub.store import Store, row, rows

MAX_TITLE = 100
THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
_REPO_TYPES = ("model", "dataset", "space")


@dataclass(frozen=True)
class Collection:
    """A list with a title; the id at the end of the slug stays when the title changes."""

    id: str
    namespace: str
    title: str
    description: str
    private: bool
    theme: str
    updated: str

    @property
    def slug(self) -> str:
        """`namespace/title-id`."""
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{self.namespace}/{words}-{self.id}"


def find_collection(store: Store, actor: Actor, slug: str) -> Collection:
    """The collection of a slug, old or new, if the actor may see it; else 404."""
    found = row(store, "SELECT * FROM collection WHERE id = ?", slug.rpartition("-")[2])
    namespace = slug.partition("/")[0].lower()
    if found is not None and found["namespace"].lower() == namespace:
        collection = _collection(found)
        if not collection.private or _is_member(actor, collection.namespace):
            return collection
    raise not_found(f"Collection not found: {slug}")


def require_editor(actor: Actor, collection: Collection) -> None:
    """Only those who may write in the namespace may change a collection."""
    may = actor.name.lower() == collection.namespace.lower()
    may = may or actor.role_in(collection.namespace) in ("contributor", "write", "admin")
    if not may or actor.access != "write":
        raise forbidden("You don't have the rights to change this collection.")


def _is_member(actor: Actor, namespace: str) -> bool:
    if actor.anonymous or actor.access == "fineGrained":
        return False
    return actor.name.lower() == namespace.lower() or actor.role_in(namespace) is not None


def list_collections(store: Store, actor: Actor) -> list[Collection]:
    """All that the actor may see, the last changed first."""
    found = [
        _collection(each) for each in rows(store, "SELECT * FROM collection ORDER BY updated DESC")
    ]
    return [each for each in found if not each.private or _is_member(actor, each.namespace)]


def insert_collection(store: Store, namespace: str, wanted: dict[str, Any]) -> Collection:
    """Add a collection."""
    collection_id = new_id()
    with store.write() as db:
        values = (collection_id, namespace, "", "", "", 0, "orange", now_iso())
        db.execute("INSERT INTO collection VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return update_collection(store, collection_id, {"title": None, **wanted})


def update_collection(store: Store, collection_id: str, wanted: dict[str, Any]) -> Collection:
    """Change title, description, theme or who may see it."""
    with store.write() as db:
        for column in ("title", "description", "private", "theme"):
            if column in wanted:
                value = _checked(column, wanted[column])
                db.execute(
                    f"UPDATE collection SET {column} = ? WHERE id = ?",  # noqa: S608
                    (value, collection_id),
                )
        db.execute("UPDATE collection SET updated = ? WHERE id = ?", (now_iso(), collection_id))
    found = row(store, "SELECT * FROM collection WHERE id = ?", collection_id)
    assert found is not None
    return _collection(found)


def _checked(column: str, value: Any) -> Any:
    if column == "private":
        return bool(value)
    if not isinstance(value, str) or (column == "title" and not value.strip()):
        raise bad_request(f"The {column} of a collection must be text.")
    if column == "theme" and value not in THEMES:
        raise bad_request(f"theme must be one of {', '.join(THEMES)}, not {value!r}.")
    if len(value) > (MAX_TITLE if column == "title" else 10_000):
        raise bad_request(f"The {column} of the collection is too long.")
    return value.strip()


def delete_collection(store: Store, collection: Collection) -> None:
    """Remove a collection; what it lists stays."""
    with store.write() as db:
        db.execute("DELETE FROM collection_item WHERE collection_id = ?", (collection.id,))
        db.execute("DELETE FROM collection WHERE id = ?", (collection.id,))


def add_item(store: Store, actor: Actor, collection: Collection, wanted: dict[str, Any]) -> None:
    """Append a repo or collection; 409 if it is there, 404 if it does not exist."""
    item = wanted.get("item")
    if not isinstance(item, dict):
        raise bad_request("item must be {type, id}.")
    kind, target = str(item.get("type")), _target_of(store, actor, item)
    known = "SELECT 1 FROM collection_item WHERE collection_id = ? AND type = ? AND item_id = ?"
    if row(store, known, collection.id, kind, target) is not None:
        raise conflict("This item is already in the collection.", slug=collection.slug)
    with store.write() as db:
        last = db.execute(
            "SELECT coalesce(max(position) + 1, 0) FROM collection_item WHERE collection_id = ?",
            (collection.id,),
        ).fetchone()[0]
        values = (new_id(), collection.id, kind, target, str(wanted.get("note") or ""), last)
        db.execute("INSERT INTO collection_item VALUES (?, ?, ?, ?, ?, ?)", values)
        db.execute("UPDATE collection SET updated = ? WHERE id = ?", (now_iso(), collection.id))


def _target_of(store: Store, actor: Actor, item: dict[str, Any]) -> str:
    """The internal id of what is to be listed, so that a later rename does not matter."""
    kind, name = item.get("type"), str(item.get("id"))
    if kind == "collection":
        return find_collection(store, actor, name).id
    if kind not in _REPO_TYPES:
        raise bad_request(
            f"An item's type must be model, dataset, space or collection, not {kind!r}."
        )
    repo = find_repo(store, str(kind), name)
    if repo is None or not can_see(actor, repo):
        raise not_found(f"{kind} {name} does not exist.")
    return repo.id


def update_item(store: Store, collection: Collection, item_id: str, wanted: dict[str, Any]) -> None:
    """Change an item's note or its place in the list."""
    _require_item(store, collection, item_id)
    with store.write() as db:
        if isinstance(wanted.get("note"), str):
            db.execute(
                "UPDATE collection_item SET note = ? WHERE id = ?", (wanted["note"], item_id)
            )
        if isinstance(wanted.get("position"), int):
            ids = [each["id"] for each in _items(store, collection) if each["id"] != item_id]
            ids.insert(max(0, wanted["position"]), item_id)
            for position, each in enumerate(ids):
                db.execute("UPDATE collection_item SET position = ? WHERE id = ?", (position, each))


def delete_item(store: Store, collection: Collection, item_id: str) -> None:
    """Take an item off the list."""
    _require_item(store, collection, item_id)
    with store.write() as db:
        db.execute("DELETE FROM collection_item WHERE id = ?", (item_id,))


def _require_item(store: Store, collection: Collection, item_id: str) -> None:
    query = "SELECT 1 FROM collection_item WHERE id = ? AND collection_id = ?"
    if row(store, query, item_id, collection.id) is None:
        raise not_found(f"Item {item_id} is not in this collection.")


def _items(store: Store, collection: Collection) -> list[sqlite3.Row]:
    query = "SELECT * FROM collection_item WHERE collection_id = ? ORDER BY position"
    return rows(store, query, collection.id)


def show(store: Store, actor: Actor, collection: Collection) -> dict[str, Any]:
    """A collection with the items that the actor may see."""
    items = [_show_item(store, actor, each) for each in _items(store, collection)]
    return {
        "_id": collection.id,
        "slug": collection.slug,
        "title": collection.title,
        "description": collection.description or None,
        "owner": {"name": collection.namespace},
        "items": [item for item in items if item is not None],
        "lastUpdated": collection.updated,
        "position": 0,
        "private": collection.private,
        "theme": collection.theme,
        "upvotes": 0,
        "gating": False,
    }


def _show_item(store: Store, actor: Actor, found: sqlite3.Row) -> dict[str, Any] | None:
    shown: dict[str, Any] = {
        "_id": found["id"],
        "type": found["type"],
        "position": found["position"],
    }
    if found["note"]:
        shown["note"] = {"text": found["note"]}
    if found["type"] == "collection":
        inner = row(store, "SELECT * FROM collection WHERE id = ?", found["item_id"])
        if inner is None or (inner["private"] and not _is_member(actor, inner["namespace"])):
            return None
        return {
            **shown,
            "id": inner["id"],
            "slug": _collection(inner).slug,
            "title": inner["title"],
        }
    repo = find_repo_by_id(store, found["item_id"])
    if repo is None or not can_see(actor, repo):
        return None
    return {**shown, "id": repo.full_name, "repoType": repo.type, "private": repo.private}


def _collection(found: sqlite3.Row) -> Collection:
    return Collection(
        id=found["id"],
        namespace=found["namespace"],
        title=found["title"],
        description=found["description"],
        private=bool(found["private"]),
        theme=found["theme"],
        updated=found["updated"],
    )
