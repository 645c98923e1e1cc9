"""Small dataset folders, honest and hostile."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Folder = Callable[..., Path]


def png(seed: int = 0, side: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def texts(n: int = 6) -> pa.Table:
    return pa.table(
        {"text": [f"text {i}" for i in range(n)], "label": [["yes", "no"][i % 2] for i in range(n)]}
    )


def images(cells: list[dict[str, Any]]) -> pa.Table:
    """A table whose image column says what `datasets` writes into a schema for an Image."""
    column = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": column, "label": ["cat", "dog"] * (len(cells) // 2)})
    kinds = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
    features = json.dumps({"info": {"features": kinds}})
    return table.replace_schema_metadata({"huggingface": features})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """folder({path: bytes or table}, card=...) -> a dataset folder."""
    root = tmp_path / "data-set"

    def make(files: Mapping[str, bytes | str | pa.Table], card: str | None = None) -> Path:
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pa.Table):
                content = parquet(content)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        if card is not None:
            (root / "README.md").write_text(f"---\n{card}\n---\n# A card\n")
        return root

    return make
