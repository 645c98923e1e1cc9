"""Text that reads differently than it looks: hidden signs, active HTML, spreadsheet formulas."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
HIDDEN = re.compile(
    "(?<=[A-Za-z])[\u200b-\u200f\u2060\ufeff](?=[A-Za-z])|[\U000e0000-\U000e007f]{4}"
)
ACTIVE_HTML = re.compile(
    r"(?i)<\s*(script|iframe|object|embed|svg|meta|link|base|form)\b|<[^>]+\son\w+\s*=|javascript:"
)
FORMULA = re.compile(r"^\s*[=@]\s*[A-Za-z(]|^[+-]\s*[A-Za-z]+\(")

FLAGS: Mapping[str, re.Pattern[str]] = {
    "bidi": BIDI,
    "hidden": HIDDEN,
    "html": ACTIVE_HTML,
    "formula": FORMULA,
}


def text_flags(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Flag -> rows that hold such text in any cell."""
    counts = dict.fromkeys(FLAGS, 0)
    for row in rows:
        cells = list(_texts(row))
        for name, pattern in FLAGS.items():
            counts[name] += any(pattern.search(cell) for cell in cells)
    return counts


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, str) and not name.startswith("_"):
            yield value
