"""Runs jobs: each as processes in a folder of its own, with its own environment and time."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hub_trainer.local_hub.jobs import (
    Job,
    begin_job,
    drop_waiting_job,
    end_job,
    end_left_over,
    find_job,
)
from hub_trainer.local_hub.names import now_iso
from hub_trainer.local_hub.store import Store

log = logging.getLogger(__name__)

MAX_AT_ONCE = 4
GRACE_SECONDS = 10.0
"""Between the request to stop and the end."""
MAX_LOG_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024
POLL_SECONDS = 0.1


class JobRunner:
    """Starts what it is given, up to four jobs at a time, and ends them all when it is stopped."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store
        self._pool = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="local-hub-job")
        self._guard = threading.Lock()
        self._canceled: dict[str, threading.Event] = {}
        folder.mkdir(exist_ok=True, mode=0o700)
        end_left_over(store)

    def stop(self) -> None:
        """End every job that is at work."""
        with self._guard:
            for job_id, event in self._canceled.items():
                end_job(self._store, job_id, "ERROR", "The Local Hub was stopped.")
                event.set()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, job: Job, secrets: Mapping[str, str]) -> None:
        """Run a job as soon as there is room; its secrets live in memory until then."""
        event = threading.Event()
        with self._guard:
            self._canceled[job.id] = event
        self._pool.submit(self._run, job, dict(secrets), event)

    def cancel(self, job: Job) -> None:
        """End a job, with every process that it has started; it is CANCELED once none is left."""
        drop_waiting_job(self._store, job.id)
        with self._guard:
            event = self._canceled.get(job.id)
            if event is not None:
                event.set()

    def log_file(self, job_id: str) -> Path:
        """What the job has said: one JSON object a line."""
        return self._folder / job_id / "log.jsonl"

    def _run(self, job: Job, secrets: Mapping[str, str], canceled: threading.Event) -> None:
        try:
            if begin_job(self._store, job.id):
                self._run_in_folder(job, secrets, canceled)
        except Exception:
            log.exception("job %s failed", job.id)
            end_job(self._store, job.id, "ERROR", "The job could not be started.")
        finally:
            with self._guard:
                del self._canceled[job.id]

    def _run_in_folder(
        self, job: Job, secrets: Mapping[str, str], canceled: threading.Event
    ) -> None:
        folder = self._folder / job.id
        work = folder / "work"
        work.mkdir(parents=True, mode=0o700)
        try:
            environment = _environment(job, folder, make_python(folder / "python"), secrets)
            with self.log_file(job.id).open("wb", buffering=0) as out:
                _say(out, f"===== Job started at {now_iso()} =====")
                try:
                    process = subprocess.Popen(
                        job.spec.command,
                        cwd=work,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                except OSError as error:
                    _say(out, f"{job.spec.command[0]}: {error.strerror}")
                    end_job(self._store, job.id, "ERROR", f"Cannot start: {error.strerror}")
                    return
                reader = threading.Thread(target=_copy, args=(process, out), daemon=True)
                reader.start()
                message = _watch(process, job, canceled)
                reader.join(timeout=GRACE_SECONDS)
            code = process.returncode
            if canceled.is_set():
                end_job(self._store, job.id, "CANCELED")
            elif message or code:
                end_job(self._store, job.id, "ERROR", message or f"Exit code {code}")
            else:
                end_job(self._store, job.id, "COMPLETED")
        finally:
            for name in ("work", "python", "tmp"):
                shutil.rmtree(folder / name, ignore_errors=True)

    def has_ended(self, job: Job) -> bool:
        """Whether no more will be logged."""
        with self._guard:
            at_work = job.id in self._canceled
        return not at_work and find_job(self._store, job.namespace, job.id).has_ended


def make_python(folder: Path) -> Path:
    """A virtual environment that sees the packages of this one; its folder of programs.

    What a job installs goes there and not among the packages of the server.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    programs = folder / "bin"
    packages = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    seen = [path for path in sys.path if path and Path(path).is_dir()]
    (Path(packages) / "local_hub.pth").write_text("\n".join(seen) + "\n", encoding="utf-8")
    pip = programs / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{programs}/python" -m pip "$@"\n', encoding="utf-8")
    pip.chmod(0o700)
    return programs


def _environment(
    job: Job, folder: Path, programs: Path, secrets: Mapping[str, str]
) -> dict[str, str]:
    """The job's own variables and secrets, and what every process needs; nothing of the server."""
    (folder / "tmp").mkdir(mode=0o700)
    paths = [str(programs), str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "PATH": os.pathsep.join(paths),
        "HOME": str(folder / "work"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "CPU_CORES": str(os.cpu_count() or 1),
        **job.spec.environment,
        **secrets,
        "JOB_ID": job.id,
    }


def _watch(process: "subprocess.Popen[bytes]", job: Job, canceled: threading.Event) -> str | None:
    """Wait for the end of a job, or bring it about; a message where its time was up."""
    until = time.monotonic() + job.spec.timeout_seconds
    message = None
    while process.poll() is None:
        if time.monotonic() > until:
            message = f"Job timeout: it ran for {job.spec.timeout_seconds} seconds"
        if message or canceled.is_set():
            _end(process, job.id)
            break
        canceled.wait(POLL_SECONDS)
    _kill(process, job.id, signal.SIGKILL)  # what it has left behind
    process.wait()
    return message


def _end(process: "subprocess.Popen[bytes]", job_id: str) -> None:
    _kill(process, job_id, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE_SECONDS)


def _kill(process: "subprocess.Popen[bytes]", job_id: str, number: signal.Signals) -> None:
    """Signal the group; KILL also reaches processes that have left it, as a launcher's do."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
    if number != signal.SIGKILL:
        return  # as of a container: who has started others hands it on
    for pid in _strays(job_id):
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != process.pid:
                os.kill(pid, number)


def _strays(job_id: str) -> Iterator[int]:
    """Processes that have the job's id in their environment; none where there is no /proc."""
    mark = f"JOB_ID={job_id}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)


def _copy(process: "subprocess.Popen[bytes]", out: BinaryIO) -> None:
    """What the job says goes into its log, up to a size; beyond it is read and dropped."""
    assert process.stdout is not None
    size = 0
    with process.stdout:
        while line := process.stdout.readline(MAX_LINE_BYTES):
            size += len(line)
            if size <= MAX_LOG_BYTES:
                _say(out, line.decode("utf-8", "replace").rstrip("\r\n"))
            elif size - len(line) <= MAX_LOG_BYTES:
                _say(out, f"The log ends here, at {MAX_LOG_BYTES} bytes.")


def _say(out: BinaryIO, text: str) -> None:
    out.write(json.dumps({"timestamp": now_iso(), "data": text}).encode() + b"\n")
