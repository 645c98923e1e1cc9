"""A process that tries settings, as its parent holds it: what it is at, and what it has told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "hub_trainer.stages.tune.trial_process")
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher says of a process; a trial runs in one of its own."""
CREDENTIALS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass
class Attempt:
    """One trial at work."""

    number: int
    settings: Mapping[str, Any]
    repeats: int
    """Times that it was begun before and its process died."""
    share: float = 0.0


class Worker:
    """A process of `trial_process`, in a session of its own, so that Ctrl-C is the parent's."""

    def __init__(self, index: int, setup: Mapping[str, Any], folder: Path) -> None:
        self.index, self.folder = index, folder
        self.at: Attempt | None = None
        self.log = folder / f"worker-{index}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(index, int(setup["workers"]), int(setup["num_gpus"])),
                start_new_session=True,
            )
        self._rest = b""
        self._send(setup)

    def begin(self, attempt: Attempt) -> None:
        """Try these settings."""
        self.at = attempt
        folder = str(self.folder / f"trial-{attempt.number}")
        self._send({"settings": attempt.settings, "folder": folder})

    def answer(self, *, prune: bool) -> None:
        """Say to a trial that has evaluated whether it goes on."""
        self._send({"prune": prune})

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it has told since; `{"event": "died"}` where it is no more."""
        assert self.process.stdout is not None
        read = os.read(self.process.stdout.fileno(), 1 << 16)
        if not read:
            yield {"event": "died", "why": f"its process ended with {self.process.wait()}"}
            return
        *lines, self._rest = (self._rest + read).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def close(self) -> None:
        """End it, whatever it is at."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it died before it had read all

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # the end of its output says that it died


def _environment(index: int, workers: int, num_gpus: int) -> dict[str, str]:
    """No launcher's, no token; cores and GPUs are shared out."""
    kept = {k: v for k, v in os.environ.items() if k not in (*LAUNCHER, *CREDENTIALS)}
    cores = max(1, (os.cpu_count() or 1) // workers)
    kept.setdefault("OMP_NUM_THREADS", str(cores))
    if num_gpus > 1 and "CUDA_VISIBLE_DEVICES" not in kept:
        kept["CUDA_VISIBLE_DEVICES"] = str(index % num_gpus)
    return kept
