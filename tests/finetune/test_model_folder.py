import json
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.model_folder import (
    code_faults,
    download_folders,
    file_stamp,
    has_any,
    read_config,
    stamp_adapter,
)
from hub_trainer.hub import Repo


def test_code_faults_when_files_name_code_then_each_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"auto_map": {"A": "b.C"}, "custom_pipelines": {"x": 1}}'
    )
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {}}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "broken.json").write_text("{")
    assert code_faults(tmp_path) == [
        "config.json names code of its repo in auto_map",
        "config.json names code of its repo in custom_pipelines",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no config.json"), ("{", "cannot be read"), ("[]", "holds no settings")],
)
def test_read_config_when_it_is_of_no_use_then_says_why(
    content: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(TrainingError, match=message):
        read_config(tmp_path)


def test_read_config_when_it_is_there_then_gives_its_settings(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    assert read_config(tmp_path) == {"a": 1}
    assert has_any(tmp_path, ("nothing", "config.json"))
    assert not has_any(tmp_path, ("nothing",))


def test_file_stamp_when_a_file_changes_then_so_does_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = file_stamp(tmp_path)
    assert file_stamp(tmp_path) == before
    (tmp_path / "a").write_text("12")
    assert file_stamp(tmp_path) != before


# Adapters and their bases

SHA = "a" * 40


class HubOfFolders:
    """A hub whose model repos are folders."""

    def __init__(self, **folders: Path) -> None:
        self.folders = {f"org/{name}": folder for name, folder in folders.items()}
        self.asked: list[tuple[str, str]] = []

    def resolve(self, repo: Repo, revision: str = "main") -> str:
        self.asked.append((repo.repo_id, revision))
        return SHA

    def list_files(self, repo: Repo, commit_sha: str) -> list[Any]:
        return []

    def download(self, repo: Repo, commit_sha: str, **options: Any) -> Path:
        assert commit_sha == SHA
        return self.folders[repo.repo_id]


def whole(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def adapter(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    known = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "revision": SHA}
    (folder / "adapter_config.json").write_text(json.dumps({**known, **changes}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_folders_when_the_model_is_whole_then_there_is_no_base(tmp_path: Path) -> None:
    hub: Any = HubOfFolders(model=whole(tmp_path / "model"))
    assert download_folders(hub, "org/model", SHA) == (tmp_path / "model", None)


@pytest.mark.parametrize(("revision", "asked"), [(SHA, SHA), (None, "main"), ("v1", "v1")])
def test_folders_when_the_model_is_an_adapter_then_its_base_comes_along(
    revision: str | None, asked: str, tmp_path: Path
) -> None:
    made = adapter(tmp_path / "adapter", revision=revision)
    hub: Any = HubOfFolders(adapter=made, base=whole(tmp_path / "base"))
    assert download_folders(hub, "org/adapter", SHA) == (made, tmp_path / "base")
    assert hub.asked == [("org/base", asked)]


@pytest.mark.parametrize(
    ("changes", "message", "got"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "Only LoRA adapters", "peft_type PROMPT_TUNING"),
        ({"base_model_name_or_path": "/home/me/base"}, "does not say which model", "/home/me/base"),
        ({"base_model_name_or_path": None}, "does not say which model", "None"),
    ],
)
def test_adapter_when_it_cannot_be_used_then_says_why(
    changes: dict[str, Any], message: str, got: str, tmp_path: Path
) -> None:
    hub: Any = HubOfFolders(adapter=adapter(tmp_path / "adapter", **changes))
    with pytest.raises(TrainingError, match=message) as caught:
        download_folders(hub, "org/adapter", SHA)
    assert caught.value.got == got
    assert "adapter_config.json" in str(caught.value.where)


def test_adapter_when_its_base_is_one_too_then_it_is_refused(tmp_path: Path) -> None:
    hub: Any = HubOfFolders(
        adapter=adapter(tmp_path / "adapter"),
        base=adapter(tmp_path / "base", base_model_name_or_path="org/below"),
    )
    with pytest.raises(TrainingError, match="is an adapter itself") as caught:
        download_folders(hub, "org/adapter", SHA)
    assert "merge that one into its base" in str(caught.value.do)


def test_adapter_when_its_weights_are_missing_then_says_so(tmp_path: Path) -> None:
    made = adapter(tmp_path / "adapter")
    (made / "adapter_model.safetensors").unlink()
    hub: Any = HubOfFolders(adapter=made, base=whole(tmp_path / "base"))
    with pytest.raises(TrainingError, match="has no weights as safetensors"):
        download_folders(hub, "org/adapter", SHA)
    assert download_folders(hub, "org/adapter", SHA, with_weights=False)[0] == made


def test_stamp_when_set_then_nothing_else_changes(tmp_path: Path) -> None:
    made = adapter(tmp_path / "adapter", r=4)
    stamp_adapter(made, "org/other", "b" * 40)
    assert json.loads((made / "adapter_config.json").read_text()) == {
        "peft_type": "LORA",
        "r": 4,
        "base_model_name_or_path": "org/other",
        "revision": "b" * 40,
    }
