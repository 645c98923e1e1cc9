"""Inside a job: take up what an earlier try has kept, run the round, keep what it leaves."""

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import file_sha256
from hub_trainer.away.look import after_round
from hub_trainer.away.parcel import EXIT_MARK, KEPT
from hub_trainer.errors import ExitCode, HubError
from hub_trainer.hub import Changes, Hub, Repo, use_endpoint

log = logging.getLogger(__name__)

KEEP_SECONDS = "HUB_TRAINER_KEEP_SECONDS"
"""Variable: how often the round is kept while it runs, 600 otherwise."""
ROUNDS = Path("rounds")
NOT_KEPT = (".claim",)


def main(arguments: Sequence[str]) -> int:
    """`python -m hub_trainer.away.inside REPO RUN_ARGUMENT...`; the exit code is that of `run`."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for name in ("hub_trainer.away", __name__):
        logging.getLogger(name).setLevel(logging.INFO)
    use_endpoint(None)
    repo_id, *of_run = arguments
    hub = Hub()
    keeper = Keeper(hub, Repo(repo_id, "dataset"))
    keeper.restore()
    code = _run(of_run, keeper)
    if code in (ExitCode.DONE, ExitCode.NOT_PROMOTED):
        keeper.forget()
        after_round(hub)
    else:
        keeper.keep()
    sys.stdout.write(f"{EXIT_MARK} {code}\n")
    sys.stdout.flush()
    return code


def _run(arguments: Sequence[str], keeper: "Keeper") -> int:
    """`hub-trainer run` as a child; TERM to this process goes on to it, once."""
    command = [sys.executable, "-m", "hub_trainer", "run", *arguments]
    every = float(os.environ.get(KEEP_SECONDS, "600"))
    with subprocess.Popen(command, start_new_session=True) as child:
        told: list[int] = []

        def hand_on(number: int, frame: Any) -> None:
            if not told:
                child.send_signal(signal.SIGTERM)
            told.append(number)

        signal.signal(signal.SIGTERM, hand_on)
        while True:
            try:
                return child.wait(timeout=every)
            except subprocess.TimeoutExpired:
                keeper.keep()


class Keeper:
    """The rounds of this folder, kept in a private repo between the tries."""

    def __init__(self, hub: Hub, repo: Repo) -> None:
        self._hub, self._repo, self._last = hub, repo, ""

    def restore(self) -> None:
        """Put what was kept where the round will look for it."""
        sha = self._hub.resolve(self._repo)
        if not self._kept(sha):
            return
        folder = Path(tempfile.mkdtemp(dir="."))
        self._hub.download(self._repo, sha, allow=[f"{KEPT}/*"], into=folder)
        shutil.copytree(folder / KEPT, ROUNDS, dirs_exist_ok=True)
        shutil.rmtree(folder)
        log.info("An earlier try has kept its round; this one resumes it.")

    def keep(self) -> None:
        """Commit the rounds as they are now. A Hub that does not answer is told, and no more."""
        with tempfile.TemporaryDirectory(dir=".") as name:
            files = _copied(Path(name))
            digest = hashlib.sha256()
            for path, copy in files.items():
                digest.update(f"{path}\0{file_sha256(copy)}\n".encode())
            if not files or digest.hexdigest() == self._last:
                return
            try:
                self._commit(files, digest.hexdigest())
            except HubError as error:
                log.warning("The round could not be kept: %s", error)
                return
            self._last = digest.hexdigest()

    def forget(self) -> None:
        """The round has ended, so nothing of it is needed any more."""
        try:
            if self._kept("main"):
                self._commit({}, f"end-{os.urandom(8).hex()}")
        except HubError as error:
            log.warning("What was kept of the round could not be removed: %s", error)

    def _commit(self, files: dict[str, Path], run_id: str) -> None:
        gone = sorted(self._kept("main") - set(files))
        title = "A round as it is now" if files else "The round has ended"
        changes = Changes(files=dict(files), deletions=gone)
        self._hub.commit(self._repo, changes, message=title, run_id=f"keep-{run_id[:32]}")

    def _kept(self, revision: str) -> set[str]:
        files = self._hub.list_files(self._repo, revision)
        return {file.path for file in files if file.path.startswith(f"{KEPT}/")}


def _copied(into: Path) -> dict[str, Path]:
    """A copy of the rounds' files, by their paths in the repo.

    The round goes on meanwhile: a file that is replaced while it is copied fails the hash of its
    checkpoint, and the one before is taken.
    """
    found: dict[str, Path] = {}
    for path in sorted(ROUNDS.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.name in NOT_KEPT:
            continue
        copy = into / str(len(found))
        try:
            shutil.copyfile(path, copy)
        except FileNotFoundError:
            continue
        found[f"{KEPT}/{path.relative_to(ROUNDS).as_posix()}"] = copy
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
