"""Claim of a round's folder: two processes of this machine never work on one round at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub_trainer.errors import UsageError

CLAIM = ".claim"


@contextmanager
def claimed(round_dir: Path) -> Iterator[None]:
    """Hold the folder; the system lets go of it however the process ends."""
    round_dir.mkdir(parents=True, exist_ok=True)
    with (round_dir / CLAIM).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                "Another process works on this round.",
                where=str(round_dir),
                do="Wait for it to end, or stop it; then run the same command again.",
            ) from None
        yield
