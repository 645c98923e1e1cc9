"""Functions that the tests call in the sandboxed child; each tries one thing."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hub_trainer.errors import DataError


def echo(value: Any) -> Any:
    return value


def environment() -> dict[str, str]:
    return dict(os.environ)


def places() -> dict[str, Any]:
    home = Path.home()
    return {"home": str(home), "cwd": os.getcwd(), "files": sorted(os.listdir(home))}


def connect(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=2)


def connect_below_the_hook(port: int) -> str:
    """Reach for the network from native code, where no audit hook sees it."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = socket.AF_INET.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big")
    address += bytes([127, 0, 0, 1]) + bytes(8)
    done = libc.connect(handle, address, len(address))
    return "connected" if done == 0 else os.strerror(ctypes.get_errno())


def start_process() -> None:
    subprocess.run(["true"], check=True)


def write(path: str) -> None:
    Path(path).write_text("x")


def write_much(path: str, size: int) -> None:
    with Path(path).open("wb") as file:
        for _ in range(size // 1_000_000):
            file.write(bytes(1_000_000))


def allocate(size: int) -> int:
    return len(bytearray(size))


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def crash() -> None:
    os.kill(os.getpid(), 11)


def leave(code: int) -> None:
    os._exit(code)


def recurse() -> None:
    recurse()


def fail() -> None:
    raise ZeroDivisionError("by nought\nsecond line")


def refuse() -> None:
    raise DataError("Not good.", where="row 1", got="this", do="That.")


def warm() -> None:
    """Nothing has to be imported for these."""


def parent() -> int:
    return os.getppid()
