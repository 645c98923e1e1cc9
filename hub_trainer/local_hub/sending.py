"""The bytes of a file on their way out: ranges, caching, and headers that keep them harmless."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.wire import Call

CHUNK_BYTES = 1024 * 1024

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")
# Files come from strangers: a browser that opens one must not run it with this site's rights.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def send(call: Call, headers: dict[str, str], content: bytes | Path, size: int) -> Response:
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
