"""Routes of git's smart HTTP protocol: clone, fetch and push, and downloads for git-lfs."""

import io
import os
import subprocess
import uuid
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hub_trainer.local_hub import push
from hub_trainer.local_hub.errors import (
    WireError,
    bad_request,
    entry_not_found,
    not_found,
    too_large,
)
from hub_trainer.local_hub.intake import Block, pour
from hub_trainer.local_hub.lfs import granted_size
from hub_trainer.local_hub.names import is_oid
from hub_trainer.local_hub.routes.resolve import send_lfs
from hub_trainer.local_hub.wire import Call, Entry

MAX_FETCH_REQUEST = 64 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
# Partial clones, by the filters that cost no more than a whole one.
_FILTERS = [
    word
    for setting in (
        "uploadpack.allowFilter=true",
        "uploadpackfilter.allow=false",
        "uploadpackfilter.blob:none.allow=true",
        "uploadpackfilter.blob:limit.allow=true",
        "uploadpackfilter.tree.allow=true",
    )
    for word in ("-c", setting)
]
_NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate", "Pragma": "no-cache"}


async def info_refs(call: Call) -> Response:
    """GET info/refs?service=...: what a clone or push starts from."""
    service = call.query("service")
    if service == "git-receive-pack":
        return await run_in_threadpool(_push_refs, call)
    if service != "git-upload-pack":
        raise bad_request("This Hub speaks git's smart protocol only: use a current git.")
    output = await run_in_threadpool(_upload_pack, call, "--http-backend-info-refs", None)
    head = push.packet(b"# service=git-upload-pack\n") + b"0000"
    return _stream(output, service, "advertisement", head)


def _push_refs(call: Call) -> Response:
    call.require("propose")
    headers = {"Content-Type": "application/x-git-receive-pack-advertisement", **_NO_CACHE}
    return Response(push.advertisement(call.core.git(call.repo)), headers=headers)


async def upload_pack(call: Call) -> Response:
    """POST git-upload-pack: objects for a clone or fetch, streamed as git makes them."""
    body = call.core.temporary() / f"fetch-{uuid.uuid4().hex}"
    try:
        await _spool(call.request, body, MAX_FETCH_REQUEST)
        output = await run_in_threadpool(_upload_pack, call, "", body)
    finally:
        body.unlink(missing_ok=True)
    return _stream(output, "git-upload-pack", "result", b"")


def _upload_pack(call: Call, option: str, body: Path | None) -> AsyncIterator[bytes]:
    environment = push.git_environment()
    protocol = call.request.headers.get("git-protocol", "")
    if protocol.isascii() and len(protocol) < 100:
        environment["GIT_PROTOCOL"] = protocol
    options = ["--stateless-rpc", "--strict", "--timeout=600", *([option] if option else [])]
    path = str(call.core.git_path(call.repo.id))
    with open(body or os.devnull, "rb") as stdin:
        process = subprocess.Popen(
            [*push.git_command(), *_FILTERS, "upload-pack", *options, path],
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    return _output_of(process)


async def _output_of(process: subprocess.Popen[bytes]) -> AsyncIterator[bytes]:
    """What git writes, until it ends or the client has gone."""
    stdout = cast(io.BufferedReader, process.stdout)
    try:
        while chunk := await run_in_threadpool(stdout.read1, CHUNK_BYTES):
            yield chunk
    finally:
        process.kill()
        process.wait()
        stdout.close()


def _stream(output: AsyncIterator[bytes], service: str, kind: str, head: bytes) -> Response:
    async def body() -> AsyncIterator[bytes]:
        if head:
            yield head
        async for chunk in output:
            yield chunk

    headers = {"Content-Type": f"application/x-{service}-{kind}", **_NO_CACHE}
    return StreamingResponse(body(), headers=headers)


async def receive_pack(call: Call) -> Response:
    """POST git-receive-pack: the push goes to disk, then through the gate."""
    body = call.core.temporary() / f"pack-{uuid.uuid4().hex}"
    try:
        await _spool(call.request, body, call.core.limits.push_bytes)
        report = await run_in_threadpool(_receive, call, body)
    finally:
        body.unlink(missing_ok=True)
    headers = {"Content-Type": "application/x-git-receive-pack-result", **_NO_CACHE}
    return Response(report, headers=headers)


def _receive(call: Call, body: Path) -> bytes:
    with body.open("rb", buffering=0) as stream:  # unbuffered: git goes on reading where we stop
        wanted = push.read_push(stream)
        if not wanted.commands:
            return b""
        return push.receive(call.core, call.repo, call.actor, wanted, stream)


async def _spool(request: Request, path: Path, most: int) -> None:
    """Write the body to disk, unpacked if the client packed it."""
    larger = too_large(f"The request is larger than {most} bytes.")
    with path.open("xb") as file:
        if request.headers.get("content-encoding") not in ("gzip", "x-gzip"):
            await pour(request, most, larger, file.writelines)
            return
        unpacker = _Unpacker(file, most, larger)
        await pour(request, most, larger, unpacker.write)
        if not unpacker.complete:
            raise bad_request("The body is not valid gzip.")


class _Unpacker:
    """Unpacks gzip into a file, piece by piece, up to so many bytes."""

    def __init__(self, file: BinaryIO, most: int, refusal: WireError) -> None:
        self._file = file
        self._left = most
        self._refusal = refusal
        self._unpack = zlib.decompressobj(31)

    @property
    def complete(self) -> bool:
        """Whether the packed data came to its end."""
        return self._unpack.eof

    def write(self, block: Block) -> None:
        """Unpack what came."""
        for chunk in block:
            while chunk and not self._unpack.eof:
                self._write_piece(self._piece(chunk))
                chunk = self._unpack.unconsumed_tail

    def _piece(self, data: bytes) -> bytes:
        try:
            return self._unpack.decompress(data, CHUNK_BYTES)
        except zlib.error:
            raise bad_request("The body is not valid gzip.") from None

    def _write_piece(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise self._refusal
        self._file.write(data)


def lfs_object(call: Call) -> Response:
    """GET info/lfs/objects/{oid}: a large file of this repo, for git-lfs."""
    oid = call.params["oid"]
    size = granted_size(call.core.store, call.repo.id, oid) if is_oid(oid) else None
    if size is None:
        raise entry_not_found(f"Object {oid}")
    return send_lfs(call, oid, size)


def no_locks(call: Call) -> Response:
    """Anything under info/lfs/locks: git-lfs works without locks when it gets 404."""
    raise not_found("This Hub has no file locks.")


_GIT = "/{prefix:prefix}{ns}/{name:word}{dotgit:dotgit}"

ROUTES = [
    Entry("GET", _GIT + "/info/refs", info_refs, "read", streams=True, of_git=True),
    Entry("POST", _GIT + "/git-upload-pack", upload_pack, "read", streams=True, of_git=True),
    Entry("POST", _GIT + "/git-receive-pack", receive_pack, "propose", streams=True, of_git=True),
    Entry("GET", _GIT + "/info/lfs/objects/{oid}", lfs_object, "read"),
    Entry("GET", _GIT + "/info/lfs/locks", no_locks, "read"),
    Entry("POST", _GIT + "/info/lfs/locks", no_locks, "read"),
    Entry("POST", _GIT + "/info/lfs/locks/verify", no_locks, "read"),
]
