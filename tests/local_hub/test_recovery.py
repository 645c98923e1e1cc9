"""Crashes and races: what was acknowledged stays, what was not leaves no trace that hurts."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.hf_api import RepoFile

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.core import Core, open_core
from hub_trainer.local_hub.git_read import ref_commit
from hub_trainer.local_hub.git_write import move_ref
from hub_trainer.local_hub.refs import reconcile
from hub_trainer.local_hub.repo_rows import Repo, find_repo


def _repo(core: Core) -> Repo:
    repo = find_repo(core.store, "model", "admin/m")
    assert repo is not None
    return repo


def _intent(core: Core, ref: str, old: str, new: str, action: dict[str, Any]) -> None:
    values = ("intent", _repo(core).id, ref, old, new, "admin", json.dumps(action))
    with core.store.write() as db:
        db.execute("INSERT INTO ref_intent VALUES (?, ?, ?, ?, ?, ?, ?)", values)


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, str, int]:
    """A hub's folder with a repo and an open pull request; (folder, tip of main, number)."""
    with LocalHub(tmp_path / "hub") as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.create_repo("m")
        readme = [CommitOperationAdd("README.md", b"---\ntags: [late]\n---\n")]
        done = api.create_commit("admin/m", readme, commit_message="Card", create_pr=True)
        assert done.pr_num is not None
        return tmp_path / "hub", str(api.model_info("admin/m").sha), done.pr_num


def test_start_when_a_merge_had_reached_git_then_the_rows_follow(
    stopped: tuple[Path, str, int],
) -> None:
    folder, old, num = stopped
    core = open_core(folder)
    git = core.git(_repo(core))
    new = str(git.references[f"refs/pr/{num}"].target)
    _intent(core, "refs/heads/main", old, new, {"type": "merge", "num": num, "comment": None})
    move_ref(git, "refs/heads/main", old, new)
    core.close()
    with LocalHub(folder) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        details = api.get_discussion_details("admin/m", num)
        assert (details.status, details.merge_commit_oid) == ("merged", new)
        assert "late" in (api.model_info("admin/m").tags or [])
        assert api.model_info("admin/m").sha == new


def test_start_when_a_move_had_not_reached_git_then_it_is_forgotten(
    stopped: tuple[Path, str, int],
) -> None:
    folder, old, num = stopped
    core = open_core(folder)
    new = str(core.git(_repo(core)).references[f"refs/pr/{num}"].target)
    _intent(core, "refs/heads/main", old, new, {"type": "merge", "num": num, "comment": None})
    reconcile(core)
    assert core.store.read().execute("SELECT 1 FROM ref_intent").fetchone() is None
    core.close()
    with LocalHub(folder) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        assert api.get_discussion_details("admin/m", num).status == "open"
        assert api.model_info("admin/m").sha == old


def test_start_when_creation_and_deletion_were_cut_off_then_nothing_is_left(
    stopped: tuple[Path, str, int],
) -> None:
    folder = stopped[0]
    for leftover in ("repos/ab/abcdab.git", "trash/x.git", "tmp/push-1/pack"):
        (folder / leftover).mkdir(parents=True)
    (folder / "lfs" / "incoming" / "old").write_bytes(b"x")
    os.utime(folder / "lfs" / "incoming" / "old", (1, 1))
    with LocalHub(folder) as hub:
        assert HfApi(endpoint=hub.url, token=hub.token).repo_exists("admin/m")
        left = [
            path
            for name in ("repos/ab", "trash", "tmp", "lfs/incoming")
            for path in (folder / name).iterdir()
        ]
        assert left == []


def test_refs_when_a_killed_server_left_gits_locks_then_they_do_not_matter(
    stopped: tuple[Path, str, int],
) -> None:
    folder, _, num = stopped
    core = open_core(folder)
    path = core.git_path(_repo(core).id)
    core.close()
    for name in ("refs/heads/main", "refs/heads/dev", "refs/tags/v1", "packed-refs"):
        (path / f"{name}.lock").touch()
    with LocalHub(folder) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.merge_pull_request("admin/m", num)
        api.create_branch("admin/m", branch="dev")
        api.create_tag("admin/m", tag="v1", tag_message="One")
        (path / "refs" / "heads" / "dev.lock").touch()
        api.delete_branch("admin/m", branch="dev")
        assert [each.name for each in api.list_repo_refs("admin/m").branches] == ["main"]


def test_commits_when_many_race_with_the_same_parent_then_one_wins(
    hub: LocalHub, api: HfApi, repo_id: str
) -> None:
    parent = api.model_info(repo_id).sha
    answers: list[int] = []

    def race(number: int) -> None:
        header = {"key": "header", "value": {"summary": f"{number}", "parentCommit": parent}}
        line = {"key": "file", "value": {"path": f"{number}", "content": "x", "encoding": "utf-8"}}
        answer = httpx.post(
            f"{hub.url}/api/models/{repo_id}/commit/main",
            content=f"{json.dumps(header)}\n{json.dumps(line)}",
            headers={"Authorization": f"Bearer {hub.token}"},
            timeout=60,
        )
        answers.append(answer.status_code)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [412] * 15
    assert len(api.list_repo_commits(repo_id)) == 2


def test_commits_when_many_write_without_a_parent_then_all_are_there_in_a_line(
    hub: LocalHub, api: HfApi, repo_id: str
) -> None:
    def write(number: int) -> None:
        client = HfApi(endpoint=hub.url, token=hub.token)
        for turn in range(3):
            client.upload_file(
                path_or_fileobj=b"x", path_in_repo=f"{number}-{turn}", repo_id=repo_id
            )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api.list_repo_files(repo_id)) == 25
    assert len(api.list_repo_commits(repo_id)) == 25


SERVER = (
    "import json, pathlib, sys\n"
    "from hub_trainer.local_hub import Limits, LocalHub, housekeeping\n"
    "housekeeping.EVERY_SECONDS, housekeeping.GRACE_SECONDS = 0.2, 0.5\n"
    "with LocalHub(pathlib.Path(sys.argv[1]), limits=Limits(loose_objects=200, packs=2)) as hub:\n"
    "    print(json.dumps([hub.url, hub.token]), flush=True)\n"
    "    hub.wait()\n"
)
"""It packs objects again and again, so that kills hit that as well."""


class Writers:
    """Threads that commit until the server dies, every other one large files; they note what it
    acknowledged."""

    def __init__(self, url: str, token: str, number: int, round_name: str) -> None:
        self.acknowledged: list[str] = []
        self._url, self._token, self._round = url, token, round_name
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(number)]
        for thread in self._threads:
            thread.start()

    def _write(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        send = self._send_large if number % 2 else self._send_small
        with httpx.Client(base_url=self._url, headers=headers, timeout=30) as client:
            for turn in range(10_000):
                path = f"{self._round}/{number}/{turn}"
                try:
                    answer = send(client, path)
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200, answer.text
                self.acknowledged.append(path)

    def _send_small(self, client: httpx.Client, path: str) -> httpx.Response:
        return self._commit(client, {"key": "file", "value": {"path": path, "content": path}})

    def _send_large(self, client: httpx.Client, path: str) -> httpx.Response:
        content = path.encode() * 1000
        value = {"path": path, "algo": "sha256", "oid": hashlib.sha256(content).hexdigest()}
        wanted = {"oid": value["oid"], "size": len(content)}
        body = {"operation": "upload", "objects": [wanted]}
        batch = client.post("/admin/m.git/info/lfs/objects/batch", json=body).json()
        action = batch["objects"][0]["actions"]["upload"]
        assert client.put(action["href"], content=content).status_code == 200
        return self._commit(client, {"key": "lfsFile", "value": value})

    def _commit(self, client: httpx.Client, line: dict[str, Any]) -> httpx.Response:
        lines = [{"key": "header", "value": {"summary": "s"}}, line]
        body = "\n".join(map(json.dumps, lines))
        return client.post("/api/models/admin/m/commit/main", content=body)

    def wait_for(self, number: int) -> None:
        """Until so many commits are acknowledged."""
        for _ in range(6000):
            if len(self.acknowledged) >= number:
                return
            time.sleep(0.005)
        raise AssertionError(f"{len(self.acknowledged)} of {number} commits in 30 seconds")

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join()
        return self.acknowledged


@dataclass
class Killed:
    """What was seen while a server was killed again and again."""

    acknowledged: set[str] = field(default_factory=set)
    num_large: int = 0
    slowest_start_seconds: float = 0.0


def _kill_while_writing(folder: Path, rounds: int, rng: random.Random) -> Killed:
    """Start, write with 8 threads, kill -9, again; everything acknowledged must be there."""
    seen = Killed()
    for number in range(rounds):
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        url, token = json.loads(process.stdout.readline())
        seen.slowest_start_seconds = max(seen.slowest_start_seconds, time.monotonic() - began)
        api = HfApi(endpoint=url, token=token)
        api.create_repo("m", exist_ok=True)
        assert seen.acknowledged <= set(api.list_repo_files("admin/m"))
        writers = Writers(url, token, 8, f"round{number}")
        writers.wait_for(rng.randrange(8, 30))
        os.kill(process.pid, signal.SIGKILL)
        seen.acknowledged.update(writers.join())
        process.wait()
        process.stdout.close()
    with LocalHub(folder) as hub:
        seen.num_large = _check_everything(hub, seen.acknowledged)
    return seen


def _check_everything(hub: LocalHub, acknowledged: set[str]) -> int:
    """Files, history and large files agree with what was acknowledged; how many are large."""
    api = HfApi(endpoint=hub.url, token=hub.token)
    found = api.list_repo_tree("admin/m", recursive=True)
    entries = [entry for entry in found if isinstance(entry, RepoFile)]
    assert acknowledged <= {entry.path for entry in entries}
    git = hub.core.git(_repo(hub.core))
    tip = ref_commit(git, "refs/heads/main")
    assert tip is not None
    assert api.model_info("admin/m").sha == str(tip.id)
    large = [entry for entry in entries if entry.lfs is not None]
    for entry in large:
        content = hub.core.lfs.path_of(entry.lfs.sha256).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.lfs.sha256
    words = ["git", "fsck", "--full"]
    check = subprocess.run(words, cwd=git.path, capture_output=True, check=False)
    assert (check.returncode, check.stderr) == (0, b"")
    return len(large)


def test_server_when_killed_while_8_write_then_every_acknowledged_commit_is_there(
    tmp_path: Path,
) -> None:
    seen = _kill_while_writing(tmp_path / "hub", 3, random.Random(1))
    assert seen.acknowledged
    assert seen.num_large


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_server_when_killed_100_times_then_every_acknowledged_commit_is_there(
    tmp_path: Path,
) -> None:
    seen = _kill_while_writing(tmp_path / "hub", 100, random.Random(2))
    print(
        f"100 kills, {len(seen.acknowledged)} acknowledged commits, 0 lost; {seen.num_large} large "
        f"files whole; slowest start {seen.slowest_start_seconds:.1f} s with Python's own"
    )
    assert len(seen.acknowledged) > 20
