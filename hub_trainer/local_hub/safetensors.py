"""Reads the header of a safetensors file, and the index of a model in several of them."""

import json
import math
from collections import Counter
from typing import Any, BinaryIO

MAX_JSON_BYTES = 10 * 1024 * 1024
"""Longer headers and indexes are not looked at."""
MAX_FILES = 1000
MAX_TYPES = 64
MAX_COUNT = 2**53
"""Larger numbers are not counts of anything."""

_NOT_AS_EXPECTED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def read_header_size(stream: BinaryIO) -> int | None:
    """The bytes of the header of a safetensors file; None if it has none of a usable size."""
    size = int.from_bytes(stream.read(8), "little")
    return size if 2 <= size <= MAX_JSON_BYTES else None


def read_header(stream: BinaryIO) -> dict[str, Any] | None:
    """The header of a safetensors file; None if it is none."""
    size = read_header_size(stream)
    text = b"" if size is None else stream.read(size)
    return _object(text) if len(text) == size else None


def read_parameters(stream: BinaryIO) -> dict[str, int] | None:
    """Parameters by type, from the header of a safetensors file; None if it is none."""
    header = read_header(stream)
    counts: Counter[str] = Counter()
    try:
        for name, tensor in (header or {}).items():
            if name != "__metadata__":
                counts[str(tensor["dtype"])[:16]] += _elements(tensor["shape"])
    except _NOT_AS_EXPECTED:
        return None
    return None if header is None or len(counts) > MAX_TYPES else dict(counts)


def read_index(stream: BinaryIO) -> dict[str, Any] | None:
    """The index of a model in several files; None if it is none."""
    index = _object(stream.read(MAX_JSON_BYTES))
    return index if index is not None and _files_of(index) is not None else None


def read_files(stream: BinaryIO) -> list[str] | None:
    """The files that such an index names; None if it is none."""
    return _files_of(_object(stream.read(MAX_JSON_BYTES)) or {})


def _files_of(index: dict[str, Any]) -> list[str] | None:
    try:
        names = set(index["weight_map"].values())
    except _NOT_AS_EXPECTED:
        return None
    return sorted(name for name in names if isinstance(name, str) and name)[:MAX_FILES]


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _elements(shape: list[int]) -> int:
    usable = len(shape) <= 64 and all(type(each) is int and 0 <= each < MAX_COUNT for each in shape)
    number = math.prod(shape) if usable else MAX_COUNT
    if number >= MAX_COUNT:
        raise ValueError("a shape that no tensor has")
    return number
