"""Reading bare git repos: revisions, files, folders, history. Nothing here changes a repo."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pygit2
from pygit2.enums import Option, SortMode

from hub_trainer.local_hub.errors import entry_not_found, revision_not_found
from hub_trainer.local_hub.names import iso_of_seconds

# The data folder may belong to another user than the server (containers, mounts).
pygit2.option(Option.SET_OWNER_VALIDATION, 0)

MAX_POINTER_BYTES = 1024
MAX_REF_SEGMENT_BYTES = 200
MAX_REF_LENGTH = 1000

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n?\Z"
)
_HEX_PREFIX = re.compile(r"[0-9a-f]{7,40}\Z")


@dataclass(frozen=True)
class Pointer:
    """What a git-lfs pointer file says of the file that it stands for."""

    oid: str
    size: int
    pointer_size: int


@dataclass(frozen=True)
class Entry:
    """A file or folder of a tree. `size` is of the blob, so of the pointer for an LFS file."""

    type: Literal["file", "directory"]
    path: str
    oid: str
    size: int = 0
    pointer: Pointer | None = None


@dataclass(frozen=True)
class CommitRecord:
    """One commit, in plain values."""

    sha: str
    title: str
    message: str
    author: str
    date: str


def open_git(path: Path) -> Any:
    """A repository handle for this thread; handles are cheap and must not be shared."""
    return pygit2.Repository(str(path))


def parse_pointer(data: bytes) -> Pointer | None:
    """The pointer that these bytes are, if they are one."""
    found = _POINTER.match(data) if len(data) <= MAX_POINTER_BYTES else None
    if found is None:
        return None
    return Pointer(found[1].decode(), int(found[2]), len(data))


def pointer_text(oid: str, size: int) -> bytes:
    """The pointer file for an LFS object."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


def resolve_commit(git: Any, revision: str) -> Any:
    """The commit of a branch, tag, full ref name, (shortened) sha, or HEAD."""
    for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
        if (ref == "HEAD" or ref.startswith("refs/")) and pygit2.reference_is_valid_name(ref):
            commit = ref_commit(git, ref)
            if commit is not None:
                return commit
    if _HEX_PREFIX.match(revision):
        found = _object_of(git, revision)
        if isinstance(found, pygit2.Commit):
            return found
    raise revision_not_found(revision)


def is_valid_ref(ref: str) -> bool:
    """A full ref name that git takes and a disk can hold."""
    short = all(len(segment.encode()) <= MAX_REF_SEGMENT_BYTES for segment in ref.split("/"))
    return short and len(ref) <= MAX_REF_LENGTH and pygit2.reference_is_valid_name(ref)


def ref_commit(git: Any, ref: str) -> Any | None:
    """The commit that a full ref name points at, through annotated tags."""
    try:
        return git.references[ref].peel(pygit2.Commit)
    except (KeyError, ValueError, pygit2.GitError, pygit2.InvalidSpecError):
        return None


def _object_of(git: Any, hex_prefix: str) -> Any | None:
    try:
        return git.get(hex_prefix)
    except (ValueError, KeyError, pygit2.GitError):
        return None


def list_refs(git: Any) -> dict[str, str]:
    """Full ref name -> commit sha, in name order."""
    found = {}
    for name in sorted(git.references):
        commit = ref_commit(git, name)
        if commit is not None:
            found[name] = str(commit.id)
    return found


def entry_at(git: Any, commit: Any, path: str) -> Entry | None:
    """The file or folder at a path."""
    try:
        found = commit.tree[path]
    except (KeyError, ValueError, pygit2.GitError):
        return None
    return describe(git, path, found)


def describe(git: Any, path: str, found: Any) -> Entry:
    """A tree entry with its size, and its pointer if it is an LFS file."""
    if found.type_str == "tree":
        return Entry("directory", path, str(found.id))
    size, pointer = _blob_facts(git, found.id)
    return Entry("file", path, str(found.id), size, pointer)


_FACTS: dict[str, tuple[int, Pointer | None]] = {}
_MAX_FACTS = 200_000


def _blob_facts(git: Any, oid: Any) -> tuple[int, Pointer | None]:
    """Size and pointer of a blob. Blobs never change, so this is remembered across repos."""
    known = _FACTS.get(str(oid))
    if known is not None:
        return known
    try:
        _, size = git.odb.read_header(oid)
    except KeyError:  # a submodule's commit is not in this repo
        return 0, None
    pointer = parse_pointer(git[oid].data) if size <= MAX_POINTER_BYTES else None
    if len(_FACTS) >= _MAX_FACTS:
        _FACTS.clear()
    _FACTS[str(oid)] = size, pointer
    return size, pointer


def walk_folder(git: Any, commit: Any, path: str, *, recursive: bool) -> Iterator[tuple[str, Any]]:
    """(path, tree entry) of a folder; 404 if there is no such folder."""
    tree = commit.tree
    if path:
        try:
            tree = commit.tree[path]
        except (KeyError, ValueError, pygit2.GitError):
            tree = None
        if tree is None or tree.type_str != "tree":
            raise entry_not_found(path, commit_sha=str(commit.id))
    return _walk(git, tree, f"{path}/" if path else "", recursive=recursive)


def _walk(git: Any, tree: Any, prefix: str, *, recursive: bool) -> Iterator[tuple[str, Any]]:
    for found in tree:
        path = prefix + found.name
        yield path, found
        if recursive and found.type_str == "tree":
            yield from _walk(git, git[found.id], f"{path}/", recursive=True)


def list_files(git: Any, commit: Any) -> list[tuple[str, Any]]:
    """(path, tree entry) of every file."""
    everything = walk_folder(git, commit, "", recursive=True)
    return [(path, found) for path, found in everything if found.type_str != "tree"]


def read_text(git: Any, commit: Any, path: str, max_bytes: int = 1_000_000) -> str | None:
    """A small text file of a commit, or None."""
    entry = entry_at(git, commit, path)
    if entry is None or entry.type != "file" or entry.size > max_bytes:
        return None
    data: bytes = git[entry.oid].data
    return data.decode("utf-8", "replace")


def history(git: Any, commit: Any) -> Iterator[CommitRecord]:
    """The commits from this one back, newest first."""
    for each in git.walk(commit.id, SortMode.NONE):
        yield record_of(each)


def record_of(commit: Any) -> CommitRecord:
    """A commit in plain values."""
    title, _, rest = commit.message.strip("\n").partition("\n")
    return CommitRecord(
        sha=str(commit.id),
        title=title,
        message=rest.strip("\n"),
        author=commit.author.name,
        date=iso_of_seconds(commit.commit_time),
    )


def merge_base(git: Any, one: Any, other: Any) -> Any | None:
    """The newest common ancestor of two commits."""
    base = git.merge_base(one.id, other.id)
    return None if base is None else git[base]


def is_ancestor(git: Any, older: str, newer: str) -> bool:
    """Whether `newer` is `older` or comes after it."""
    return older == newer or bool(git.descendant_of(newer, older))


MAX_DIFF_BYTES = 2_000_000


def unified_diff(git: Any, old: Any, new: Any) -> str:
    """What changed between two commits, as a patch; cut after 2 MB at a file's end."""
    parts: list[str] = []
    size = 0
    for patch in git.diff(old.tree, new.tree):
        if patch is None:
            continue
        size += len(patch.data)
        if size > MAX_DIFF_BYTES:
            parts.append("\n[the rest of the diff is too large to show]\n")
            break
        parts.append(patch.data.decode("utf-8", "replace"))
    return "".join(parts)
