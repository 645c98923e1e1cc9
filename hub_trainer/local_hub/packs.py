"""Writes many git objects as one pack with its index: two durable files instead of thousands."""

import hashlib
import os
import struct
import uuid
import zlib
from pathlib import Path

from hub_trainer.local_hub.git_write import sync_folder

_BLOB = 3
_HEADER = struct.Struct(">4sII")
_MAX_SMALL_OFFSET = 0x7FFFFFFF


class BlobPack:
    """Collects file contents; nothing of it is seen by git before `finish`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{uuid.uuid4().hex}.pack"
        self._file = self._path.open("x+b")
        self._file.write(_HEADER.pack(b"PACK", 2, 0))
        self._objects: dict[bytes, tuple[int, int]] = {}
        """sha1 -> (offset, crc32)."""

    def add(self, data: bytes) -> str:
        """Append a blob; gives back its git id."""
        sha = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
        sha.update(data)
        if sha.digest() not in self._objects:
            packed = _size_header(len(data)) + zlib.compress(data)
            self._objects[sha.digest()] = (self._file.tell(), zlib.crc32(packed))
            self._file.write(packed)
        return sha.hexdigest()

    def finish(self, git_path: Path) -> None:
        """Make the blobs part of a repo, durably; the index last, for git looks for that."""
        if not self._objects:
            self.discard()
            return
        checksum = self._seal()
        index = self._path.with_suffix(".idx")
        data = self._index(checksum)
        with index.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        target = git_path / "objects" / "pack"
        target.mkdir(exist_ok=True)
        for path in (self._path, index):
            os.replace(path, target / f"pack-{checksum.hex()}{path.suffix}")
        sync_folder(target)

    def discard(self) -> None:
        """Forget the blobs."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _seal(self) -> bytes:
        """Write the number of objects and the checksum of everything before it."""
        self._file.seek(0)
        self._file.write(_HEADER.pack(b"PACK", 2, len(self._objects)))
        self._file.seek(0)
        checksum = hashlib.sha1(usedforsecurity=False)
        while chunk := self._file.read(1 << 20):
            checksum.update(chunk)
        self._file.write(checksum.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return checksum.digest()

    def _index(self, checksum: bytes) -> bytes:
        """Git's index of a pack, version 2."""
        names = sorted(self._objects)
        counts = [0] * 256
        for name in names:
            counts[name[0]] += 1
        fanout = [sum(counts[: first + 1]) for first in range(256)]
        offsets, large = [], []
        for name in names:
            offset = self._objects[name][0]
            if offset > _MAX_SMALL_OFFSET:
                large.append(offset)
                offset = 0x80000000 | (len(large) - 1)
            offsets.append(offset)
        body = b"".join(
            [
                b"\377tOc\0\0\0\2",
                struct.pack(">256I", *fanout),
                *names,
                struct.pack(f">{len(names)}I", *(self._objects[name][1] for name in names)),
                struct.pack(f">{len(names)}I", *offsets),
                struct.pack(f">{len(large)}Q", *large),
                checksum,
            ]
        )
        return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _size_header(size: int) -> bytes:
    """Type and size as a pack spells them: 4 bits of size first, then 7 at a time."""
    byte, size = (_BLOB << 4) | (size & 15), size >> 4
    spelled = bytearray()
    while size:
        spelled.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    spelled.append(byte)
    return bytes(spelled)
