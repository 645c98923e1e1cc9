"""The pull request that somebody names: one that is open, else why it is not."""

from hub_trainer.checks.comment import verdict_told
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, PullRequest, Repo


def open_request(
    hub: Hub, repo: Repo, number: int, *, if_merged: str, if_closed: str
) -> PullRequest:
    """The pull request; raises UsageError, whose advice is one of two, where it is not open."""
    request = hub.pull_request(repo, number)
    if request.status == "open" and request.head_sha is not None:
        return request
    where = hub.discussion_page(repo, number)
    if request.status == "merged":
        what = f"Pull request {number} is merged."
        raise UsageError(what, where=where, got=request.status, do=if_merged)
    reviewer = _merged_by(hub, repo, request)
    if reviewer is None:
        what = f"Pull request {number} is not open."
        raise UsageError(what, where=where, got=request.status, do=if_closed)
    raise UsageError(
        f"Pull request {number} is merged: a review wrote its rows to main and closed it.",
        where=where,
        got=f"{request.status}, with the comment of {reviewer} that it was merged",
        do=if_merged,
    )


def _merged_by(hub: Hub, repo: Repo, request: PullRequest) -> str | None:
    """Who has commented that a review merged it; its author's word counts if that is the asker."""
    if request.head_sha is None:
        return None
    comments = hub.comments(repo, request.number)
    authors = dict.fromkeys(author for author, _ in comments)
    found = [
        author
        for author in authors
        if verdict_told(comments, request.head_sha, author=author) == "merge"
    ]
    if request.author in found and request.author != hub.user()["name"]:
        found.remove(request.author)
    return found[0] if found else None
