"""Rows of a dataset on the Hub, at a commit: fetched file by file, read in a sandboxed child."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hub_trainer.hub import Hub, Repo
from hub_trainer.recipe import DatasetSource
from hub_trainer.rows.canonical import RowSpec
from hub_trainer.rows.card import CARD, parse_card, write_card
from hub_trainer.rows.layout import SplitFiles, find_split_files
from hub_trainer.rows.store import read_table
from hub_trainer.rows.worker import ReadJob, ReadResult, read_sandboxed

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class FetchedRows:
    """Canonical rows of a split, and where they came from."""

    table: "pa.Table"
    result: ReadResult
    files: SplitFiles


def fetch_rows(
    hub: Hub, source: DatasetSource, commit_sha: str, spec: RowSpec, *, scratch: Path
) -> FetchedRows:
    """The rows of a source at a commit; `scratch` is an empty folder for what is in between."""
    repo = Repo(source.repo_id, "dataset")
    where = f"{source.repo_id}@{commit_sha[:8]}, split {source.split}"
    names = [file.path for file in hub.list_files(repo, commit_sha)]
    text = hub.read_file(repo, CARD, commit_sha) if CARD in names else None
    card = parse_card((text or b"").decode("utf-8", "replace"), where=where)
    found = find_split_files(names, card, config=source.config, split=source.split, where=where)
    paths = sorted({path for part in found.files.values() for path in part})
    folder = scratch / "files"
    folder.mkdir(parents=True)
    hub.download(repo, commit_sha, allow=[glob.escape(path) for path in paths], into=folder)
    write_card(folder, found.card)
    job = ReadJob(
        folder=folder,
        out=scratch / "rows" / "rows.parquet",
        spec=spec,
        source=f"{source.repo_id}@{commit_sha}",
        config=found.config,
        split=source.split,
        where=where,
    )
    [result] = read_sandboxed([job], folder=scratch / "rows")
    return FetchedRows(read_table(job.out), result, found)
