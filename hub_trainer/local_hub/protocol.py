"""HTTP/1.1 as uvicorn speaks it, with deadlines for headers and for readers that stop reading."""

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 30.0
READER_SECONDS = 60.0


class HubProtocol(H11Protocol):
    """Closes a connection whose request headers do not end in time, or whose client takes nothing
    of an answer for a minute; uvicorn waits without limit for either."""

    _deadline: asyncio.TimerHandle | None = None
    _reader_deadline: asyncio.TimerHandle | None = None
    _unsent_before = 0

    def connection_made(self, transport: Any) -> None:
        """The clock runs from the first moment on."""
        super().connection_made(transport)
        # Any byte that waits here is waited for, also the last ones of an answer.
        transport.set_write_buffer_limits(high=0)
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """The clock stops with the end of the headers and starts with the next request."""
        super().data_received(data)
        waiting = self.conn.their_state is h11.IDLE
        if self._deadline is not None and not waiting:
            self._stop_clock()
        elif self._deadline is None and waiting:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def pause_writing(self) -> None:
        """The client reads more slowly than we send; the next bytes wait for it."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """All that waited is on its way."""
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_clock()
        self._stop_watching()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.abort()

    def _watch_reader(self) -> None:
        self._unsent_before = self._unsent()
        self._reader_deadline = self.loop.call_later(READER_SECONDS, self._look_at_reader)

    def _look_at_reader(self) -> None:
        if self._unsent() < self._unsent_before:
            self._watch_reader()
        else:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._reader_deadline is not None:
            self._reader_deadline.cancel()
            self._reader_deadline = None

    def _unsent(self) -> int:
        """Bytes that the client's machine has not taken: here, and in the kernel's buffer, which
        takes more from us only in large steps."""
        waiting = int(self.transport.get_write_buffer_size())
        with suppress(OSError):
            handle = self.transport.get_extra_info("socket").fileno()
            waiting += struct.unpack("i", fcntl.ioctl(handle, termios.TIOCOUTQ, b"\0" * 4))[0]
        return waiting
