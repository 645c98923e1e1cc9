"""Commits that come as NDJSON: read line by line, gated, applied to the tip under the lock."""

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.discussion_rows import Discussion, Opening, find_discussion, take_number
from hub_trainer.local_hub.errors import (
    WireError,
    bad_request,
    conflict,
    forbidden,
    revision_not_found,
    stale_parent,
    too_large,
)
from hub_trainer.local_hub.git_read import (
    is_ancestor,
    parse_pointer,
    pointer_text,
    ref_commit,
    resolve_commit,
)
from hub_trainer.local_hub.git_write import Change, apply_changes, write_blob, write_commit
from hub_trainer.local_hub.lfs import granted_size
from hub_trainer.local_hub.lifecycle import signature_of
from hub_trainer.local_hub.names import check_path, is_oid
from hub_trainer.local_hub.packs import BlobPack
from hub_trainer.local_hub.permissions import is_writer
from hub_trainer.local_hub.refs import Move, advance
from hub_trainer.local_hub.repo_rows import Repo


@dataclass(frozen=True)
class Header:
    """The first line of a commit."""

    summary: str
    description: str
    parent_commit: str | None

    @property
    def message(self) -> str:
        """Title and body as git keeps them."""
        return f"{self.summary}\n\n{self.description}" if self.description else self.summary


@dataclass(frozen=True)
class Proposal:
    """A commit that was read and checked and waits to be applied."""

    header: Header
    changes: list[Change]


@dataclass(frozen=True)
class Committed:
    """What became of a commit."""

    sha: str
    pull_request: int | None = None


MANY_FILES = 20
"""From so many files on, a commit's blobs are written as one pack."""


def read_proposal(core: Core, repo: Repo, body: Path) -> Proposal:
    """Read an NDJSON body. Contents go into git at once, so memory holds one file at a time."""
    with body.open("rb") as stream:
        is_large = sum(1 for _ in islice(_lines(core, stream), MANY_FILES)) == MANY_FILES
    if not is_large:
        git = core.git(repo)
        return _read(core, repo, body, lambda data: write_blob(git, data))
    pack = BlobPack(core.temporary())
    try:
        proposal = _read(core, repo, body, pack.add)
        pack.finish(core.git_path(repo.id))
    except BaseException:
        pack.discard()
        raise
    return proposal


def _read(core: Core, repo: Repo, body: Path, keep: Callable[[bytes], str]) -> Proposal:
    header: Header | None = None
    changes: list[Change] = []
    with body.open("rb") as stream:
        for number, line in enumerate(_lines(core, stream), 1):
            key, value = _parse_line(number, line)
            if key == "header":
                header = _header(number, value)
            else:
                changes.append(_change(core, repo, keep, key, value))
            if len(changes) > core.limits.commit_operations:
                most = core.limits.commit_operations
                raise too_large(f"A commit may name {most} files. Split it.")
    if header is None:
        raise bad_request("The commit has no header line.")
    return Proposal(header, changes)


def _lines(core: Core, stream: BinaryIO) -> Iterator[bytes]:
    longest = core.limits.regular_file_bytes * 4 // 3 + 65536
    while line := stream.readline(longest + 1):
        if len(line) > longest:
            raise too_large("A regular file is larger than 10 MB. Upload it as an LFS file.")
        if line.strip():
            yield line


def _parse_line(number: int, line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise bad_request(f"Line {number} of the commit is not JSON.") from None
    key = entry.get("key") if isinstance(entry, dict) else None
    value = entry.get("value") if isinstance(entry, dict) else None
    if not isinstance(key, str) or not isinstance(value, dict):
        raise bad_request(f"Line {number} of the commit is not an object with key and value.")
    return key, value


def _header(number: int, value: dict[str, Any]) -> Header:
    summary, description = value.get("summary"), value.get("description") or ""
    parent = value.get("parentCommit")
    if number != 1:
        raise bad_request("The header must be the first line of the commit, and the only one.")
    if not isinstance(summary, str) or not summary.strip() or not isinstance(description, str):
        raise bad_request("The header needs a summary that is not empty.")
    if parent is not None and not isinstance(parent, str):
        raise bad_request("parentCommit must be a commit sha.")
    return Header(_printable(summary.strip()), _printable(description.strip()), parent)


def _printable(text: str) -> str:
    """Git messages hold no NUL and no lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _change(
    core: Core, repo: Repo, keep: Callable[[bytes], str], key: str, value: dict[str, Any]
) -> Change:
    path = value.get("path")
    if not isinstance(path, str):
        raise bad_request(f"A {key} line has no path.")
    if key in ("deletedFile", "deletedFolder", "deletedEntry"):
        return Change(check_path(path.rstrip("/")), None)
    check_path(path)
    if key == "file":
        data = _decode(path, value)
        check_regular_file(core, repo, path, data)
        return Change(path, keep(data))
    if key == "lfsFile":
        return Change(path, keep(_pointer_for(core, repo, path, value)))
    raise bad_request("Add a line with the key `lfsFile`, `file` or `deletedFile`")


def _decode(path: str, value: dict[str, Any]) -> bytes:
    content, encoding = value.get("content", ""), value.get("encoding", "utf-8")
    if not isinstance(content, str):
        raise bad_request(f"The content of {path} is not text.")
    if encoding == "utf-8":
        return content.encode("utf-8", "replace")
    if encoding != "base64":
        raise bad_request(f"Unknown encoding of {path}: {encoding!r}. Use base64 or utf-8.")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"The content of {path} is not valid base64.") from None


def check_regular_file(core: Core, repo: Repo, path: str, data: bytes) -> None:
    """The gate for file contents, for commits and pushes alike."""
    if len(data) > core.limits.regular_file_bytes:
        raise too_large(f"{path} is larger than 10 MB. Upload it as an LFS file.")
    pointer = parse_pointer(data)
    if pointer is not None and granted_size(core.store, repo.id, pointer.oid) != pointer.size:
        raise _missing_object(path, pointer.oid)


def _pointer_for(core: Core, repo: Repo, path: str, value: dict[str, Any]) -> bytes:
    oid, size = value.get("oid"), value.get("size")
    if not is_oid(oid) or value.get("algo", "sha256") != "sha256":
        raise bad_request(f"The oid of {path} is not a sha256.")
    known = granted_size(core.store, repo.id, str(oid))
    if known is None or (size is not None and size != known) or not core.lfs.has(str(oid), known):
        raise _missing_object(path, str(oid))
    return pointer_text(str(oid), known)


def _missing_object(path: str, oid: str) -> WireError:
    return bad_request(
        f"Your push was rejected because an LFS pointer pointed to a file that does not exist. "
        f"Offending file: {path} (oid {oid}). Upload its content first."
    )


def commit_to_revision(
    core: Core, repo: Repo, actor: Actor, revision: str, proposal: Proposal
) -> Committed:
    """Apply a commit to a branch, or to a pull request of one's own."""
    ref = writable_ref(core, repo, actor, revision)
    with core.lock(repo.id):
        git = core.git(repo)
        tip = ref_commit(git, ref)
        if tip is None:
            raise revision_not_found(revision)
        sha = _build(git, tip, proposal, actor)
        advance(core, repo, git, Move(ref, str(tip.id), sha, actor.name))
    return Committed(sha)


def writable_ref(core: Core, repo: Repo, actor: Actor, revision: str) -> str:
    """The full name of the ref that this actor may commit to; errors say why not."""
    if revision.startswith("refs/pr/"):
        pull = _pull_of_ref(core, repo, revision)
        if pull.author.lower() != actor.name.lower() and not is_writer(actor, repo):
            raise forbidden(f"Only its author and the owners of the repo may change {revision}.")
        if pull.status == "merged":
            raise conflict(f"{revision} is merged already. Open a new pull request.")
        return revision
    if not is_writer(actor, repo):
        raise forbidden("pass `create_pr=1` as a query parameter to create a Pull Request")
    return revision if revision.startswith("refs/heads/") else f"refs/heads/{revision}"


def _pull_of_ref(core: Core, repo: Repo, revision: str) -> Discussion:
    number = revision.removeprefix("refs/pr/")
    usable = number.isascii() and number.isdigit() and len(number) < 10
    pull = find_discussion(core.store, repo.id, int(number)) if usable else None
    if pull is None or not pull.is_pull:
        raise revision_not_found(revision)
    return pull


def _build(git: Any, tip: Any, proposal: Proposal, actor: Actor) -> str:
    header = proposal.header
    if header.parent_commit is not None and not _is_tip(git, header.parent_commit, tip):
        raise stale_parent()
    tree = apply_changes(git, tip.tree, proposal.changes)
    return write_commit(git, tree, [str(tip.id)], header.message, signature_of(actor))


def _is_tip(git: Any, parent: str, tip: Any) -> bool:
    """A parent may be written short."""
    return len(parent) >= 7 and str(tip.id).startswith(parent.lower())


def commit_to_pull_request(
    core: Core, repo: Repo, actor: Actor, revision: str, proposal: Proposal
) -> Committed:
    """Open a pull request that holds this one commit."""
    base = revision if revision.startswith("refs/heads/") else f"refs/heads/{revision}"
    with core.lock(repo.id):
        git = core.git(repo)
        tip = ref_commit(git, base)
        if tip is None:
            raise revision_not_found(revision)
        sha = _build_for_pull(git, tip, proposal, actor)
        header = proposal.header
        opening = _opening(core, repo, actor, base, str(tip.id), header)
        move = Move(f"refs/pr/{opening.num}", None, sha, actor.name, open_pull(opening))
        advance(core, repo, git, move)
    return Committed(sha, opening.num)


def _build_for_pull(git: Any, tip: Any, proposal: Proposal, actor: Actor) -> str:
    """A pull request may start from an older commit of its base."""
    parent = proposal.header.parent_commit
    if parent is None:
        return _build(git, tip, proposal, actor)
    start = resolve_commit(git, parent)
    if not is_ancestor(git, str(start.id), str(tip.id)):
        raise bad_request(f"parentCommit {parent} is not on the branch that this is for.")
    return _build(git, start, proposal, actor)


def _opening(
    core: Core, repo: Repo, actor: Actor, base: str, base_sha: str, header: Header
) -> Opening:
    return Opening(
        num=take_number(core.store, repo),
        title=header.summary,
        author=actor.name,
        description=header.description,
        base=base,
        base_sha=base_sha,
    )


def open_pull(opening: Opening) -> dict[str, Any]:
    """The action that follows when a new pull request's ref has reached git."""
    return {"type": "open_pull", "opening": opening.__dict__}
