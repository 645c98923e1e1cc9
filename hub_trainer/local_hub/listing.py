"""Which repos a list shows, and in what order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import bad_request
from hub_trainer.local_hub.names import RepoType
from hub_trainer.local_hub.permissions import can_see
from hub_trainer.local_hub.repo_rows import Repo, all_repos


@dataclass(frozen=True)
class Filters:
    """What a list was asked for; an empty field asks for nothing."""

    search: str = ""
    author: str = ""
    tags: tuple[str, ...] = ()
    pipeline_tag: str = ""
    gated: bool | None = None
    linked: tuple[tuple[str, str], ...] = ()
    """(models or datasets, name): Spaces that use it."""
    sort: str = "trendingScore"
    descending: bool = True


_SORT_KEYS: dict[str, Callable[[Repo], Any]] = {
    "trendingScore": lambda repo: (repo.likes, repo.modified),
    "trending_score": lambda repo: (repo.likes, repo.modified),
    "trending": lambda repo: (repo.likes, repo.modified),
    "likes": lambda repo: repo.likes,
    "likes7d": lambda repo: repo.likes,
    "downloads": lambda repo: repo.downloads,
    "createdAt": lambda repo: repo.created,
    "created_at": lambda repo: repo.created,
    "lastModified": lambda repo: repo.modified,
    "last_modified": lambda repo: repo.modified,
    "modified": lambda repo: repo.modified,
    "id": lambda repo: repo.full_name.lower(),
    "mainSize": lambda repo: 0,
    "num_parameters": lambda repo: 0,
}


def select_repos(core: Core, actor: Actor, repo_type: RepoType, filters: Filters) -> list[Repo]:
    """The repos that the actor may know of and that pass every filter."""
    if filters.sort not in _SORT_KEYS:
        raise bad_request(f'"sort" must be one of [{", ".join(_SORT_KEYS)}], not {filters.sort}')
    found = [
        repo
        for repo in all_repos(core.store, repo_type)
        if can_see(actor, repo) and repo.head_sha and _passes(repo, filters)
    ]
    return sorted(found, key=_SORT_KEYS[filters.sort], reverse=filters.descending)


def _passes(repo: Repo, filters: Filters) -> bool:
    name = repo.full_name.lower()
    if filters.author and repo.namespace.lower() != filters.author.lower():
        return False
    if not all(word in name for word in filters.search.lower().split()):
        return False
    if filters.gated is not None and bool(repo.gated) != filters.gated:
        return False
    if filters.pipeline_tag and repo.facts.get("pipeline_tag") != filters.pipeline_tag:
        return False
    tags = {tag.lower() for tag in repo.tags}
    if not all(tag.lower() in tags for tag in filters.tags):
        return False
    return all(value in (repo.facts.get(field) or []) for field, value in filters.linked)
