"""Large files: a content-addressed folder, upload tickets, and which repo may see which object."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import time
import uuid
from pathlib import Path

from hub_trainer.local_hub.errors import forbidden, not_found, unprocessable
from hub_trainer.local_hub.git_write import sync_folder
from hub_trainer.local_hub.intake import Block, sync_file
from hub_trainer.local_hub.lfs_parts import PartsUploads, Ticket
from hub_trainer.local_hub.names import is_oid, now_iso
from hub_trainer.local_hub.repo_rows import find_repo_by_id
from hub_trainer.local_hub.store import Store, row, rows

TICKET_SECONDS = 12 * 3600
ABANDONED_SECONDS = 2 * TICKET_SECONDS


class LfsStore:
    """`<folder>/ab/cd/<sha256>`: written beside, hashed while written, fsynced, renamed."""

    def __init__(self, folder: Path, secret: bytes) -> None:
        self.folder = folder
        self._secret = secret
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self.parts = PartsUploads(self._incoming)

    def path_of(self, oid: str) -> Path:
        """Where an object lies, or would."""
        assert is_oid(oid)
        return self.folder / oid[:2] / oid[2:4] / oid

    def has(self, oid: str, size: int) -> bool:
        """Whether the whole object is here."""
        try:
            return self.path_of(oid).stat().st_size == size
        except OSError:
            return False

    def receive(self) -> "Incoming":
        """A place for bytes to come in."""
        return Incoming(self._incoming / uuid.uuid4().hex)

    def check(self, incoming: "Incoming", size: int, ticket: Ticket) -> Path:
        """Make what came in (of this size) durable if it is what was promised, else 422."""
        if size != ticket.size or incoming.hexdigest() != ticket.oid:
            raise unprocessable(
                f"The content has sha256 {incoming.hexdigest()} and {size} bytes; "
                f"promised were {ticket.oid} and {ticket.size} bytes."
            )
        incoming.close()
        return incoming.path

    def place(self, path: Path, oid: str) -> None:
        """Move a checked file to where its hash says."""
        target = self.path_of(oid)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        for folder in (target.parent, target.parent.parent, self.folder):
            sync_folder(folder)

    def sweep(self) -> None:
        """Drop uploads that nobody will finish any more."""
        limit = time.time() - ABANDONED_SECONDS
        for path in self._incoming.iterdir():
            if path.stat().st_mtime < limit:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # --- tickets --------------------------------------------------------------------------------

    def sign(self, ticket: Ticket, now: float | None = None) -> str:
        """The ticket as text for a URL; it runs out."""
        expires = int((time.time() if now is None else now) + TICKET_SECONDS)
        fields = [
            ticket.repo_id,
            ticket.oid,
            ticket.size,
            ticket.upload_id,
            ticket.chunk_bytes,
            expires,
        ]
        body = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
        return f"{body}.{self._seal(body)}"

    def open_ticket(self, text: str) -> Ticket:
        """The ticket that this text is, if this server signed it and it has not run out."""
        body, _, seal = text.partition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(body).encode()):
            raise forbidden("This upload address was not issued by this server.")
        fields = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if fields.pop() < time.time():
            raise forbidden("This upload address has expired. Ask for a new one.")
        return Ticket(*fields)

    def _seal(self, body: str) -> str:
        return hmac.new(self._secret, body.encode(), "sha256").hexdigest()


class Incoming:
    """A file that is being received and hashed; the two may run side by side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hash = hashlib.sha256()
        self._file = path.open("xb")

    def write(self, block: Block) -> None:
        """Append to the file."""
        self._file.writelines(block)

    def hash(self, block: Block) -> None:
        """Append to what is hashed."""
        for chunk in block:
            self._hash.update(chunk)

    def hexdigest(self) -> str:
        """The sha256 of what came so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Make it durable."""
        sync_file(self._file)
        self._file.close()

    def discard(self) -> None:
        """Forget it."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def adopt(store: Store, lfs: LfsStore, path: Path, ticket: Ticket) -> None:
    """Place a checked file and grant it to its repo, with no clean-up in between."""
    with store.write():
        if find_repo_by_id(store, ticket.repo_id) is None:
            raise not_found("The repo that this upload is for has gone.")
        lfs.place(path, ticket.oid)
        grant(store, ticket.repo_id, ticket.oid, ticket.size)


def grant(store: Store, repo_id: str, oid: str, size: int) -> None:
    """From now on whoever may read this repo may read this object through it."""
    with store.write() as db:
        db.execute(
            "INSERT OR IGNORE INTO lfs_grant VALUES (?, ?, ?, ?)", (repo_id, oid, size, now_iso())
        )


def granted_size(store: Store, repo_id: str, oid: str) -> int | None:
    """The size of an object that this repo holds, or None: knowing a hash opens nothing."""
    found = row(store, "SELECT size FROM lfs_grant WHERE repo_id = ? AND oid = ?", repo_id, oid)
    return None if found is None else int(found["size"])


def grants_of(store: Store, repo_id: str) -> dict[str, tuple[int, str]]:
    """Every object of a repo: oid -> (size, pushed at)."""
    found = rows(store, "SELECT oid, size, pushed FROM lfs_grant WHERE repo_id = ?", repo_id)
    return {each["oid"]: (each["size"], each["pushed"]) for each in found}


def stored_bytes(store: Store, repo_id: str) -> int:
    """The size of all large files of a repo together."""
    found = row(store, "SELECT sum(size) AS total FROM lfs_grant WHERE repo_id = ?", repo_id)
    return int(found["total"] or 0) if found is not None else 0


def withdraw(store: Store, lfs: LfsStore, repo_id: str, oids: list[str]) -> None:
    """Take objects from a repo; one that no repo holds any more leaves the disk."""
    with store.exclusive():
        with store.write() as db:
            db.executemany(
                "DELETE FROM lfs_grant WHERE repo_id = ? AND oid = ?",
                [(repo_id, oid) for oid in oids],
            )
        for oid in oids:
            if row(store, "SELECT 1 FROM lfs_grant WHERE oid = ?", oid) is None:
                lfs.path_of(oid).unlink(missing_ok=True)
