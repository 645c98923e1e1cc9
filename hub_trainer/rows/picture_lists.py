"""Lists of pictures: metadata.csv or metadata.jsonl beside them, read as any CSV or JSON file is.

`datasets` leaves them to pandas, which takes None for a gap and 01 for 1.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hub_trainer.errors import DataError
from hub_trainer.pictures import IMAGE_SUFFIXES
from hub_trainer.rows.csv_files import CsvFile, CsvSettings
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.written import JsonFiles, with_plain_types

if TYPE_CHECKING:
    import pyarrow as pa

LIST_NAMES = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"
OTHER_NAMES = ("_file_name", "file_names")
"""Ends of columns with which `datasets` lists several pictures per row, or other ones."""


def picture_lists(paths: Sequence[Path]) -> list[Path]:
    """The lists among the files of a split."""
    return [path for path in paths if path.name in LIST_NAMES]


def listed_pictures(lists: Sequence[Path], limits: Limits, *, where: str) -> "pa.Table | None":
    """A row per listed picture: its path as `image`, and the other columns of the list.

    None for a list of another kind, which `datasets` reads. Raises DataError for one that names
    no picture.
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
                    "The list of pictures does not say which row is of which picture.",
                    where=f"{where}: {path.name}",
                    got=f"columns {', '.join(names)}",
                    do="Name the pictures in a column file_name, with their endings, as in 1.png.",
                )
            cells = [
                _cell(path, name, f"{where}: {path.name}, row {row}")
                for row, name in enumerate(table[FILE_NAME].to_pylist(), start=1)
            ]
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            others = table.drop_columns([FILE_NAME])
            made.append(others.add_column(0, "image", pa.array(cells, kind)))
    return pa.concat_tables(made, promote_options="permissive") if made else None


def unlisted_note(paths: Sequence[Path], table: "pa.Table") -> str:
    """What to say of pictures that are in no row; "" where all of them are."""
    listed = {Path(cell["path"]).resolve() for cell in table["image"].to_pylist() if cell["path"]}
    pictures = [path for path in paths if path.name.lower().endswith(IMAGE_SUFFIXES)]
    without = [path for path in pictures if path.resolve() not in listed]
    if not without:
        return ""
    return (
        f"{len(without):,} of {len(pictures):,} pictures are in no row of the list, the first "
        f"{without[0].name}: they are left out"
    )


def _tables(path: Path, limits: Limits, where: str) -> Iterator["pa.Table"]:
    if path.suffix == ".csv":
        yield from CsvFile(path, CsvSettings(), limits, where=where).tables()
    else:
        files = JsonFiles([path], "utf-8", None, where, limits)
        yield with_plain_types(files.table(None), where=f"{where}: {path.name}")


def _cell(path: Path, name: object, where: str) -> dict[str, object]:
    # A list from Windows parts folders with backslashes.
    written = "" if name is None else str(name).strip().replace("\\", "/")
    picture = path.parent / written
    if "://" in written or not picture.resolve().is_relative_to(path.parent.resolve()):
        do = "Name a file in the folder of the list, or below it, as in 1.png or more/1.png."
        raise DataError("A listed picture lies elsewhere.", where=where, got=repr(name), do=do)
    return {"bytes": None, "path": str(picture) if written else None}
