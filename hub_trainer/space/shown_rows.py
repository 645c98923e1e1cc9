"""Training rows that a Space shows, as JSON files; the bytes of a picture are base64 in them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub_trainer.space.ranges import Ranges
from hub_trainer.tasks import Row

EXAMPLES_FILE, RANGES_FILE, ASKED_FILE = "examples.json", "ranges.json", "asked.json"
BYTES = "base64"


@dataclass(frozen=True)
class ShownRows:
    """Rows to try, rows to ask people about, and the ranges of a table's values."""

    examples: Sequence[Row] = ()
    ranges: Ranges = field(default_factory=dict)
    asked: Sequence[Row] = ()
    """Rows whose answer the dataset knows, without it: what people say of them tells curate how far
    to believe them (`curate.gold`)."""


def encode_shown(shown: ShownRows) -> dict[str, bytes]:
    """Name -> content of the files; none for what there is nothing of."""
    contents = {
        EXAMPLES_FILE: _cells(shown.examples),
        RANGES_FILE: shown.ranges,
        ASKED_FILE: _cells(shown.asked),
    }
    return {
        name: json.dumps(content, ensure_ascii=False, indent=1).encode()
        for name, content in contents.items()
        if content
    }


def read_shown(folder: Path) -> ShownRows:
    """What the files in `folder` hold; nothing where they are not there."""
    examples, asked = (_rows(folder / name) for name in (EXAMPLES_FILE, ASKED_FILE))
    return ShownRows(examples, _content(folder / RANGES_FILE) or {}, asked or ())


def _cells(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{name: _encoded(value) for name, value in row.items()} for row in rows]


def _rows(path: Path) -> list[Row]:
    rows = _content(path) or []
    return [{name: _decoded(value) for name, value in row.items()} for row in rows]


def _content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _encoded(value: Any) -> Any:
    return {BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _decoded(value: Any) -> Any:
    return base64.b64decode(value[BYTES]) if isinstance(value, dict) else value
