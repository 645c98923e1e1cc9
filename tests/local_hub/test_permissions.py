"""The permission table, walked over HTTP: every actor, repo, and route that names a repo."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.routes import ROUTES
from hub_trainer.local_hub.wire import Entry

TABLE = yaml.safe_load((Path(__file__).parent / "permissions.yaml").read_text())
ACTORS, OPERATIONS = TABLE["actors"], TABLE["operations"]
ELSEWHERE, NEEDS = TABLE["elsewhere"], TABLE["needs"]
REPOS = {
    "public": "owner/public",
    "private": "owner/private",
    "gated_auto": "owner/gated_auto",
    "gated_manual": "owner/gated_manual",
    "org_private": "lab/org_private",
}
# Asking for access changes what comes after it, so that route is walked last.
REPO_ROUTES = sorted(
    (entry for entry in ROUTES if entry.needs in OPERATIONS),
    key=lambda entry: entry.handler.__name__ == "ask_access",
)
# What fills the paths: nothing that exists, so that an allowed request does no harm.
FILLED = {
    "rev": "no-such-revision",
    "path": "no-such-file",
    "branch": "no-such-branch",
    "spec": "a..b",
    "num": "999",
    "comment": "none",
    "oid": "0" * 64,
    "status": "pending",
}
# Requests that would change something if they were well formed.
BODIES = {"duplicate": {"repository": "!"}, "create_branch": {"startingPoint": "nowhere"}}
# One route per operation, for the quick run.
SAMPLES = ["get_info", "like", "tree", "add_comment", "delete_branch", "handle_access"]


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, httpx.Client]]:
    with LocalHub() as hub:
        found = {name: _client(hub, token) for name, token in _tokens(hub).items()}
        yield found
        for client in found.values():
            client.close()


def _tokens(hub: LocalHub) -> dict[str, str | None]:
    members = {"org_read": "read", "org_write": "write", "org_admin": "admin"}
    hub.add_org("lab", members)
    tokens: dict[str, str | None] = {name: hub.add_user(name) for name in (*members, "other")}
    owner, admin = hub.add_user("owner"), str(tokens["org_admin"])
    for kind, repo_id in REPOS.items():
        api = HfApi(endpoint=hub.url, token=admin if kind == "org_private" else owner)
        for repo_type in ("model", "space"):
            options: Any = {"space_sdk": "static"} if repo_type == "space" else {}
            api.create_repo(repo_id, private="private" in kind, repo_type=repo_type, **options)
            if kind.startswith("gated") and repo_type == "model":
                api.update_repo_settings(repo_id, gated=kind.removeprefix("gated_"))  # type: ignore[arg-type]
    revoked = hub.add_token("owner")
    hub.revoke_token(revoked)
    everything = ["read", "write"]
    return {
        **tokens,
        "anonymous": None,
        "owner": owner,
        "read_token": hub.add_token("owner", "read"),
        "fine_grained_here": hub.add_token(
            "owner", "fine-grained", [{"entity": "owner", "permissions": everything}]
        ),
        "fine_grained_elsewhere": hub.add_token(
            "owner", "fine-grained", [{"entity": "models/owner/none", "permissions": everything}]
        ),
        "revoked_token": revoked,
    }


def _client(hub: LocalHub, token: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=hub.url, headers=headers, timeout=30)


def expected(actor: str, repo: str, operation: str) -> int | None:
    """None if it is allowed, else the status."""
    return _read_cell(ACTORS[actor][repo], operation)


def _read_cell(cell: str, wanted: str) -> int | None:
    allowed, _, otherwise = cell.partition("else")
    return None if wanted in allowed.replace(",", " ").split() else int(otherwise)


def ask(client: httpx.Client, entry: Entry, repo_id: str) -> httpx.Response:
    namespace, name = repo_id.split("/")
    values = {**FILLED, "ns": namespace, "name": name, "dotgit": ".git", "prefix": ""}
    values["kind"] = "spaces" if "{kind:space}" in entry.path else "models"
    path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: values[found[1]], entry.path)
    if entry.handler.__name__ == "commit":  # to main it needs more than to a pull request
        path = path.replace("no-such-revision", "refs%2Fpr%2F999")
    body = BODIES.get(entry.handler.__name__, {})
    if entry.path.endswith("/info/refs"):
        path += "?service=git-upload-pack"
    sent = {} if entry.method == "GET" else {"json": body}
    return client.request(entry.method, path, **sent)  # type: ignore[arg-type]


def verdict(answer: httpx.Response) -> int | None:
    """None if the actor was let through to the handler, else the status that kept them out."""
    code = answer.headers.get("X-Error-Code")
    if answer.status_code in (401, 403) or code == "RepoNotFound":
        return answer.status_code
    return None


def walk(clients: dict[str, httpx.Client], routes: list[Entry]) -> tuple[int, list[str]]:
    cells, wrong = 0, []
    for entry in routes:
        for actor, client in clients.items():
            for repo, repo_id in REPOS.items():
                if "{kind:space}" in entry.path and repo.startswith("gated"):
                    continue  # a Space cannot be gated
                answer = ask(client, entry, repo_id)
                want = expected(actor, repo, entry.needs)
                cells += 1
                if verdict(answer) != want or answer.status_code >= 500:
                    wrong.append(
                        f"{actor} {repo} {entry.method} {entry.path}: {answer.status_code}, "
                        f"want {want or 'allowed'}: {answer.text[:80]}"
                    )
    return cells, wrong


def test_table_when_read_then_it_has_ten_actors_five_repos_and_every_operation() -> None:
    assert len(ACTORS) == 10
    assert all(set(cells) == set(REPOS) for cells in ACTORS.values())
    assert {entry.needs for entry in ROUTES} <= {
        *OPERATIONS,
        "anyone",
        "user",
        "write_token",
        "ticket",
    }
    assert {entry.needs for entry in REPO_ROUTES} == set(OPERATIONS)


def test_routes_when_they_name_a_repo_then_an_operation_guards_them() -> None:
    unguarded = [
        entry.path for entry in ROUTES if "{ns}" in entry.path and entry not in REPO_ROUTES
    ]
    assert unguarded == []


def test_permissions_when_one_route_of_each_operation_is_asked_then_as_in_the_table(
    clients: dict[str, httpx.Client],
) -> None:
    routes = [entry for entry in REPO_ROUTES if entry.handler.__name__ in SAMPLES]
    assert {entry.needs for entry in routes} == set(OPERATIONS)
    cells, wrong = walk(clients, routes)
    assert wrong == []
    assert cells >= 250


@pytest.mark.slow
def test_permissions_when_every_route_is_asked_then_as_in_the_table(
    clients: dict[str, httpx.Client],
) -> None:
    cells, wrong = walk(clients, REPO_ROUTES)
    print(f"{cells} cells, {len(REPO_ROUTES)} routes, {len(wrong)} wrong")
    assert wrong == []
    assert cells > 1000


# Pages answer nobody with a form to sign in, and an id without a namespace is no repo's: both have
# tests of their own.
OTHER_ROUTES = [
    entry
    for entry in ROUTES
    if entry.needs in NEEDS and not entry.page and entry.handler.__name__ != "missing"
]


def test_table_when_read_then_every_actor_has_a_row_for_routes_without_a_repo() -> None:
    assert set(ELSEWHERE) == set(ACTORS)
    assert {entry.needs for entry in OTHER_ROUTES} == set(NEEDS)


@pytest.mark.parametrize("entry", OTHER_ROUTES, ids=lambda entry: f"{entry.method} {entry.path}")
def test_routes_without_a_repo_when_asked_by_each_actor_then_as_in_the_table(
    clients: dict[str, httpx.Client], entry: Entry
) -> None:
    path = re.sub(r"\{kind:\w+\}", "models", entry.path)
    path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: FILLED.get(found[1], "none"), path)
    for actor, client in clients.items():
        answer = client.request(entry.method, path, content=b"not an object")
        found = answer.status_code if answer.status_code in (401, 403) else None
        assert (actor, found) == (actor, _read_cell(ELSEWHERE[actor], entry.needs))


def test_lists_when_repos_are_private_then_only_their_people_see_them(
    clients: dict[str, httpx.Client],
) -> None:
    seen = {
        actor: {repo["id"] for repo in client.get("/api/models").json()}
        for actor, client in clients.items()
        if actor != "revoked_token"
    }
    public = {"owner/public", "owner/gated_auto", "owner/gated_manual"}
    assert seen["anonymous"] == seen["other"] == seen["fine_grained_elsewhere"] == public
    assert seen["owner"] == seen["read_token"] == public | {"owner/private"}
    assert seen["org_read"] == public | {"lab/org_private"}


def test_gate_when_access_is_asked_for_then_auto_opens_and_manual_waits(
    clients: dict[str, httpx.Client],
) -> None:
    other, owner = clients["org_read"], clients["owner"]
    for gate in ("auto", "manual"):
        owner.post("/api/repos/create", json={"name": f"asked_{gate}"})
        owner.put(f"/api/models/owner/asked_{gate}/settings", json={"gated": gate})
    refused = other.get("/owner/asked_manual/resolve/main/.gitattributes")
    assert refused.headers["X-Error-Code"] == "GatedRepo"
    assert "Visit owner/asked_manual to ask for access" in refused.json()["error"]
    assert other.post("/owner/asked_auto/ask-access").json() == {"status": "accepted"}
    assert other.get("/owner/asked_auto/resolve/main/.gitattributes").is_success
    assert other.post("/owner/asked_manual/ask-access").json() == {"status": "pending"}
    waiting = other.get("/owner/asked_manual/resolve/main/.gitattributes")
    assert "awaiting a review" in waiting.json()["error"]
    url = "/api/models/owner/asked_manual/user-access-request/handle"
    owner.post(url, json={"user": "org_read", "status": "rejected", "rejectionReason": "no"})
    rejected = other.get("/owner/asked_manual/resolve/main/.gitattributes")
    assert "has been rejected" in rejected.json()["error"]
    owner.post(url, json={"user": "org_read", "status": "accepted"})
    assert other.get("/owner/asked_manual/resolve/main/.gitattributes").is_success
    for body, message in (
        ({"user": "org_read", "status": "accepted"}, "is already accepted"),
        ({"user": "org_read", "status": "maybe"}, "status must be one of"),
        ({"requestId": "x", "status": "accepted"}, "There is no such access request"),
        ({"user": "nobody", "status": "accepted"}, "User nobody does not exist"),
    ):
        assert message in owner.post(url, json=body).json()["error"]
    grant = "/api/models/owner/public/user-access-request/grant"
    assert "is not gated" in owner.post(grant, json={"user": "other"}).json()["error"]
    assert "is not gated" in other.post("/owner/public/ask-access").json()["error"]
