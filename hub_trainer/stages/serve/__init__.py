"""The serve stage: the Space of the published model, pushed as one commit; `start` runs it here."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hub_trainer.artifacts import Artifact, digest_of, find_artifact, write_artifact
from hub_trainer.errors import UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, Changes, Hub, Repo
from hub_trainer.lineage import RoundRecord, published_round
from hub_trainer.ratings import ratings_card
from hub_trainer.recipe import GenerationSection, Recipe, ServeSection
from hub_trainer.space.bundle import space_files
from hub_trainer.space.process import RunningSpace, start
from hub_trainer.space.settings import RivalModel, SpaceSettings, consent_text
from hub_trainer.stages.serve.examples import examples_to_try
from hub_trainer.tasks import is_generation, load_task

__all__ = ["PushedSpace", "RunningSpace", "push", "run", "start"]

logger = logging.getLogger(__name__)
Progress = Callable[[float, str], None]


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
    settings = space_settings(
        recipe,
        record,
        license_name=_ratings_license(record),
        rival=_rival(section, record, recipe.publish.repo_id, hub),
    )
    examples = examples_to_try(recipe, record, round_dir, hub)
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
    recipe: Recipe,
    record: RoundRecord,
    *,
    license_name: str | None,
    rival: RivalModel | None = None,
) -> SpaceSettings:
    """What the Space of a published round is told."""
    section = _section(recipe)
    assert record.commit_sha is not None
    writes = is_generation(load_task(recipe.task))
    sampling = section.generation or recipe.evaluate.generation or GenerationSection()
    return SpaceSettings(
        space_repo_id=section.repo_id,
        task=recipe.task,
        model_repo_id=recipe.publish.repo_id,
        commit_sha=record.commit_sha,
        ratings_repo_id=section.ratings_repo_id,
        label_names=[] if writes else record.label_names,
        generation=sampling if writes else None,
        rival=rival,
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


def _rival(section: ServeSection, record: RoundRecord, repo_id: str, hub: Hub) -> RivalModel | None:
    """The commit of the model to compare with. Raises UsageError when that is the model itself."""
    if section.rival is None:
        return None
    rival = section.rival
    commit_sha = hub.resolve(Repo(rival.repo_id), rival.revision)
    if (rival.repo_id, commit_sha) == (repo_id, record.commit_sha):
        raise UsageError(
            "The rival is the published model itself.",
            where="serve.rival",
            got=f"{rival.repo_id}@{rival.revision}, which is {commit_sha[:7]}",
            do="Name another model, an earlier commit, or a pull request as refs/pr/1.",
        )
    return RivalModel(repo_id=rival.repo_id, commit_sha=commit_sha)


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
        dialogues=settings.generation is not None,
    )
    message = "Say what the ratings are"
    hub.commit(
        ratings, Changes({"README.md": card.encode()}), message=message, run_id=digest_of(card)
    )


def _ratings_license(record: RoundRecord) -> str | None:
    """The licence of the training data: ratings are to join it."""
    licenses = {d.get("license") for d in record.datasets if d.get("role") == "train"}
    return licenses.pop() if len(licenses) == 1 else None


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
