"""Routes that give files away: resolve, raw, and the answers that clients cache by."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from hub_trainer.local_hub.errors import WireError, entry_not_found
from hub_trainer.local_hub.git_read import Entry as FileEntry
from hub_trainer.local_hub.git_read import entry_at, resolve_commit
from hub_trainer.local_hub.lfs import granted_size
from hub_trainer.local_hub.wire import Call, Entry

CHUNK_BYTES = 1024 * 1024

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")
# Files come from strangers: a browser that opens one must not run it with this site's rights.
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def resolve(call: Call) -> Response:
    """GET /{repo}/resolve/{rev}/{path}: the file, from git or from the LFS store."""
    git, entry, headers = _locate(call)
    pointer = entry.pointer
    size = None if pointer is None else granted_size(call.core.store, call.repo.id, pointer.oid)
    if call.request.method == "GET" and "x-hf-download-counter" in call.request.headers:
        call.core.count_download(call.repo)
    if pointer is None or size is None:
        headers["ETag"] = f'"{entry.oid}"'
        return _send(call, headers, git[entry.oid].data, entry.size)
    headers.update({"ETag": f'"{pointer.oid}"', "X-Linked-Etag": f'"{pointer.oid}"'})
    headers["X-Linked-Size"] = str(size)
    return _send(call, headers, call.core.lfs.path_of(pointer.oid), size)


def send_lfs(call: Call, oid: str, size: int) -> Response:
    """A large file by its hash, once the caller has been allowed to have it."""
    headers = {
        **_SAFE_HEADERS,
        "Accept-Ranges": "bytes",
        "Content-Disposition": "attachment",
        "Content-Type": "application/octet-stream",
        "ETag": f'"{oid}"',
    }
    return _send(call, headers, call.core.lfs.path_of(oid), size)


def raw(call: Call) -> Response:
    """GET /{repo}/raw/{rev}/{path}: what git holds, so the pointer of an LFS file."""
    git, entry, headers = _locate(call)
    headers["ETag"] = f'"{entry.oid}"'
    return _send(call, headers, git[entry.oid].data, entry.size)


def _locate(call: Call) -> tuple[Any, FileEntry, dict[str, str]]:
    git = call.core.git(call.repo)
    commit = resolve_commit(git, call.params["rev"])
    sha, path = str(commit.id), call.params["path"]
    entry = entry_at(git, commit, path)
    if entry is None or entry.type != "file":
        raise entry_not_found(path, commit_sha=sha)
    name = path.rpartition("/")[2]
    headers = {
        **_SAFE_HEADERS,
        "X-Repo-Commit": sha,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}; "
        f'filename="{_plain_name(name)}";',
        "Content-Type": "application/octet-stream",
    }
    if Path(name).suffix in (".json", ".txt", ".md", ".csv", ".yaml", ".yml", ".py", ""):
        headers["Content-Type"] = "text/plain; charset=utf-8"
    return git, entry, headers


def _plain_name(name: str) -> str:
    return "".join(char if " " <= char <= "~" and char not in '"\\' else "_" for char in name)


def _send(call: Call, headers: dict[str, str], content: bytes | Path, size: int) -> Response:
    """All of the file, the part that `Range` names, or nothing if the client has it."""
    request = call.request
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    first, last, status = _span(
        request.headers.get("range"), request.headers.get("if-range"), headers, size
    )
    headers["Content-Length"] = str(last - first + 1)
    if status == 206:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    if isinstance(content, bytes):
        return Response(content[first : last + 1], status, headers)
    return StreamingResponse(_read(content, first, last), status, headers)


def _span(
    text: str | None, condition: str | None, headers: dict[str, str], size: int
) -> tuple[int, int, int]:
    """(first byte, last byte, status). What is not one plain range is answered in full."""
    found = _RANGE.match(text) if text else None
    if found is None or found[0] == "bytes=-" or condition not in (None, headers["ETag"]):
        return 0, size - 1, 200
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return 0, size - 1, 200
    else:
        first, last = max(0, size - int(found[2])), size - 1
    if first > last:
        message = f"The range {text} is outside of the {size} bytes of the file."
        raise WireError(
            416,
            message,
            headers={
                **headers,
                "Content-Range": f"bytes */{size}",
                "Content-Type": "application/json",
            },
        )
    return first, last, 206


async def _read(path: Path, first: int, last: int) -> AsyncIterator[bytes]:
    """The bytes of a file in chunks; memory holds one of them.

    Read without a hop to a thread and back, which would cost more than reading does.
    """
    left = last - first + 1
    with path.open("rb", buffering=0) as stream:
        stream.seek(first)
        while left > 0:
            chunk = stream.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise OSError(f"{path.name} is shorter than it was")
            left -= len(chunk)
            yield chunk
            await asyncio.sleep(0)  # others have their turn, also where the client is fast


_FILE = "/{prefix:prefix}{ns}/{name}/%s/{rev:rev}/{path:path}"

ROUTES = [
    Entry("GET", _FILE % "resolve", resolve, "read"),
    Entry("GET", _FILE % "raw", raw, "read"),
    Entry(
        "GET", "/api/resolve-cache/{kind:kind}/{ns}/{name}/{rev:rev}/{path:path}", resolve, "read"
    ),
]
