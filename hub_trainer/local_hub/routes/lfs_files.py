"""Routes that look after large files: list, delete for good, copy to another repo."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import lfs_files
from hub_trainer.local_hub.errors import bad_request, repo_not_found
from hub_trainer.local_hub.lfs import grant, granted_size
from hub_trainer.local_hub.names import is_oid, repo_type_of
from hub_trainer.local_hub.permissions import authorize, can_see
from hub_trainer.local_hub.repo_rows import find_repo
from hub_trainer.local_hub.wire import Call, Entry, cursor_of, nothing, page, reply

PAGE = 1000


def list_all(call: Call) -> Response:
    """GET lfs-files."""
    found = lfs_files.list_lfs_files(call.core, call.repo)
    _, start = cursor_of(call)
    more = ("", start + PAGE) if start + PAGE < len(found) else None
    return page(call, found[start : start + PAGE], more)


def delete(call: Call) -> Response:
    """POST lfs-files/batch."""
    deletions = call.json().get("deletions")
    deletions = deletions if isinstance(deletions, dict) else {}
    oids = deletions.get("sha")
    if not isinstance(oids, list) or not all(is_oid(oid) for oid in oids):
        raise bad_request("deletions.sha must be a list of sha256.")
    rewrite = bool(deletions.get("rewriteHistory", True))
    lfs_files.delete_lfs_files(call.core, call.repo, call.actor, oids, rewrite_history=rewrite)
    return nothing()


def delete_one(call: Call) -> Response:
    """DELETE lfs-files/{oid}."""
    oid = call.params["oid"]
    if not is_oid(oid):
        raise bad_request("An LFS file is named by its sha256.")
    rewrite = call.query("rewriteHistory", "true") == "true"
    lfs_files.delete_lfs_files(call.core, call.repo, call.actor, [oid], rewrite_history=rewrite)
    return nothing()


def duplicate(call: Call) -> Response:
    """POST lfs-files/duplicate: another repo may use these objects too."""
    wanted = call.json()
    target, files = wanted.get("target"), wanted.get("files")
    if not isinstance(target, dict) or not isinstance(files, list):
        raise bad_request("target must be {type, name} and files a list.")
    repo = find_repo(call.core.store, repo_type_of(target.get("type")), str(target.get("name")))
    if repo is None or not can_see(call.actor, repo):
        raise repo_not_found(anonymous=call.actor.anonymous)
    authorize(call.core.store, call.actor, repo, "propose")
    failed = [error for file in files if (error := _duplicate_one(call, repo.id, file)) is not None]
    return reply({"failed": failed})


def _duplicate_one(call: Call, target_id: str, file: Any) -> dict[str, str] | None:
    oid = file.get("sha256") if isinstance(file, dict) else file
    size = granted_size(call.core.store, call.repo.id, str(oid)) if is_oid(oid) else None
    if size is None:
        return {"sha256": str(oid), "error": "This file is not in the source repo."}
    grant(call.core.store, target_id, str(oid), size)
    return None


_REPO = "/api/{kind:kind}/{ns}/{name}/lfs-files"

ROUTES = [
    Entry("GET", _REPO, list_all, "write"),
    Entry("POST", _REPO + "/batch", delete, "write"),
    Entry("POST", _REPO + "/duplicate", duplicate, "read"),
    Entry("DELETE", _REPO + "/{oid}", delete_one, "write"),
]
