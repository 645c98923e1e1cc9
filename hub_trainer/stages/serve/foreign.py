"""Code in a Space's repo that hub-trainer did not put there: found and refused before a push."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import all_suffixes
from pathlib import PurePosixPath

from hub_trainer.errors import HubError
from hub_trainer.hub import Hub, Repo

SERVED = re.compile(r"Serve \S+ at [0-9a-f]{7}")
"""Title of a commit of this stage."""
PACKAGE = "hub_trainer/"
OPEN_TO_EDITS = frozenset({"README.md", "examples.json"})
"""Files of ours that hold nothing which runs; a push brings them up to date."""
CODE_SUFFIXES = frozenset(
    {*all_suffixes(), ".py", ".pyw", ".pyc", ".pyo", ".pyx", ".pyz", ".pth", ".so", ".pyd"}
    | {".dll", ".dylib", ".egg", ".whl", ".zip", ".sh", ".bash", ".exe", ".ipynb", ".egg-link"}
)
"""What Python imports or unpacks for an import, and what a shell or the system runs."""
CODE_NAMES = frozenset(
    {"requirements.txt", "pre-requirements.txt", "packages.txt", "constraints.txt", "dockerfile"}
    | {"pyproject.toml", "setup.cfg", "pip.conf", "pip.ini", "makefile", "procfile", ".env"}
    | {".gitmodules", "pyvenv.cfg", "uv.toml", "pixi.toml", "environment.yml"}
)
"""What a build of the Space reads to install or run something."""
NUM_SHOWN = 8


def last_served(space: Repo, head: str, hub: Hub) -> str | None:
    """The newest commit up to `head` that this stage made."""
    entries = hub.history(space, head)
    return next((e.commit_sha for e in entries if SERVED.fullmatch(e.title)), None)


def assert_no_foreign_code(
    space: Repo, head: str, served: str | None, files: Mapping[str, bytes], hub: Hub
) -> None:
    """Raise HubError when `head` holds code that is neither in `files` nor in `served`."""
    foreign = list(_foreign_paths(space, head, served, files, hub))
    if not foreign:
        return
    # Each path with the commit that wrote it as it is, and its author.
    paths = foreign[:NUM_SHOWN]
    authors = {e.commit_sha: ", ".join(e.authors) for e in hub.history(space, head)}
    commits = hub.last_commits(space, paths, head)
    shown = [
        f"{path}: commit {commits[path][:7]} by {authors.get(commits[path]) or 'nobody known'}"
        for path in paths
    ]
    more = [f"and {len(foreign) - NUM_SHOWN} more"] if len(foreign) > NUM_SHOWN else []
    raise HubError(
        "The Space's repo holds code that hub-trainer did not put there; nothing of it was run.",
        where=f"{hub.url}/spaces/{space.repo_id}/tree/{head}",
        got="\n         ".join([*shown, *more]),
        do="Look at these commits, delete the files on the Space's page, then serve again: files "
        "of hub-trainer come back as they were. If the Space has run them on the Hub, replace the "
        "secret HF_TOKEN of the Space: they could read it.",
    )


def identities(content: bytes) -> tuple[str, str]:
    """Git's name for a file's content, and that of large file storage."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return blob.hexdigest(), hashlib.sha256(content).hexdigest()


def identities_at(space: Repo, revision: str, hub: Hub) -> dict[str, str]:
    """Path -> identity of the content, as one of `identities` gives it."""
    return {f.path: f.lfs_sha256 or f.blob_id for f in hub.list_files(space, revision)}


def is_code(path: str) -> bool:
    """Whether Python, pip, a shell or a build of the Space would run or obey a file."""
    name = PurePosixPath(path).name.lower()
    suffixes = PurePosixPath(name).suffixes
    return name in CODE_NAMES or ".so" in suffixes or not CODE_SUFFIXES.isdisjoint(suffixes[-1:])


def _foreign_paths(
    space: Repo, head: str, served: str | None, files: Mapping[str, bytes], hub: Hub
) -> Iterator[str]:
    before = identities_at(space, served, hub) if served else {}
    for path, identity in identities_at(space, head, hub).items():
        if path in OPEN_TO_EDITS or not (path in files or is_code(path)):
            continue
        ours = set(identities(files[path])) if path in files else set()
        if path in files or path.startswith(PACKAGE):
            ours |= {before[path]} if path in before else set()
        if identity not in ours:
            yield path
