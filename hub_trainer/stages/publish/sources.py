"""Sources of a model as the Hub describes them: licences, languages, who wrote the data."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub_trainer.cards import LicenceDecision, LicensedWork, licensed_work
from hub_trainer.errors import Problem
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import PinnedRepo
from hub_trainer.reports import DatasetReport

_CO_AUTHOR = re.compile(r"^Co-authored-by: ([^\s<]+)", re.MULTILINE | re.IGNORECASE)


def licensed_works(
    hub: Hub, base: PinnedRepo | None, datasets: Sequence[PinnedRepo]
) -> list[LicensedWork]:
    """The base model and the datasets with the licences that their cards name."""
    works = []
    if base:
        card = hub.card_data(Repo(base.repo_id), base.commit_sha)
        works.append(licensed_work("base model", base.repo_id, card))
    for pinned in datasets:
        card = hub.card_data(Repo(pinned.repo_id, "dataset"), pinned.commit_sha)
        works.append(licensed_work("dataset", pinned.repo_id, card))
    return works


def licence_problems(decision: LicenceDecision) -> list[Problem]:
    """What stands against the licence, as problems of the recipe's key."""
    key, way_out = "publish.license", "Name another licence, or leave that source out."
    return [
        Problem(key, f"{key}: {decision.license} will not do: {clash}. {way_out}")
        for clash in decision.problems
    ]


def languages(hub: Hub, datasets: Sequence[PinnedRepo]) -> list[str]:
    """Languages that the data cards name."""
    found: set[str] = set()
    for pinned in datasets:
        card = hub.card_data(Repo(pinned.repo_id, "dataset"), pinned.commit_sha)
        value = card.get("language") or []
        found |= {str(one) for one in (value if isinstance(value, list) else [value])}
    return sorted(found)


def machine_annotated(hub: Hub, datasets: Sequence[PinnedRepo]) -> list[str]:
    """Datasets whose cards say that machines annotated them, and nobody else."""
    found = set()
    for pinned in datasets:
        card = hub.card_data(Repo(pinned.repo_id, "dataset"), pinned.commit_sha)
        creators = card.get("annotations_creators")
        if creators in ("machine-generated", ["machine-generated"]):
            found.add(pinned.repo_id)
    return sorted(found)


def contributors(hub: Hub, datasets: Sequence[PinnedRepo]) -> list[str]:
    """Who wrote the data up to its pinned commit: authors and co-authors of its commits."""
    found: set[str] = set()
    for pinned in datasets:
        for entry in hub.history(Repo(pinned.repo_id, "dataset"), pinned.commit_sha):
            found |= {*entry.authors, *_CO_AUTHOR.findall(entry.message)}
    return sorted(found)


def has_chat_template(hub: Hub, base: PinnedRepo | None) -> bool:
    """Whether the base model brings a chat template."""
    if base is None:
        return False
    repo = Repo(base.repo_id)
    if hub.read_file(repo, "chat_template.jinja", base.commit_sha) is not None:
        return True
    content = hub.read_file(repo, "tokenizer_config.json", base.commit_sha)
    return bool(content and "chat_template" in _settings(content))


def training_datasets(
    pinned: Sequence[PinnedRepo], collected: Sequence[DatasetReport]
) -> list[PinnedRepo]:
    """The pinned repos whose rows are trained on, each once; the sealed test rows are not."""
    return list(_unique(pinned, {one.repo_id for one in collected if one.role != "test"}))


def _unique(pinned: Sequence[PinnedRepo], repo_ids: set[str]) -> Iterator[PinnedRepo]:
    seen = set()
    for one in pinned:
        key = (one.repo_id, one.commit_sha)
        if one.repo_id in repo_ids and key not in seen:
            seen.add(key)
            yield one


def _settings(content: bytes) -> Mapping[str, Any]:
    try:
        settings = json.loads(content)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}
