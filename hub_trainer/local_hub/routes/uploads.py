"""Routes that take content in: card check, preupload, LFS transfer, commit."""

import base64
import binascii
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hub_trainer.local_hub import commits
from hub_trainer.local_hub.attributes import IgnoreRules, LfsRules
from hub_trainer.local_hub.cards import validate_card
from hub_trainer.local_hub.errors import bad_request, not_found, too_large, unprocessable
from hub_trainer.local_hub.git_read import entry_at, read_text, resolve_commit
from hub_trainer.local_hub.intake import pour
from hub_trainer.local_hub.lfs import adopt, granted_size
from hub_trainer.local_hub.lfs_parts import Ticket, num_parts, part_range
from hub_trainer.local_hub.names import is_oid
from hub_trainer.local_hub.wire import Call, Entry, reply

MAX_PREUPLOAD_FILES = 10_000
MAX_BATCH = 1000
LFS_JSON = "application/vnd.git-lfs+json"


def validate_yaml(call: Call) -> Response:
    """POST /api/validate-yaml."""
    errors, warnings = validate_card(call.text("content"))
    if "text/plain" in call.request.headers.get("accept", ""):
        lines = [f"- Error: {text}" for text in errors] + [
            f"- Warning: {text}" for text in warnings
        ]
        return PlainTextResponse("\n".join(lines), 400 if errors else 200)
    shown = {
        "errors": [{"message": text} for text in errors],
        "warnings": [{"message": text} for text in warnings],
    }
    return reply(shown, 400 if errors else 200)


def preupload(call: Call) -> Response:
    """POST preupload/{rev}: how each file is to be sent, and whether it is there already."""
    wanted = call.json()
    files = wanted.get("files")
    if not isinstance(files, list) or len(files) > MAX_PREUPLOAD_FILES:
        raise bad_request(f"files must be a list of up to {MAX_PREUPLOAD_FILES}.")
    git = call.core.git(call.repo)
    commit = resolve_commit(git, call.params["rev"])
    rules = LfsRules(read_text(git, commit, ".gitattributes") or "")
    ignore_text = wanted.get("gitIgnore")
    if not isinstance(ignore_text, str):
        ignore_text = read_text(git, commit, ".gitignore") or ""
    ignore = IgnoreRules(ignore_text)
    shown = [_file_plan(call, git, commit, rules, ignore, file) for file in files]
    return reply({"files": shown, "commitOid": str(commit.id)})


def _file_plan(
    call: Call, git: Any, commit: Any, rules: LfsRules, ignore: IgnoreRules, file: Any
) -> dict[str, Any]:  # the rules are read once for all files
    path = file.get("path") if isinstance(file, dict) else None
    size = file.get("size", 0) if isinstance(file, dict) else None
    if not isinstance(path, str) or not isinstance(size, int):
        raise bad_request("Each file needs a path and a size.")
    plan: dict[str, Any] = {"path": path, "shouldIgnore": ignore.ignores(path)}
    large = size > call.core.limits.regular_file_bytes
    use_lfs = large or rules.is_lfs(path) or _is_binary(file.get("sample"))
    plan["uploadMode"] = "lfs" if use_lfs else "regular"
    entry = entry_at(git, commit, path)
    if entry is not None and entry.type == "file":
        pointer = entry.pointer
        plan["oid"] = entry.oid if pointer is None else pointer.oid
    return plan


def _is_binary(sample: Any) -> bool:
    """Git's own test: a NUL byte near the start."""
    if not isinstance(sample, str):
        return False
    try:
        return b"\0" in base64.b64decode(sample, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("A sample is not base64.") from None


def lfs_batch(call: Call) -> Response:
    """POST /{repo}.git/info/lfs/objects/batch: where to upload or download each object."""
    wanted = call.json()
    operation, objects = wanted.get("operation"), wanted.get("objects")
    if operation not in ("upload", "download"):
        raise unprocessable(f"operation must be upload or download, not {operation!r}.")
    if not isinstance(objects, list) or len(objects) > MAX_BATCH:
        raise unprocessable(f"objects must be a list of up to {MAX_BATCH}.")
    if wanted.get("hash_algo", "sha256") not in HASH_NAMES:
        raise WRONG_HASH
    if operation == "upload":
        call.require("propose")
    transfers = wanted.get("transfers") or ["basic"]
    multipart = "multipart" in transfers
    shown = [_batch_entry(call, operation, each, multipart=multipart) for each in objects]
    parts = any("chunk_size" in _upload_header(each) for each in shown)
    answer = {
        "transfer": "multipart" if parts else "basic",
        "objects": shown,
        "hash_algo": "sha256",
    }
    return _lfs_reply(answer)


HASH_NAMES = ("sha256", "sha_256")  # the second is how the JavaScript client spells it
WRONG_HASH = unprocessable("Only sha256 is supported.")


def _upload_header(entry: dict[str, Any]) -> dict[str, Any]:
    header: dict[str, Any] = entry.get("actions", {}).get("upload", {}).get("header", {})
    return header


def _batch_entry(call: Call, operation: str, wanted: Any, *, multipart: bool) -> dict[str, Any]:
    oid = wanted.get("oid") if isinstance(wanted, dict) else None
    size = wanted.get("size") if isinstance(wanted, dict) else None
    if not is_oid(oid) or not isinstance(size, int) or size < 0:
        raise unprocessable("Each object needs a sha256 as oid, and a size.")
    shown: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    known = granted_size(call.core.store, call.repo.id, str(oid))
    present = known is not None and call.core.lfs.has(str(oid), known)
    if operation == "download":
        if not present:
            return {**shown, "error": {"code": 404, "message": "Object does not exist"}}
        href = f"{call.endpoint}/{call.repo.url_path}.git/info/lfs/objects/{shown['oid']}"
        header = {}
        if call.request.headers.get("authorization"):
            header["Authorization"] = call.request.headers["authorization"]
        return {**shown, "actions": {"download": {"href": href, "header": header}}}
    if present and known == size:
        return shown
    return {**shown, "actions": _upload_actions(call, str(oid), size, multipart=multipart)}


def _upload_actions(call: Call, oid: str, size: int, *, multipart: bool) -> dict[str, Any]:
    limits = call.core.limits
    verify = {"href": f"{call.endpoint}/{call.repo.url_path}.git/info/lfs/objects/verify"}
    if call.request.headers.get("authorization"):
        verify["header"] = {"Authorization": call.request.headers["authorization"]}  # type: ignore[assignment]
    if not multipart or size <= limits.multipart_bytes:
        ticket = call.core.lfs.sign(Ticket(call.repo.id, oid, size, "", 0))
        return {"upload": {"href": f"{call.endpoint}/lfs-upload/{ticket}"}, "verify": verify}
    chunk = max(limits.part_bytes, -(-size // 9_999))
    signed = Ticket(call.repo.id, oid, size, uuid.uuid4().hex, chunk)
    ticket = call.core.lfs.sign(signed)
    header = {"chunk_size": str(chunk)}
    for number in range(1, num_parts(signed) + 1):
        header[f"{number:05d}"] = f"{call.endpoint}/lfs-part/{ticket}/{number}"
    href = f"{call.endpoint}/lfs-complete/{ticket}"
    return {"upload": {"href": href, "header": header}, "verify": verify}


def _lfs_reply(content: Any) -> Response:
    return reply(content, headers={"Content-Type": LFS_JSON})


async def lfs_upload(call: Call) -> Response:
    """PUT /lfs-upload/{ticket}: the object, in one piece, hashed while it is written."""
    lfs = call.core.lfs
    ticket = lfs.open_ticket(call.params["ticket"])
    incoming = lfs.receive()
    longer = unprocessable(f"More than the promised {ticket.size} bytes came.")
    try:
        size = await pour(call.request, ticket.size, longer, incoming.write, incoming.hash)
        path = await run_in_threadpool(lfs.check, incoming, size, ticket)
        await run_in_threadpool(adopt, call.core.store, lfs, path, ticket)
    except BaseException:
        incoming.discard()
        raise
    return Response(status_code=200, headers={"ETag": f'"{ticket.oid}"'})


async def lfs_part(call: Call) -> Response:
    """PUT /lfs-part/{ticket}/{number}: one part, written at its place and hashed afterwards."""
    ticket, number = call.core.lfs.open_ticket(call.params["ticket"]), int(call.params["number"])
    upload = call.core.lfs.parts.of(ticket)
    stream = upload.open_part(number)
    try:
        with stream:
            await _receive_part(call, stream, part_range(ticket, number)[1])
        etag = upload.mark(number)
    finally:
        upload.close_part()
    behind = BackgroundTask(upload.follow)
    return Response(status_code=200, headers={"ETag": f'"{etag}"'}, background=behind)


async def _receive_part(call: Call, stream: BinaryIO, length: int) -> None:
    longer = unprocessable(f"More than the {length} bytes of this part came.")
    size = await pour(call.request, length, longer, stream.writelines)
    if size != length:
        raise unprocessable(f"This part has {length} bytes; {size} came.")


def lfs_complete(call: Call) -> Response:
    """POST /lfs-complete/{ticket}: all parts have come."""
    ticket = call.core.lfs.open_ticket(call.params["ticket"])
    parts = call.json().get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise bad_request("parts must be a list of {partNumber, etag}.")
    lfs, store = call.core.lfs, call.core.store
    if granted_size(store, ticket.repo_id, ticket.oid) is None:
        upload = lfs.parts.of(ticket)
        upload.seal(parts)
        try:
            adopt(store, lfs, upload.content(), ticket)
        finally:
            lfs.parts.close(ticket)
    return reply({"success": True})


def lfs_verify(call: Call) -> Response:
    """POST /{repo}.git/info/lfs/objects/verify."""
    oid, size = call.json().get("oid"), call.json().get("size")
    known = granted_size(call.core.store, call.repo.id, str(oid)) if is_oid(oid) else None
    if known is None:
        raise not_found(f"Object {oid} does not exist")
    if known != size:
        raise unprocessable(f"Object {oid} has {known} bytes, not {size}.")
    return _lfs_reply({"oid": oid, "size": size})


async def commit(call: Call) -> Response:
    """POST commit/{rev}[?create_pr=1]: the body goes to disk, then it is read line by line."""
    body = call.core.temporary() / f"commit-{uuid.uuid4().hex}"
    try:
        await _spool(call.request, body, call.core.limits.commit_bytes)
        return await run_in_threadpool(_commit, call, body)
    finally:
        body.unlink(missing_ok=True)


async def _spool(request: Request, path: Path, most: int) -> None:
    larger = too_large(f"The body is larger than {most} bytes.")
    with path.open("xb") as file:
        await pour(request, most, larger, file.writelines)


def _commit(call: Call, body: Path) -> Response:
    core, repo, revision = call.core, call.repo, call.params["rev"]
    as_pull = call.flag("create_pr")
    if not as_pull:
        commits.writable_ref(core, repo, call.actor, revision)
    proposal = commits.read_proposal(core, repo, body)
    apply = commits.commit_to_pull_request if as_pull else commits.commit_to_revision
    done = apply(core, repo, call.actor, revision, proposal)
    url = f"{call.endpoint}/{repo.url_path}"
    shown: dict[str, Any] = {
        "success": True,
        "commitOid": done.sha,
        "commitUrl": f"{url}/commit/{done.sha}",
        "hookOutput": "",
    }
    if done.pull_request is not None:
        shown["pullRequestUrl"] = f"{url}/discussions/{done.pull_request}"
    return reply(shown)


_REPO = "/api/{kind:kind}/{ns}/{name}"
_LFS = "/{prefix:prefix}{ns}/{name:word}{dotgit:dotgit}/info/lfs"

ROUTES = [
    Entry("POST", "/api/validate-yaml", validate_yaml, "anyone"),
    Entry("POST", _REPO + "/preupload/{rev:rev}", preupload, "propose"),
    Entry("POST", _REPO + "/commit/{rev:rev}", commit, "propose", streams=True),
    Entry("POST", _LFS + "/objects/batch", lfs_batch, "read"),
    Entry("POST", _LFS + "/objects/verify", lfs_verify, "propose"),
    Entry("PUT", "/lfs-upload/{ticket}", lfs_upload, "ticket", streams=True),
    Entry("PUT", "/lfs-part/{ticket}/{number:num}", lfs_part, "ticket", streams=True),
    Entry("POST", "/lfs-complete/{ticket}", lfs_complete, "ticket"),
]
