"""A contributor's pictures or sounds as files of a dataset in folders named by label."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from hub_trainer.errors import DataError, UsageError
from hub_trainer.inputs.media import Medium
from hub_trainer.rows import RawSplit
from hub_trainer.rows.own_schema import known_labels


def media_files(
    raw: RawSplit, there: Sequence[str], medium: Medium, *, where: str
) -> dict[str, bytes]:
    """Path in the dataset -> file, in the folders that the dataset's labels are."""
    known = [PurePosixPath(path) for path in there if path.lower().endswith(medium.suffixes)]
    names = sorted({path.parent.name for path in known})
    if len(known) < len(there) or len(names) < 2:
        raise UsageError(
            "This dataset takes no file of rows.",
            where=where,
            got=f"a dataset of {medium.plural} with a table of their own",
            do="Add the files themselves, laid out as its own: hf upload --create-pr.",
        )
    if raw.media.get(medium.name) is not medium or "label" not in raw.table.column_names:
        raise UsageError(
            "This dataset takes no file of rows.",
            where=where,
            got=f"columns {', '.join(raw.table.column_names)}",
            do=f"Give a folder of {medium.plural} in folders named by label; or lay the files out "
            "as its own: hf upload --create-pr.",
        )
    top = known[0].parent.parent
    numbers = raw.table["label"].to_pylist()
    said = (
        [None if n is None or n < 0 else raw.class_names["label"][n] for n in numbers]
        if "label" in raw.class_names
        else numbers
    )
    found = {}
    folders = known_labels(said, names, where=where)
    for content, name in zip(raw.table[medium.name].to_pylist(), folders, strict=True):
        suffix = medium.suffix(content) or PurePosixPath(medium.example).suffix
        digest = hashlib.sha256(content).hexdigest()[:12]
        found[str(top / name / f"{digest}{suffix}")] = content
    if not found:
        what = f"The folder holds no {medium.plural}."
        raise DataError(what, where=where, do=f"Put {medium.plural} into it.")
    return found
