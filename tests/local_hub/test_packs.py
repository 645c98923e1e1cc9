import subprocess
from pathlib import Path

import pygit2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.packs import BlobPack
from hub_trainer.local_hub.repo_rows import find_repo

SIZES = [0, 1, 15, 16, 17, 2047, 2048, 300_000]


def test_pack_when_finished_then_git_reads_every_blob(tmp_path: Path) -> None:
    git = pygit2.init_repository(str(tmp_path / "r.git"), bare=True)
    pack = BlobPack(tmp_path)
    blobs = {pack.add(bytes([size % 251]) * size): size for size in SIZES}
    blobs.update({pack.add(b"%d" % number): len(b"%d" % number) for number in range(600)})
    assert pack.add(b"5") == str(pygit2.hash(b"5"))
    pack.finish(Path(git.path))
    fresh = pygit2.Repository(git.path)
    assert {oid: fresh[oid].size for oid in blobs} == blobs
    words = ["git", "fsck", "--full", "--strict"]
    check = subprocess.run(words, cwd=git.path, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    (index,) = (tmp_path / "r.git" / "objects" / "pack").glob("*.idx")
    verified = subprocess.run(["git", "verify-pack", str(index)], capture_output=True, check=False)
    assert verified.returncode == 0


def test_pack_when_empty_or_discarded_then_no_file_is_left(tmp_path: Path) -> None:
    BlobPack(tmp_path).finish(tmp_path)
    pack = BlobPack(tmp_path)
    pack.add(b"1")
    pack.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [5, 20, 300])
def test_commit_when_it_has_many_files_then_they_are_there_and_the_repo_is_sound(
    hub: LocalHub, api: HfApi, repo_id: str, number: int
) -> None:
    operations = [CommitOperationAdd(f"d/{n}.txt", b"%d" % n) for n in range(number)]
    api.create_commit(repo_id, operations, commit_message="Many")
    assert len(api.list_repo_files(repo_id)) == number + 1
    repo = find_repo(hub.core.store, "model", repo_id)
    assert repo is not None
    path = hub.core.git_path(repo.id)
    assert len(list((path / "objects" / "pack").glob("*.pack"))) == (number >= 20)
    check = subprocess.run(["git", "fsck", "--full"], cwd=path, capture_output=True, check=False)
    assert check.returncode == 0
    assert list((hub.data_dir / "tmp").iterdir()) == []
