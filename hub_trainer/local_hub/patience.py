"""How long the server waits for a client: for its headers as a whole, for its body byte by byte."""

import asyncio
import time
from typing import Any

import h11
from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from hub_trainer.local_hub.errors import WireError

HEADER_SECONDS = 30.0
BODY_SECONDS = 60.0
MIN_BYTES_PER_SECOND = 100


class PatientReceive:
    """A request's `receive` that gives up on a client from whom next to nothing comes.

    Waiting uses up a minute of patience, and every 100 bytes that come give a second of it back: a
    pause of a minute is fine, and so is any upload faster than 100 bytes a second. Only waiting for
    the client counts, not the time in which the server is busy with what came.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = BODY_SECONDS
        self._more = True
        self._gave_up = False

    async def __call__(self) -> Message:
        """The next message. After giving up, the client counts as gone."""
        if self._gave_up:
            return {"type": "http.disconnect"}
        if not self._more:  # what is waited for is the end of the connection: a download runs
            return await self._receive()
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                message = await self._receive()
        except TimeoutError:
            self._gave_up = True
            raise _too_slow() from None
        won = len(message.get("body", b"")) / MIN_BYTES_PER_SECOND
        self._left = min(BODY_SECONDS, self._left - (time.monotonic() - started) + won)
        self._more = message.get("more_body", False)
        return message


def _too_slow() -> WireError:
    text = f"The body came slower than {MIN_BYTES_PER_SECOND} bytes per second. Send it again."
    return WireError(408, text, headers={"Connection": "close"})


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request headers do not come to an end in time.

    uvicorn itself waits for them without limit.
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
