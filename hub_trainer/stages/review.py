"""Dataset pull requests are checked at a pinned commit, commented on, and merged by value."""

import logging
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hub_trainer.checks.card_changes import check_card
from hub_trainer.checks.comment import MARKER, has_comment, render_comment, verdict_told
from hub_trainer.checks.contributor import check_contributor, merged_rows
from hub_trainer.checks.curated import as_curated, is_curated
from hub_trainer.checks.declared_sizes import without_sizes
from hub_trainer.checks.file_names import FileChanges, check_files, compare_listings, data_files
from hub_trainer.checks.inspection import CHECKERS
from hub_trainer.checks.named_request import open_request
from hub_trainer.checks.opening import Opened, open_added
from hub_trainer.checks.policy import Policy, find_policy
from hub_trainer.checks.review_context import CARD, Tip, fork_of, load_tip
from hub_trainer.checks.verdict import Check, Verdict, decide
from hub_trainer.errors import DataError, HubError, UsageError
from hub_trainer.hub import Changes, Commit, FileCopy, Hub, PullRequest, Repo
from hub_trainer.recipe import Recipe
from hub_trainer.sandbox import kept_warm

MAX_STARTS = 5
"""Times that a review starts over because the pull request or main moved under it."""
MAX_WAIT_SECONDS = 600.0
MIN_SHA = 7
"""Signs of a commit that a person names at least."""

Progress = Callable[[float, str], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reviewed:
    """What came of the pull requests of a dataset, and by which rules."""

    dataset_id: str
    policy: Policy
    verdicts: tuple[Verdict, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "dataset": self.dataset_id,
            "policy": self.policy.origin,
            "pull_requests": [verdict.to_dict() for verdict in self.verdicts],
        }


def run(
    hub: Hub,
    dataset_id: str,
    *,
    number: int | None = None,
    recipe: Recipe | None = None,
    accept: str | None = None,
    progress: Progress = lambda share, doing: None,
) -> Reviewed:
    """Review one pull request of a dataset, or all open ones; comment, and merge or close.

    `accept` is the beginning of the commit that a person has looked at and wants merged although
    review leaves it to people.
    """
    # A Hub that is down or a dataset that is not there is told at once, and not after a list of
    # models has been tried for half a minute.
    hub.resolve(Repo(dataset_id, "dataset"))
    policy = find_policy(hub, dataset_id, recipe)
    numbers = [number] if number is not None else list(_open_heads(hub, dataset_id))
    verdicts = []
    for place, chosen in enumerate(numbers):
        progress(place / len(numbers), f"pull request {chosen}")
        verdicts.append(settle(hub, dataset_id, chosen, policy, accept=accept))
    progress(1.0, f"{len(verdicts)} pull requests reviewed")
    return Reviewed(dataset_id, policy, tuple(verdicts))


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
            sweep(hub, dataset_id, recipe, on_verdict, seen)
            waiting = wait_seconds
        except HubError as error:
            waiting = min(2 * waiting, MAX_WAIT_SECONDS)
            log.warning("%s Looking again in %.0f s.", error.what, waiting)
        go_on = (wait or _sleep)(waiting)


def sweep(
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


def settle(
    hub: Hub, dataset_id: str, number: int, policy: Policy, *, accept: str | None = None
) -> Verdict:
    """Review one pull request and act on the verdict.

    A verdict holds for the commits that were compared. When the pull request or main has moved
    meanwhile it is void, and the review starts over.
    """
    for _ in range(MAX_STARTS):
        with (
            tempfile.TemporaryDirectory(prefix="hub-trainer-review-") as work,
            kept_warm(CHECKERS),
        ):
            verdict = review_pull_request(hub, dataset_id, number, policy, Path(work))
            if accept is not None:
                verdict = _accepted(hub, dataset_id, verdict, accept)
            if apply_verdict(hub, dataset_id, verdict):
                log.debug("pull request %d of %s: %s", number, dataset_id, verdict.verdict)
                return verdict
    raise HubError(
        f"Pull request {number} or main moved during each of {MAX_STARTS} reviews.",
        where=f"{hub.url}/datasets/{dataset_id}",
        do="Review it again when its author has finished.",
    )


def _accepted(hub: Hub, dataset_id: str, verdict: Verdict, sha: str) -> Verdict:
    """The verdict as a person has it who has looked at this commit. Raises UsageError otherwise."""
    page = hub.discussion_page(Repo(dataset_id, "dataset"), verdict.number)
    command = f"hub-trainer review {dataset_id} --pr {verdict.number}"
    if len(sha) < MIN_SHA or not verdict.sha.startswith(sha.lower()):
        raise UsageError(
            "The pull request is not at the commit that was looked at.",
            where=page,
            got=f"{sha!r:.50}; it is at {verdict.sha[:MIN_SHA]}",
            do=f"Look at it as it is now, then: {command} --accept {verdict.sha[:MIN_SHA]}",
        )
    if verdict.verdict == "merge":
        return verdict
    if not verdict.can_be_accepted:
        raise UsageError(
            "Nobody can accept what review refuses, or rows that it could not read.",
            where=page,
            got="; ".join(verdict.reasons),
            do=f"Have it mended; {command} says how in its comment.",
        )
    return replace(verdict, verdict="merge", accepted=True)


def review_pull_request(
    hub: Hub, dataset_id: str, number: int, policy: Policy, work_dir: Path
) -> Verdict:
    """Check one pull request at the commit that it has now; nothing is written to the Hub.

    When an earlier review has merged this very commit and did not finish, that is the verdict.
    """
    repo = Repo(dataset_id, "dataset")
    request = _open_request(hub, repo, number)
    head_sha = str(request.head_sha)
    merged = hub.find_commit(repo, _run_id(number, head_sha))
    if merged:
        return _merged_verdict(hub, repo, merged, number=number, head_sha=head_sha)
    main = load_tip(hub, repo, hub.resolve(repo))
    checks: list[Check] = []
    added: list[str] = []
    opened = Opened()
    try:
        head = load_tip(hub, repo, head_sha)
        changes, checks = _compare_tips(hub, main, head, policy)
    except DataError as error:
        checks = [Check("commit", False, error.what, "human")]
    else:
        added = [file.path for file in data_files(changes)]
    if added and decide(checks) != "refuse":
        opened = open_added(hub, main, head, added, policy=policy, work_dir=work_dir)
        checks += opened.checks
        if opened.rows:
            is_own = request.author in (repo.repo_id.split("/")[0], str(hub.user()["name"]))
            if is_own and is_curated(request.title, added):
                checks = as_curated(checks)
            author = None if is_own else request.author
            checks.append(_check_contributor(hub, repo, author, opened, main, policy))
    if decide(checks) == "merge":
        checks += _check_earlier(hub, repo, number, head_sha)
    return Verdict(
        number=number,
        sha=head_sha,
        base_sha=main.commit_sha,
        verdict=decide(checks),
        checks=tuple(checks),
        files=tuple(added),
        rows=opened.rows,
        author=request.author,
        left_out=opened.left_out,
        made=opened.made,
    )


def _check_earlier(hub: Hub, repo: Repo, number: int, head_sha: str) -> list[Check]:
    """What an earlier review did not merge, main may have moved towards since: a person decides.

    Else strange rows would only have to wait until rows like them were merged.
    """
    told = verdict_told(hub.comments(repo, number), head_sha, author=str(hub.user()["name"]))
    if told not in ("human", "refuse"):
        return []
    said = "left this commit to a person" if told == "human" else "refused this commit"
    detail = f"an earlier review {said}; all checks pass by now, as main or the rules have changed"
    return [Check("earlier review", False, detail, "human")]


def apply_verdict(hub: Hub, dataset_id: str, verdict: Verdict) -> bool:
    """Comment, and merge and close, close, or leave open. False when the verdict is void.

    There is one comment: that of an earlier review is written anew.
    """
    repo = Repo(dataset_id, "dataset")
    request = hub.pull_request(repo, verdict.number)
    if request.head_sha != verdict.sha or request.status != "open":
        return False
    note = None
    if verdict.verdict == "merge":
        commit = _merge(hub, repo, verdict, author=request.author)
        if commit is None:
            return False
        note = f"Merged: main holds these rows from {commit.commit_sha} on. Thank you."
    text = render_comment(verdict, dataset_id=dataset_id)
    hub.rewrite_comment(repo, verdict.number, text, marker=MARKER)
    if verdict.verdict == "merge" or verdict.closes:
        hub.close(repo, verdict.number, note)
    return True


def _merge(hub: Hub, repo: Repo, verdict: Verdict, *, author: str) -> Commit | None:
    """Put exactly the vetted rows onto the vetted main; None when main has moved.

    The files are copied where they are, or where others were made of them, those are uploaded.
    """
    card = hub.read_file(repo, CARD, verdict.base_sha)
    smaller = without_sizes(card) if card else None
    files: dict[str, bytes | Path] = {CARD: smaller} if smaller else {}
    changes = Changes(
        files={**files, **{one.target: one.content() for one in verdict.made}},
        copies=[] if verdict.made else [FileCopy(path, verdict.sha) for path in verdict.files],
    )
    rows = verdict.rows - verdict.left_out
    message = (
        f"Add {rows} rows of pull request {verdict.number} by {author}\n\n"
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


def _check_contributor(
    hub: Hub, repo: Repo, author: str | None, opened: Opened, main: Tip, policy: Policy
) -> Check:
    """The cap of one contributor; None is the dataset's owner or the reviewer, who have none."""
    if author is None:
        return Check("contributor", True, "rows of the dataset's own people have no limit")
    titles = (entry.title for entry in hub.history(repo, main.commit_sha))
    return check_contributor(
        opened.rows, merged_rows(titles, author), opened.base_rows,
        max_rows=policy.review.max_rows_per_contributor,
    )  # fmt: skip


def _open_request(hub: Hub, repo: Repo, number: int) -> PullRequest:
    return open_request(
        hub,
        repo,
        number,
        if_merged="Nothing is left to review; --all reviews those that are open.",
        if_closed="Only open pull requests are reviewed; open it again on its page first.",
    )


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
