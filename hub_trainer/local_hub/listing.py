"""Lists of repos: which they show, and in what order."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import bad_request
from hub_trainer.local_hub.lfs import stored_bytes
from hub_trainer.local_hub.names import RepoType
from hub_trainer.local_hub.permissions import can_see
from hub_trainer.local_hub.repo_rows import Repo, all_repos
from hub_trainer.local_hub.weights import gguf_info, safetensors_info


@dataclass(frozen=True)
class Filters:
    """What a list was asked for; an empty field asks for nothing."""

    search: str = ""
    author: str = ""
    tags: tuple[str, ...] = ()
    pipeline_tag: str = ""
    gated: bool | None = None
    inference: bool = False
    """Only models that somebody runs for others: here nobody does."""
    linked: tuple[tuple[str, str], ...] = ()
    """(models or datasets, name): Spaces that use it."""
    num_parameters: tuple[int, int] | None = None
    """Fewest and most parameters of a model."""
    sort: str = "trendingScore"
    descending: bool = True


_SORT_KEYS: dict[str, Callable[[Core, Repo], Any]] = {
    "trendingScore": lambda core, repo: (repo.likes, repo.modified),
    "trending_score": lambda core, repo: (repo.likes, repo.modified),
    "trending": lambda core, repo: (repo.likes, repo.modified),
    "likes": lambda core, repo: repo.likes,
    "likes7d": lambda core, repo: repo.likes,
    "likes30d": lambda core, repo: repo.likes,
    "downloads": lambda core, repo: repo.downloads,
    "createdAt": lambda core, repo: repo.created,
    "created_at": lambda core, repo: repo.created,
    "lastModified": lambda core, repo: repo.modified,
    "last_modified": lambda core, repo: repo.modified,
    "modified": lambda core, repo: repo.modified,
    "id": lambda core, repo: repo.full_name.lower(),
    "mainSize": lambda core, repo: stored_bytes(core.store, repo.id),
    "datasetsServerInfo.numRows": lambda core, repo: 0,  # rows are not counted: all are equal
    "num_parameters": lambda core, repo: _num_parameters(core, repo),
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
    if filters.num_parameters is not None:
        fewest, most = filters.num_parameters
        found = [repo for repo in found if fewest <= _num_parameters(core, repo) <= most]
    key = _SORT_KEYS[filters.sort]
    return sorted(found, key=lambda repo: key(core, repo), reverse=filters.descending)


def _num_parameters(core: Core, repo: Repo) -> int:
    """Parameters of a model whose weights can be read; 0 for any other."""
    git = core.git(repo)
    commit = git[repo.head_sha]
    found = safetensors_info(core, repo, git, commit) or gguf_info(core, repo, git, commit)
    return 0 if found is None else int(found["total"])


_SPAN = re.compile(r"(min|max):(\d+(?:\.\d+)?)([KMBT]?)\Z", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse_num_parameters(text: str) -> tuple[int, int]:
    """`min:6B,max:128B`, or one of the two -> (fewest, most)."""
    ends = {"min": 1, "max": 2**63}
    for part in text.split(","):
        found = _SPAN.match(part.strip())
        if found is None:
            raise bad_request(f'"num_parameters" must look like min:6B,max:128B, not {text!r}.')
        ends[found[1].lower()] = int(float(found[2][:30]) * _UNITS[found[3].upper()])
    return ends["min"], ends["max"]


def _passes(repo: Repo, filters: Filters) -> bool:
    name = repo.full_name.lower()
    if filters.author and repo.namespace.lower() != filters.author.lower():
        return False
    if not all(word in name for word in filters.search.lower().split()):
        return False
    if filters.gated is not None and bool(repo.gated) != filters.gated:
        return False
    if filters.inference:
        return False
    if filters.pipeline_tag and repo.facts.get("pipeline_tag") != filters.pipeline_tag:
        return False
    tags = {tag.lower() for tag in repo.tags}
    if not all(tag.lower() in tags for tag in filters.tags):
        return False
    return all(value in (repo.facts.get(field) or []) for field, value in filters.linked)
