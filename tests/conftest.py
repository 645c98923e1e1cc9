"""Every test runs offline: only loopback may be reached, and no variable of the host leaks in."""

import atexit
import gc
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator

import pytest

from tests.warm_sandboxes import cold_sandboxes, warm_sandboxes  # noqa: F401

CACHE = tempfile.mkdtemp(prefix="hub-trainer-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
os.environ["HF_HOME"] = CACHE

os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
    os.environ.pop(name, None)

_connect = socket.socket.connect


def _refuse_other_hosts(self: socket.socket, address: object) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = str(address[0])  # type: ignore[index]
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"A test reached for {host}: use the Local Hub, tests are offline.")
    _connect(self, address)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _refuse_other_hosts)


@pytest.fixture(autouse=True)
def _collect_where_excused(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a library leaves open is collected in the test that excuses it, not in a later one."""
    yield
    if request.node.get_closest_marker("filterwarnings"):
        gc.collect()
