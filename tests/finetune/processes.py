"""Several processes over gloo in a test, forked from it: what is imported is imported once."""

import faulthandler
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed


def together(
    count: int,
    target: Callable[..., Any],
    folder: Path,
    *arguments: Any,
    alive: int | None = None,
    device: str = "cpu",
    seconds: float = 120,
    **options: Any,
) -> list[Any]:
    """What `target(*arguments, **options)` gives back in each of so many processes, by rank.

    With `alive` fewer of them need to come to their end. What still runs after so many seconds is
    killed, and says where it stood. Where none of them has said anything they are started once
    more: a fork takes over the locks that threads of this process held, and nobody releases them.
    """
    target = partial(target, *arguments, **options)
    folder.mkdir(parents=True, exist_ok=True)
    needed = count if alive is None else alive
    for is_last in (False, True):
        stuck = _run(count, target, folder, device, seconds)
        results = [_result(folder / f"result-{rank}") for rank in range(count)]
        failed = [result for result in results if isinstance(result, Failure)]
        if is_last or len(stuck) < count or len(failed) < count:
            break
        # Past pytest, which shows nothing of a test that passes in the end.
        print(f"all {count} processes hung:", *stuck, sep="\n", file=sys.__stderr__, flush=True)
    assert len(failed) <= count - needed, "\n".join([*failed, *stuck])
    return results


def _run(
    count: int, target: Callable[[], Any], folder: Path, device: str, seconds: float
) -> list[str]:
    """Start the processes and wait for them; where each stood that had to be killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_process, args=(rank, count, port, folder, target, device))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    until = time.monotonic() + seconds
    for process in processes:
        process.join(max(until - time.monotonic(), 0))
    stuck = []
    for rank, process in enumerate(processes):
        if process.is_alive():
            stuck.append(f"process {rank} stood here:\n{_stood(process.pid, folder, rank)}")
            process.kill()
            process.join()
    return stuck


def _stood(pid: int | None, folder: Path, rank: int) -> str:
    stack = folder / f"stack-{rank}"
    if pid is None or not stack.exists():
        return "before it had begun"
    os.kill(pid, signal.SIGUSR1)
    time.sleep(1.0)
    return stack.read_text()


class Failure(str):
    """The traceback of a process that did not come to its end."""


def _result(path: Path) -> Any:
    return pickle.loads(path.read_bytes()) if path.exists() else Failure(f"no {path.name}")


def _process(
    rank: int,
    count: int,
    port: int,
    folder: Path,
    target: Callable[[], Any],
    device: str,
) -> None:
    stack = (folder / f"stack-{rank}").open("w")
    faulthandler.register(signal.SIGUSR1, file=stack, all_threads=True)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "ACCELERATE_USE_CPU": str(device == "cpu")}
    torch.set_num_threads(1)
    _forget_the_state_of_one_process()
    try:
        result: Any = target()
    except BaseException:
        result = Failure(f"rank {rank}\n{traceback.format_exc()}")
    staged = folder / f"result-{rank}.part"
    staged.write_bytes(pickle.dumps(result))
    staged.rename(folder / f"result-{rank}")
    if distributed.is_initialized() and not isinstance(result, Failure):
        distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)


def _forget_the_state_of_one_process() -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
