"""A contributor's csv, jsonl, parquet or folder of media, read as a dataset of its own."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hub_trainer.errors import DataError, UsageError
from hub_trainer.inputs.media import MEDIA, Medium
from hub_trainer.rows import Limits, RawSplit, read_split, write_card
from hub_trainer.rows.containers import held_back, refusal

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def read_local(path: Path, *, max_bytes: int) -> RawSplit:
    """Read a file, or a folder of pictures or sounds.

    Raises UsageError or DataError that names what is wrong.
    """
    if not path.exists():
        raise UsageError(
            "There is no such file.",
            where=str(path),
            got=f"nothing at {path.absolute()}",
            do="Check the path, and the folder in which the command is given.",
        )
    with _as_dataset(path, max_bytes) as folder:
        try:
            raw = read_split(folder, where=str(path), limits=Limits(max_bytes=4 * max_bytes))
        except DataError as error:
            # The copy's name means nothing to who gave the file.
            error.where = str(error.where).replace(f": train{path.suffix.lower()}", "")
            error.got = str(error.got).removeprefix("train/") if error.got else error.got
            raise
    return replace(raw, notes=(*raw.notes, *_unread_files(path)))


@contextmanager
def _as_dataset(path: Path, max_bytes: int) -> Iterator[Path]:
    """A folder that holds nothing but the contributor's files, laid out as a train split."""
    files = _files(path) if path.is_dir() else [_data_file(path)]
    size = sum(file.stat().st_size for file in files)
    if size > max_bytes:
        raise DataError(
            "That is more than a pull request may bring.",
            where=str(path),
            got=f"{size:,} bytes of at most {max_bytes:,}",
            do="Split it into several contributions.",
        )
    with tempfile.TemporaryDirectory(prefix="hub-trainer-contribute-") as scratch:
        folder = Path(scratch)
        top = _train_folder(path, files) if path.is_dir() else Path()
        for file in files:
            inside = (
                file.relative_to(path) if path.is_dir() else Path(f"train{file.suffix.lower()}")
            )
            target = folder / top / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        if path.is_dir() and not any(file.name in METADATA for file in files):
            # A single folder is a label too, which `datasets` believes only when it is told.
            data = [{"split": "train", "path": "train/**"}]
            named = {"config_name": "default", "data_files": data, "drop_labels": False}
            write_card(folder, {"configs": [named]})
        yield folder


def _unread_files(path: Path) -> Iterator[str]:
    """Pictures and sounds of kinds that are not read, in a folder."""
    for medium in MEDIA.values():
        found = sorted(one.name for one in path.rglob("*") if one.suffix.lower() in medium.unread)
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            told = f"save {medium.plural} as {medium.usual}"
            yield f"{', '.join(found[:3])}{more} left aside: {told}"


def _train_folder(path: Path, files: Sequence[Path]) -> Path:
    """Where the files of a folder go; its own name is the label of those right in it."""
    labelled = any(file.name in METADATA for file in files)
    inside = all(file.parent == path for file in files)
    return Path("train", path.resolve().name) if inside and not labelled else Path("train")


def _data_file(path: Path) -> Path:
    if held_back([path.name]):
        raise refusal([path.name], where=str(path))
    for medium in MEDIA.values():
        if path.suffix.lower() in medium.suffixes:
            do = "Put it into a folder named by its label, and give that folder."
            raise UsageError(f"A {medium.noun} alone has no label.", where=str(path), do=do)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            "Files of this kind are not read.",
            where=str(path),
            got=path.suffix or "no suffix",
            do=f"Use one of {', '.join(SUFFIXES)}, or a folder of pictures or sounds.",
        )
    if path.stat().st_size == 0:
        raise DataError("The file is empty.", where=str(path), do="Write its rows first.")
    return path


def _files(path: Path) -> list[Path]:
    """The pictures or sounds of a folder, and the table that labels them if there is one."""
    every = {medium: _held(path, medium) for medium in MEDIA.values()}
    held = {medium: files for medium, files in every.items() if files}
    if not held:
        raise DataError(
            "The folder holds no pictures and no sounds.",
            where=str(path),
            got=f"{sum(1 for file in path.rglob('*') if file.is_file())} other files",
            do="Put files into folders named by label, or beside a metadata.csv with file_name.",
        )
    if len(held) > 1:
        raise DataError(
            f"The folder holds {' and '.join(medium.plural for medium in held)}.",
            where=str(path),
            got=" and ".join(f"{len(files):,} {one.plural}" for one, files in held.items()),
            do="Give them as two folders: a dataset holds one of them.",
        )
    medium, files = held.popitem()
    tables = [path / name for name in METADATA if (path / name).is_file()]
    here = [file for file in files if file.parent == path]
    if not tables and 0 < len(here) < len(files):
        raise DataError(
            f"Some {medium.plural} have no label.",
            where=str(path),
            got=here[0].name,
            do=f"Put {medium.plural} into folders named by label, or beside a metadata.csv with "
            "file_name.",
        )
    deepest = max(files, key=lambda file: len(file.parts))
    if not tables and any(len(file.parts) < len(deepest.parts) for file in files):
        raise DataError(
            f"Some {medium.plural} lie in a folder inside the folder of a label.",
            where=str(path),
            got=str(deepest.relative_to(path)),
            do=f"Put all {medium.plural} equally deep, each right into the folder of its label.",
        )
    return files + tables


def _held(path: Path, medium: Medium) -> list[Path]:
    return [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in medium.suffixes and not file.name.startswith(".")
    ]
