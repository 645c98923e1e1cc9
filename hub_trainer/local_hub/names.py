"""Names: repo ids, paths in a repo, branches and new identifiers."""

import re
import secrets
from datetime import UTC, datetime
from typing import Literal

from hub_trainer.local_hub.errors import WireError, bad_request, unprocessable

RepoType = Literal["model", "dataset", "space"]

TYPE_OF_PLURAL: dict[str, RepoType] = {"models": "model", "datasets": "dataset", "spaces": "space"}
URL_PREFIX: dict[str, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}

_RESERVED = (
    "api assets blog buckets chat collections datasets docs enterprise join jobs kernels learn "
    "lfs-complete lfs-part lfs-upload login logout metrics models new new-collection new-dataset "
    "new-space notifications oauth organizations papers posts pricing privacy raw resolve search "
    "settings spaces static support tasks terms-of-service uploads users welcome"
)
RESERVED = frozenset(_RESERVED.split())
"""First parts of addresses, here or at the public Hub: an account of that name would be hidden."""

MAX_PATH_BYTES = 4096
MAX_SEGMENT_BYTES = 255

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}\Z")
_OID = re.compile(r"[0-9a-f]{64}\Z")
_SHA = re.compile(r"[0-9a-f]{40}\Z")


def repo_type_of(value: object) -> RepoType:
    """A repo type as clients write it: singular, plural or missing."""
    if value is None or value == "":
        return "model"
    plural = f"{str(value).removesuffix('s')}s"
    if isinstance(value, str) and plural in TYPE_OF_PLURAL:
        return TYPE_OF_PLURAL[plural]
    raise bad_request(f"Invalid repo type: {value}. Use model, dataset or space.")


def check_name(name: str) -> str:
    """A user, organisation or repo name that cannot leave the data folder or confuse a URL."""
    bad = ".." in name or "--" in name or name.endswith((".git", ".", "-", ".ipynb"))
    if bad or not _NAME.match(name):
        raise bad_request(
            f"Invalid name: {name!r}. Use up to 96 of A-Z a-z 0-9 _ . -, no '--' or '..', "
            "and neither '-' nor '.' at the end."
        )
    return name


def check_account_name(name: str) -> str:
    """The name of a new user or organisation, which stands first in the address of its repos."""
    if name.lower() in RESERVED:
        raise bad_request(
            f"The name {name!r} is reserved: the Hub has an address of that name. Choose another."
        )
    return check_name(name)


def split_repo_id(repo_id: str) -> tuple[str, str]:
    """`ns/name` -> both parts, checked."""
    namespace, slash, name = repo_id.partition("/")
    if not slash:
        raise bad_request(f"Invalid repo id: {repo_id!r}. Use namespace/name.")
    return check_name(namespace), check_name(name)


def check_path(path: str) -> str:
    """A file path inside a repo: relative, forward slashes, nothing that git or a disk resolves."""
    segments = path.split("/")
    if not path or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise _bad_path(path, "it is empty or too long")
    if any(ord(char) < 32 or char == "\x7f" or 0xD800 <= ord(char) <= 0xDFFF for char in path):
        raise _bad_path(path, "it holds a control character")
    # A backslash is an ordinary character in git. A path may not start as Windows would climb.
    if path.startswith(("\\", "..\\")):
        raise _bad_path(path, "it starts outside of the repo")
    for segment in segments:
        _check_segment(path, segment)
    return path


def _check_segment(path: str, segment: str) -> None:
    if segment in ("", ".", ".."):
        raise _bad_path(path, "a segment is empty, '.' or '..'")
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise _bad_path(path, f"a segment is longer than {MAX_SEGMENT_BYTES} bytes")
    # What case-folding and space-trimming disks turn into ".git", as git itself refuses it.
    if segment.rstrip(" .").casefold() in (".git", "git~1"):
        raise _bad_path(path, "'.git' is reserved")


def _bad_path(path: str, why: str) -> WireError:
    return unprocessable(f"Invalid path in repo: {path!r}: {why}.")


def is_oid(value: object) -> bool:
    """A sha256 in lower-case hex."""
    return isinstance(value, str) and _OID.match(value) is not None


def is_commit_sha(value: str) -> bool:
    """A whole git sha1 in lower-case hex."""
    return _SHA.match(value) is not None


def new_id() -> str:
    """24 hex digits, like the Hub's own ids."""
    return secrets.token_hex(12)


def now_iso() -> str:
    """The time in the Hub's format: milliseconds and Z."""
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    """A time in the Hub's format."""
    return (
        moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    )


def iso_of_seconds(seconds: float) -> str:
    """A Unix time in the Hub's format."""
    return iso(datetime.fromtimestamp(seconds, UTC))
