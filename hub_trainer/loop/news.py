"""News since a round: settings that can change the model, and contents of what it reads.

Everything is compared by value, with the record on the Hub: commits that leave the data files of
the splits in use alone, and keys that only publish, serve, judge or review, are nothing new.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hub_trainer.artifacts import package_versions
from hub_trainer.errors import DataError, HubError
from hub_trainer.hub import Hub, Repo, RepoFile
from hub_trainer.inputs.media import MEDIA
from hub_trainer.lineage import PinnedRepo, Pins, RoundRecord, changed_files, model_settings
from hub_trainer.recipe import DatasetSource, Recipe
from hub_trainer.rows.card import CARD, parse_card
from hub_trainer.rows.layout import find_split_files

FOLDER_READERS = tuple(one.reader for one in MEDIA.values())
"""Readers to which a file's path says something of its rows."""
MAX_NAMED = 8


@dataclass(frozen=True)
class News:
    """What differs from a round, in words."""

    new: tuple[str, ...]
    """What can change the model; nothing means that the round would only be made again."""
    unimportant: tuple[str, ...]
    """What differs and cannot change the model."""


def compare_with_round(hub: Hub, recipe: Recipe, pins: Pins, record: RoundRecord) -> News:
    """What is new in the recipe and in the pinned repos since a round."""
    then = _recipe_of(record)
    new = list(_new_settings(recipe, then))
    unimportant: list[str] = list(_other_settings(recipe, then))
    if then is None or _roles(recipe) != _roles(then):
        new = new or ["the recipe of that round, which this version cannot read"]
    else:
        for found, kind in _new_data(hub, recipe, pins, then, record):
            (new if kind == "new" else unimportant).append(found)
        for found, kind in _new_base(hub, pins, record):
            (new if kind == "new" else unimportant).append(found)
    versions = _new_versions(record)
    unimportant += [f"packages differ ({versions}), which alone makes no round"] if versions else []
    return News(tuple(dict.fromkeys(new)), tuple(dict.fromkeys(unimportant)))


def _recipe_of(record: RoundRecord) -> Recipe | None:
    """The round's recipe with today's defaults for keys that it could not know."""
    try:
        return Recipe.model_validate(record.recipe)
    except ValueError:
        return None


def _new_settings(recipe: Recipe, then: Recipe | None) -> Iterator[str]:
    if then is not None:
        yield from _differences(_without_refs(recipe), _without_refs(then))


def _without_refs(recipe: Recipe) -> dict[str, Any]:
    """Settings that can change the model; repos are compared by their contents."""
    flat = _flat(model_settings(recipe))
    named = (".repo_id", ".revision")
    return {k: v for k, v in flat.items() if not (k.endswith(named) or k == "base_model")}


def _other_settings(recipe: Recipe, then: Recipe | None) -> Iterator[str]:
    """Keys that apply from the next round on."""
    if then is None:
        return
    sections = ("evaluate", "gate")
    now, before = (
        _flat({name: one.model_dump(mode="json")[name] for name in sections})
        for one in (recipe, then)
    )
    for told in _differences(now, before):
        if not told.startswith("evaluate.primary "):
            yield f"{told} cannot change the model: it applies from the next round on"


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(now.keys() | before.keys()):
        mine, theirs = now.get(key), before.get(key)
        if mine != theirs:
            yield f"{key} ({_shown(mine)}, was {_shown(theirs)})"


def _shown(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value; an empty mapping or list says as much as none."""
    if isinstance(value, dict):
        items = [(f"{prefix}.{key}" if prefix else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and (not value or isinstance(value[0], dict)):
        items = [(f"{prefix}.{index}", inner) for index, inner in enumerate(value)]
    else:
        return {prefix: value}
    return {key: one for name, inner in items for key, one in _flat(inner, name).items()}


def _roles(recipe: Recipe) -> list[str]:
    prepare = recipe.prepare
    roles = ["train"] * len(recipe.collect.datasets)
    roles += ["test"] if prepare.test_split else []
    return roles + (["validation"] if prepare.validation_split else [])


def _sources(recipe: Recipe) -> list[DatasetSource]:
    split = [recipe.prepare.test_split, recipe.prepare.validation_split]
    return [*recipe.collect.datasets, *(one for one in split if one is not None)]


Told = tuple[str, str]
"""Words, and whether they say something new: new or same."""


def _new_data(
    hub: Hub, recipe: Recipe, pins: Pins, then: Recipe, record: RoundRecord
) -> Iterator[Told]:
    """Files of the splits in use, source by source in the order of the recipe."""
    shas = [one.commit_sha for one in record.datasets]
    sources, before = _sources(recipe), _sources(then)
    if len(shas) != len(before):
        yield "the splits of that round, which its record does not name", "new"
        return
    for now, old, old_sha, role in zip(sources, before, shas, _roles(recipe), strict=True):
        sha = pins.sha_of("dataset", now.repo_id, now.revision)
        if (now.repo_id, sha) == (old.repo_id, old_sha):
            continue
        changed = _changed_data(hub, (now, sha), (old, old_sha))
        if changed is None:
            yield f"the files of {now.repo_id} ({role}): those of that round are gone", "new"
        elif changed:
            count = f"{changed} file{'s' if changed > 1 else ''}"
            yield f"{count} of {now.repo_id} ({role})", "new"
        else:
            yield f"{now.repo_id} is at {sha[:7]}, with the same {role} files", "same"


def _changed_data(
    hub: Hub, now: tuple[DatasetSource, str], then: tuple[DatasetSource, str]
) -> int | None:
    """How many files of the split differ; None when those of then cannot be found any more."""
    mine = _split_contents(hub, *now)
    try:
        theirs = _split_contents(hub, *then)
    except (HubError, DataError):
        return None
    if mine == theirs:
        return 0
    one, other = set(mine), set(theirs)
    return max(1, len(one - other), len(other - one))


def _split_contents(hub: Hub, source: DatasetSource, commit_sha: str) -> list[tuple[str, str]]:
    """(what its name says, content) of each file of a split in reading order, then its reader."""
    repo = Repo(source.repo_id, "dataset")
    files = {file.path: file for file in hub.list_files(repo, commit_sha)}
    where = f"{source.repo_id}@{commit_sha[:8]}, split {source.split}"
    text = (hub.read_file(repo, CARD, commit_sha) if CARD in files else None) or b""
    card = parse_card(text.decode("utf-8", "replace"), where=where)
    found = find_split_files(
        list(files), card, config=source.config, split=source.split, where=where
    )
    paths = [path for part in found.files.values() for path in part]
    told = found.reader in FOLDER_READERS
    contents = [(path, _content(files[path])) for path in paths]
    if not told:
        contents = [(PurePosixPath(path).suffix, content) for path, content in contents]
    return [*contents, ("its reader's settings", str(_reading(found.reader, found.card)))]


def _reading(reader: str, card: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """How the files are read: settings of the config and declared features, not their patterns."""
    settings = [
        {key: value for key, value in entry.items() if key not in ("config_name", "data_files")}
        for entry in card.get("configs", [])
    ]
    info = card.get("dataset_info") or {}
    return reader, [one for one in settings if one], info.get("features")


def _content(file: RepoFile) -> str:
    return file.lfs_sha256 or file.blob_id


def _new_base(hub: Hub, pins: Pins, record: RoundRecord) -> Iterator[Told]:
    now, then = pins.base_model, record.base_model
    if now is None or then is None:
        if (now is None) != (then is None):
            yield f"the base model ({_named(now)}, was {_named(then)})", "new"
        return
    repo_id, sha = str(then["repo_id"]), str(then["commit_sha"])
    if (now.repo_id, now.commit_sha) == (repo_id, sha):
        return
    mine = hub.list_files(Repo(now.repo_id), now.commit_sha)
    try:
        theirs = hub.list_files(Repo(repo_id), sha)
    except HubError:
        yield f"the base model {now.repo_id}: that of the round is gone", "new"
        return
    changed = _of_the_model(changed_files(theirs, mine))
    if changed:
        yield f"the base model {now.repo_id} ({', '.join(changed[:MAX_NAMED])})", "new"
    else:
        yield f"{now.repo_id} is at {now.commit_sha[:7]}, with the same model files", "same"


def _of_the_model(changed: Mapping[str, str]) -> list[str]:
    """Changes of what is loaded; a record of a round is not."""
    return [f"{path} {how}" for path, how in changed.items() if path != "round.json"]


def _named(base: PinnedRepo | Mapping[str, Any] | None) -> str:
    if base is None:
        return "none"
    return base.repo_id if isinstance(base, PinnedRepo) else str(base["repo_id"])


def _new_versions(record: RoundRecord) -> str:
    now = package_versions()
    found: Sequence[str] = [
        f"{name} {now[name]}, was {version}"
        for name, version in record.versions.items()
        if name in now and now[name] != version
    ]
    return "; ".join(found[:MAX_NAMED])
