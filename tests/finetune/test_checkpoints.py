import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_trainer.errors import ExitCode, TrainingError
from hub_trainer.finetune import checkpoints
from hub_trainer.finetune.checkpoints import (
    MANIFEST,
    check_free_space,
    clear_for,
    newest_valid_checkpoint,
    rotate,
    save_failed,
    verified,
    write_checkpoint,
)

FILES = ("trained.safetensors", "optimizer.pt", "sub/trainer_state.json")


def write_files(folder: Path) -> None:
    (folder / "sub").mkdir()
    for number, name in enumerate(FILES):
        (folder / name).write_bytes(bytes([number]) * 4000)


def save(
    folder: Path,
    step: int,
    *,
    digest: str = "run",
    needs: int | None = None,
    write: Callable[[Path], None] = write_files,
) -> Path:
    folder.mkdir(exist_ok=True)
    seal = {"run_digest": digest, "environment": {"torch": "2"}, "needs_step": needs}
    return write_checkpoint(folder, step, write, seal=seal, barrier=lambda: None, is_writer=True)


def test_a_written_checkpoint_reads_back(tmp_path: Path) -> None:
    path = save(tmp_path / "runs", 20)
    found = newest_valid_checkpoint(tmp_path / "runs", run_digest="run")
    assert found is not None
    assert (found.path, found.step, found.run_digest) == (path, 20, "run")
    assert found.environment == {"torch": "2"}
    assert not list((tmp_path / "runs").glob(".staging*"))


def test_newest_is_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        save(tmp_path, step)
    found = newest_valid_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 100


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zero_tail(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-200] + b"\0" * 200)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


DAMAGES = (flip, truncate, zero_tail, append, Path.unlink)


@pytest.mark.parametrize("name", [*FILES[1:], MANIFEST])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_to_any_file_is_found_and_the_one_before_is_taken(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    save(tmp_path, 1)
    damage(save(tmp_path, 2) / name)
    found = newest_valid_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_file_too_many_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    (path / "extra.bin").write_bytes(b"x")
    assert verified(path) is None


def test_a_manifest_of_another_step_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    shutil.copytree(path, tmp_path / "checkpoint-7")
    assert verified(tmp_path / "checkpoint-7") is None


@pytest.mark.parametrize("content", ["", "[]", "null", '{"files": 3}', "\udcff"])
def test_a_manifest_that_is_no_manifest_is_found(tmp_path: Path, content: str) -> None:
    path = save(tmp_path, 1)
    (path / MANIFEST).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert verified(path) is None


def test_a_checkpoint_whose_best_is_lost_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1, needs=1)
    best = save(tmp_path, 2, needs=2)
    save(tmp_path, 3, needs=2)
    flip(best / FILES[0])
    found = newest_valid_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_another_run_is_not_resumed_and_is_cleared_away(tmp_path: Path) -> None:
    save(tmp_path, 1, digest="old")
    save(tmp_path, 2, digest="new")
    (tmp_path / ".staging-3").mkdir()
    assert newest_valid_checkpoint(tmp_path, run_digest="other") is None
    assert clear_for(tmp_path, "new") == ["1 checkpoints of another run were removed"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_clear_makes_the_folder_and_drops_what_has_no_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    assert clear_for(folder, "run") == []
    (folder / "checkpoint-4").mkdir()
    told = "checkpoint-4 was passed over and removed: MANIFEST.json is missing"
    assert clear_for(folder, "run") == [told]


def test_clear_when_the_newest_do_not_read_back_then_each_is_named_with_its_file(
    tmp_path: Path,
) -> None:
    paths = [save(tmp_path, step, digest="run") for step in (1, 2, 3, 4)]
    flip(paths[1] / FILES[0])  # older than the one that is resumed from: nobody asks
    (paths[3] / FILES[1]).unlink()
    needing = save(tmp_path, 5, digest="run", needs=4)
    assert clear_for(tmp_path, "run") == [
        f"{needing.name} was passed over and removed: of checkpoint-4, the best so far,"
        f" {FILES[1]} is missing",
        f"checkpoint-4 was passed over and removed: {FILES[1]} is missing",
    ]
    assert newest_valid_checkpoint(tmp_path) == verified(paths[2])


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("added.bin", b"x", "added.bin is not in its MANIFEST.json"),
        (FILES[0], b"x", f"{FILES[0]} is not as it was written"),
        (MANIFEST, b"{}", "MANIFEST.json is not one (KeyError)"),
        (MANIFEST, b'{"files": {}, "digest": "0"}', "MANIFEST.json is not as it was written"),
    ],
)
def test_clear_when_a_file_is_not_as_it_was_then_says_which(
    name: str, content: bytes, fault: str, tmp_path: Path
) -> None:
    (save(tmp_path, 1, digest="run") / name).write_bytes(content)
    told = f"checkpoint-1 was passed over and removed: {fault}"
    assert clear_for(tmp_path, "run") == [told]


def test_a_checkpoint_that_goes_is_renamed_first_and_never_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    gone: list[str] = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **how: gone.append(Path(path).name))
    rotate(tmp_path, keep=2, spare=None)
    assert set(gone) == {".staging-checkpoint-1"}
    assert not (tmp_path / "checkpoint-1").exists()


def test_a_write_that_fails_leaves_the_last_one_and_says_where_it_goes_on(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        write_files(folder)
        raise OSError(28, "No space left on device")

    save(tmp_path, 1)
    with pytest.raises(OSError, match="No space") as caught:
        save(tmp_path, 2, write=fails)
    error = save_failed(tmp_path, 2, caught.value)
    assert error.what == "The checkpoint of step 2 could not be written."
    assert error.where == str(tmp_path)
    assert "No space left on device" in str(error.got)
    assert "it goes on from step 1" in str(error.do)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_first_write_that_fails_goes_on_from_the_start(tmp_path: Path) -> None:
    assert "from the start" in str(save_failed(tmp_path, 2, OSError("full")).do)


def test_an_invalid_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    flip(save(tmp_path, 1) / FILES[0])
    assert verified(save(tmp_path, 1)) is not None


def test_a_process_that_does_not_write_waits_at_both_barriers(tmp_path: Path) -> None:
    met: list[str] = []
    (tmp_path / ".staging-1").mkdir()
    write_checkpoint(
        tmp_path,
        1,
        lambda folder: met.append(folder.name),
        seal={},
        barrier=lambda: met.append("barrier"),
        is_writer=False,
    )
    assert met == ["barrier", ".staging-1", "barrier", "barrier"]
    assert not (tmp_path / "checkpoint-1").exists()


def test_everything_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    rename = Path.rename
    monkeypatch.setattr(checkpoints, "_sync", lambda path: synced.append(path.name))
    monkeypatch.setattr(
        Path, "rename", lambda self, to: (synced.append("rename"), rename(self, to))[1]
    )
    save(tmp_path, 1)
    before = synced[: synced.index("rename")]
    names = {Path(name).name for name in FILES}
    assert names | {MANIFEST, "sub", ".staging-1"} == set(before)
    assert synced[-1] == tmp_path.name


def test_rotation_keeps_the_newest_two_and_the_best(tmp_path: Path) -> None:
    paths = [save(tmp_path, step) for step in (1, 2, 3, 4)]
    rotate(tmp_path, keep=1, spare=paths[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-1",
        "checkpoint-3",
        "checkpoint-4",
    ]


def test_rotation_when_the_newest_is_damaged_deletes_nothing(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    flip(save(tmp_path, 3) / FILES[0])
    with pytest.raises(TrainingError, match="does not read back") as caught:
        rotate(tmp_path, keep=2, spare=None)
    assert caught.value.where == str(tmp_path / "checkpoint-3")
    assert len(list(tmp_path.iterdir())) == 3


def test_too_little_space_says_how_much_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(150 * 2**20))
    check_free_space(tmp_path, 40 * 2**20)
    with pytest.raises(TrainingError, match="not enough disk space") as caught:
        check_free_space(tmp_path, 100 * 2**20)
    assert caught.value.exit_code == ExitCode.TRAINING
    assert caught.value.where == str(tmp_path)
    assert caught.value.got == "150 MB free, 264 MB needed"
    assert "free some space" in str(caught.value.do)


def test_the_manifest_names_size_and_hash_of_every_file(tmp_path: Path) -> None:
    manifest = json.loads((save(tmp_path, 1) / MANIFEST).read_text())
    assert sorted(manifest["files"]) == sorted(FILES)
    assert all(set(entry) == {"sha256", "size"} for entry in manifest["files"].values())
