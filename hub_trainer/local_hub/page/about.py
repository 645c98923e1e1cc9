"""Frame of a repo's pages: its name, tabs, chips and reported results."""

from dataclasses import dataclass
from typing import Any

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.discussion_rows import list_discussions
from hub_trainer.local_hub.page.render import to
from hub_trainer.local_hub.permissions import can_read, can_see, is_writer
from hub_trainer.local_hub.repo_rows import Repo, find_repo
from hub_trainer.local_hub.wire import Call

PLURALS = {"model": "models", "dataset": "datasets", "space": "spaces"}
MAX_CHIPS = 40
MAX_RESULTS = 8

_LINKED = {"dataset": "dataset", "base_model": "model"}


@dataclass(frozen=True)
class Chip:
    """A tag as it is shown: `key` is its kind, muted."""

    key: str
    text: str
    url: str


def repo_url(repo: Repo) -> str:
    """The path of a repo's page."""
    return f"/{repo.url_path}"


def frame(call: Call, tab: str) -> dict[str, Any]:
    """What every page of a repo is given."""
    repo = call.repo
    talks = list_discussions(call.core.store, repo.id)
    return {
        "repo": repo,
        "url": repo_url(repo),
        "plural_type": PLURALS[repo.type],
        "tab": tab,
        "may_read": can_read(call.core.store, call.actor, repo),
        "may_write": is_writer(call.actor, repo),
        "num_open": sum(each.status in ("open", "draft") for each in talks),
    }


def chips_of(call: Call) -> list[Chip]:
    """The tags of a repo; one that names a repo here leads to it, any other to its like."""
    return [_chip(call, tag) for tag in call.repo.tags[:MAX_CHIPS] if _tells(tag)]


def _tells(tag: str) -> bool:
    return tag not in ("region:us", "model-index") and tag.count(":") < 2


def _chip(call: Call, tag: str) -> Chip:
    key, _, text = tag.rpartition(":")
    repo_type = _LINKED.get(key)
    linked = find_repo(call.core.store, repo_type, text) if repo_type else None
    if linked is not None and can_see(call.actor, linked):
        return Chip(key, text, repo_url(linked))
    return Chip(key, text, to(PLURALS[call.repo.type], filter=tag))


def results_of(repo: Repo) -> list[tuple[str, str, str]]:
    """(dataset, metric, value) as the card's metadata claims them, whatever shape it has."""
    found: list[tuple[str, str, str]] = []
    for model in _dicts(repo.card.get("model-index")):
        for result in _dicts(model.get("results")):
            dataset = result.get("dataset")
            name = dataset.get("name") if isinstance(dataset, dict) else None
            for metric in _dicts(result.get("metrics")):
                label = metric.get("name") or metric.get("type")
                found.append((str(name or ""), str(label or ""), _number(metric.get("value"))))
    return found[:MAX_RESULTS]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]


def blurb(core: Core, repo: Repo) -> str:
    """One line under a repo's name in a list."""
    if repo.type == "space":
        return str(repo.facts.get("sdk") or "")
    if repo.type == "model":
        return str(repo.facts.get("pipeline_tag") or "")
    tasks = [tag.partition(":")[2] for tag in repo.tags if tag.startswith("task_categories:")]
    return ", ".join(tasks[:2])
