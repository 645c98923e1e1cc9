"""Storage of ratings until they are sent, and the promise that the place can give.

SQLite is durable on a disk of this machine. On a mounted bucket or a network disk fsync may come
back before anything is stored, and locks may hold nobody off
(https://sqlite.org/faq.html#q5, https://sqlite.org/howtocorrupt.html).
"""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hub_trainer.space.settings import is_on_the_hub, ratings_folder

Durability = Literal["disk", "hub"]
"""A rating is acknowledged once it is on a disk that outlives the server, or once it is on the
Hub."""
MOUNTINFO = Path("/proc/self/mountinfo")
NETWORKED = {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "gfs2", "glusterfs", "gpfs"}
NETWORKED |= {"lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "virtiofs"}
"""Kinds of file systems that are not a disk of this machine; `fuse.*` is one as well."""


@dataclass(frozen=True)
class RatingsPlace:
    """A folder for the file of ratings."""

    folder: Path
    durability: Durability
    reason: str
    """Why, for the log and for /health."""


def ratings_place(
    environment: Mapping[str, str] = os.environ, mountinfo: str | None = None
) -> RatingsPlace:
    """The folder that is wanted when it is on a disk; else one on the local disk, which may go."""
    wanted = ratings_folder(environment)
    mounts = _mountinfo() if mountinfo is None else mountinfo
    kind = file_system_of(wanted, mounts)
    if is_networked(kind):
        local = _local_folder(mounts)
        reason = f"{wanted} is on {kind}, which may lose what it has acknowledged"
        return RatingsPlace(local, "hub", reason)
    named = bool(environment.get("RATINGS_DIR")) or wanted.parent == Path("/data")
    if is_on_the_hub(environment) and not named:
        return RatingsPlace(wanted, "hub", "the disk of this Space is lost at a restart")
    return RatingsPlace(wanted, "disk", f"{wanted} is on {kind or 'a disk'}")


def file_system_of(path: Path, mountinfo: str) -> str | None:
    """Kind of the file system that a path is on (proc(5)); None when it cannot be told."""
    place, found, depth = path.resolve(), None, -1
    for line in mountinfo.splitlines():
        head, dash, tail = line.partition(" - ")
        fields = head.split(" ")
        if not dash or len(fields) < 5 or not tail.split(" ")[0]:
            continue
        mount = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Of two mounts on one place the later one covers the earlier.
        if (place == mount or mount in place.parents) and len(mount.parts) >= depth:
            found, depth = tail.split(" ")[0], len(mount.parts)
    return found


def is_networked(kind: str | None) -> bool:
    """Whether a kind of file system is no disk of this machine."""
    return kind is not None and (kind in NETWORKED or kind.startswith("fuse."))


def _local_folder(mountinfo: str) -> Path:
    """Beside the program, or in the folder for temporary files; the first that is on a disk."""
    candidates = [Path.cwd() / "ratings", Path(tempfile.gettempdir()) / "ratings"]
    disks = [one for one in candidates if not is_networked(file_system_of(one, mountinfo))]
    return (disks or candidates)[0]


def _mountinfo() -> str:
    try:
        return MOUNTINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
