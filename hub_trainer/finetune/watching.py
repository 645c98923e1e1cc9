"""Who watches the evaluations of a run from outside the engine; no heavy library is imported."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watch = Callable[[int, float, bool], None]
"""Told the count of the evaluation from 1 on, the figure that chooses the checkpoint, and whether
more of it is better. What it raises ends the run."""

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def evaluations_watched(watch: Watch) -> Iterator[None]:
    """Tell `watch` of each evaluation of the runs within."""
    before = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(before)


def watch_here() -> Watch | None:
    """Who watches, if anybody does."""
    return _watch.get()
