"""A contributor's csv, jsonl, parquet or folder of images, read as a dataset of its own."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hub_trainer.errors import DataError, UsageError
from hub_trainer.pictures import OTHER_PICTURES
from hub_trainer.rows import IMAGE_SUFFIXES, Limits, RawSplit, read_split, write_card
from hub_trainer.rows.containers import held_back, refusal

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def read_local(path: Path, *, max_bytes: int) -> RawSplit:
    """Read a file or folder of images. Raises UsageError or DataError that names what is wrong."""
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
    return replace(raw, notes=(*raw.notes, *_unread_pictures(path)))


@contextmanager
def _as_dataset(path: Path, max_bytes: int) -> Iterator[Path]:
    """A folder that holds nothing but the contributor's files, laid out as a train split."""
    files = _image_files(path) if path.is_dir() else [_data_file(path)]
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


def _unread_pictures(path: Path) -> Iterator[str]:
    """Pictures of kinds that are not read, in a folder of pictures."""
    found = sorted(one.name for one in path.rglob("*") if one.suffix.lower() in OTHER_PICTURES)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        yield f"{', '.join(found[:3])}{more} left aside: save pictures as PNG or JPEG"


def _train_folder(path: Path, files: Sequence[Path]) -> Path:
    """Where the files of a folder of images go; its own name is the label of those right in it."""
    labelled = any(file.name in METADATA for file in files)
    inside = all(file.parent == path for file in files)
    return Path("train", path.resolve().name) if inside and not labelled else Path("train")


def _data_file(path: Path) -> Path:
    if held_back([path.name]):
        raise refusal([path.name], where=str(path))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        do = "Put it into a folder named by its label, and give that folder."
        raise UsageError("A picture alone has no label.", where=str(path), do=do)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            "Files of this kind are not contributed.",
            where=str(path),
            got=path.suffix or "no suffix",
            do=f"Use one of {', '.join(SUFFIXES)}, or a folder of images.",
        )
    if path.stat().st_size == 0:
        raise DataError("The file is empty.", where=str(path), do="Write its rows first.")
    return path


def _image_files(path: Path) -> list[Path]:
    """The images of a folder, and the table that labels them if there is one."""
    images = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    tables = [path / name for name in METADATA if (path / name).is_file()]
    if not images:
        raise DataError(
            "The folder holds no images.",
            where=str(path),
            got=f"{sum(1 for file in path.rglob('*') if file.is_file())} other files",
            do="Put images into folders named by label, or beside a metadata.csv with file_name.",
        )
    here = [image for image in images if image.parent == path]
    if not tables and 0 < len(here) < len(images):
        raise DataError(
            "Some images have no label.",
            where=str(path),
            got=here[0].name,
            do="Put images into folders named by label, or beside a metadata.csv with file_name.",
        )
    deepest = max(images, key=lambda image: len(image.parts))
    if not tables and any(len(image.parts) < len(deepest.parts) for image in images):
        raise DataError(
            "Some images lie in a folder inside the folder of a label.",
            where=str(path),
            got=str(deepest.relative_to(path)),
            do="Put all images equally deep, each right into the folder of its label.",
        )
    return images + tables
