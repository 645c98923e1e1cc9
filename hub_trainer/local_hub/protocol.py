"""HTTP/1.1 as uvicorn speaks it, with two things more: a deadline for headers, and sendfile."""

import asyncio
from pathlib import Path
from typing import Any

import h11
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 30.0
_OURS = "local_hub.protocol"


class HubProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which closes a connection whose request headers do not end in time, and
    hands files to the kernel instead of reading them.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The clock runs from the first moment on."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """The clock stops with the end of the headers and starts with the next request."""
        super().data_received(data)
        waiting = self.conn.their_state is h11.IDLE
        if self._deadline is not None and not waiting:
            self._stop_clock()
        elif self._deadline is None and waiting:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.abort()

    def handle_events(self) -> None:
        """Let a request's scope lead back here, for `FilePart`."""
        super().handle_events()
        if self.scope is not None:
            self.scope["extensions"] = {_OURS: {"protocol": self}}

    async def send_file(self, path: Path, first: int, length: int) -> None:
        """Send a part of a file as (all of) the body that the headers have promised."""
        with path.open("rb", buffering=0) as stream:
            self.conn.send_with_data_passthrough(h11.Data(data=_Sized(length)))  # type: ignore[arg-type]
            if length:
                await self.loop.sendfile(self.transport, stream, first, length)


class _Sized:
    """So many bytes that h11 only needs to count."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


class FilePart(Response):
    """A part of a file; `headers` hold its Content-Length. Memory holds nothing of it."""

    def __init__(self, path: Path, span: tuple[int, int], status: int, headers: Any) -> None:
        super().__init__(None, status, headers)
        self._path = path
        self._first, self._last = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a client that goes away meanwhile is no error."""
        protocol: HubProtocol = scope["extensions"][_OURS]["protocol"]
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        try:
            await protocol.send_file(self._path, self._first, self._last - self._first + 1)
        except (OSError, RuntimeError):  # gone, or on its way out; or the file is
            protocol.transport.abort()
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send({"type": "http.response.body", "body": b""})
