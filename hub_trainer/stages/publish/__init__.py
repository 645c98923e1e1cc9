"""The publish stage: prove that the model reloads, write its card, send one commit."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import Artifact, Draft, make_artifact
from hub_trainer.hub import Commit, Hub, Repo
from hub_trainer.recipe import Recipe
from hub_trainer.stages.publish.folder import write_folder, write_record
from hub_trainer.stages.publish.last_look import assert_publishable
from hub_trainer.stages.publish.publish_faults import publish_problems
from hub_trainer.stages.publish.round import FinishedRound, read_finished
from hub_trainer.stages.publish.send import send

__all__ = ["publish_problems", "run"]

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Publish the round: onto main and tagged when promoted, as a pull request otherwise."""
    finished = read_finished(recipe, round_dir)

    def make(draft: Draft) -> None:
        logger.debug("publish: %s, verdict %s", recipe.publish.repo_id, finished.verdict)
        commit = _publish(finished, hub, draft, progress)
        logger.debug("publish: %s", commit.url)

    return make_artifact(round_dir / "publish", _inputs(finished, hub), make)


def _publish(finished: FinishedRound, hub: Hub, draft: Draft, progress: Progress) -> Commit:
    progress(0.0, "reloading the model in a fresh process")
    evidence = write_folder(draft.folder, finished, hub, now=datetime.now(UTC))
    progress(0.6, "looking through the files")
    assert_publishable(draft.folder, holds_token=hub.holds_token, round_dir=finished.round_dir)
    progress(0.7, "sending one commit")
    repo = Repo(finished.recipe.publish.repo_id)
    hub.create_repo(repo, private=finished.recipe.publish.private)
    identity = hub.identify(repo)
    write_record(draft.folder, evidence.record, identity)
    commit = _send(finished, hub, draft.folder, evidence.pull_request)
    number = commit.pull_request
    page = hub.discussion_page(repo, number) if number else commit.url
    draft.outputs |= {
        "repo_id": finished.recipe.publish.repo_id,
        "commit_sha": commit.commit_sha,
        "pull_request": number,
        "verdict": finished.verdict,
        "url": page,
        "reload": evidence.reload,
        "repo": asdict(identity),
    }
    return commit


def _send(finished: FinishedRound, hub: Hub, folder: Path, description: str) -> Commit:
    repo = Repo(finished.recipe.publish.repo_id)
    promoted = finished.verdict == "promote"
    commit = send(
        hub,
        repo,
        folder,
        finished.pins,
        message=finished.title,
        pull_request=None if promoted else description,
    )
    if promoted:
        hub.tag(repo, f"round-{finished.pins.round}", commit.commit_sha)
    return commit


def _inputs(finished: FinishedRound, hub: Hub) -> dict[str, Any]:
    return {"stage": "publish", "endpoint": hub.url, "pins": asdict(finished.pins)} | {
        name: artifact.digest for name, artifact in finished.artifacts.items()
    }
