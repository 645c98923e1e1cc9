"""Reads the header of a GGUF file: keys and values, then the shapes of its tensors."""

import math
import os
import struct
from typing import Any, BinaryIO

MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_ITEMS = 2_000_000
"""Keys, tensors and members of arrays of text: each takes time to step over."""
MAX_KEPT_BYTES = 1024
"""Longer texts are stepped over."""
MAX_COUNT = 2**53

_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_TEXT, _ARRAY = 8, 9


class _Unreadable(Exception):
    """The bytes are not a GGUF header, or one too large to look at."""


def read_gguf(stream: BinaryIO) -> dict[str, Any] | None:
    """Parameters in total, architecture and context length; None if it is no GGUF file."""
    header = _Header(stream)
    try:
        if header.take(4) != b"GGUF" or header.number("I") not in (2, 3):
            return None
        num_tensors, num_values = header.number("Q"), header.number("Q")
        values = dict(header.pair() for _ in header.counted(num_values))
        total = sum(header.tensor() for _ in header.counted(num_tensors))
    except _Unreadable:
        return None
    architecture = values.get("general.architecture")
    shown = {
        "total": total,
        "architecture": architecture,
        "context_length": values.get(f"{architecture}.context_length"),
    }
    return {key: value for key, value in shown.items() if value is not None}


class _Header:
    """The bytes in front of the tensors, read once from start to end, up to a bound."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._bytes_left = MAX_HEADER_BYTES
        self._items_left = MAX_ITEMS

    def take(self, size: int) -> bytes:
        """The next bytes, all of them."""
        self._spend(size)
        data = self._stream.read(size)
        if len(data) != size:
            raise _Unreadable
        return data

    def skip(self, size: int) -> None:
        """Step over the next bytes."""
        self._spend(size)
        self._stream.seek(size, os.SEEK_CUR)

    def _spend(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise _Unreadable

    def number(self, code: str) -> Any:
        """The next number, of one of struct's types."""
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]

    def counted(self, number: int) -> range:
        """So many items to come."""
        self._items_left -= number
        if self._items_left < 0:
            raise _Unreadable
        return range(number)

    def text(self) -> str | None:
        """The next text; None if it is long."""
        size = self.number("Q")
        if size > MAX_KEPT_BYTES:
            self.skip(size)
            return None
        return self.take(size).decode("utf-8", "replace")

    def pair(self) -> tuple[str | None, Any]:
        """The next key and value."""
        return self.text(), self.value(self.number("I"))

    def value(self, kind: int) -> Any:
        """A value of a kind; nothing of an array is kept."""
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            raise _Unreadable
        inner, length = self.number("I"), self.number("Q")
        if inner in _NUMBERS:
            self.skip(struct.calcsize(_NUMBERS[inner]) * length)
        elif inner == _TEXT:
            for _ in self.counted(length):
                self.text()
        else:
            raise _Unreadable  # an array of arrays: nobody writes one
        return None

    def tensor(self) -> int:
        """The number of elements of the next tensor."""
        self.text()
        shape = [self.number("Q") for _ in range(min(self.number("I"), 9))]
        self.skip(4 + 8)  # its type and where it lies
        number = math.prod(shape) if len(shape) <= 8 else MAX_COUNT
        if number >= MAX_COUNT:
            raise _Unreadable
        return number
