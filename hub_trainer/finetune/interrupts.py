"""SIGTERM sets a flag that training reads between steps; a second one changes nothing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the machine is about to be taken away."""

    def __init__(self) -> None:
        self.received = False

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler: no work here, a step may be half done."""
        del signum, frame
        self.received = True


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Answer SIGTERM by a flag while training; outside the main thread nothing is changed."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, request.receive)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
