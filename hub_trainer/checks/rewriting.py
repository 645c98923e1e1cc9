"""The child that writes a pull request's rows as files of the dataset's own schema.

It reads what strangers wrote, so it runs without token and network. It answers names, digests and
counts; the parent uploads only bytes that have a digest it named.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hub_trainer.checks.file_names import MEDIA_SUFFIXES, ROW_SUFFIXES, suffix_of
from hub_trainer.errors import CellsRefused, DataError
from hub_trainer.inputs.media import Medium, medium_of_column
from hub_trainer.rows import Limits, RawSplit, read_split
from hub_trainer.rows.own_schema import OwnSchema, encode_table, in_own_schema, schema_faults

if TYPE_CHECKING:
    import pyarrow as pa

BY_FOLDER = "folders"
"""In place of a suffix: the dataset is a folder of files for each label."""
FILE_NAME = "file_name"


@dataclass(frozen=True)
class Job:
    """What is written: rows of this schema, in files of this kind, under `out`."""

    out: str
    described: Mapping[str, Any]
    """The schema as JSON."""
    suffix: str
    limits: Mapping[str, int]

    @property
    def schema(self) -> OwnSchema:
        """The dataset's own schema."""
        return OwnSchema.from_json(self.described)


def convert_files(
    folder: str,
    job: Mapping[str, Any],
    *,
    paths: Sequence[str],
    other_names: Mapping[str, str],
    optional: Sequence[str],
) -> dict[str, Any]:
    """Files of any kind that is read, as rows of the dataset's schema.

    `other_names`: the dataset's column -> what a file may call it instead. `optional` columns may
    be missing, and are null then. The answer: files, rows, and the columns that were left out; or
    `faults`, of all files that can be read, with their rows numbered from 1 over these files.
    """
    import pyarrow as pa

    task = Job(**job)
    tables, ignored, faults, before = [], set(), [], 0
    for where, raw in _raw_parts(Path(folder), paths, task):
        present = raw.table.column_names
        names = {name: _their_name(name, present, other_names) for name in task.schema.columns}
        missing = [name for name in optional if names[name] not in present]
        ignored |= set(present) - set(names.values())
        found, table = schema_faults(raw, task.schema, names, where=where, optional=missing)
        faults += [_fault(error, before, where if len(paths) > 1 else None) for error in found]
        tables += [] if table is None else [table]
        before += raw.table.num_rows
    if faults:
        return {"faults": faults}
    table = pa.concat_tables(tables)
    files = _written(table, task)
    return {"files": files, "rows": table.num_rows, "ignored": sorted(ignored)}


def _fault(error: DataError, before: int, file: str | None) -> dict[str, Any]:
    """What a review may say of it: nothing that was found, which may be a row's text."""
    numbers = error.rows if isinstance(error, CellsRefused) else ()
    rows = [before + number for number in numbers]
    return {"what": error.what, "do": error.do, "rows": rows, "file": file}


def write_kept(
    folder: str, job: Mapping[str, Any], *, split: str, left_out: Sequence[int]
) -> dict[str, Any]:
    """The rows of a split that was checked, without those at the places `left_out`."""
    task = Job(**job)
    raw = read_split(Path(folder), split=split, where="the files", limits=Limits(**task.limits))
    missing = [name for name in task.schema.columns if name not in raw.table.column_names]
    table = in_own_schema(raw, task.schema, {}, where="the files", optional=missing)
    dropped = frozenset(left_out)
    table = table.take([place for place in range(table.num_rows) if place not in dropped])
    return {"files": _written(table, task), "rows": table.num_rows, "ignored": []}


def _their_name(name: str, present: Sequence[str], other_names: Mapping[str, str]) -> str:
    """What the file calls a column: its name, but for case and white space, or the task's word."""
    if name in present:
        return name
    for wanted in (name, other_names.get(name, name)):
        alike = [their for their in present if _plain(their) == _plain(wanted)]
        if len(alike) == 1:
            return alike[0]
    return name


def _plain(name: str) -> str:
    return name.strip("\ufeff \t").casefold()


def _raw_parts(folder: Path, paths: Sequence[str], task: Job) -> Iterator[tuple[str, RawSplit]]:
    """Each file of rows by itself, as each may order its columns otherwise; then bare files."""
    schema, out, limits = task.schema, Path(task.out), Limits(**task.limits)
    files = [path for path in paths if suffix_of(path) in MEDIA_SUFFIXES]
    tables = [path for path in paths if suffix_of(path) in ROW_SUFFIXES]
    for number, path in enumerate(tables):
        raw = _read_alone(folder / path, out / f"part-{number}", path, limits)
        if FILE_NAME in raw.table.column_names and files:
            near = PurePosixPath(path).parent
            yield path, _listed_files(folder / near, raw, schema, path)
            files = [one for one in files if not PurePosixPath(one).is_relative_to(near)]
        else:
            yield path, raw
    if files:
        yield f"{len(files)} files", _labelled_files(folder, files, schema)


def _read_alone(path: Path, scratch: Path, where: str, limits: Limits) -> RawSplit:
    scratch.mkdir(parents=True)
    name = f"train{path.suffix.lower()}"
    path.rename(scratch / name)
    try:
        return read_split(scratch, where=where, limits=limits)
    except DataError as error:
        # The copy's name means nothing to who sent the file.
        error.where = str(error.where).replace(f"{where}: {name}", where)
        raise


def _file_columns(schema: OwnSchema) -> tuple[str, str]:
    """The dataset's column of files, and the one that names them."""
    held = [name for name in schema.columns if schema.holds_files(name)]
    labels = [name for name in schema.columns if schema.label_names(name) is not None]
    others = [name for name in schema.columns if name not in held]
    if len(held) != 1 or not (labels or len(others) == 1):
        raise DataError(
            "Bare files do not fit this dataset.",
            where="the files",
            got=f"columns {', '.join(schema.columns)}",
            do="Send a parquet file with its columns: hub-trainer contribute makes one.",
        )
    return held[0], (labels or others)[0]


def _labelled_files(folder: Path, paths: Sequence[str], schema: OwnSchema) -> RawSplit:
    """Files whose folders are named by their label."""
    import pyarrow as pa

    column, label = _file_columns(schema)
    contents = pa.array([(folder / path).read_bytes() for path in paths], pa.large_binary())
    labels = pa.array([PurePosixPath(path).parent.name for path in paths], pa.string())
    media = {column: medium_of_column(schema.features[column], contents)}
    return RawSplit(pa.table({column: contents, label: labels}), "default", {}, media)


def _listed_files(folder: Path, raw: RawSplit, schema: OwnSchema, where: str) -> RawSplit:
    """Files that a table beside them lists."""
    import pyarrow as pa

    column, _ = _file_columns(schema)
    names = raw.table[FILE_NAME].to_pylist()
    contents = []
    for number, name in enumerate(names, start=1):
        # A list from Windows parts folders with backslashes.
        path = (folder / str(name).strip().replace("\\", "/")).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            place, do = f"{where}, row {number}", "Add the file, or take its row out of the list."
            raise DataError("A listed file is not there.", where=place, got=repr(name), do=do)
        contents.append(path.read_bytes())
    table = raw.table.drop_columns([FILE_NAME])
    table = table.append_column(column, pa.array(contents, pa.large_binary()))
    media = {column: medium_of_column(schema.features[column], table[column])}
    return RawSplit(table, raw.config, raw.class_names, media)


def _written(table: "pa.Table", task: Job) -> list[dict[str, str]]:
    """The rows as files: one of rows, or one for each under its label."""
    schema, out = task.schema, Path(task.out)
    if task.suffix != BY_FOLDER:
        content = encode_table(table, task.suffix, schema, where="the rows")
        return [_write(out, f"rows.{task.suffix}", content)]
    column, label = _file_columns(schema)
    names = schema.label_names(label)
    contents = table[column].combine_chunks().field("bytes")
    medium = medium_of_column(schema.features[column], contents)
    written = []
    for number, row in enumerate(table.select([column, label]).to_pylist(), start=1):
        content = row[column]["bytes"]
        name = row[label] if names is None else names[row[label]]
        digest = hashlib.sha256(content).hexdigest()
        suffix = _usable_suffix(content, medium, f"the {medium.plural}, row {number}")
        written.append(_write(out, f"{name}/{digest[:16]}{suffix}", content))
    return written


def _write(out: Path, name: str, content: bytes) -> dict[str, str]:
    path = out / name
    if not path.resolve().is_relative_to(out.resolve()):
        do = "Name the label otherwise, without slashes or dots at its beginning."
        raise DataError(
            "A label cannot be the name of a folder.", where="the files", got=name, do=do
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"name": name, "sha256": hashlib.sha256(content).hexdigest()}


def _usable_suffix(content: bytes, medium: Medium, where: str) -> str:
    """How the name of a checked file ends. Raises DataError for one that cannot be used."""
    problem = medium.problem(content)
    if problem:
        do = f"Take it out, or save it anew as {medium.usual}."
        raise DataError(f"A {medium.noun} cannot be used.", where=where, got=problem, do=do)
    return medium.suffix(content) or PurePosixPath(medium.example).suffix
