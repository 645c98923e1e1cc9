"""Routes of repos as a whole: create, delete, move, settings, info, lists."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import lifecycle, spaces
from hub_trainer.local_hub.accounts import find_account
from hub_trainer.local_hub.errors import (
    bad_request,
    conflict,
    not_found,
    repo_not_found,
)
from hub_trainer.local_hub.git_read import resolve_commit
from hub_trainer.local_hub.listing import Filters, parse_num_parameters, select_repos
from hub_trainer.local_hub.names import (
    TYPE_OF_PLURAL,
    RepoType,
    check_name,
    repo_type_of,
    split_repo_id,
)
from hub_trainer.local_hub.permissions import authorize, can_see, require_namespace
from hub_trainer.local_hub.repo_rows import (
    Repo,
    find_repo,
    set_discussions_disabled,
    set_gated,
    set_private,
)
from hub_trainer.local_hub.views import RepoView, check_expand, info, listed
from hub_trainer.local_hub.weights import Sharded
from hub_trainer.local_hub.wire import Call, Entry, cursor_of, nothing, page, reply

DEFAULT_PAGE = 500
MAX_PAGE = 1000


def create(call: Call) -> Response:
    """POST /api/repos/create."""
    wanted = call.json()
    repo_type = repo_type_of(wanted.get("type"))
    name = check_name(call.text("name").rpartition("/")[2])
    asked = _asked_namespace(call)
    taken = find_repo(call.core.store, repo_type, f"{asked}/{name}")
    if taken is not None and can_see(call.actor, taken):
        url = f"{call.endpoint}/{taken.url_path}"
        raise conflict(f"You already created this {repo_type} repo: {taken.full_name}", url=url)
    namespace = require_namespace(call.core.store, call.actor, asked)
    sdk = wanted.get("sdk")
    if repo_type == "space" and sdk not in ("gradio", "docker", "static", "streamlit"):
        raise bad_request(f"sdk must be one of gradio, docker, static, streamlit, not {sdk!r}.")
    files = lifecycle.first_files({**wanted, "type": repo_type, "name": name, "sdk": sdk})
    private = _wants_private(call, wanted, namespace)
    new = lifecycle.NewRepo(repo_type, namespace, name, private, files)
    repo = lifecycle.create_repo(call.core, call.actor, new)
    _set_up_space(call, repo, wanted)
    return reply(_created(call, repo))


def _asked_namespace(call: Call) -> str:
    wanted = call.json()
    prefix = call.text("name").rpartition("/")[0]
    return str(wanted.get("organization") or prefix or call.actor.name)


def _created(call: Call, repo: Repo) -> dict[str, str]:
    url = f"{call.endpoint}/{repo.url_path}"
    return {"url": url, "name": repo.full_name, "id": repo.id}


def _wants_private(call: Call, wanted: dict[str, Any], namespace: str) -> bool:
    if wanted.get("visibility") is not None:
        return _is_private(wanted["visibility"])
    if wanted.get("private") is not None:
        return bool(wanted["private"])
    account = find_account(call.core.store, namespace)
    return account is not None and account.new_repos_are_private


def _is_private(visibility: Any) -> bool:
    if visibility not in ("public", "private", "protected"):
        raise bad_request(f"visibility must be public, private or protected, not {visibility!r}.")
    return bool(visibility != "public")


def _set_up_space(call: Call, repo: Repo, wanted: dict[str, Any]) -> None:
    if repo.type != "space":
        return
    for secret, field in ((True, "secrets"), (False, "variables")):
        for entry in wanted.get(field) or []:
            spaces.set_setting(call.core.store, repo, entry, secret=secret)
    state = {
        key: wanted[field]
        for key, field in (
            ("hardware", "hardware"),
            ("storage", "storageTier"),
            ("gcTimeout", "sleepTimeSeconds"),
        )
        if wanted.get(field) is not None
    }
    if state:
        spaces.change_runtime(call.core, repo, state)


def delete(call: Call) -> Response:
    """DELETE /api/repos/delete."""
    wanted = call.json()
    repo = _named_repo(
        call, repo_type_of(wanted.get("type")), f"{_asked_namespace(call)}/{call.text('name')}"
    )
    authorize(call.core.store, call.actor, repo, "admin")
    lifecycle.delete_repo(call.core, repo)
    return nothing()


def _named_repo(call: Call, repo_type: RepoType, full_name: str) -> Repo:
    repo = find_repo(call.core.store, repo_type, full_name)
    if repo is None or not can_see(call.actor, repo):
        raise repo_not_found(anonymous=call.actor.anonymous)
    return repo


def move(call: Call) -> Response:
    """POST /api/repos/move."""
    repo_type = repo_type_of(call.json().get("type"))
    repo = _named_repo(call, repo_type, call.text("fromRepo"))
    authorize(call.core.store, call.actor, repo, "admin")
    namespace, name = split_repo_id(call.text("toRepo"))
    namespace = require_namespace(call.core.store, call.actor, namespace)
    lifecycle.move_repo(call.core, repo, namespace, name)
    return nothing()


def settings(call: Call) -> Response:
    """PUT /api/{kind}/{ns}/{name}/settings."""
    wanted = call.json()
    store = call.core.store
    gated = wanted.get("gated")
    if gated is not None:
        if gated not in ("auto", "manual", False):
            raise bad_request(f"gated must be auto, manual or false, not {gated!r}.")
        set_gated(store, call.repo, gated or "")
    if wanted.get("visibility") is not None:
        set_private(store, call.repo, _is_private(wanted["visibility"]))
    elif wanted.get("private") is not None:
        set_private(store, call.repo, bool(wanted["private"]))
    if wanted.get("discussionsDisabled") is not None:
        set_discussions_disabled(store, call.repo, bool(wanted["discussionsDisabled"]))
    return reply({"gated": gated if gated is not None else call.repo.gated or False})


def duplicate(call: Call) -> Response:
    """POST /api/{kind}/{ns}/{name}/duplicate."""
    wanted = call.json()
    target = str(wanted.get("repository") or f"{call.actor.name}/{call.repo.name}")
    namespace, name = split_repo_id(target if "/" in target else f"{call.actor.name}/{target}")
    namespace = require_namespace(call.core.store, call.actor, namespace)
    private = call.repo.private if wanted.get("private") is None else bool(wanted["private"])
    if wanted.get("visibility") is not None:
        private = _is_private(wanted["visibility"])
    new = lifecycle.NewRepo(call.repo.type, namespace, name, private)
    taken = find_repo(call.core.store, new.type, new.full_name)
    if taken is not None:
        url = f"{call.endpoint}/{taken.url_path}"
        raise conflict(f"A {new.type} repository called {new.full_name} already exists", url=url)
    copy = lifecycle.duplicate_repo(call.core, call.actor, call.repo, new)
    _set_up_space(call, copy, wanted)
    return reply(_created(call, copy))


def get_info(call: Call) -> Response:
    """GET /api/{kind}/{ns}/{name}[/revision/{rev}]."""
    expand = check_expand(call.repo.type, call.queries("expand"))
    git = call.core.git(call.repo)
    commit = resolve_commit(git, call.params.get("rev", "main"))
    view = RepoView(call.core, call.repo, str(commit.id), call.flag("blobs"))
    return reply(info(view, expand, security=call.flag("securityStatus")))


def safetensors_metadata(call: Call) -> Response:
    """GET /api/models/{ns}/{name}/safetensors-metadata/{path}: of the tip of main."""
    git = call.core.git(call.repo)
    commit = resolve_commit(git, "main")
    return reply(Sharded(call.core, call.repo, git, commit, call.params["path"]).metadata())


def list_repos(call: Call) -> Response:
    """GET /api/{kind}."""
    repo_type = TYPE_OF_PLURAL[call.params["kind"]]
    expand = check_expand(repo_type, call.queries("expand"))
    more = [name for name in ("full", "cardData", "config") if call.flag(name)]
    found = select_repos(call.core, call.actor, repo_type, _filters(call))
    _, start = cursor_of(call)
    limit = max(1, call.number("limit", DEFAULT_PAGE, MAX_PAGE))
    shown = [
        listed(RepoView(call.core, repo), expand, more) for repo in found[start : start + limit]
    ]
    rest = ("", start + limit) if start + limit < len(found) else None
    return page(call, shown, rest)


def _filters(call: Call) -> Filters:
    gated, spans = call.query("gated"), call.query("num_parameters")
    tags = [*call.queries("filter"), *call.queries("tags"), *call.queries("library")]
    tags += [
        f"{prefix}:{value}" for prefix in ("dataset", "license") for value in call.queries(prefix)
    ]
    return Filters(
        search=call.query("search"),
        author=call.query("author"),
        tags=tuple(tags),
        pipeline_tag=call.query("pipeline_tag"),
        gated=None if gated == "" else call.flag("gated"),
        inference=bool(call.query("inference") or call.query("inference_provider")),
        num_parameters=parse_num_parameters(spans) if spans else None,
        sort=call.query("sort", "trendingScore"),
        descending=call.query("direction", "-1") != "1",
        linked=tuple(
            (field, value) for field in ("models", "datasets") for value in call.queries(field)
        ),
    )


def auth_check(call: Call) -> Response:
    """GET /api/{kind}/{ns}/{name}/auth-check."""
    return nothing()


def missing(call: Call) -> Response:
    """Anything under an id without a namespace."""
    raise repo_not_found(anonymous=call.actor.anonymous)


def tags_by_type(call: Call) -> Response:
    """GET /api/{kind}-tags-by-type: every tag in use, by its kind."""
    repo_type: RepoType = "dataset" if "datasets-" in call.request.scope["path"] else "model"
    found: dict[str, dict[str, dict[str, str]]] = {}
    for repo in select_repos(call.core, call.actor, repo_type, Filters()):
        for tag in repo.tags:
            kind, _, label = tag.rpartition(":")
            found.setdefault(kind or "other", {})[tag] = {"type": kind, "id": tag, "label": label}
    return reply({kind: list(tags.values()) for kind, tags in found.items()})


def hardware(call: Call) -> Response:
    """GET /api/spaces/hardware: there is this machine, and nothing to rent."""
    free = {
        "name": "cpu-basic",
        "prettyName": "This machine",
        "unitCostUSD": 0,
        "unitLabel": "hour",
    }
    return reply([{**free, "cpu": "", "ram": "", "accelerator": None, "unitCostMicroUSD": 0}])


def telemetry(call: Call) -> Response:
    """HEAD /api/telemetry/...: heard, and not kept."""
    return nothing()


def no_xet(call: Call) -> Response:
    """GET xet tokens: this server stores no Xet chunks."""
    raise not_found(
        "This Hub has no Xet storage. Set HF_HUB_DISABLE_XET=1 before you start the client."
    )


_REPO = "/api/{kind:kind}/{ns}/{name}"

ROUTES = [
    Entry("POST", "/api/repos/create", create, "write_token"),
    Entry("DELETE", "/api/repos/delete", delete, "write_token"),
    Entry("POST", "/api/repos/move", move, "write_token"),
    Entry("GET", "/api/telemetry/{topic:path}", telemetry, "anyone"),
    Entry("GET", "/api/models-tags-by-type", tags_by_type, "anyone"),
    Entry("GET", "/api/datasets-tags-by-type", tags_by_type, "anyone"),
    Entry("GET", "/api/spaces/hardware", hardware, "anyone"),
    Entry("GET", "/api/{kind:kind}", list_repos, "anyone"),
    Entry("GET", _REPO, get_info, "see"),
    Entry("GET", _REPO + "/revision/{rev:rev}", get_info, "see"),
    Entry("GET", _REPO + "/safetensors-metadata/{path:path}", safetensors_metadata, "read"),
    Entry("PUT", _REPO + "/settings", settings, "admin"),
    Entry("POST", _REPO + "/duplicate", duplicate, "read"),
    Entry("GET", _REPO + "/auth-check", auth_check, "read"),
    Entry("GET", _REPO + "/auth-check/write", auth_check, "write"),
    Entry("GET", _REPO + "/xet-read-token/{rev:rev}", no_xet, "read"),
    Entry("GET", _REPO + "/xet-write-token/{rev:rev}", no_xet, "propose"),
]

# Last in the table: ids without a namespace, which no repo has here.
NAMELESS = [
    Entry(method, path, missing, "anyone")
    for path in (
        "/api/{kind:kind}/{single}",
        "/api/{kind:kind}/{single}/{verb:verb}",
        "/api/{kind:kind}/{single}/{verb:verb}/{rest:path}",
        "/{prefix:prefix}{single}/resolve/{rev:rev}/{path:path}",
        "/{prefix:prefix}{single}.git/info/{rest:path}",
    )
    for method in ("GET", "POST", "PUT", "DELETE")
]
