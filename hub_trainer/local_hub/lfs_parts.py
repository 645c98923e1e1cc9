"""Large files that come in parts: each part at its place in one file, hashed as they line up."""

import hashlib
import math
import shutil
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hub_trainer.local_hub.errors import bad_request, conflict, not_found, unprocessable
from hub_trainer.local_hub.intake import sync_file

READ_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Ticket:
    """The right to upload one object to one repo, carried by the upload URL itself."""

    repo_id: str
    oid: str
    size: int
    upload_id: str
    """Empty for an upload in one piece."""
    chunk_bytes: int


def num_parts(ticket: Ticket) -> int:
    """How many parts an upload in parts has."""
    return math.ceil(ticket.size / ticket.chunk_bytes)


def part_range(ticket: Ticket, number: int) -> tuple[int, int]:
    """(offset, bytes) of a part; parts count from 1."""
    if not 1 <= number <= num_parts(ticket):
        raise not_found(f"Part {number} does not belong to this upload.")
    offset = (number - 1) * ticket.chunk_bytes
    return offset, min(ticket.chunk_bytes, ticket.size - offset)


class PartsUpload:
    """One upload in parts.

    A part counts once its marker file is there; its etag stands in it. The hash runs behind, over
    the parts that count from the first one on, and starts again if one of those is sent anew.
    """

    def __init__(self, folder: Path, ticket: Ticket) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._ticket = ticket
        self._content = folder / "content"
        self._content.touch(mode=0o600)
        self._guard = threading.Lock()
        """Held for moments, by whoever reads or changes the markers or the four values below."""
        self._num_writing = 0
        self._finished = False
        self._num_hashed = 0
        self._hashing_part = 0
        self._follower = threading.Lock()
        """Held by the one thread that hashes."""
        self._hash = hashlib.sha256()

    def open_part(self, number: int) -> BinaryIO:
        """The file, at the place of a part, which does not count until it is marked (again)."""
        offset, _ = part_range(self._ticket, number)
        stream = self._content.open("r+b")
        stream.seek(offset)
        with self._guard:
            if self._finished:
                stream.close()
                raise conflict("This upload is complete already.")
            self._num_writing += 1
            self._marker(number).unlink(missing_ok=True)
            if number <= max(self._num_hashed, self._hashing_part):
                self._num_hashed = self._hashing_part = 0
        return stream

    def close_part(self) -> None:
        """A part that was opened is written no longer."""
        with self._guard:
            self._num_writing -= 1

    def mark(self, number: int) -> str:
        """From now on the part counts, for it is whole; gives back its etag.

        It need not be durable yet: should it get lost, the hash of the whole file will show it.
        """
        etag = uuid.uuid4().hex
        self._marker(number).write_text(etag)
        return etag

    def follow(self) -> None:
        """Hash the parts that have lined up, unless another thread is at it."""
        if self._follower.acquire(blocking=False):
            try:
                with suppress(FileNotFoundError):  # dropped meanwhile
                    self._hash_lined_up()
            finally:
                self._follower.release()

    def seal(self, parts: list[dict[str, Any]]) -> None:
        """No part comes after this. It needs every part, and none that is being written."""
        with self._guard:
            if self._num_writing or self._finished:
                raise conflict("A part is still coming in, or this upload is being completed.")
            self._check_etags(parts)
            self._finished = True

    def content(self) -> Path:
        """The whole file of a sealed upload, durable, if its hash is as promised."""
        with self._follower:
            self._hash_lined_up()
            digest = self._hash.hexdigest()
        if digest != self._ticket.oid or self._content.stat().st_size != self._ticket.size:
            raise unprocessable(f"The parts together have sha256 {digest}, not {self._ticket.oid}.")
        with self._content.open("r+b") as stream:
            sync_file(stream)
        return self._content

    def drop(self) -> None:
        """Forget the upload, or what is left of it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_etags(self, parts: list[dict[str, Any]]) -> None:
        told = {part.get("partNumber"): str(part.get("etag", "")).strip('"') for part in parts}
        expected = num_parts(self._ticket)
        for number in range(1, expected + 1):
            etag = self._etag(number)
            if etag is None or told.get(number) != etag:
                raise bad_request(f"Part {number} of {expected} is missing or has another etag.")

    def _hash_lined_up(self) -> None:
        with self._content.open("rb", buffering=0) as stream:
            while number := self._claim():
                if number == 1:
                    self._hash = hashlib.sha256()
                offset, length = part_range(self._ticket, number)
                stream.seek(offset)
                self._hash_from(stream, length)
                self._settle(number)

    def _claim(self) -> int:
        """The part to hash next, or 0 if it has not come."""
        with self._guard:
            number = self._num_hashed + 1
            is_there = number <= num_parts(self._ticket) and self._etag(number) is not None
            self._hashing_part = number if is_there else 0
            return self._hashing_part

    def _settle(self, number: int) -> None:
        """The part is hashed, unless it or an earlier one was opened again meanwhile."""
        with self._guard:
            if self._hashing_part == number:
                self._num_hashed, self._hashing_part = number, 0

    def _hash_from(self, stream: Any, length: int) -> None:
        while length > 0:
            data = stream.read(min(READ_BYTES, length))
            if not data:  # a marker without its bytes: the whole will not have the promised hash
                return
            self._hash.update(data)
            length -= len(data)

    def _etag(self, number: int) -> str | None:
        with suppress(FileNotFoundError):
            return self._marker(number).read_text()
        return None

    def _marker(self, number: int) -> Path:
        return self._folder / f"{number}.part"


class PartsUploads:
    """The uploads in parts that are under way. After a restart they go on from their files."""

    def __init__(self, incoming: Path) -> None:
        self._incoming = incoming
        self._guard = threading.Lock()
        self._open: dict[str, PartsUpload] = {}

    def of(self, ticket: Ticket) -> PartsUpload:
        """The upload that a ticket is for."""
        with self._guard:
            upload = self._open.get(ticket.upload_id)
            if upload is None:
                upload = PartsUpload(self._incoming / ticket.upload_id, ticket)
                self._open[ticket.upload_id] = upload
            return upload

    def close(self, ticket: Ticket) -> None:
        """Forget an upload that is over, and its files."""
        with self._guard:
            upload = self._open.pop(ticket.upload_id, None)
        if upload is not None:
            upload.drop()
