import json
from pathlib import Path

import pytest

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.model_folder import code_faults, file_stamp, has_any, read_config


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
