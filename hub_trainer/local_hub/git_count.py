"""Count of the commits that lead up to one: counted once, then only what was added since."""

import threading
from typing import Any

from hub_trainer.local_hub.git_read import is_ancestor

MAX_REMEMBERED = 10_000

_known: dict[str, tuple[str, int]] = {}
"""Path of a repo -> a commit and its count."""
_guard = threading.Lock()


def count_commits(git: Any, commit: Any) -> int:
    """The number of commits from this one back to the first."""
    with _guard:
        known_sha, known_count = _known.get(git.path, ("", 0))
    walker, sha = git.walk(commit.id), str(commit.id)
    if known_sha and known_sha in git and is_ancestor(git, known_sha, sha):
        walker.hide(known_sha)
    else:
        known_count = 0
    count = known_count + sum(1 for _ in walker)
    with _guard:
        if len(_known) >= MAX_REMEMBERED:
            _known.clear()
        _known[git.path] = sha, count
    return count
