"""The serve stage: the Space of the published model, pushed as one commit; `start` runs it here."""

import hashlib
import logging
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import Artifact, digest_of, find_artifact, write_artifact
from hub_trainer.errors import UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, Changes, Hub, Repo
from hub_trainer.lineage import RoundRecord, published_round
from hub_trainer.ratings import ratings_card
from hub_trainer.recipe import DatasetSource, Recipe, ServeSection
from hub_trainer.rows import RowSpec, read_rows
from hub_trainer.rows.fetch import fetch_rows
from hub_trainer.space.bundle import space_files
from hub_trainer.space.process import RunningSpace, start
from hub_trainer.space.settings import SpaceSettings, consent_text
from hub_trainer.tasks import Row, load_task

__all__ = ["PushedSpace", "RunningSpace", "push", "run", "start"]

logger = logging.getLogger(__name__)
Progress = Callable[[float, str], None]
NUM_EXAMPLES = 6
NUM_TABLE_ROWS = 200
MAX_EXAMPLE_CHARACTERS = 300


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class PushedSpace:
    """A Space on the Hub, and the commit that holds what was pushed."""

    repo_id: str
    commit_sha: str
    url: str


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Push the Space of the newest published round; the artifact holds its files."""
    section = _section(recipe)
    record = published_round(hub, recipe.publish.repo_id)
    assert record.commit_sha is not None
    progress(0.0, f"the Space of {recipe.publish.repo_id}@{record.commit_sha[:7]}")
    settings = space_settings(recipe, record, license_name=_ratings_license(record))
    examples = _examples(recipe, record, round_dir, hub)
    files = space_files(settings, endpoint=hub.url, examples=examples)
    folder = round_dir / "serve"
    inputs = {
        "stage": "serve",
        "hub": hub.url,
        "serve": section.model_dump(),
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    }
    done = find_artifact(folder, inputs)
    if done and hub.exists(Repo(section.repo_id, "space")):
        return done
    progress(0.3, f"pushing to {section.repo_id}")
    pushed = push(section, settings, files, hub)
    with write_artifact(folder, inputs) as draft:
        _write(files, draft.folder)
        draft.outputs.update(
            repo_id=pushed.repo_id,
            commit_sha=pushed.commit_sha,
            url=pushed.url,
            model={"repo_id": settings.model_repo_id, "commit_sha": settings.commit_sha},
            ratings_repo_id=section.ratings_repo_id,
        )
    assert draft.artifact is not None
    logger.info("serve: %s at %s", pushed.repo_id, pushed.commit_sha)
    return draft.artifact


def space_settings(
    recipe: Recipe, record: RoundRecord, *, license_name: str | None
) -> SpaceSettings:
    """What the Space of a published round is told."""
    section = _section(recipe)
    assert record.commit_sha is not None
    return SpaceSettings(
        space_repo_id=section.repo_id,
        task=recipe.task,
        model_repo_id=recipe.publish.repo_id,
        commit_sha=record.commit_sha,
        ratings_repo_id=section.ratings_repo_id,
        label_names=record.label_names,
        license=license_name,
    )


def push(
    section: ServeSection, settings: SpaceSettings, files: Mapping[str, bytes], hub: Hub
) -> PushedSpace:
    """Create the Space and the ratings dataset unless they exist, and bring the Space up to date.

    Files of hub_trainer that the Space does not need any more are deleted; what others put beside
    them stays. Nothing is committed when nothing has changed.
    """
    space, ratings = Repo(section.repo_id, "space"), Repo(section.ratings_repo_id, "dataset")
    hub.create_repo(
        space, private=section.private, space_sdk="gradio", space_hardware=section.hardware
    )
    hub.create_repo(ratings, private=section.private)
    _write_ratings_card(ratings, settings, hub)
    if hub.url != PUBLIC_ENDPOINT:
        hub.set_space_variables(space, {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"})
    head = hub.resolve(space)
    changes = _changes(space, head, files, hub)
    if changes.files or changes.deletions:
        digest = digest_of([head, {p: hashlib.sha256(c).hexdigest() for p, c in files.items()}])
        message = f"Serve {settings.model_repo_id} at {settings.commit_sha[:7]}"
        head = hub.commit(space, changes, message=message, run_id=digest).commit_sha
    return PushedSpace(section.repo_id, head, f"{hub.url}/spaces/{section.repo_id}")


def _section(recipe: Recipe) -> ServeSection:
    if recipe.serve is None:
        raise UsageError(
            "The recipe has no serve section.",
            where="serve",
            do="Add serve: {repo_id: org/name, ratings_repo_id: org/name-ratings}.",
        )
    return recipe.serve


def _changes(space: Repo, head: str, files: Mapping[str, bytes], hub: Hub) -> Changes:
    """What a commit on `head` must do, by the identities of the files that are there."""
    there = {file.path: file.lfs_sha256 or file.blob_id for file in hub.list_files(space, head)}
    new = {p: c for p, c in files.items() if there.get(p) not in _identities(c)}
    gone = [p for p in there if p.startswith("hub_trainer/") and p not in files]
    return Changes(files=new, deletions=gone)


def _identities(content: bytes) -> tuple[str, str]:
    """Git's name for a file's content, and that of large file storage."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return blob.hexdigest(), hashlib.sha256(content).hexdigest()


def _write_ratings_card(ratings: Repo, settings: SpaceSettings, hub: Hub) -> None:
    """The card of the ratings dataset, once: what its owner makes of it stays."""
    head = hub.resolve(ratings)
    if hub.read_file(ratings, "README.md", head) is not None:
        return
    card = ratings_card(
        task=settings.task,
        space=settings.space_repo_id,
        license_name=settings.license,
        consent=consent_text(settings),
    )
    message = "Say what the ratings are"
    hub.commit(
        ratings, Changes({"README.md": card.encode()}), message=message, run_id=digest_of(card)
    )


def _ratings_license(record: RoundRecord) -> str | None:
    """The licence of the training data: ratings are to join it."""
    licenses = {d.get("license") for d in record.datasets if d.get("role") == "train"}
    return licenses.pop() if len(licenses) == 1 else None


def _examples(recipe: Recipe, record: RoundRecord, round_dir: Path, hub: Hub) -> list[Row]:
    """Rows to try: a few of the training rows, or a table's values with no row as it was."""
    task = load_task(recipe.task)
    prepared = round_dir / "prepare" / "train.parquet"
    if task.modality == "table":
        rows = read_rows(prepared) if prepared.exists() else _table_rows(recipe, record, hub)
        return _shuffled_columns(rows, seed=recipe.train.seed)
    if not prepared.exists() or not _may_show_rows(recipe, hub):
        return []
    return _one_per_label(read_rows(prepared), task.modality)


def _may_show_rows(recipe: Recipe, hub: Hub) -> bool:
    """Whether whoever sees the Space may see the training rows."""
    if _section(recipe).private:
        return True
    names = [source.repo_id for source in recipe.collect.datasets]
    return not any(hub.is_private(Repo(name, "dataset")) for name in names)


def _one_per_label(rows: Sequence[Row], modality: str) -> list[Row]:
    """Short examples, of as many labels as there is room for."""
    found: dict[str, Row] = {}
    for row in rows:
        fits = modality == "image" or len(row[modality]) <= MAX_EXAMPLE_CHARACTERS
        if fits and row["label"] not in found and len(found) < NUM_EXAMPLES:
            found[row["label"]] = {modality: row[modality]}
    return list(found.values())


def _shuffled_columns(rows: Sequence[Row], *, seed: int) -> list[Row]:
    """The features of some rows, each column in an order of its own: values, but nobody's row."""
    names = [name for name in rows[0] if name != "label" and not name.startswith("_")]
    rng = random.Random(seed)  # noqa: S311 - no secret
    columns = {name: [row[name] for row in rows] for name in names}
    for values in columns.values():
        rng.shuffle(values)
    count = min(len(rows), NUM_TABLE_ROWS)
    return [{name: columns[name][index] for name in names} for index in range(count)]


def _table_rows(recipe: Recipe, record: RoundRecord, hub: Hub) -> list[Row]:
    """Training rows of the published round, for a machine that has not prepared it."""
    source: DatasetSource = recipe.collect.datasets[0]
    pinned = next(d for d in record.datasets if d["repo_id"] == source.repo_id)
    task = load_task(recipe.task)
    spec = RowSpec(
        modality=task.modality,
        kinds=dict(task.columns),
        columns=dict(source.columns),
        drop_columns=tuple(source.drop_columns),
    )
    with tempfile.TemporaryDirectory(prefix="hub-trainer-serve-") as scratch:
        fetched = fetch_rows(hub, source, pinned["commit_sha"], spec, scratch=Path(scratch))
        rows: list[dict[str, Any]] = fetched.table.to_pylist()
    return list(rows)


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
