"""Time limits for the body of a request."""

import asyncio
import time

from starlette.types import Message, Receive

from hub_trainer.local_hub.errors import WireError

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
