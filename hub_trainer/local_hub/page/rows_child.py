"""Reads the first rows of a stranger's data file: runs as a process of its own, within limits.

The parent hands over the open file as standard input and reads one JSON object. What breaks or
takes over a parser here holds no token, no path to the data folder, and little memory or time.
"""

import base64
import csv
import io
import json
import resource
import sys
from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import Any, BinaryIO

MAX_COLUMNS = 50
MAX_CELL = 300
MAX_TEXT_BYTES = 2_000_000
MAX_IMAGE_BYTES = 4_000_000
MAX_PIXELS = 20_000_000
THUMBNAIL = 96
MAX_IMAGES = 100
MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 10

_images = count()
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")


def main(kind: str, num_rows: int) -> None:
    """Print {"columns": [...], "rows": [[cell]], "total": n or null}, or {"problem": text}."""
    limit_process()
    stream = sys.stdin.buffer
    try:
        found = READERS[kind](stream, num_rows)
    except MemoryError:
        found = {"problem": "it needs more memory than a preview may use"}
    except Exception as error:  # any parser, any stranger's bytes: the reason is the answer
        found = {"problem": f"{type(error).__name__}: {error}"[:MAX_CELL]}
    json.dump(found, sys.stdout)


def limit_process() -> None:
    """No files, little memory, a few seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_parquet(stream: BinaryIO, num_rows: int) -> dict[str, Any]:
    """The first rows of a parquet file; labels by their names, pictures as thumbnails."""
    import pyarrow
    import pyarrow.parquet as parquet

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    file = parquet.ParquetFile(pyarrow.PythonFile(stream), pre_buffer=False)
    schema = file.schema_arrow
    names = schema.names[:MAX_COLUMNS]
    batches = file.iter_batches(batch_size=num_rows, columns=names, use_threads=False)
    rows = next(iter(batches)).to_pylist() if file.metadata.num_rows else []
    labels = _label_names(schema.metadata)
    cells = [[_cell(row.get(name), labels.get(name)) for name in names] for row in rows]
    return {"columns": names, "rows": cells, "total": file.metadata.num_rows}


def _label_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> label names, as `datasets` writes them into the file."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(label) for label in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_csv(stream: BinaryIO, num_rows: int) -> dict[str, Any]:
    """The first rows of a csv or tsv file."""
    return _read_delimited(stream, num_rows, ",")


def read_tsv(stream: BinaryIO, num_rows: int) -> dict[str, Any]:
    """The first rows of a tsv file."""
    return _read_delimited(stream, num_rows, "\t")


def _read_delimited(stream: BinaryIO, num_rows: int, delimiter: str) -> dict[str, Any]:
    csv.field_size_limit(MAX_TEXT_BYTES)
    reader = csv.reader(io.StringIO(_text(stream), newline=""), delimiter=delimiter)
    names = next(reader, [])[:MAX_COLUMNS]
    rows = [_padded([_cell(each) for each in row], len(names)) for row in islice(reader, num_rows)]
    return {"columns": [name[:MAX_CELL] for name in names], "rows": rows, "total": None}


def _padded(cells: list[dict[str, str]], width: int) -> list[dict[str, str]]:
    return cells[:width] + [_cell(None)] * (width - len(cells))


def read_json(stream: BinaryIO, num_rows: int) -> dict[str, Any]:
    """The first rows of a file with one JSON object per line, or of one list of them."""
    text = _text(stream)
    found: Iterable[Any]
    if text.lstrip().startswith("["):
        found = json.loads(text)
    else:
        found = (json.loads(line) for line in text.splitlines() if line.strip())
    rows = [row if isinstance(row, dict) else {"value": row} for row in islice(found, num_rows)]
    names = list(dict.fromkeys(str(name) for row in rows for name in row))[:MAX_COLUMNS]
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    return {"columns": [name[:MAX_CELL] for name in names], "rows": cells, "total": None}


def _text(stream: BinaryIO) -> str:
    """The start of a file; what is cut in the middle of a line ends before it."""
    data = stream.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        data = data[: data.rfind(b"\n", 0, MAX_TEXT_BYTES) + 1] or data[:MAX_TEXT_BYTES]
    return data.decode("utf-8-sig", "replace")


def _cell(value: Any, labels: list[str] | None = None) -> dict[str, str]:
    """What a table shows: text, its kind for the alignment, and a picture if it is one."""
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return _media(value["bytes"])
    if isinstance(value, bytes):
        return {"kind": "none", "text": f"{len(value):,} bytes"}
    if value is None:
        return {"kind": "none", "text": "null"}
    if labels and isinstance(value, int) and 0 <= value < len(labels):
        return {"kind": "label", "text": labels[value][:MAX_CELL]}
    kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else "text"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return {"kind": kind, "text": text if len(text) <= MAX_CELL else text[:MAX_CELL] + "…"}


def _media(data: bytes) -> dict[str, str]:
    """A picture is decoded and encoded anew, so that nothing of the file itself is passed on."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses at twice this
    if len(data) <= MAX_IMAGE_BYTES and next(_images) < MAX_IMAGES:
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                size = f"{picture.width} x {picture.height}"
                picture.thumbnail((THUMBNAIL, THUMBNAIL))
                out = io.BytesIO()
                picture.convert("RGBA").save(out, "PNG")
            encoded = base64.b64encode(out.getvalue()).decode()
            return {"kind": "image", "text": size, "image": encoded}
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            pass  # audio, or a broken picture: only its size is told
    return {"kind": "none", "text": f"{len(data):,} bytes"}


READERS: dict[str, Callable[[BinaryIO, int], dict[str, Any]]] = {
    "parquet": read_parquet,
    "csv": read_csv,
    "tsv": read_tsv,
    "json": read_json,
    "jsonl": read_json,
}

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
