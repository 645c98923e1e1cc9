"""A child process for what strangers wrote: no token, no network, little memory, little time."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from hub_trainer.errors import DataError

# Keep the child's start plain: the parent's search path, then this module, then the function.
_BOOTSTRAP = (
    "import json,sys; start=json.loads(sys.stdin.readline()); sys.path[:]=start['path'];"
    "from hub_trainer.sandbox import serve_calls; serve_calls(start)"
)
_REFUSED_EVENTS = frozenset(
    {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"}
    | {"socket.gethostbyname", "socket.gethostbyaddr", "subprocess.Popen", "os.system"}
    | {"os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pickle.find_class"}
)
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
RESULT, STEP = "result.json", "step"
"""Files in a call's folder: its answer, and what is read now."""
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
    after_warm_up: bool = False
    """Count memory from the end of the warm-up on: what our own libraries take is free."""


class Sandbox:
    """A process for children that read what strangers wrote; each call is a child of its own.

    It is started at once and warms up while its caller still prepares what is to be read: `warm_up`
    names a function of ours and its arguments, which imports what all calls need. It has an empty
    environment (no token), and loses the network by a namespace of its own where the system
    allows one. A call's child has an empty home and working folder, may write only into the folder
    that the call names, and loses the network by an audit hook everywhere. The hook is best effort:
    it stops Python code, not native code that has been taken over.
    """

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        warm_up: tuple[str, Mapping[str, Any]] | None = None,
        subject: str = "the data",
    ) -> None:
        self.limits, self.subject = limits or SandboxLimits(), subject
        self._home = tempfile.TemporaryDirectory(prefix="hub-trainer-sandbox-")
        self._in_turn = Lock()
        home = Path(self._home.name)
        with (home / "stderr").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOTSTRAP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=home,
                env=_environment(home),
                start_new_session=True,
            )
        path = [os.path.abspath(entry) for entry in sys.path if entry]
        self._send({"path": path, "warm_up": warm_up})

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it can be called; after a call that ran out of wall time it cannot."""
        return self._process.poll() is None

    def call(
        self,
        function_path: str,
        arguments: Mapping[str, Any],
        *,
        folder: Path,
        limits: SandboxLimits | None = None,
    ) -> Any:
        """Call `module:function` with JSON arguments in a child; its result as JSON, or `to_json`.

        Without `limits` those of this process hold. Raises DataError when the child runs out of
        memory or time, crashes, or raises DataError.
        """
        limits = limits or self.limits
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="hub-trainer-child-") as scratch:
            files = Path(scratch)
            call = {
                "function": function_path,
                "arguments": dict(arguments),
                "limits": asdict(limits),
                "writable": [str(folder.resolve()), str(files.resolve())],
                "scratch": str(files.resolve()),
            }
            with self._in_turn:
                self._send(call)
                code = self._exit_code(limits)
            return self._result(files, code, limits)

    def close(self) -> None:
        """Stop the process and what it has started, and remove its folder."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._home.cleanup()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        # A process that has died already says why by its exit code.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _exit_code(self, limits: SandboxLimits) -> int | None:
        """The child's exit code; None when it ran out of time, which stops this process too."""
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], limits.wall_seconds)[0]:
            line = self._process.stdout.readline()
            return int(line) if line else self._process.wait()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return None

    def _result(self, files: Path, code: int | None, limits: SandboxLimits) -> Any:
        path, step_path = files / RESULT, files / STEP
        if code == 0 and path.is_file():
            answer = json.loads(path.read_bytes())
            if "error" in answer:
                raise DataError(**answer["error"])
            return answer["value"]
        raise DataError(
            _reason(code, limits, self.subject),
            where=step_path.read_text() if step_path.is_file() else f"reading {self.subject}",
            do=f"Look at {self.subject} by hand: more is asked for than its kind should need.",
        )


def run_sandboxed(
    function_path: str,
    arguments: Mapping[str, Any],
    *,
    folder: Path,
    limits: SandboxLimits | None = None,
) -> Any:
    """Call `module:function` with JSON arguments in a child; see `Sandbox.call`.

    The child is forked from a process that is warm already inside `kept_warm`.
    """
    warm = _kept_warm.get()
    if warm is not None:
        return warm.sandbox().call(function_path, arguments, folder=folder, limits=limits)
    with Sandbox(limits) as sandbox:
        return sandbox.call(function_path, arguments, folder=folder)


class _Warm:
    """A process that starts when it is first asked for, and again after it has been stopped."""

    def __init__(self, warm_up: str) -> None:
        self._warm_up = warm_up
        self._sandbox: Sandbox | None = None

    def sandbox(self) -> Sandbox:
        if self._sandbox is None or not self._sandbox.alive:
            self.close()
            self._sandbox = Sandbox(warm_up=(self._warm_up, {}))
        return self._sandbox

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()


_kept_warm: ContextVar[_Warm | None] = ContextVar("kept_warm", default=None)


@contextmanager
def kept_warm(warm_up: str) -> Iterator[None]:
    """Inside, what `run_sandboxed` calls is forked from one process instead of each from its own.

    `warm_up` names a function of ours, `module:function`, which imports what the calls need. The
    process reads nothing of strangers itself; keep it no longer than for what one of them wrote.
    """
    warm = _Warm(warm_up)
    before = _kept_warm.set(warm)
    try:
        yield
    finally:
        _kept_warm.reset(before)
        warm.close()


class OutOfTime(BaseException):
    """A step took longer than it may; no library that catches every Exception hides it."""


@contextmanager
def step(reading: str, *, cpu_seconds: float) -> Iterator[None]:
    """In a child: what is read now, for the error if it is the last thing, and its time.

    Raises OutOfTime where Python code goes on for longer; native code is stopped by the child's own
    limit. Elsewhere it does nothing.
    """
    if _step_file is None:
        yield
        return
    _step_file.write_text(reading, encoding="utf-8")
    with within(cpu_seconds):
        yield


@contextmanager
def within(cpu_seconds: float) -> Iterator[None]:
    """Raises OutOfTime where Python code goes on for longer.

    Only the first thread of a process can be interrupted; in others nothing is measured.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _out_of_time(number: int, frame: Any) -> None:
    raise OutOfTime


_step_file: Path | None = None
"""Where a child writes its step; None in a process that is no child."""


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


def _reason(code: int | None, limits: SandboxLimits, subject: str) -> str:
    if code is None:
        return f"Reading {subject} took more than {limits.wall_seconds:g} seconds."
    if code == -signal.SIGXCPU or code == -signal.SIGKILL:
        most = f"more than {limits.cpu_seconds} CPU seconds, or no memory left"
        return f"Reading {subject} was stopped: {most}."
    if code == -signal.SIGXFSZ:
        return f"Reading {subject} wrote a file of more than {limits.file_bytes:,} bytes."
    if code == -signal.SIGABRT:
        most = f"most likely it needs more than {limits.memory_bytes:,} bytes of memory"
        return f"Reading {subject} made the reader give up: {most}."
    if code < 0:
        return f"Reading {subject} crashed the reader ({signal.Signals(-code).name})."
    return f"Reading {subject} stopped the reader with exit code {code}."


def serve_calls(start: Mapping[str, Any]) -> None:
    """The process's side: warm up, then a child for each call, whose exit code is written out."""
    _leave_network()
    if start["warm_up"]:
        function, arguments = start["warm_up"]
        _named(function)(**arguments)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _answer_and_exit(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _answer_and_exit(call: Mapping[str, Any]) -> None:
    """The child's side: close the doors, call the function, write its answer."""
    global _step_file
    code = 1
    try:
        limits = SandboxLimits(**call["limits"])
        scratch = Path(call["scratch"])
        os.chdir(scratch)
        os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "HF_HOME"), str(scratch)))
        tempfile.tempdir = None
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        _step_file = scratch / STEP
        _install_hook(call["writable"])
        if limits.after_warm_up:
            _set_limits(limits, used_bytes=_address_space())
        else:
            _set_limits(limits)
        answer = json.dumps(_answer(call, limits))
        (scratch / RESULT).write_text(answer, encoding="utf-8")
        code = 0
    finally:
        os._exit(code)


def _named(function_path: str) -> Any:
    module, _, name = function_path.partition(":")
    return getattr(import_module(module), name)


def _answer(call: Mapping[str, Any], limits: SandboxLimits) -> dict[str, Any]:
    try:
        value = _named(call["function"])(**call["arguments"])
        return {"value": value.to_json() if hasattr(value, "to_json") else value}
    except DataError as error:
        return {
            "error": {"what": error.what, "where": error.where, "got": error.got, "do": error.do}
        }
    except MemoryError:
        what = f"Reading the data needs more than {limits.memory_bytes:,} bytes of memory."
        return {"error": {"what": what, "do": "Split the data into smaller files."}}
    except RecursionError:
        return {"error": {"what": "The data is nested too deeply."}}
    except Exception as error:
        cause = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        return {"error": {"what": "The data cannot be read.", "got": cause[:300]}}


def _leave_network() -> None:
    """A network namespace without interfaces, where the system lets this user have one."""
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    except (OSError, AttributeError):
        return


def _set_limits(limits: SandboxLimits, *, used_bytes: int = 0) -> None:
    import resource

    memory = used_bytes + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _address_space() -> int:
    """Bytes of this process now; where the system does not say, what imports take at most."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return SandboxLimits.memory_bytes


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
