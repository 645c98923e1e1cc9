"""Routes that give files away: resolve, raw, and the answers that clients cache by."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from hub_trainer.local_hub.errors import entry_not_found
from hub_trainer.local_hub.git_read import Entry as FileEntry
from hub_trainer.local_hub.git_read import entry_at, resolve_commit
from hub_trainer.local_hub.lfs import granted_size
from hub_trainer.local_hub.sending import SAFE_HEADERS, send
from hub_trainer.local_hub.wire import Call, Entry


def resolve(call: Call) -> Response:
    """GET /{repo}/resolve/{rev}/{path}: the file, from git or from the LFS store."""
    git, entry, headers = _locate(call)
    pointer = entry.pointer
    size = None if pointer is None else granted_size(call.core.store, call.repo.id, pointer.oid)
    if call.request.method == "GET" and "x-hf-download-counter" in call.request.headers:
        call.core.count_download(call.repo)
    if pointer is None or size is None:
        headers["ETag"] = f'"{entry.oid}"'
        return send(call, headers, git[entry.oid].data, entry.size)
    headers.update({"ETag": f'"{pointer.oid}"', "X-Linked-Etag": f'"{pointer.oid}"'})
    headers["X-Linked-Size"] = str(size)
    return send(call, headers, call.core.lfs.path_of(pointer.oid), size)


def send_lfs(call: Call, oid: str, size: int) -> Response:
    """A large file by its hash, once the caller has been allowed to have it."""
    headers = {
        **SAFE_HEADERS,
        "Accept-Ranges": "bytes",
        "Content-Disposition": "attachment",
        "Content-Type": "application/octet-stream",
        "ETag": f'"{oid}"',
    }
    return send(call, headers, call.core.lfs.path_of(oid), size)


def raw(call: Call) -> Response:
    """GET /{repo}/raw/{rev}/{path}: what git holds, so the pointer of an LFS file."""
    git, entry, headers = _locate(call)
    headers["ETag"] = f'"{entry.oid}"'
    return send(call, headers, git[entry.oid].data, entry.size)


def _locate(call: Call) -> tuple[Any, FileEntry, dict[str, str]]:
    git = call.core.git(call.repo)
    commit = resolve_commit(git, call.params["rev"])
    sha, path = str(commit.id), call.params["path"]
    entry = entry_at(git, commit, path)
    if entry is None or entry.type != "file":
        raise entry_not_found(path, commit_sha=sha)
    name = path.rpartition("/")[2]
    headers = {
        **SAFE_HEADERS,
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


_FILE = "/{prefix:prefix}{ns}/{name}/%s/{rev:rev}/{path:path}"

ROUTES = [
    Entry("GET", _FILE % "resolve", resolve, "read"),
    Entry("GET", _FILE % "raw", raw, "read"),
    Entry(
        "GET", "/api/resolve-cache/{kind:kind}/{ns}/{name}/{rev:rev}/{path:path}", resolve, "read"
    ),
]
