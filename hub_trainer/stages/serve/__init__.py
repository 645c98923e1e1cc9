"""The serve stage: the Space of the published model, pushed as one commit; `start` runs it here."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hub_trainer.artifacts import Artifact, digest_of, find_artifact, write_artifact
from hub_trainer.cards import CardLicence
from hub_trainer.errors import UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, Changes, Hub, Repo
from hub_trainer.lineage import RoundRecord, published_round
from hub_trainer.recipe import GenerationSection, Recipe, ServeSection
from hub_trainer.space.bundle import space_files
from hub_trainer.space.process import RunningSpace, start
from hub_trainer.space.settings import RivalModel, SpaceSettings
from hub_trainer.stages.serve.examples import shown_rows
from hub_trainer.stages.serve.foreign import (
    PACKAGE,
    assert_no_foreign_code,
    identities,
    identities_at,
    last_served,
)
from hub_trainer.stages.serve.preload import preloads
from hub_trainer.stages.serve.serve_cards import (
    card_of_ratings,
    card_problems,
    inputs_named,
    ratings_licence,
)
from hub_trainer.tasks import task_of

__all__ = ["PushedSpace", "RunningSpace", "card_problems", "push", "run", "start"]

README = "README.md"
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
    licence = ratings_licence(record, hub)
    settings = space_settings(
        recipe,
        record,
        license_name=str(licence) if licence else None,
        rival=_rival(section, record, recipe.publish.repo_id, hub),
    )
    shown = shown_rows(recipe, record, round_dir, hub)
    files = space_files(
        settings,
        endpoint=hub.url,
        shown=shown,
        hardware=section.hardware,
        preload=preloads(settings, hub),
    )
    folder = round_dir / "serve"
    inputs = {
        "stage": "serve",
        "hub": hub.url,
        "serve": section.model_dump(),
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    }
    done, space = find_artifact(folder, inputs), Repo(section.repo_id, "space")
    there = hub.exists(space)
    if done and there and not _tip(space, files, hub).changes(files):
        return done
    progress(0.3, f"pushing to {section.repo_id}")
    pushed = push(section, settings, files, hub, licence=licence)
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
    writes = task_of(recipe).converses is not None
    sampling = section.generation or recipe.evaluate.generation or GenerationSection()
    return SpaceSettings(
        space_repo_id=section.repo_id,
        task=recipe.task,
        model_repo_id=recipe.publish.repo_id,
        commit_sha=record.commit_sha,
        ratings_repo_id=section.ratings_repo_id,
        answer=None if writes else record.answer or "label",
        columns=inputs_named(recipe),
        label_names=[] if writes else record.label_names,
        generation=sampling if writes else None,
        rival=rival,
        license=license_name,
        title=section.title,
        description=section.description,
        notice=recipe.publish.notice,
    )


def push(
    section: ServeSection,
    settings: SpaceSettings,
    files: Mapping[str, bytes],
    hub: Hub,
    *,
    licence: CardLicence | None = None,
) -> PushedSpace:
    """Create the Space and the ratings dataset unless they exist, and bring the Space up to date.

    Files of hub_trainer that the Space does not need any more are deleted; texts and pictures that
    others put beside them stay. Raises HubError, and commits nothing, when the Space's repo holds
    code of others: a commit of ours would make it live. Nothing is committed when nothing has
    changed.
    """
    space, ratings = Repo(section.repo_id, "space"), Repo(section.ratings_repo_id, "dataset")
    hub.create_repo(
        space, private=section.private, space_sdk="gradio", space_hardware=section.hardware
    )
    tip = _tip(space, files, hub)
    hub.create_repo(ratings, private=section.private)
    _write_ratings_card(ratings, settings, licence, hub)
    if hub.url != PUBLIC_ENDPOINT:
        hub.set_space_variables(space, {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"})
    files = _with_their_text(space, tip, files, hub)
    head, changes = tip.head, tip.changes(files)
    if changes:
        digest = digest_of([head, {p: hashlib.sha256(c).hexdigest() for p, c in files.items()}])
        message = f"Serve {settings.model_repo_id} at {settings.commit_sha[:7]}"
        made = hub.commit(space, changes, message=message, run_id=digest, parent_commit=head)
        head = made.commit_sha
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


@dataclass(frozen=True)
class _Tip:
    """The tip of the Space's repo, which holds no code of others."""

    head: str
    served: str | None
    """The newest commit of this stage."""
    there: Mapping[str, str]
    """Path -> identity of the content."""

    def changes(self, files: Mapping[str, bytes]) -> Changes | None:
        """What a commit on the tip must do; None when that is nothing."""
        new = {p: c for p, c in files.items() if self.there.get(p) not in identities(c)}
        gone = [p for p in self.there if p.startswith(PACKAGE) and p not in files]
        return Changes(files=new, deletions=gone) if new or gone else None


def _tip(space: Repo, files: Mapping[str, bytes], hub: Hub) -> _Tip:
    """The tip as it is. Raises HubError for code of others."""
    head = hub.resolve(space)
    served = last_served(space, head, hub)
    assert_no_foreign_code(space, head, served, files, hub)
    return _Tip(head, served, identities_at(space, head, hub))


def _with_their_text(
    space: Repo, tip: _Tip, files: Mapping[str, bytes], hub: Hub
) -> Mapping[str, bytes]:
    """The files, whose README.md keeps the text that somebody has written since the last push."""
    if tip.served in (None, tip.head):
        return files
    theirs, ours = (hub.read_file(space, README, sha) for sha in (tip.head, str(tip.served)))
    if theirs is None or ours is None or _text_of(theirs) == _text_of(ours):
        return files
    front = files[README].removesuffix(_text_of(files[README]))
    return {**files, README: front + _text_of(theirs)}


def _text_of(readme: bytes) -> bytes:
    """What stands below the metadata."""
    parts = readme.split(b"\n---\n", 1)
    return parts[-1] if readme.startswith(b"---\n") and len(parts) == 2 else readme


def _write_ratings_card(
    ratings: Repo, settings: SpaceSettings, licence: CardLicence | None, hub: Hub
) -> None:
    """The card of the ratings dataset, once: what its owner makes of it stays."""
    head = hub.resolve(ratings)
    if hub.read_file(ratings, "README.md", head) is not None:
        return
    card = card_of_ratings(settings, licence)
    message = "Say what the ratings are"
    hub.commit(
        ratings, Changes({"README.md": card.encode()}), message=message, run_id=digest_of(card)
    )


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
