"""Folders of pictures or sounds, with a list beside them or in folders named by their labels.

Lists are metadata.csv or metadata.jsonl, read as any CSV or JSON file is: `datasets` leaves them
to pandas, which takes None for a gap and 01 for 1. What it can read itself, by the libraries at
hand, is left to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.inputs.media import Medium
from hub_trainer.rows.csv_files import CsvFile, CsvSettings
from hub_trainer.rows.csv_types import as_declared
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.written import JsonFiles, with_plain_types

if TYPE_CHECKING:
    import pyarrow as pa

LIST_NAMES = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"
OTHER_NAMES = ("_file_name", "file_names")
"""Ends of columns with which `datasets` lists several files per row, or other ones."""
LABEL = "label"


@dataclass(frozen=True)
class FolderRows:
    """A row per file: its path in the medium's column, and what is said of it."""

    table: "pa.Table"
    features: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def folder_rows(
    config: Any,
    split: str,
    medium: Medium,
    limits: Limits,
    *,
    where: str,
    declared: Mapping[str, Any],
) -> FolderRows | None:
    """The rows of a split of a folder; None where `datasets` reads them.

    `config` is that of its builder, and `declared` the features that the card says.
    """
    paths = [Path(path) for path in config.data_files[split]]
    lists = [path for path in paths if path.name in LIST_NAMES]
    by_folder = config.drop_labels is False
    if lists and not by_folder and not (declared and medium.encodes):
        table = _listed(lists, medium, limits, where)
        if table is not None:
            note = _unlisted_note(paths, table, medium)
            table, features = _as_declared(table, declared, medium, where)
            return FolderRows(table, features, [note] if note else [])
    if medium.encodes:
        return None
    others = [path for path in paths if not _is_of(path, medium)]
    if others and not by_folder:
        raise DataError(
            f"The list of {medium.plural} is of a kind that is not read.",
            where=where,
            got=", ".join(sorted({path.name for path in others})),
            do=f"Write it as metadata.csv with a column file_name, one {medium.noun} per row.",
        )
    table, features = _by_folder(config, split, medium)
    return FolderRows(*_as_declared(table, declared or features, medium, where))


def _by_folder(config: Any, split: str, medium: Medium) -> tuple["pa.Table", dict[str, Any]]:
    """The files of a split with the names of their folders, where those are labels.

    As `datasets` has it: they are if it is said, or if there are several and all are equally deep.
    """
    import datasets
    import pyarrow as pa

    files = [Path(path) for path in config.data_files[split] if _is_of(Path(path), medium)]
    table = pa.table({medium.name: _cells([str(path) for path in files])})
    every = [Path(path) for paths in config.data_files.values() for path in paths]
    every = [path for path in every if _is_of(path, medium)]
    names = sorted({path.parent.name for path in every})
    alike = len(names) > 1 and len({len(path.parts) for path in every}) == 1
    if config.drop_labels or (config.drop_labels is None and not alike):
        return table, {}
    labels = pa.array([path.parent.name for path in files], pa.string())
    kind = datasets.ClassLabel(names=names)
    return table.append_column(LABEL, labels), {LABEL: kind}


def _as_declared(
    table: "pa.Table", features: Mapping[str, Any], medium: Medium, where: str
) -> tuple["pa.Table", dict[str, Any]]:
    """The table with the other columns in the types that are said, names of classes as numbers."""
    others = {name: kind for name, kind in features.items() if name != medium.name}
    if not others:
        return table, {}
    typed = as_declared(table.drop_columns([medium.name]), {}, others, where=where)
    return typed.add_column(0, medium.name, table[medium.name]), others


def _listed(lists: Sequence[Path], medium: Medium, limits: Limits, where: str) -> "pa.Table | None":
    """A row per listed file: its path as the medium's column, and the list's other columns.

    None for a list of another kind. Raises DataError for one that names no file.
    """
    import pyarrow as pa

    made = []
    for path in lists:
        for table in _tables(path, limits, where):
            names = table.column_names
            if FILE_NAME not in names and any(name.endswith(OTHER_NAMES) for name in names):
                return None
            if FILE_NAME not in names:
                raise DataError(
                    f"The list of {medium.plural} does not say which row is of which "
                    f"{medium.noun}.",
                    where=f"{where}: {path.name}",
                    got=f"columns {', '.join(names)}",
                    do=f"Name the {medium.plural} in a column file_name, with their endings, as in "
                    f"{medium.example}.",
                )
            found = [
                _listed_path(path, name, medium, f"{where}: {path.name}, row {row}")
                for row, name in enumerate(table[FILE_NAME].to_pylist(), start=1)
            ]
            others = table.drop_columns([FILE_NAME])
            made.append(others.add_column(0, medium.name, _cells(found)))
    return pa.concat_tables(made, promote_options="permissive") if made else None


def _unlisted_note(paths: Sequence[Path], table: "pa.Table", medium: Medium) -> str:
    """What to say of files that are in no row; "" where all of them are."""
    cells = table[medium.name].to_pylist()
    listed = {Path(cell["path"]).resolve() for cell in cells if cell["path"]}
    files = [path for path in paths if _is_of(path, medium)]
    without = [path for path in files if path.resolve() not in listed]
    if not without:
        return ""
    return (
        f"{len(without):,} of {len(files):,} {medium.plural} are in no row of the list, the first "
        f"{without[0].name}: they are left out"
    )


def _tables(path: Path, limits: Limits, where: str) -> Iterator["pa.Table"]:
    if path.suffix == ".csv":
        yield from CsvFile(path, CsvSettings(), limits, where=where).tables()
    else:
        files = JsonFiles([path], "utf-8", None, where, limits)
        yield with_plain_types(files.table(None), where=f"{where}: {path.name}")


def _is_of(path: Path, medium: Medium) -> bool:
    return path.name.lower().endswith(medium.suffixes)


def _cells(paths: Sequence[str | None]) -> Any:
    """Cells as `datasets` has them of files that are elsewhere."""
    import pyarrow as pa

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": None, "path": path} for path in paths], kind)


def _listed_path(path: Path, name: object, medium: Medium, where: str) -> str | None:
    # A list from Windows parts folders with backslashes.
    written = "" if name is None else str(name).strip().replace("\\", "/")
    file = path.parent / written
    if "://" in written or not file.resolve().is_relative_to(path.parent.resolve()):
        one = medium.example
        do = f"Name a file in the folder of the list, or below it, as in {one} or more/{one}."
        what = f"A listed {medium.noun} lies elsewhere."
        raise DataError(what, where=where, got=repr(name), do=do)
    return str(file) if written else None
