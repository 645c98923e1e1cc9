"""Routes of collections."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import collections
from hub_trainer.local_hub.collections import Collection
from hub_trainer.local_hub.errors import bad_request
from hub_trainer.local_hub.permissions import require_namespace
from hub_trainer.local_hub.wire import Call, Entry, cursor_of, nothing, page, reply

PAGE = 100
SORTS = ("lastModified", "trending", "upvotes")
"""Nobody votes here, so in each of these orders the last changed comes first."""


def create(call: Call) -> Response:
    """POST /api/collections."""
    wanted = call.json()
    asked = str(wanted.get("namespace") or call.actor.name)
    namespace = require_namespace(call.core.store, call.actor, asked)
    store = call.core.store
    with store.write():
        found = collections.insert_collection(store, namespace, wanted)
        if wanted.get("item") is not None:
            collections.add_item(store, call.actor, found, {"item": wanted["item"]})
    return reply(_show(call, found))


def list_all(call: Call) -> Response:
    """GET /api/collections."""
    owners = {owner.lower() for owner in call.queries("owner")}
    wanted = {item.lower() for item in call.queries("item")}
    if call.query("sort", "trending") not in SORTS:
        raise bad_request(f'"sort" must be one of [{", ".join(SORTS)}], not {call.query("sort")}')
    every = [
        {key: value for key, value in _show(call, each).items() if key != "position"}
        for each in collections.list_collections(call.core.store, call.actor)
        if (not owners or each.namespace.lower() in owners) and _says(each, call.query("q"))
    ]
    found = [shown for shown in every if wanted <= _item_names(shown)]
    _, start = cursor_of(call)
    limit = max(1, call.number("limit", PAGE, PAGE))
    more = ("", start + limit) if start + limit < len(found) else None
    return page(call, found[start : start + limit], more)


def _says(found: Collection, words: str) -> bool:
    """Whether title and description hold every word."""
    text = f"{found.title} {found.description}".lower()
    return all(word in text for word in words.lower().split())


def _item_names(shown: dict[str, Any]) -> set[str]:
    return {f"{item['type']}s/{item.get('slug') or item['id']}".lower() for item in shown["items"]}


def get(call: Call) -> Response:
    """GET /api/collections/{slug}."""
    return reply(_show(call, _find(call)))


def update(call: Call) -> Response:
    """PATCH /api/collections/{slug}."""
    found = collections.update_collection(call.core.store, _editable(call).id, call.json())
    return reply({"success": True, "data": _show(call, found)})


def delete(call: Call) -> Response:
    """DELETE /api/collections/{slug}."""
    collections.delete_collection(call.core.store, _editable(call))
    return nothing()


def add_item(call: Call) -> Response:
    """POST /api/collections/{slug}/items."""
    found = _editable(call)
    collections.add_item(call.core.store, call.actor, found, call.json())
    return get(call)


def update_item(call: Call) -> Response:
    """PATCH /api/collections/{slug}/items/{item}."""
    collections.update_item(call.core.store, _editable(call), call.params["item"], call.json())
    return nothing()


def delete_item(call: Call) -> Response:
    """DELETE /api/collections/{slug}/items/{item}."""
    collections.delete_item(call.core.store, _editable(call), call.params["item"])
    return nothing()


def _find(call: Call) -> Collection:
    slug = f"{call.params['owner']}/{call.params['slug']}"
    return collections.find_collection(call.core.store, call.actor, slug)


def _editable(call: Call) -> Collection:
    found = _find(call)
    collections.require_editor(call.actor, found)
    return found


def _show(call: Call, found: Collection) -> dict[str, Any]:
    return collections.show(call.core.store, call.actor, found)


_ONE = "/api/collections/{owner}/{slug}"

ROUTES = [
    Entry("GET", "/api/collections", list_all, "anyone"),
    Entry("POST", "/api/collections", create, "write_token"),
    Entry("GET", _ONE, get, "anyone"),
    Entry("PATCH", _ONE, update, "write_token"),
    Entry("DELETE", _ONE, delete, "write_token"),
    Entry("POST", _ONE + "/items", add_item, "write_token"),
    Entry("PATCH", _ONE + "/items/{item}", update_item, "write_token"),
    Entry("DELETE", _ONE + "/items/{item}", delete_item, "write_token"),
]
