"""A child process for what strangers wrote: no token, no network, little memory, little time."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hub_trainer.errors import DataError

# Keep the child's start plain: the parent's search path, then this module, then the function.
_BOOTSTRAP = (
    "import json,sys; call=json.load(sys.stdin); sys.path[:]=call['path'];"
    "from hub_trainer.sandbox import run_child; run_child(call)"
)
_REFUSED_EVENTS = frozenset(
    {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"}
    | {"socket.gethostbyname", "socket.gethostbyaddr", "subprocess.Popen", "os.system"}
    | {"os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pickle.find_class"}
)
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


@dataclass(frozen=True)
class SandboxLimits:
    """What the child may use."""

    memory_bytes: int = 8_000_000_000
    """Address space; importing `datasets` alone takes about 2.3 GB of it, though little memory."""
    cpu_seconds: int = 600
    wall_seconds: float = 900.0
    file_bytes: int = 4_000_000_000
    """Largest file that it may write."""


def run_sandboxed(
    function_path: str,
    arguments: Mapping[str, Any],
    *,
    folder: Path,
    limits: SandboxLimits | None = None,
) -> Any:
    """Call `module:function` with JSON arguments in a child, and return its JSON result.

    The child has an empty environment (no token), an empty home and working folder, and may write
    only under `folder`. It loses the network: by a namespace of its own where the system allows
    one, and by an audit hook everywhere. The hook is best effort: it stops Python code, not native
    code that has been taken over. Raises DataError when the child runs out of memory or time,
    crashes, or raises DataError itself.
    """
    limits = limits or SandboxLimits()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hub-trainer-sandbox-") as scratch:
        call = {
            "path": [os.path.abspath(entry) for entry in sys.path if entry],
            "function": function_path,
            "arguments": dict(arguments),
            "writable": [str(folder.resolve()), str(Path(scratch).resolve())],
            "result": str(Path(scratch) / "result.json"),
            "limits": asdict(limits),
        }
        code = _run(json.dumps(call).encode(), Path(scratch), limits)
        return _result(Path(scratch) / "result.json", code, limits)


def _run(call: bytes, scratch: Path, limits: SandboxLimits) -> int | None:
    """The child's exit code; None when it ran out of time."""
    with (scratch / "stderr").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=scratch,
            env=_environment(scratch),
            start_new_session=True,
        )
        try:
            child.communicate(call, timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    return child.returncode


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    home = str(scratch)
    return kept | {
        "HOME": home,
        "TMPDIR": home,
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def _result(path: Path, code: int | None, limits: SandboxLimits) -> Any:
    if code == 0 and path.is_file():
        answer = json.loads(path.read_bytes())
        if "error" in answer:
            raise DataError(**answer["error"])
        return answer["value"]
    do = "Look at the data by hand: it asks for more than data of its kind should."
    raise DataError(_reason(code, limits), where="the process that reads data", do=do)


def _reason(code: int | None, limits: SandboxLimits) -> str:
    if code is None:
        return f"Reading the data took more than {limits.wall_seconds:g} seconds."
    if code == -signal.SIGXCPU or code == -signal.SIGKILL:
        return f"Reading was killed: more than {limits.cpu_seconds} CPU seconds, or no memory left."
    if code == -signal.SIGXFSZ:
        return f"Reading the data wrote a file of more than {limits.file_bytes:,} bytes."
    if code < 0:
        return f"Reading the data crashed the reader ({signal.Signals(-code).name})."
    return f"Reading the data stopped the reader with exit code {code}."


def run_child(call: Mapping[str, Any]) -> None:
    """The child's side: close the doors, call the function, write its answer."""
    limits = SandboxLimits(**call["limits"])
    _leave_network()
    _set_limits(limits)
    _install_hook([*call["writable"]])
    Path(call["result"]).write_text(json.dumps(_answer(call, limits)), encoding="utf-8")


def _answer(call: Mapping[str, Any], limits: SandboxLimits) -> dict[str, Any]:
    try:
        module, _, name = call["function"].partition(":")
        return {"value": getattr(import_module(module), name)(**call["arguments"])}
    except DataError as error:
        return {"error": _fields(error)}
    except MemoryError:
        what = f"Reading the data needs more than {limits.memory_bytes:,} bytes of memory."
        return {"error": {"what": what, "do": "Split the data into smaller files."}}
    except RecursionError:
        return {"error": {"what": "The data is nested too deeply."}}
    except Exception as error:
        cause = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        return {"error": {"what": "The data cannot be read.", "got": cause[:300]}}


def _fields(error: DataError) -> dict[str, str | None]:
    return {"what": error.what, "where": error.where, "got": error.got, "do": error.do}


def _leave_network() -> None:
    """A network namespace without interfaces, where the system lets this user have one."""
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    except (OSError, AttributeError):
        return


def _set_limits(limits: SandboxLimits) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _install_hook(writable: Sequence[str]) -> None:
    """Refuse sockets, processes, unpickling of code, and writing outside the given folders."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _REFUSED_EVENTS:
            raise PermissionError(f"{event} is refused in the process that reads data")
        if event == "open" and _writes(arguments) and not _inside(arguments[0], writable):
            raise PermissionError("writing outside the given folder is refused")

    sys.addaudithook(hook)


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _inside(path: Any, folders: Sequence[str]) -> bool:
    if isinstance(path, int):
        return True
    real = os.path.realpath(os.fsdecode(path))
    return real == os.devnull or any(real.startswith(folder + os.sep) for folder in folders)
