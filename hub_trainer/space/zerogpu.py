"""ZeroGPU, hardware that lends a GPU to one call: the model is asked inside `spaces.GPU` there.

Elsewhere everything here leaves a task as it is. On ZeroGPU a call runs in a forked process that
the package `spaces` starts, so that only plain values go in and come out.
"""

import os
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any

from hub_trainer.tasks import Converses, Task

HARDWARE = "zero-"
"""How the names of its flavours begin."""
PACKAGE = "spaces"


def is_zerogpu() -> bool:
    """Whether this process runs on ZeroGPU."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def on_gpu(task: Task) -> Any:
    """The task, whose model asks for a GPU for each call where that is needed."""
    return BorrowedGpu(task) if is_zerogpu() else task


def announce() -> None:
    """Tell ZeroGPU that the Space has started; `launch`, which this Space never calls, would."""
    if is_zerogpu():
        import_module(f"{PACKAGE}.zero").startup()


class BorrowedGpu:
    """A task that predicts and converses under `spaces.GPU`; all else is the task's own."""

    def __init__(self, task: Task) -> None:
        gpu = import_module(PACKAGE).GPU
        self._task = task
        self.predict = gpu(task.predict)
        self.converses = _BorrowedConversation(task.converses, gpu) if task.converses else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


class _BorrowedConversation:
    """A model that people talk with, whose every answer is written under `spaces.GPU`."""

    def __init__(self, conversation: Converses, gpu: Callable[..., Any]) -> None:
        self._conversation = conversation
        self._pieces = gpu(self._told_pieces)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conversation, name)

    def stream(self, *arguments: Any, **named: Any) -> Generator[str, None, bool]:
        """As the task's: what a generator returns does not leave its process, so it is yielded."""
        finished = False
        for piece, is_whole in self._pieces(*arguments, **named):
            if piece:
                yield piece
            finished = is_whole
        return finished

    def _told_pieces(
        self, *arguments: Any, **named: Any
    ) -> Generator[tuple[str, bool], None, None]:
        pieces = self._conversation.stream(*arguments, **named)
        while True:
            try:
                yield next(pieces), False
            except StopIteration as end:
                yield "", bool(end.value)
                return
