"""HTTP/1.1 as uvicorn speaks it, with a deadline for headers."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 30.0


class HubProtocol(H11Protocol):
    """Closes a connection whose request headers do not end in time; uvicorn waits without limit."""

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
