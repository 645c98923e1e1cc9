"""Canonical rows on disk and in memory, and the identity of a row's content."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.inputs import load_input
from hub_trainer.recipe.columns import is_feature

if TYPE_CHECKING:
    import pyarrow as pa

ROW_ID, SOURCE, WEIGHT = "_row_id", "_source", "_weight"
ROW_NUMBER = "_row"
"""Where a row stands in its split, from 1: what people are told of it."""


def write_rows(path: Path, table: "pa.Table") -> None:
    """Write canonical rows as parquet; the same rows give the same bytes."""
    import pyarrow.parquet as pq

    pq.write_table(table.replace_schema_metadata(None).combine_chunks(), path, compression="zstd")


def read_table(path: Path) -> "pa.Table":
    """Canonical rows as a table."""
    import pyarrow.parquet as pq

    return pq.read_table(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Canonical rows as a list, in the order in which they were written."""
    rows: list[dict[str, Any]] = read_table(path).to_pylist()
    return rows


def feature_names(columns: Sequence[str]) -> list[str]:
    """The columns of a table row that a model sees: no answer, no provenance."""
    return [name for name in columns if is_feature(name)]


def row_id(row: Mapping[str, Any], modality: str) -> str:
    """sha256 of what a model sees of a row: its content without label, slices and provenance.

    A row keeps its id when its label is corrected, so that it also keeps its split.
    """
    shown = load_input(modality)
    return hashlib.sha256(shown.identity.encode() + b"\0" + shown.content(row)).hexdigest()


def with_row_ids(table: "pa.Table", modality: str) -> "pa.Table":
    """The table with `_row_id` computed anew from its content."""
    import pyarrow as pa

    ids = pa.array([row_id(row, modality) for row in table.to_pylist()], pa.string())
    if ROW_ID in table.column_names:
        return table.set_column(table.column_names.index(ROW_ID), ROW_ID, ids)
    return table.append_column(ROW_ID, ids)
