import ctypes
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.sandbox import SandboxLimits, kept_warm, run_sandboxed

pytestmark = pytest.mark.usefixtures("cold_sandboxes")


def call(name: str, folder: Path, limits: SandboxLimits | None = None, **arguments: Any) -> Any:
    return run_sandboxed(f"tests.sandboxed_calls:{name}", arguments, folder=folder, limits=limits)


def test_call_when_it_returns_then_its_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "é": "ü"}
    assert call("echo", tmp_path / "new", value=value) == value
    assert (tmp_path / "new").is_dir()


def test_call_when_the_parent_holds_a_token_then_the_child_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "canary")
    seen = call("environment", tmp_path)
    assert "canary" not in str(seen)
    assert seen["HF_HUB_OFFLINE"] == "1"


def test_call_when_it_looks_around_then_home_and_cwd_are_empty_and_gone_after(
    tmp_path: Path,
) -> None:
    seen = call("places", tmp_path)
    assert seen["home"] == seen["cwd"] != str(Path.home())
    assert seen["files"] == []
    assert not Path(seen["home"]).exists()


def test_call_when_it_connects_then_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DataError, match="cannot be read") as caught:
            call("connect", tmp_path, host="127.0.0.1", port=port)
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert "refused" in str(caught.value)


def _namespaces_are_allowed() -> bool:
    """Whether a process of ours may have a network of its own; tried in a child."""
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None)
        alone = libc.unshare(0x40000000) == 0 or libc.unshare(0x50000000) == 0
        os._exit(0 if alone else 1)
    return os.waitpid(child, 0)[1] == 0


def test_call_when_native_code_connects_then_there_is_no_network(tmp_path: Path) -> None:
    if not _namespaces_are_allowed():
        pytest.skip("this system gives its users no network namespaces")
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = call("connect_below_the_hook", tmp_path, port=server.getsockname()[1])
    assert answer == "Network is unreachable"


def test_call_when_it_starts_a_process_then_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        call("start_process", tmp_path)
    assert "subprocess.Popen is refused" in str(caught.value)


def test_call_when_it_writes_outside_its_folder_then_is_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out.txt"
    call("write", inside, path=str(inside / "x.txt"))
    assert (inside / "x.txt").read_text() == "x"
    with pytest.raises(DataError) as caught:
        call("write", inside, path=str(outside))
    assert "writing outside the given folder is refused" in str(caught.value)
    assert not outside.exists()


def test_call_when_it_needs_too_much_memory_then_says_the_limit(tmp_path: Path) -> None:
    limits = SandboxLimits(memory_bytes=1_000_000_000)
    assert call("allocate", tmp_path, limits, size=1_000_000) == 1_000_000
    with pytest.raises(DataError, match="more than 1,000,000,000 bytes of memory") as caught:
        call("allocate", tmp_path, limits, size=2_000_000_000)
    assert "smaller files" in str(caught.value)


def test_call_when_it_takes_too_much_time_then_is_ended(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match="more than 0.5 seconds"):
        call("sleep", tmp_path, SandboxLimits(wall_seconds=0.5))
    assert time.monotonic() - started < 30
    with pytest.raises(DataError, match="more than 1 CPU seconds"):
        call("spin", tmp_path, SandboxLimits(cpu_seconds=1))


def test_call_when_it_writes_too_much_then_says_so(tmp_path: Path) -> None:
    limits = SandboxLimits(file_bytes=2_000_000)
    with pytest.raises(DataError) as caught:
        call("write_much", tmp_path, limits, path=str(tmp_path / "x"), size=5_000_000)
    assert "File too large" in str(caught.value)
    assert (tmp_path / "x").stat().st_size <= 2_000_000


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("crash", {}, "crashed the reader (SIGSEGV)"),
        ("leave", {"code": 3}, "with exit code 3"),
        ("leave", {"code": 0}, "with exit code 0"),
        ("recurse", {}, "nested too deeply"),
        ("missing", {}, "no attribute 'missing'"),
    ],
)
def test_call_when_it_fails_then_the_reason_is_told(
    tmp_path: Path, name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        call(name, tmp_path, **arguments)
    assert message in str(caught.value)


def test_call_when_it_raises_then_only_the_first_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        call("fail", tmp_path)
    assert caught.value.got == "ZeroDivisionError: by nought"


def test_call_when_it_raises_a_data_error_then_it_is_that_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        call("refuse", tmp_path)
    error = caught.value
    assert (error.what, error.where, error.got, error.do) == ("Not good.", "row 1", "this", "That.")


def test_kept_warm_when_called_then_children_of_one_process_which_ends_with_it(
    tmp_path: Path,
) -> None:
    with kept_warm("tests.sandboxed_calls:warm"):
        first, second = call("parent", tmp_path), call("parent", tmp_path)
    assert first == second != call("parent", tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_kept_warm_when_a_call_has_limits_then_they_hold_for_it_alone(tmp_path: Path) -> None:
    with kept_warm("tests.sandboxed_calls:warm"):
        with pytest.raises(DataError, match="more than 0.2 seconds"):
            call("sleep", tmp_path, SandboxLimits(wall_seconds=0.2))
        assert call("echo", tmp_path, value=1) == 1
