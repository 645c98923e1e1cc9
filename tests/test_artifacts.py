"""A stage's folder is whole or not there, and the same inputs find it again."""

import json
from pathlib import Path

import pytest

from hub_trainer.artifacts import (
    digest_of,
    draft_folder,
    file_sha256,
    find_artifact,
    write_artifact,
    write_durably,
)


def make(folder: Path, inputs: dict[str, object], text: str = "rows") -> None:
    with write_artifact(folder, inputs) as draft:
        (draft.folder / "rows.txt").write_text(text)
        draft.outputs["rows"] = 1


def break_off(folder: Path, inputs: dict[str, object], name: str, text: str) -> None:
    with write_artifact(folder, inputs, keep_draft=True) as draft:
        (draft.folder / name).write_text(text)
        raise RuntimeError


def test_artifact_when_written_then_found_by_the_same_inputs_only(tmp_path: Path) -> None:
    make(tmp_path / "collect", {"sha": "a"})
    found = find_artifact(tmp_path / "collect", {"sha": "a"})
    assert found is not None
    assert found.outputs == {"rows": 1}
    assert find_artifact(tmp_path / "collect", {"sha": "b"}) is None
    assert list(tmp_path.iterdir()) == [tmp_path / "collect"]


def test_artifact_when_the_body_raises_then_the_old_one_stays(tmp_path: Path) -> None:
    make(tmp_path / "collect", {"sha": "a"}, "old")
    with pytest.raises(RuntimeError):
        break_off(tmp_path / "collect", {"sha": "b"}, "rows.txt", "half")
    found = find_artifact(tmp_path / "collect", {"sha": "a"})
    assert found is not None
    assert (found.folder / "rows.txt").read_text() == "old"


def test_artifact_when_a_file_is_gone_or_cut_then_not_found(tmp_path: Path) -> None:
    make(tmp_path / "collect", {})
    (tmp_path / "collect" / "rows.txt").write_text("r")
    assert find_artifact(tmp_path / "collect") is None
    (tmp_path / "collect" / "rows.txt").unlink()
    assert find_artifact(tmp_path / "collect") is None


def test_artifact_when_manifest_is_torn_then_not_found(tmp_path: Path) -> None:
    make(tmp_path / "collect", {})
    manifest = tmp_path / "collect" / "manifest.json"
    manifest.write_text(manifest.read_text()[:20])
    assert find_artifact(tmp_path / "collect") is None


def test_draft_when_kept_then_a_second_attempt_sees_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    with pytest.raises(RuntimeError):
        break_off(folder, {"a": 1}, "checkpoint", "step 5")
    with write_artifact(folder, {"a": 1}, keep_draft=True) as draft:
        assert draft.folder == draft_folder(folder, {"a": 1})
        assert (draft.folder / "checkpoint").read_text() == "step 5"
    assert (folder / "checkpoint").exists()


def test_draft_when_inputs_change_then_the_old_one_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    with pytest.raises(RuntimeError):
        break_off(folder, {"a": 1}, "checkpoint", "step 5")
    make(folder, {"a": 2})
    assert list(tmp_path.iterdir()) == [folder]


def test_manifest_when_read_then_holds_a_hash_of_each_file(tmp_path: Path) -> None:
    make(tmp_path / "collect", {"sha": "a"})
    manifest = json.loads((tmp_path / "collect" / "manifest.json").read_text())
    assert manifest["files"]["rows.txt"]["sha256"] == file_sha256(tmp_path / "collect/rows.txt")
    assert manifest["digest"] == digest_of(manifest["inputs"])
    assert "torch" in manifest["inputs"]["versions"]


def test_file_when_the_write_fails_then_the_old_content_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pins.json"
    write_durably(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"


def test_digest_when_keys_are_in_another_order_then_the_same() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
