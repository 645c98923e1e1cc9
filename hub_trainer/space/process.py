"""A Space run here: the files that the serve stage made, in an interpreter of their own.

Nothing of the Space's repo is run. The child imports the files that were made and installed
packages, and nothing from the folder of the command; the token reaches it through a pipe.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from hub_trainer.artifacts import Artifact, file_sha256
from hub_trainer.errors import UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, Hub
from hub_trainer.space.settings import FROM_ENVIRONMENT

HOST = "127.0.0.1"
STOP_SECONDS = 15.0
LOG_FILE = "space.log"
_BOOTSTRAP = (
    "import json,sys; told=json.load(sys.stdin); sys.path[:]=told['path'];"
    "from hub_trainer.space.server import main; main(told['token'])"
)
KEPT_VARIABLES: tuple[str, ...] = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "TMPDIR")
KEPT_VARIABLES += ("LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES")
KEPT_VARIABLES += ("OMP_NUM_THREADS", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")
KEPT_VARIABLES += ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
KEPT_VARIABLES += ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
KEPT_VARIABLES += ("RATER_KEY", *(name.upper() for name in FROM_ENVIRONMENT))
"""What the child keeps of this environment: where things lie, and a Space's own settings."""


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
    made: Artifact,
    *,
    folder: Path,
    port: int = 0,
    variables: Mapping[str, str] | None = None,
) -> RunningSpace:
    """Run the Space that the serve stage made in `folder`, which also keeps its ratings.

    Returns once it answers. `port` 0 takes a free one; `variables` are added to the environment,
    as RATINGS_PER_HOUR. Raises UsageError for a port in use and for a Space that does not start.
    """
    port = _free_port(port)
    app_dir = _lay_out(made, folder / "app")
    told = {"path": [str(app_dir), *_library_path()], "token": hub.token_for_child()}
    log_path = folder / LOG_FILE
    with log_path.open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", _BOOTSTRAP],
            cwd=app_dir,
            env={**_environment(hub, folder, port), **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(told).encode())
    running = RunningSpace(f"http://{HOST}:{port}", folder, process)
    try:
        _wait_until_it_answers(running, json.loads((app_dir / "space.json").read_text()))
    except BaseException:
        running.stop()
        raise
    return running


def _lay_out(made: Artifact, app_dir: Path) -> Path:
    """A folder with exactly the files of the artifact, each with the content it was made with."""
    shutil.rmtree(app_dir, ignore_errors=True)
    for path, entry in made.manifest["files"].items():
        target = app_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made.folder / path, target)
        if file_sha256(target) != entry["sha256"]:
            raise UsageError(
                "A file of the Space is not as the serve stage made it.",
                where=str(made.folder / path),
                do=f"Delete {made.folder} and serve again.",
            )
    return app_dir.resolve()


def _library_path() -> list[str]:
    """Where Python and installed packages lie: no folder of the user's, no source tree."""
    places = ("site-packages", "dist-packages", "lib-dynload")
    base = str(Path(sys.base_prefix).resolve())
    return [
        entry
        for entry in map(os.path.abspath, filter(None, sys.path))
        if Path(entry).name in places or str(Path(entry).resolve()).startswith(base + os.sep)
    ]


def _environment(hub: Hub, folder: Path, port: int) -> dict[str, str]:
    """The child's environment, which is all that it has."""
    place = folder.resolve()
    return {
        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        **({} if hub.url == PUBLIC_ENDPOINT else {"HF_HUB_DISABLE_XET": "1"}),
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
        do="Mend what it says there, then run the same command again.",
    )


def _health_sha(url: str) -> str | None:
    try:
        with build_opener(ProxyHandler({})).open(f"{url}/health", timeout=5) as answer:
            return str(json.load(answer)["model"]["commit_sha"])
    except (URLError, OSError, ValueError, KeyError, TypeError):
        return None
