"""A contributor's pictures as files of a dataset whose labels are the names of its folders."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from hub_trainer.errors import DataError, UsageError
from hub_trainer.rows import IMAGE_SUFFIXES, RawSplit
from hub_trainer.rows.own_schema import known_labels

SIGNS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp", b"GIF8": "gif", b"BM": "bmp"}


def picture_files(raw: RawSplit, there: Sequence[str], *, where: str) -> dict[str, bytes]:
    """Path in the dataset -> picture, in the folders that the dataset's labels are."""
    pictures = [PurePosixPath(path) for path in there if path.lower().endswith(IMAGE_SUFFIXES)]
    names = sorted({path.parent.name for path in pictures})
    if len(pictures) < len(there) or len(names) < 2:
        raise UsageError(
            "This dataset takes no file of rows.",
            where=where,
            got="a dataset of image files with a table of their own",
            do="Add the files themselves, laid out as its own: hf upload --create-pr.",
        )
    if "image" not in raw.images or "label" not in raw.table.column_names:
        raise UsageError(
            "This dataset takes no file of rows.",
            where=where,
            got=f"columns {', '.join(raw.table.column_names)}",
            do="Give a folder of pictures in folders named by label; or lay the files out as its "
            "own: hf upload --create-pr.",
        )
    top = pictures[0].parent.parent
    numbers = raw.table["label"].to_pylist()
    said = (
        [None if n is None or n < 0 else raw.class_names["label"][n] for n in numbers]
        if "label" in raw.class_names
        else numbers
    )
    found = {}
    folders = known_labels(said, names, where=where)
    for content, name in zip(raw.table["image"].to_pylist(), folders, strict=True):
        kind = next((kind for sign, kind in SIGNS.items() if content.startswith(sign)), "tif")
        digest = hashlib.sha256(content).hexdigest()[:12]
        found[str(top / name / f"{digest}.{kind}")] = content
    if not found:
        raise DataError("The folder holds no images.", where=where, do="Put pictures into it.")
    return found
