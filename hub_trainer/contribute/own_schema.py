"""A contributor's rows in the dataset's own schema: its columns, types and label numbers."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.rows import RawSplit, vet_folder
from hub_trainer.rows.layout import open_builder

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LISTED = 20


@dataclass(frozen=True)
class OwnSchema:
    """What the rows of a dataset look like, as `datasets` describes it."""

    features: Mapping[str, Any]
    """`datasets.Features.to_dict()`"""

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.features)

    def label_names(self, column: str) -> list[str] | None:
        """Names of a column's classes; None for plain values."""
        entry = self.features[column]
        is_class = isinstance(entry, dict) and entry.get("_type") == "ClassLabel"
        return list(entry["names"]) if is_class else None

    def is_image(self, column: str) -> bool:
        """Whether a column holds encoded images."""
        entry = self.features[column]
        return isinstance(entry, dict) and entry.get("_type") == "Image"


def describe_folder(folder: str, split: str) -> dict[str, Any]:
    """The features of a split, for a sandboxed child: `{"features": ...}`."""
    import datasets

    path = Path(folder).resolve()
    vet_folder(path, where="the dataset")
    with open_builder(path, where="the dataset") as builder:
        stream = builder.as_streaming_dataset(split=split)
        features = stream.features
        if features is None:
            table = next(iter(stream.with_format("arrow").iter(batch_size=1000)))
            features = datasets.Features.from_arrow_schema(table.schema)
    return {"features": features.to_dict()}


def in_own_schema(
    raw: RawSplit, schema: OwnSchema, columns: Mapping[str, str], *, where: str
) -> "pa.Table":
    """The rows with exactly the dataset's columns; `columns` maps its names to the file's.

    Raises DataError for a missing column, an unknown label, or values of another type.
    """
    import pyarrow as pa

    names = {name: columns.get(name, name) for name in schema.columns}
    _assert_present(names, raw.table.column_names, where)
    arrow_schema = _arrow_schema(schema)
    arrays = [
        _column(raw, theirs, schema, name, arrow_schema.field(name).type, where)
        for name, theirs in names.items()
    ]
    return pa.table(arrays, schema=arrow_schema)


def encode_table(table: "pa.Table", suffix: str) -> bytes:
    """The table as the bytes of one file of the dataset's format; the same rows, the same bytes."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    out = io.BytesIO()
    if suffix == "parquet":
        pq.write_table(table, out, compression="zstd")
    elif suffix == "csv":
        pa.csv.write_csv(table, out)
    else:
        import json

        lines = (json.dumps(row, ensure_ascii=False) for row in table.to_pylist())
        out.write("".join(f"{line}\n" for line in lines).encode())
    return out.getvalue()


def _arrow_schema(schema: OwnSchema) -> "pa.Schema":
    import datasets

    return datasets.Features.from_dict(dict(schema.features)).arrow_schema


def _column(raw: RawSplit, theirs: str, schema: OwnSchema, name: str, kind: Any, where: str) -> Any:
    import pyarrow as pa

    place = f"{where}, column {theirs}"
    column = raw.table[theirs].combine_chunks()
    known = schema.label_names(name)
    if known is not None:
        values = _named(column.to_pylist(), raw.class_names.get(theirs))
        return pa.array(_label_numbers(values, known, place), kind)
    if schema.is_image(name):
        return _images(column, kind, place)
    if theirs in raw.class_names:
        column = pa.array(_named(column.to_pylist(), raw.class_names[theirs]), pa.string())
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"Column {theirs!r} cannot be written as the dataset has it.",
            where=place,
            got=str(column.type),
            do=f"The dataset's {name} is {kind}; write the values so.",
        ) from None


def _images(column: Any, kind: Any, where: str) -> Any:
    import pyarrow as pa

    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        do = "Give a folder of images in folders named by label, or a parquet with an Image column."
        raise DataError("The column holds no images.", where=where, got=str(column.type), do=do)
    cells = [{"bytes": content, "path": None} for content in column.to_pylist()]
    return pa.array(cells, kind)


def _named(values: Sequence[Any], names: Sequence[str] | None) -> list[Any]:
    """Class numbers of the contributor's own file as names; other values as they are."""
    if names is None:
        return list(values)
    return [None if value is None or value < 0 else names[value] for value in values]


def _label_numbers(values: Sequence[Any], known: Sequence[str], where: str) -> list[int]:
    index = {name: number for number, name in enumerate(known)}
    numbers = [_label_number(value, index) for value in values]
    wrong = Counter(
        str(value)[:40] for value, number in zip(values, numbers, strict=True) if number is None
    )
    if wrong:
        named = ", ".join(f"{value!r} ({count} rows)" for value, count in wrong.most_common(5))
        listed = ", ".join(known[:MAX_LISTED]) + (", ..." if len(known) > MAX_LISTED else "")
        raise DataError(
            "The dataset does not have these labels.",
            where=where,
            got=named,
            do=f"Use its labels: {listed}. A new label is for the dataset's owner to add.",
        )
    return [number for number in numbers if number is not None]


def _label_number(value: Any, index: Mapping[str, int]) -> int | None:
    """By name; a whole number that is no name is taken as the dataset's own class number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, bool | float):
        return None
    if str(value) in index:
        return index[str(value)]
    return value if isinstance(value, int) and 0 <= value < len(index) else None


def _assert_present(names: Mapping[str, str], present: Sequence[str], where: str) -> None:
    missing = [theirs for theirs in names.values() if theirs not in present]
    if missing:
        raise DataError(
            f"The file lacks columns of the dataset: {', '.join(missing)}.",
            where=where,
            got=f"columns {', '.join(present)}",
            do="Rename the file's columns, or name them: --column dataset_column=file_column.",
        )
