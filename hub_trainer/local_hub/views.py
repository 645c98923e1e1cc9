"""Repos, files and commits as the Hub's JSON shows them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hub_trainer.local_hub import spaces, weights
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import bad_request
from hub_trainer.local_hub.git_read import CommitRecord, Entry, describe, list_files
from hub_trainer.local_hub.lfs import grants_of, stored_bytes
from hub_trainer.local_hub.names import iso_of_seconds
from hub_trainer.local_hub.repo_rows import Repo


@dataclass(frozen=True)
class RepoView:
    """A repo at a commit; without a commit, as the lists show it."""

    core: Core
    repo: Repo
    commit_sha: str | None = None
    with_blobs: bool = False

    @cached_property
    def git(self) -> Any:
        """A handle on the repo."""
        return self.core.git(self.repo)

    @cached_property
    def commit(self) -> Any:
        """The commit that is shown: the one asked for, or the tip of main."""
        return self.git[self.commit_sha or self.repo.head_sha]

    def siblings(self) -> list[dict[str, Any]]:
        """Every file; sizes and hashes only if blobs were asked for."""
        files = list_files(self.git, self.commit)
        if not self.with_blobs:
            return [{"rfilename": path} for path, _ in files]
        granted = grants_of(self.core.store, self.repo.id)
        return [_sibling(describe(self.git, path, found), granted) for path, found in files]

    def sha(self) -> str:
        """The commit that is shown."""
        return self.commit_sha or self.repo.head_sha

    def last_modified(self) -> str:
        """When the shown commit was made."""
        if self.commit_sha in (None, self.repo.head_sha):
            return self.repo.modified
        return iso_of_seconds(self.commit.commit_time)

    def safetensors(self) -> dict[str, Any] | None:
        """Parameters of the model's safetensors files."""
        return weights.safetensors_info(self.core, self.repo, self.git, self.commit)

    def gguf(self) -> dict[str, Any] | None:
        """Parameters, architecture and context length of the model's GGUF file."""
        return weights.gguf_info(self.core, self.repo, self.git, self.commit)

    def used_storage(self) -> int:
        """Bytes of large files; those of git are small beside them."""
        return stored_bytes(self.core.store, self.repo.id)


def _sibling(entry: Entry, granted: dict[str, tuple[int, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": entry.path, "blobId": entry.oid, "size": entry.size}
    pointer = entry.pointer
    if pointer is not None and pointer.oid in granted:
        found["size"] = pointer.size
        found["lfs"] = {
            "sha256": pointer.oid,
            "size": pointer.size,
            "pointerSize": pointer.pointer_size,
        }
    return found


_Field = Callable[[RepoView], Any]

_COMMON: dict[str, _Field] = {
    "author": lambda view: view.repo.namespace,
    "cardData": lambda view: view.repo.card,
    "createdAt": lambda view: view.repo.created,
    "disabled": lambda view: view.repo.disabled,
    "lastModified": lambda view: view.last_modified(),
    "likes": lambda view: view.repo.likes,
    "private": lambda view: view.repo.private,
    "sha": lambda view: view.sha(),
    "siblings": lambda view: view.siblings(),
    "tags": lambda view: view.repo.tags,
    "trendingScore": lambda view: view.repo.likes,
    "usedStorage": lambda view: view.used_storage(),
    "resourceGroup": lambda view: None,
    "gitalyUid": lambda view: view.repo.id,
}
_DOWNLOADED: dict[str, _Field] = {
    **_COMMON,
    "downloads": lambda view: view.repo.downloads,
    "downloadsAllTime": lambda view: view.repo.downloads,
    "gated": lambda view: view.repo.gated or False,
    "xetEnabled": lambda view: False,
}
FIELDS: dict[str, dict[str, _Field]] = {
    "model": {
        **_DOWNLOADED,
        "baseModels": lambda view: None,
        "childrenModelCount": lambda view: 0,
        "config": lambda view: view.repo.facts.get("config") or {},
        "evalResults": lambda view: [],
        "gguf": lambda view: view.gguf(),
        "inference": lambda view: None,
        "inferenceProviderMapping": lambda view: {},
        "library_name": lambda view: view.repo.facts.get("library_name"),
        "mask_token": lambda view: None,
        "model-index": lambda view: view.repo.card.get("model-index"),
        "pipeline_tag": lambda view: view.repo.facts.get("pipeline_tag"),
        "safetensors": lambda view: view.safetensors(),
        "security_repo_status": lambda view: {"scansDone": False, "filesWithIssues": []},
        "spaces": lambda view: spaces.spaces_using(view.core, "models", view.repo.full_name),
        "transformersInfo": lambda view: None,
        "widgetData": lambda view: view.repo.card.get("widget"),
        "securityStatus": lambda view: {"scansDone": False, "filesWithIssues": []},
    },
    "dataset": {
        **_DOWNLOADED,
        "citation": lambda view: None,
        "description": lambda view: view.repo.card.get("description"),
        "mainSize": lambda view: view.used_storage(),
        "paperswithcode_id": lambda view: view.repo.card.get("paperswithcode_id"),
    },
    "space": {
        **_COMMON,
        "datasets": lambda view: view.repo.facts.get("datasets") or [],
        "models": lambda view: view.repo.facts.get("models") or [],
        "runtime": lambda view: spaces.runtime(view.core, view.repo),
        "region": lambda view: "us",
        "sdk": lambda view: view.repo.facts.get("sdk"),
        "subdomain": lambda view: spaces.subdomain(view.repo),
        "xetEnabled": lambda view: False,
    },
}
_INFO = {
    "model": [
        "author",
        "sha",
        "lastModified",
        "createdAt",
        "private",
        "gated",
        "disabled",
        "downloads",
        "likes",
        "tags",
        "pipeline_tag",
        "library_name",
        "cardData",
        "config",
        "model-index",
        "safetensors",
        "gguf",
        "spaces",
        "siblings",
        "usedStorage",
    ],
    "dataset": [
        "author",
        "sha",
        "lastModified",
        "createdAt",
        "private",
        "gated",
        "disabled",
        "downloads",
        "likes",
        "tags",
        "cardData",
        "description",
        "siblings",
        "usedStorage",
    ],
    "space": [
        "author",
        "sha",
        "lastModified",
        "createdAt",
        "private",
        "disabled",
        "likes",
        "tags",
        "cardData",
        "sdk",
        "subdomain",
        "runtime",
        "models",
        "datasets",
        "siblings",
        "usedStorage",
    ],
}
_BRIEF = {
    "model": ["createdAt", "private", "downloads", "likes", "tags", "pipeline_tag", "library_name"],
    "dataset": [
        "author",
        "createdAt",
        "lastModified",
        "private",
        "gated",
        "disabled",
        "downloads",
        "likes",
        "tags",
        "description",
        "sha",
    ],
    "space": ["createdAt", "private", "likes", "tags", "sdk"],
}
_WEIGHTS = ("safetensors", "gguf")
_FULL = ["author", "sha", "lastModified", "gated", "disabled", "cardData", "siblings"]


def check_expand(repo_type: str, expand: list[str]) -> list[str]:
    """The fields asked for, all of them known."""
    known = FIELDS[repo_type]
    for name in expand:
        if name not in known:
            raise bad_request(f'"expand" must be one of [{", ".join(sorted(known))}], not {name}')
    return expand


def info(view: RepoView, expand: list[str], *, security: bool = False) -> dict[str, Any]:
    """One repo in full, or with the fields asked for."""
    shown = _show(view, expand or _INFO[view.repo.type])
    for name in _WEIGHTS:
        if shown.get(name, {}) is None:  # the Hub leaves out what a model does not have
            del shown[name]
    if view.repo.type == "space" and not expand:
        shown["host"] = ""
    if security and view.repo.type == "model":
        shown["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
    return shown


def listed(view: RepoView, expand: list[str], more: list[str]) -> dict[str, Any]:
    """One repo in a list; `more` may hold full, cardData, config."""
    names = list(expand)
    if not expand:
        names = list(_BRIEF[view.repo.type])
        names += _FULL if "full" in more else []
        names += [name for name in ("cardData", "config") if name in more]
    known = FIELDS[view.repo.type]
    return _show(view, [name for name in dict.fromkeys(names) if name in known])


def _show(view: RepoView, names: list[str]) -> dict[str, Any]:
    repo = view.repo
    shown: dict[str, Any] = {"_id": repo.id, "id": repo.full_name}
    if repo.type == "model":
        shown["modelId"] = repo.full_name
    fields = FIELDS[repo.type]
    shown.update((name, fields[name](view)) for name in names)
    return shown


def tree_entry(entry: Entry, granted: dict[str, tuple[int, str]]) -> dict[str, Any]:
    """A file or folder of a tree. An LFS file shows its own size and its pointer's git oid."""
    shown: dict[str, Any] = {
        "type": entry.type,
        "oid": entry.oid,
        "size": entry.size,
        "path": entry.path,
    }
    pointer = entry.pointer
    if pointer is not None and pointer.oid in granted:
        shown["size"] = pointer.size
        shown["lfs"] = {
            "oid": pointer.oid,
            "size": pointer.size,
            "pointerSize": pointer.pointer_size,
        }
    return shown


def last_commit(record: CommitRecord) -> dict[str, str]:
    """The newest commit of a path."""
    return {"id": record.sha, "title": record.title, "date": record.date}


def listed_commit(record: CommitRecord, *, formatted: bool) -> dict[str, Any]:
    """A commit in a history."""
    shown: dict[str, Any] = {
        "id": record.sha,
        "title": record.title,
        "message": record.message,
        "authors": [{"user": record.author, "avatar": ""}],
        "date": record.date,
    }
    if formatted:
        shown["formatted"] = {
            "title": _as_html(record.title),
            "message": _as_html(record.message),
        }
    return shown


def _as_html(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\n", "<br>")
