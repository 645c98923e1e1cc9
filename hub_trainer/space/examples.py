"""Rows that a Space offers to try, as a JSON file; the bytes of a picture are base64 in it."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub_trainer.tasks import Row

EXAMPLES_FILE = "examples.json"
BYTES = "base64"


def encode_examples(rows: Sequence[Row]) -> bytes:
    """The content of the file."""
    cells = [{name: _encoded(value) for name, value in row.items()} for row in rows]
    return json.dumps(cells, ensure_ascii=False, indent=1).encode()


def read_examples(folder: Path) -> list[Row]:
    """The rows of the file in `folder`; none when it is not there."""
    path = folder / EXAMPLES_FILE
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [{name: _decoded(value) for name, value in row.items()} for row in rows]


def _encoded(value: Any) -> Any:
    return {BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _decoded(value: Any) -> Any:
    return base64.b64decode(value[BYTES]) if isinstance(value, dict) else value
