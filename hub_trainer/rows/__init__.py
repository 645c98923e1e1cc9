"""Rows of datasets, from a stranger's folder to the canonical table that every stage reads."""

from hub_trainer.rows.canonical import CanonicalRows, RowSpec, canonical_rows
from hub_trainer.rows.card import (
    CardFault,
    assert_safe_card,
    card_faults,
    parse_card,
    read_card,
    unsafe_path,
    write_card,
)
from hub_trainer.rows.layout import SplitFiles, find_split_files
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.read import RawSplit, read_split, vet_folder
from hub_trainer.rows.reading_child import ReadJob, ReadResult, read_jobs, read_sandboxed
from hub_trainer.rows.row_files import (
    feature_names,
    read_rows,
    read_table,
    row_id,
    with_row_ids,
    write_rows,
)

__all__ = [
    "CanonicalRows",
    "CardFault",
    "Limits",
    "RawSplit",
    "ReadJob",
    "ReadResult",
    "RowSpec",
    "SplitFiles",
    "assert_safe_card",
    "canonical_rows",
    "card_faults",
    "feature_names",
    "find_split_files",
    "parse_card",
    "read_card",
    "read_jobs",
    "read_rows",
    "read_sandboxed",
    "read_split",
    "read_table",
    "row_id",
    "unsafe_path",
    "vet_folder",
    "with_row_ids",
    "write_card",
    "write_rows",
]
