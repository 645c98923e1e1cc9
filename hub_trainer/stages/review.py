"""Dataset pull requests are checked at a pinned commit, commented on, and merged by value."""

import logging
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub_trainer.checks.bench import (
    CARD,
    Tip,
    fetch_files,
    fork_of,
    load_tip,
    prepare_bench,
    whole_split,
)
from hub_trainer.checks.card import check_card
from hub_trainer.checks.comment import has_comment, render_comment
from hub_trainer.checks.files import FileChanges, check_files, compare_listings, data_files
from hub_trainer.checks.inspection import Inspection, inspect_files
from hub_trainer.checks.placement import check_placement
from hub_trainer.checks.policy import Policy, find_policy
from hub_trainer.checks.sizes import without_sizes
from hub_trainer.checks.verdict import Check, Verdict, decide
from hub_trainer.errors import DataError, HubError, UsageError
from hub_trainer.hub import Changes, Commit, FileCopy, Hub, Repo
from hub_trainer.recipe import Recipe
from hub_trainer.rows import write_card

MAX_STARTS = 5
"""Times that a review starts over because the pull request or main moved under it."""
MAX_WAIT_SECONDS = 600.0

Progress = Callable[[float, str], None]
log = logging.getLogger(__name__)


def run(
    hub: Hub,
    dataset_id: str,
    *,
    number: int | None = None,
    recipe: Recipe | None = None,
    progress: Progress = lambda share, doing: None,
) -> dict[str, Any]:
    """Review one pull request of a dataset, or all open ones; comment, and merge or close."""
    policy = find_policy(hub, dataset_id, recipe)
    numbers = [number] if number is not None else list(_open_heads(hub, dataset_id))
    verdicts = []
    for place, chosen in enumerate(numbers):
        progress(place / len(numbers), f"pull request {chosen}")
        verdicts.append(settle(hub, dataset_id, chosen, policy))
    progress(1.0, f"{len(verdicts)} pull requests reviewed")
    return {
        "dataset": dataset_id,
        "policy": policy.origin,
        "pull_requests": [verdict.to_dict() for verdict in verdicts],
    }


def watch(
    hub: Hub,
    dataset_id: str,
    *,
    recipe: Recipe | None = None,
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
    wait_seconds: float = 60.0,
    wait: Callable[[float], bool] | None = None,
) -> None:
    """Review each pull request at each commit once, until `wait` answers False.

    Looks every `wait_seconds`, or sooner when `wait` comes back sooner; while the Hub does not
    answer, the wait doubles, up to ten minutes.
    """
    seen: set[tuple[int, str]] = set()
    waiting, go_on = wait_seconds, True
    while go_on:
        try:
            _sweep(hub, dataset_id, recipe, on_verdict, seen)
            waiting = wait_seconds
        except HubError as error:
            waiting = min(2 * waiting, MAX_WAIT_SECONDS)
            log.warning("%s Looking again in %.0f s.", error.what, waiting)
        go_on = (wait or _sleep)(waiting)


def settle(hub: Hub, dataset_id: str, number: int, policy: Policy) -> Verdict:
    """Review one pull request and act on the verdict.

    A verdict holds for the commits that were compared. When the pull request or main has moved
    meanwhile it is void, and the review starts over.
    """
    for _ in range(MAX_STARTS):
        with tempfile.TemporaryDirectory(prefix="hub-trainer-review-") as work:
            verdict = review_pull_request(hub, dataset_id, number, policy, Path(work))
        if apply_verdict(hub, dataset_id, verdict):
            log.info("pull request %d of %s: %s", number, dataset_id, verdict.verdict)
            return verdict
    raise HubError(
        f"Pull request {number} or main moved during each of {MAX_STARTS} reviews.",
        where=f"{hub.url}/datasets/{dataset_id}",
        do="Review it again when its author has finished.",
    )


def review_pull_request(
    hub: Hub, dataset_id: str, number: int, policy: Policy, work_dir: Path
) -> Verdict:
    """Check one pull request at the commit that it has now; nothing is written to the Hub.

    When an earlier review has merged this very commit and did not finish, that is the verdict.
    """
    repo = Repo(dataset_id, "dataset")
    head_sha = _open_head(hub, repo, number)
    merged = hub.find_commit(repo, _run_id(number, head_sha))
    if merged:
        return _merged_verdict(hub, repo, merged, number=number, head_sha=head_sha)
    main = load_tip(hub, repo, hub.resolve(repo))
    checks: list[Check] = []
    added: list[str] = []
    rows = 0
    try:
        head = load_tip(hub, repo, head_sha)
        changes, checks = _compare_tips(hub, main, head, policy)
    except DataError as error:
        checks = [Check("commit", False, error.what, "human")]
    else:
        added = [file.path for file in data_files(changes)]
    if added and decide(checks) != "refuse":
        checks.append(_placement(main, added, policy))
        if checks[-1].passed:
            found = _open_files(hub, main, head, added, policy=policy, work_dir=work_dir)
            checks += found.checks
            rows = found.rows
    return Verdict(
        number=number,
        sha=head_sha,
        base_sha=main.commit_sha,
        verdict=decide(checks),
        checks=tuple(checks),
        files=tuple(added),
        rows=rows,
    )


def apply_verdict(hub: Hub, dataset_id: str, verdict: Verdict) -> bool:
    """Comment once per commit; merge and close, close, or leave open. False when it is void."""
    repo = Repo(dataset_id, "dataset")
    request = hub.pull_request(repo, verdict.number)
    if request.head_sha != verdict.sha or request.status != "open":
        return False
    note = None
    if verdict.verdict == "merge":
        commit = _merge(hub, repo, verdict, author=request.author)
        if commit is None:
            return False
        note = f"Merged by value as {commit.commit_sha}. Thank you."
    if not has_comment(
        hub.comments(repo, verdict.number), verdict.sha, author=str(hub.user()["name"])
    ):
        hub.comment(repo, verdict.number, render_comment(verdict, dataset_id=dataset_id))
    if verdict.verdict != "human":
        hub.close(repo, verdict.number, note)
    return True


def _merge(hub: Hub, repo: Repo, verdict: Verdict, *, author: str) -> Commit | None:
    """Copy exactly the vetted files onto the vetted main; None when main has moved."""
    card = hub.read_file(repo, CARD, verdict.base_sha)
    smaller = without_sizes(card) if card else None
    changes = Changes(
        files={CARD: smaller} if smaller else {},
        copies=[FileCopy(path, verdict.sha) for path in verdict.files],
    )
    message = (
        f"Add {verdict.rows} rows of pull request {verdict.number} by {author}\n\n"
        f"Reviewed at {verdict.sha}.\n"
        f"Co-authored-by: {author} <{author}@users.noreply.huggingface.co>"
    )
    try:
        return hub.commit(
            repo, changes, message=message,
            run_id=_run_id(verdict.number, verdict.sha), parent_commit=verdict.base_sha,
        )  # fmt: skip
    except HubError:
        if hub.resolve(repo) == verdict.base_sha:
            raise
        return None


def _run_id(number: int, head_sha: str) -> str:
    """What the merge of a pull request at a commit is found again by."""
    return f"review-{number}-{head_sha}"


def _merged_verdict(hub: Hub, repo: Repo, merged: Commit, *, number: int, head_sha: str) -> Verdict:
    """The verdict of a review that merged and then was killed; its checks passed at that time."""
    made, base = hub.history(repo, merged.commit_sha)[:2]
    rows = re.match(r"Add (\d+) rows", made.title)
    detail = f"merged as {merged.commit_sha} by a review that did not finish"
    return Verdict(
        number=number,
        sha=head_sha,
        base_sha=base.commit_sha,
        verdict="merge",
        checks=(Check("earlier review", True, detail),),
        rows=int(rows[1]) if rows else 0,
    )


def _compare_tips(
    hub: Hub, main: Tip, head: Tip, policy: Policy
) -> tuple[FileChanges, list[Check]]:
    """What the pull request has changed since it left main, and the checks that need no rows."""
    fork_sha = fork_of(hub, main.repo, main.commit_sha, head.commit_sha)
    fork = main if fork_sha == main.commit_sha else load_tip(hub, main.repo, fork_sha)
    changes = compare_listings(fork.files, head.files)
    checks = [
        *check_files(changes, max_bytes=policy.review.max_bytes),
        *check_card(fork.card_bytes, head.card_bytes),
        _check_collisions(changes, main),
    ]
    return changes, checks


def _check_collisions(changes: FileChanges, main: Tip) -> Check:
    """Nobody else has put a file on main under the same name since."""
    taken = sorted({file.path for file in changes.added} & set(main.names))
    detail = f"{taken[0]!r} is on main by now" if taken else "main has no such files"
    return Check("collisions", not taken, detail, "human")


def _placement(main: Tip, added: list[str], policy: Policy) -> Check:
    source = policy.source
    return check_placement(
        main.names, added, main.card, config=source.config, split=whole_split(source)
    )


def _open_files(
    hub: Hub, main: Tip, head: Tip, added: list[str], *, policy: Policy, work_dir: Path
) -> Inspection:
    """Fetch the added files at the pinned commit, under the card of main, and have them opened."""
    split = whole_split(policy.source)
    folder = work_dir / "new"
    try:
        fetch_files(hub, head.repo, head.commit_sha, added, folder)
    except HubError as error:
        return Inspection((Check("download", False, error.what, "human"),))
    write_card(folder, main.split_files(policy.source.config, split).card)
    bench = prepare_bench(hub, policy, main, work_dir)
    return inspect_files(folder, bench, split=split)


def _open_head(hub: Hub, repo: Repo, number: int) -> str:
    request = hub.pull_request(repo, number)
    if request.status != "open" or request.head_sha is None:
        raise UsageError(
            f"Pull request {number} is not open.",
            where=f"{hub.url}/datasets/{repo.repo_id}/discussions/{number}",
            got=request.status,
            do="Only open pull requests are reviewed; open it again on its page first.",
        )
    return request.head_sha


def _open_heads(hub: Hub, dataset_id: str) -> dict[int, str]:
    """Number -> head commit of the open pull requests, oldest first."""
    requests = hub.pull_requests(Repo(dataset_id, "dataset"), status="open")
    return {
        request.number: request.head_sha
        for request in requests
        if request.head_sha and request.status == "open"
    }


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def _sweep(
    hub: Hub,
    dataset_id: str,
    recipe: Recipe | None,
    on_verdict: Callable[[Verdict], None],
    seen: set[tuple[int, str]],
) -> None:
    """Review what has not been seen at its present commit, by this process or an earlier one."""
    repo = Repo(dataset_id, "dataset")
    fresh = [key for key in _open_heads(hub, dataset_id).items() if key not in seen]
    if not fresh:
        return
    me = str(hub.user()["name"])
    policy = find_policy(hub, dataset_id, recipe)
    for number, sha in fresh:
        commented = has_comment(hub.comments(repo, number), sha, author=me)
        if not commented or hub.find_commit(repo, _run_id(number, sha)):
            try:
                on_verdict(settle(hub, dataset_id, number, policy))
            except (DataError, UsageError) as error:
                log.warning("pull request %d of %s: %s", number, dataset_id, error.what)
        seen.add((number, sha))
