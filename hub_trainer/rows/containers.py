"""Files that hold other files, or rows in a form that is not read: told by name and first bytes."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from hub_trainer.errors import DataError

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
PACKED = (".bz2", ".xz", ".zst", ".lz4", ".lzma", ".z")
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
SUFFIXES = ARCHIVES + PACKED + SHEETS
MARKS = {
    b"PK\x03\x04": "a zip archive or an Excel file",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\x00": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"\x04\x22\x4d\x18": "packed by lz4",
    b"\xd0\xcf\x11\xe0": "an old Excel or Office file",
    b"\x1f\x8b": "packed by gzip",
    b"PAR1": "a parquet file",
    b"SQLite format 3\x00": "a database",
    b"\x80\x04\x95": "a pickle",
    b"\x80\x05\x95": "a pickle",
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"{\\rtf": "a document in rich text",
    b"%PDF": "a PDF document",
    b"version https://git-lfs.github.com/spec/v1": "a pointer of Git LFS to it",
}
TAR_MARK, TAR_PLACE = b"ustar", 257
OWN_MARKS = {".gz": b"\x1f\x8b", ".parquet": b"PAR1"}
"""Suffixes that are read, and the bytes that such files begin with."""
FROM_ARCHIVE = "Unpack it, and upload the files themselves, or a parquet made of them."
FROM_SHEET = "Save each sheet as CSV (in Excel: File > Save As > CSV UTF-8), and use that."


def held_back(names: Iterable[str]) -> list[str]:
    """The names that no reader may open, whatever is in them."""
    return sorted(name for name in names if name.lower().endswith(SUFFIXES))


def ways_on(names: Iterable[str]) -> list[str]:
    """What helps with files that no reader opens: sheets, and archives."""
    held = held_back(names)
    sheets = [name for name in held if name.lower().endswith(SHEETS)]
    return [FROM_SHEET] * bool(sheets) + [FROM_ARCHIVE] * (len(held) > len(sheets))


def refusal(names: Sequence[str], *, where: str) -> DataError:
    """The error for data that is there only in such files."""
    first = names[0]
    sheet = first.lower().endswith(SHEETS)
    what = "Excel files are not read." if sheet else "Archives are not read."
    got = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return DataError(what, where=where, got=got, do=FROM_SHEET if sheet else FROM_ARCHIVE)


def assert_plain(path: Path, *, where: str) -> None:
    """Refuse a file that begins like another kind than its name says."""
    if held_back([path.name]):
        raise refusal([path.name], where=where)
    with path.open("rb") as file:
        head = file.read(TAR_PLACE + len(TAR_MARK))
    own = OWN_MARKS.get(PurePosixPath(path.name).suffix.lower(), b"\0")
    marks = {**MARKS, head[:TAR_PLACE] + TAR_MARK: "a tar archive"}
    if path.name.lower().endswith((".csv", ".tsv")):
        marks |= dict.fromkeys((b'{"', b'[{"'), "JSON, whose name ends in .jsonl or .json")
    for mark, kind in marks.items():
        if head.startswith(mark) and not mark.startswith(own):
            raise DataError(
                "A file is not what its name says.",
                where=f"{where}: {path.name}",
                got=kind,
                do=_way_on(kind),
            )


def _way_on(kind: str) -> str:
    if "Excel" in kind:
        return f"{FROM_SHEET} {FROM_ARCHIVE}"
    if "archive" in kind or "packed" in kind:
        return FROM_ARCHIVE
    if "Git LFS" in kind:
        return "Get the file itself with git lfs pull, and upload that: hf upload."
    return "Name it by what it is, or write the rows as csv, jsonl or parquet."
