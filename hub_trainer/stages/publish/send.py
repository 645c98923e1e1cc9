"""Sending of a round to the Hub: one commit on main behind the gate, or one pull request."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hub_trainer.errors import HubError
from hub_trainer.hub import Changes, Commit, Hub, Repo
from hub_trainer.lineage import RECORD, Pins, changed_files, read_record, read_rounds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Base:
    """What main holds: the commit to stand on, and the files there that earlier rounds wrote."""

    commit_sha: str
    replaced_files: Sequence[str]
    is_stale: bool
    """Whether another model has been published since the round began."""


def find_base(hub: Hub, repo: Repo, pins: Pins) -> Base:
    """Where the round's commit goes.

    People may have written on top of the published model, a paragraph of documentation perhaps:
    then the commit goes on top of that. When the model itself is another, the round's comparison
    is with one that is gone, and the commit is sent against what the round began with, so that
    the Hub refuses it unless it is there already.
    """
    tip = hub.resolve(repo)
    began_with = pins.parent or hub.history(repo)[-1].commit_sha
    record = read_record(hub, repo.repo_id, tip)
    ours = record is not None and record.run_id == pins.run_id
    then, now = hub.list_files(repo, began_with), hub.list_files(repo, tip)
    stale = not ours and bool(changed_files(then, now))
    files = record.files if record else []
    return Base(began_with if stale else tip, files, stale)


def send(
    hub: Hub,
    repo: Repo,
    folder: Path,
    pins: Pins,
    *,
    message: str,
    pull_request: str | None,
) -> Commit:
    """The one commit of a round; the same commit when it was made before.

    Raises HubError when another round was sent since this one began: its look at the sealed
    examples, and maybe its model, would not be counted.
    """
    _assert_no_other(hub, repo, pins)
    base = find_base(hub, repo, pins)
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    there = {file.path for file in hub.list_files(repo, base.commit_sha)}
    gone = sorted((set(base.replaced_files) & there) - set(files))
    try:
        return hub.commit(
            repo,
            Changes(files, deletions=gone),
            message=message,
            run_id=pins.run_id,
            parent_commit=base.commit_sha,
            pull_request=pull_request,
        )
    except HubError as error:
        if pull_request is None and find_base(hub, repo, pins).is_stale:
            raise _stale(hub, repo, pins) from error
        raise


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _assert_no_other(hub: Hub, repo: Repo, pins: Pins) -> None:
    others = [one for one in read_rounds(hub, repo.repo_id) if one.round >= pins.round]
    if not others or any(one.run_id == pins.run_id for one in others):
        return
    place = f"pull request {others[0].pull_request}" if others[0].pull_request else "main"
    raise HubError(
        f"Round {others[0].round} was sent by another run while this one was at work.",
        where=f"{hub.url}/{repo.repo_id}",
        got=f"{others[0].verdict}, on {place}, at {others[0].created_at}",
        do="Nothing was sent. Run the same command again: it says whether anything is new since "
        "that round.",
    )


def _stale(hub: Hub, repo: Repo, pins: Pins) -> HubError:
    return HubError(
        "Another model was published while this round ran, so its comparison is stale.",
        where=f"{hub.url}/{repo.repo_id}",
        got=f"main is at {hub.resolve(repo)[:7]}, the round began with "
        f"{pins.parent[:7] if pins.parent else 'no published model'}",
        do="Nothing was sent. Run the same command again: the round then compares with the new "
        f"model ({RECORD} on main says which it is).",
    )
