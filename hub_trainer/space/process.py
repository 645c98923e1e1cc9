"""A Space run here: the pushed files, downloaded at their commit, started as a child process."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, Repo

HOST = "127.0.0.1"
STOP_SECONDS = 15.0
LOG_FILE = "space.log"


@dataclass(frozen=True)
class RunningSpace:
    """A Space that answers at `url`; its output goes to a log in `folder`."""

    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def wait(self) -> int:
        """Block until the Space stops; returns its exit status."""
        return self.process.wait()

    def stop(self) -> int:
        """Ask it to send what waits and to stop; returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def start(
    hub: Hub,
    space_repo_id: str,
    *,
    folder: Path,
    commit_sha: str | None = None,
    port: int = 0,
    variables: Mapping[str, str] | None = None,
) -> RunningSpace:
    """Run a Space of the Hub in `folder`, which also keeps its ratings; returns once it answers.

    `commit_sha` None is the tip of main; `port` 0 takes a free one; `variables` are added to the
    environment, as RATINGS_PER_HOUR. Raises UsageError for a port in use and for a Space that
    does not start.
    """
    repo = Repo(space_repo_id, "space")
    sha = commit_sha or hub.resolve(repo)
    port = _free_port(port)
    app_dir = hub.download(repo, sha, allow=["*"], into=folder / f"app-{sha[:12]}")
    log_path = folder / LOG_FILE
    with log_path.open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=app_dir,
            env={**os.environ, **_environment(hub, folder, port), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
    running = RunningSpace(f"http://{HOST}:{port}", folder, process)
    try:
        _wait_until_it_answers(running, json.loads((app_dir / "space.json").read_text()))
    except BaseException:
        running.stop()
        raise
    return running


def _environment(hub: Hub, folder: Path, port: int) -> dict[str, str]:
    """What the child's environment has beside ours."""
    place = folder.resolve()
    return {
        **hub.child_environment(),
        "GRADIO_SERVER_NAME": HOST,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(place / "uploads"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        "RATINGS_DIR": str(place / "ratings"),
    }


def _free_port(port: int) -> int:
    """The port that is asked for, or a free one. Raises UsageError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} cannot be used: {error.strerror}.",
                where=f"{HOST}:{port}",
                do="Choose another --port, or 0 for a free one.",
            ) from None
        found: int = probe.getsockname()[1]
        return found


def _wait_until_it_answers(running: RunningSpace, settings: Mapping[str, object]) -> None:
    """Until /health names the model of these settings: another program may have the port."""
    while running.process.poll() is None:
        if _health_sha(running.url) == settings["commit_sha"]:
            return
        time.sleep(0.1)
    log_path = running.folder / LOG_FILE
    tail = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise UsageError(
        f"The Space stopped while it was starting, with status {running.process.returncode}.",
        where=str(log_path),
        got="\n         ".join(tail) or "no output",
    )


def _health_sha(url: str) -> str | None:
    try:
        with build_opener(ProxyHandler({})).open(f"{url}/health", timeout=5) as answer:
            return str(json.load(answer)["model"]["commit_sha"])
    except (URLError, OSError, ValueError, KeyError, TypeError):
        return None
