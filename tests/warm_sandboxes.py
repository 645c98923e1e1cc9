"""Processes of the sandbox that are kept warm over tests: to start one takes two seconds each.

A call is still a child of its own, with its own limits, home and folders. Tests of how such a
process starts and ends take `cold_sandboxes`.
"""

import atexit
import json
import os
from typing import Any

import pytest

from hub_trainer.sandbox import Sandbox

_warm: dict[str, Sandbox] = {}
_start, _close = Sandbox.__init__, Sandbox.close


def _shared(
    self: Sandbox, limits: Any = None, *, warm_up: Any = None, subject: str = "the data"
) -> None:
    key = json.dumps([os.getpid(), warm_up])
    known = _warm.get(key)
    if known is None or not known.alive:
        known = Sandbox.__new__(Sandbox)
        _start(known, warm_up=warm_up)
        atexit.register(_close, known)
        _warm[key] = known
    self.__dict__.update(known.__dict__)
    if limits is not None:
        self.limits = limits
    self.subject = subject


@pytest.fixture(autouse=True)
def warm_sandboxes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for a process gets one that an earlier test has started, where it still lives."""
    if "cold_sandboxes" not in request.fixturenames:
        monkeypatch.setattr(Sandbox, "__init__", _shared)
        monkeypatch.setattr(Sandbox, "close", lambda self: None)


@pytest.fixture
def cold_sandboxes() -> None:
    """Each process is started and stopped by what asks for it, as outside of tests."""
