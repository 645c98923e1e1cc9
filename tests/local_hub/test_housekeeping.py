"""Packing a repo's objects: nothing is lost, whoever reads or writes meanwhile."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hub_trainer.local_hub import Limits, LocalHub, housekeeping
from hub_trainer.local_hub.git_read import open_git
from hub_trainer.local_hub.git_write import write_blob
from hub_trainer.local_hub.housekeeping import GRACE_SECONDS, Housekeeper
from hub_trainer.local_hub.packs import BlobPack
from hub_trainer.local_hub.repo_rows import find_repo

TIDY = Limits(loose_objects=800, packs=3)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tidy_hub() -> Iterator[LocalHub]:
    with LocalHub(limits=TIDY) as hub:
        yield hub


@pytest.fixture
def git_path(tidy_hub: LocalHub) -> Path:
    HfApi(endpoint=tidy_hub.url, token=tidy_hub.token).create_repo("m")
    repo = find_repo(tidy_hub.core.store, "model", "admin/m")
    assert repo is not None
    return tidy_hub.core.git_path(repo.id)


def client_of(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def commit(hub: LocalHub, name: str, num_files: int) -> None:
    operations = [
        CommitOperationAdd(f"{name}/{number}.txt", f"{name} {number}".encode())
        for number in range(num_files)
    ]
    client_of(hub).create_commit("admin/m", operations, commit_message=name)


def counted(git_path: Path) -> tuple[int, int]:
    """(loose objects, packs)"""
    words = ["git", "count-objects", "-v"]
    told = subprocess.run(words, cwd=git_path, capture_output=True, text=True, check=True).stdout
    found = dict(line.split(": ") for line in told.splitlines())
    assert found["garbage"] == "0"
    return int(found["count"]), int(found["packs"])


def assert_sound(git_path: Path) -> None:
    words = ["git", "fsck", "--full", "--strict"]
    done = subprocess.run(words, cwd=git_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def add_loose(git_path: Path, number: int) -> None:
    """Objects in files of their own to which nothing points: those of a commit being made."""
    git = open_git(git_path)
    for each in range(number):
        write_blob(git, f"loose {each}".encode())


def test_packs_when_there_are_many_then_they_become_one_and_the_old_go_after_a_while(
    tidy_hub: LocalHub, git_path: Path
) -> None:
    clock = Clock()
    keeper = Housekeeper(tidy_hub.core, clock)
    for number in range(4):
        commit(tidy_hub, f"c{number}", 25)
    _, before = counted(git_path)
    assert before == 4
    keeper.tidy()
    assert counted(git_path) == (0, 5)
    clock.now = GRACE_SECONDS + 1
    commit(tidy_hub, "later", 1)
    keeper.tidy()
    assert counted(git_path)[1] == 1
    assert_sound(git_path)
    assert len(client_of(tidy_hub).list_repo_files("admin/m")) == 102


def test_packs_when_few_then_left_alone(tidy_hub: LocalHub, git_path: Path) -> None:
    commit(tidy_hub, "c", 25)
    before = counted(git_path)
    Housekeeper(tidy_hub.core).tidy()
    assert counted(git_path) == before


def test_packs_when_one_is_large_then_only_the_small_ones_are_written_again(
    tidy_hub: LocalHub, git_path: Path
) -> None:
    noise = [CommitOperationAdd(f"n{n}", os.urandom(20_000).hex().encode()) for n in range(25)]
    client_of(tidy_hub).create_commit("admin/m", noise, commit_message="Noise")
    (large,) = (git_path / "objects" / "pack").glob("*.pack")
    for number in range(4):
        commit(tidy_hub, f"c{number}", 25)
    clock = Clock()
    keeper = Housekeeper(tidy_hub.core, clock)
    keeper.tidy()
    clock.now = GRACE_SECONDS + 1
    keeper.tidy()
    assert large.exists()
    assert counted(git_path)[1] == 2
    assert_sound(git_path)


def test_loose_objects_when_many_then_packed_reachable_or_not(
    tidy_hub: LocalHub, git_path: Path
) -> None:
    add_loose(git_path, 2000)
    pack = BlobPack(tidy_hub.core.temporary())
    waiting = pack.add(b"of a commit under way")
    pack.finish(git_path)
    commit(tidy_hub, "c", 1)
    Housekeeper(tidy_hub.core).tidy()
    assert counted(git_path) == (0, 2)
    words = ["git", "cat-file", "-p"]
    found = subprocess.run([*words, waiting], cwd=git_path, capture_output=True, check=True)
    assert found.stdout == b"of a commit under way"


def test_packing_when_git_fails_then_the_repo_is_as_before_and_the_log_says_so(
    tidy_hub: LocalHub,
    git_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(4):
        commit(tidy_hub, f"c{number}", 25)
    before = counted(git_path)
    monkeypatch.setattr(housekeeping, "_PACK_OBJECTS", "pack-objects --no-such-option")
    Housekeeper(tidy_hub.core).tidy()
    assert counted(git_path) == before
    assert "packing the objects of repo" in caplog.text
    assert "no-such-option" in caplog.text


def test_packing_when_it_takes_too_long_then_given_up_for_that_repo(
    tidy_hub: LocalHub,
    git_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper = Housekeeper(tidy_hub.core)
    monkeypatch.setattr(housekeeping, "PACK_SECONDS", 0)
    for number in range(5):
        commit(tidy_hub, f"c{number}", 25)
        keeper.tidy()
    assert caplog.text.count("timed out") == 1
    assert_sound(git_path)


def test_stop_when_packing_is_under_way_then_it_ends_at_once_and_nothing_is_lost(
    tidy_hub: LocalHub, git_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(housekeeping, "_GENTLY", ("sh", "-c", "exec sleep 600", "sh"))
    for number in range(4):
        commit(tidy_hub, f"c{number}", 25)
    keeper = Housekeeper(tidy_hub.core)
    keeper.start()
    for _ in range(1000):
        if keeper._process is not None:
            break
        threading.Event().wait(0.01)
    assert keeper._process is not None
    keeper.stop()
    assert keeper._process.returncode == -signal.SIGTERM
    assert_sound(git_path)
    assert len(client_of(tidy_hub).list_repo_files("admin/m")) == 101


def test_packing_when_the_repo_has_gone_then_nothing_happens(
    tidy_hub: LocalHub, git_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        commit(tidy_hub, f"c{number}", 25)
    client_of(tidy_hub).delete_repo("admin/m")
    Housekeeper(tidy_hub.core).tidy()
    assert not git_path.exists()
    assert caplog.text == ""


def test_packing_when_cut_off_then_the_next_one_clears_up(
    tidy_hub: LocalHub, git_path: Path
) -> None:
    for number in range(4):
        commit(tidy_hub, f"c{number}", 25)
    (git_path / "objects" / "pack" / "tmp_pack_x1").write_bytes(b"half")
    Housekeeper(tidy_hub.core).tidy()
    assert list((git_path / "objects" / "pack").glob("tmp_*")) == []
    counted(git_path)


class Beside:
    """Packs all the time and reads all the time; notes what was answered wrongly."""

    def __init__(self, hub: LocalHub) -> None:
        self.faults: list[str] = []
        self._hub = hub
        self._done = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._tidy, self._read)]
        for thread in self._threads:
            thread.start()

    def _tidy(self) -> None:
        clock = Clock()
        keeper = Housekeeper(self._hub.core, clock)
        while not self._done.wait(0.02):
            clock.now += GRACE_SECONDS / 4
            keeper.tidy()

    def _read(self) -> None:
        with httpx.Client(base_url=self._hub.url, timeout=30) as http:
            while not self._done.is_set():
                tree = http.get("/api/models/admin/m/tree/main?recursive=true&expand=true")
                self.faults.extend([tree.text] if tree.status_code != 200 else [])

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def test_writers_readers_and_copies_when_objects_are_packed_all_the_time_then_nothing_is_lost(
    tidy_hub: LocalHub, git_path: Path
) -> None:
    def write(writer: int) -> None:
        for number in range(12):
            commit(tidy_hub, f"w{writer}-{number}", 25 if number % 2 else 3)

    beside = Beside(tidy_hub)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    client_of(tidy_hub).duplicate_repo("admin/m", "admin/copy")
    beside.stop()
    assert beside.faults == []
    assert len(client_of(tidy_hub).list_repo_commits("admin/m")) == 1 + 3 * 12
    for name in ("m", "copy"):
        assert len(client_of(tidy_hub).list_repo_files(f"admin/{name}")) == 1 + 3 * 6 * 28
    for path in tidy_hub.data_dir.glob("repos/*/*.git"):
        assert_sound(path)


def test_local_hub_when_it_runs_then_it_packs_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(housekeeping, "EVERY_SECONDS", 0.05)
    with LocalHub(tmp_path, limits=TIDY) as hub:
        client_of(hub).create_repo("m")
        for number in range(4):
            commit(hub, f"c{number}", 25)
        (path,) = tmp_path.glob("repos/*/*.git")
        indexes = path / "objects" / "pack"
        for _ in range(600):
            if len(list(indexes.glob("*.idx"))) == 5:  # four, and the one that they became
                return
            threading.Event().wait(0.05)
        raise AssertionError(f"not packed: {sorted(indexes.iterdir())}")
