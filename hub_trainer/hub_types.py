"""Types of what is read from the Hub and committed to it, and the files that are fetched at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

MODEL_FILES: tuple[str, ...] = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt")
MODEL_FILES += ("*.model", "*.jinja", "*.skops", "*.md", "*.yaml")
DATA_SUFFIXES: tuple[str, ...] = ("parquet", "jsonl", "json", "csv", "tsv", "txt", "arrow")
DATA_SUFFIXES += ("gz", "zst", "md")
DATA_SUFFIXES += (
    "png",
    "jpg",
    "jpeg",
    "jfif",
    "webp",
    "bmp",
    "tif",
    "tiff",
    "gif",
    "wav",
    "flac",
    "mp3",
)
DATA_FILES = tuple(f"*.{suffix}" for suffix in DATA_SUFFIXES)
"""Patterns of what is fetched of a dataset; MODEL_FILES of a model. Nothing else ever is."""

RepoType = Literal["model", "dataset", "space"]


@dataclass(frozen=True)
class Repo:
    """A repo of one of the three types."""

    repo_id: str
    repo_type: RepoType = "model"


@dataclass(frozen=True)
class RepoIdentity:
    """What a name stands for now: the Hub's own id of the repo, which no other ever gets."""

    repo_id: str
    """The repo's name now, another one when it was moved."""
    hub_id: str | None
    owner: str | None
    commit_sha: str


@dataclass(frozen=True)
class RepoFile:
    """A file of a commit: path, size in bytes, and the sha256 of a large (LFS) file."""

    path: str
    size_bytes: int
    blob_id: str
    lfs_sha256: str | None


@dataclass(frozen=True)
class FileCopy:
    """A file taken over from another revision of the same repo."""

    path: str
    src_revision: str


@dataclass(frozen=True)
class Changes:
    """What one commit does."""

    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    copies: Sequence[FileCopy] = ()
    deletions: Sequence[str] = ()


@dataclass(frozen=True)
class Commit:
    """A commit that was made: its sha, its page, and the pull request it opened, if any."""

    commit_sha: str
    url: str
    pull_request: int | None = None


@dataclass(frozen=True)
class HistoryEntry:
    """A commit in the history of a branch, newest first."""

    commit_sha: str
    title: str
    message: str
    authors: tuple[str, ...]
    created_at: str


@dataclass(frozen=True)
class PullRequest:
    """A pull request: `head_sha` is the tip of refs/pr/N, None once it is gone."""

    number: int
    title: str
    author: str
    status: str
    head_sha: str | None
    created_at: str
