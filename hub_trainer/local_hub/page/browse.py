"""Routes of the front page, lists, people, and a repo's card."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import access, spaces
from hub_trainer.local_hub.accounts import Account, find_account, members_of, orgs_of
from hub_trainer.local_hub.errors import not_found
from hub_trainer.local_hub.git_read import read_text
from hub_trainer.local_hub.lfs import grants_of
from hub_trainer.local_hub.listing import Filters, select_repos
from hub_trainer.local_hub.names import TYPE_OF_PLURAL
from hub_trainer.local_hub.page.about import PLURALS, blurb, chips_of, frame, repo_url, results_of
from hub_trainer.local_hub.page.markdown_html import Base, render_card
from hub_trainer.local_hub.page.render import page
from hub_trainer.local_hub.page.signing import form_entry, see_other
from hub_trainer.local_hub.repo_rows import Repo
from hub_trainer.local_hub.wire import Call, Entry

NUM_ON_FRONT = 8
NUM_IN_LIST = 30

_SORTS = {"lastModified": "Newest", "likes": "Most liked", "downloads": "Most downloaded"}


def show_front(call: Call) -> Response:
    """GET /: the newest of every type, or what a search finds."""
    search = call.query("search")
    filters = Filters(search=search, sort="lastModified")
    columns = []
    for repo_type in TYPE_OF_PLURAL.values():
        found = select_repos(call.core, call.actor, repo_type, filters)
        columns.append((PLURALS[repo_type], len(found), _rows(call, found[:NUM_ON_FRONT])))
    return page(call, "front.html", columns=columns, search=search, endpoint=call.endpoint)


def show_list(call: Call) -> Response:
    """GET /models, /datasets, /spaces."""
    plural = call.request.scope["path"].strip("/")
    sort = call.query("sort")
    sort = sort if sort in _SORTS else "lastModified"
    asked = {"search": call.query("search"), "filter": call.query("filter"), "sort": sort}
    tags = tuple(call.request.query_params.getlist("filter"))
    filters = Filters(search=asked["search"], tags=tags, sort=sort)
    found = select_repos(call.core, call.actor, TYPE_OF_PLURAL[plural], filters)
    number = call.number("p", 0, 1_000_000)
    start = number * NUM_IN_LIST
    return page(
        call,
        "list.html",
        plural=plural,
        total=len(found),
        rows=_rows(call, found[start : start + NUM_IN_LIST]),
        number=number,
        more=start + NUM_IN_LIST < len(found),
        asked={key: value for key, value in asked.items() if value},
        sorts=_SORTS,
    )


def _rows(call: Call, found: list[Repo]) -> list[tuple[Repo, str, str]]:
    return [(repo, repo_url(repo), blurb(call.core, repo)) for repo in found]


def show_account(call: Call) -> Response:
    """GET /{account}: a user or an organisation."""
    account = find_account(call.core.store, call.params["account"])
    if account is None:
        raise not_found(f"There is no page /{call.params['account']} and nobody of that name.")
    columns = []
    for repo_type in TYPE_OF_PLURAL.values():
        filters = Filters(author=account.name, sort="lastModified")
        found = select_repos(call.core, call.actor, repo_type, filters)
        columns.append((PLURALS[repo_type], len(found), _rows(call, found)))
    return page(
        call, "account.html", account=account, people=_people(call, account), columns=columns
    )


def _people(call: Call, account: Account) -> list[tuple[str, str]]:
    """(name, role): an organisation's members, or the organisations of a user."""
    if account.kind == "org":
        return [(user.name, role) for user, role in members_of(call.core.store, account)]
    return list(orgs_of(call.core.store, account))


def show_repo(call: Call) -> Response:
    """GET /{repo}: the card. Who may not read a gated repo's files is told how to ask."""
    values = frame(call, "card")
    git = call.core.git(call.repo)
    readme = None
    if values["may_read"]:
        readme = read_text(git, git[call.repo.head_sha], "README.md")
    base = Base(values["url"], "main")
    return page(
        call,
        "repo.html",
        **values,
        card=None if readme is None else render_card(readme, base),
        chips=chips_of(call),
        results=results_of(call.repo),
        endpoint=call.endpoint,
        large_bytes=sum(size for size, _ in grants_of(call.core.store, call.repo.id).values()),
        request_status=_request_status(call),
        beside=_beside(call),
    )


def _beside(call: Call) -> dict[str, Any]:
    """What else is known: the Spaces that use a repo, or the state of a Space."""
    if call.repo.type == "space":
        return {"stage": spaces.runtime(call.core, call.repo)["stage"].replace("_", " ").lower()}
    field = PLURALS[call.repo.type]
    return {"spaces": spaces.spaces_using(call.core, field, call.repo.full_name)}


def _request_status(call: Call) -> str:
    """Where the viewer's request for access stands; empty if there is none."""
    if not call.repo.gated or call.actor.user is None:
        return ""
    return access.status_of(call.core.store, call.repo, call.actor.user) or ""


def ask_access(call: Call) -> Response:
    """POST /{repo}/access: ask to be let in."""
    assert call.actor.user is not None
    access.ask(call.core.store, call.repo, call.actor.user, {})
    return see_other(repo_url(call.repo))


REPO = "/{prefix:prefix}{ns:owner}/{name}"

ROUTES = [
    Entry("GET", "/", show_front, "anyone", page=True),
    *[Entry("GET", f"/{plural}", show_list, "anyone", page=True) for plural in TYPE_OF_PLURAL],
    Entry("GET", "/{account}", show_account, "anyone", page=True),
    Entry("GET", REPO, show_repo, "see", page=True),
    form_entry(REPO + "/access", ask_access, "react"),
]
