"""Rows of a dataset on the Hub, at a commit: fetched file by file, read in a sandboxed child."""

import glob
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.hub import Hub, Repo, RepoFile
from hub_trainer.recipe import DatasetSource
from hub_trainer.rows.canonical import RowSpec
from hub_trainer.rows.card import CARD, parse_card, write_card
from hub_trainer.rows.layout import SplitFiles, find_split_files
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.reading_child import ReadJob, ReadResult, read_sandboxed
from hub_trainer.rows.row_files import read_table
from hub_trainer.sandbox import Sandbox

if TYPE_CHECKING:
    import pyarrow as pa


MAX_PATTERNS = 200
"""Files that are asked for by name; of more, all that end like one of them are fetched."""


@dataclass(frozen=True)
class FetchedRows:
    """Canonical rows of a split, and where they came from."""

    table: "pa.Table"
    result: ReadResult
    files: SplitFiles


def fetch_rows(  # noqa: PLR0913 - clear keywords
    hub: Hub,
    source: DatasetSource,
    commit_sha: str,
    spec: RowSpec,
    *,
    scratch: Path,
    first_file_only: bool = False,
    reader: Sandbox | None = None,
) -> FetchedRows:
    """The rows of a source at a commit; `scratch` is an empty folder for what is in between.

    With `first_file_only` one file per split is fetched: enough to look at its first rows. See
    `worker.open_reader` for `reader`.
    """
    where = f"{source.repo_id}@{commit_sha[:8]}, split {source.split}"
    folder = scratch / "files"
    found, _ = fetch_files(
        hub, source, commit_sha, folder, where=where, first_file_only=first_file_only
    )
    job = ReadJob(
        folder=folder,
        out=scratch / "rows" / "rows.parquet",
        spec=spec,
        source=f"{source.repo_id}@{commit_sha}",
        config=found.config,
        split=source.split,
        where=where,
    )
    [result] = read_sandboxed([job], folder=scratch / "rows", reader=reader)
    result = replace(result, notes=(*found.notes, *result.notes))
    return FetchedRows(read_table(job.out), result, found)


def fetch_files(
    hub: Hub,
    source: DatasetSource,
    commit_sha: str,
    into: Path,
    *,
    where: str,
    first_file_only: bool = False,
) -> tuple[SplitFiles, dict[str, Any]]:
    """Download the files of a split, and only them, into a folder; also gives the whole card.

    The folder gets a card that says only what the reader needs, written by us.
    """
    found, card, files = find_files(hub, source, commit_sha, where=where)
    if first_file_only:
        found = found.first_files()
    paths = sorted({path for part in found.files.values() for path in part})
    repo = Repo(source.repo_id, "dataset")
    _assert_size([files[path] for path in paths], where)
    snapshot = hub.download(repo, commit_sha, allow=_patterns(paths))
    for path in paths:
        _link(snapshot, path, into)
    write_card(into, found.card)
    return found, card


def find_files(
    hub: Hub, source: DatasetSource, commit_sha: str, *, where: str
) -> tuple[SplitFiles, dict[str, Any], dict[str, RepoFile]]:
    """The files of a split, the dataset's whole card, and all its files by path.

    Raises DataError where there is no such config or split.
    """
    repo = Repo(source.repo_id, "dataset")
    files = {file.path: file for file in hub.list_files(repo, commit_sha)}
    text = (hub.read_file(repo, CARD, commit_sha) if CARD in files else None) or b""
    card = parse_card(text.decode("utf-8", "replace"), where=where)
    found = find_split_files(
        list(files), card, config=source.config, split=source.split, where=where
    )
    return found, card, files


def _assert_size(files: Sequence[RepoFile], where: str) -> None:
    size, limit = sum(file.size_bytes for file in files), Limits.max_bytes
    if size > limit:
        raise DataError(
            "The split's files are too large.",
            where=where,
            got=f"{size:,} bytes in {len(files):,} files",
            do=f"The limit is {limit:,} bytes: name a smaller config or split.",
        )


def _patterns(paths: Sequence[str]) -> list[str]:
    """Patterns that match these paths and, unless there are very many, no others."""
    if len(paths) > MAX_PATTERNS:
        return sorted({f"*{glob.escape(PurePosixPath(path).suffix)}" for path in paths})
    return [glob.escape(path) for path in paths]


def _link(snapshot: Path, path: str, into: Path) -> None:
    """The file itself, where the client's cache has a link to it."""
    content, target = (snapshot / path).resolve(), into / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(content, target)
    except OSError:
        shutil.copyfile(content, target)
