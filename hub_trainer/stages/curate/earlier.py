"""Earlier pull requests of curate's own: what was refused stays out, what is open is updated."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from hub_trainer.checks.curated import FILE_PREFIX, TITLE
from hub_trainer.checks.review_context import Tip, load_tip
from hub_trainer.hub import Hub, PullRequest, Repo

MAX_LOOKED_AT = 50
"""Earlier pull requests that are read, the newest ones."""


@dataclass(frozen=True)
class Earlier:
    """A pull request that curate opened, and the files that it adds to the dataset."""

    request: PullRequest
    tip: Tip
    added: tuple[str, ...]

    @property
    def number(self) -> int:
        """Its number on the dataset's page."""
        return self.request.number


def own_requests(hub: Hub, repo: Repo) -> list[PullRequest]:
    """The pull requests of this token's account that carry our title, oldest first."""
    mine = hub.pull_requests(repo, status=None, author=str(hub.user()["name"]))
    return [request for request in mine if request.title == TITLE]


def read_earlier(hub: Hub, main: Tip) -> list[Earlier]:
    """Those whose files are not on main, as a merge by value would have put them there."""
    found = []
    for request in own_requests(hub, main.repo)[-MAX_LOOKED_AT:]:
        if request.head_sha is None or request.status == "merged":
            continue
        tip = load_tip(hub, main.repo, request.head_sha)
        new = sorted(set(tip.names) - set(main.names))
        added = tuple(path for path in new if FILE_PREFIX in PurePosixPath(path).name)
        if added:
            found.append(Earlier(request, tip, added))
    return found
