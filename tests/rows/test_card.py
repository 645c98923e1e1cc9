from pathlib import Path

import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import assert_safe_card, card_faults, parse_card, read_card, unsafe_path
from hub_trainer.rows.card import card_configs, card_features, write_card

OUTSIDE = [
    ("/etc/passwd", "is absolute"),
    ("~/.netrc", "is absolute"),
    ("C:\\secrets.csv", "is absolute"),
    ("../other/data.csv", "goes up with '..'"),
    ("data/../../x.csv", "goes up with '..'"),
    ("a\\..\\..\\x.csv", "goes up with '..'"),
    ("https://example.invalid/x.csv", "is a URL"),
    ("hf://datasets/other/private/x.csv", "is a URL"),
    ("zip://x.csv::data.zip", "is a URL"),
    ("data.zip::x.csv", "is a URL"),
    ("data\x00.csv", "holds a control character"),
]


@pytest.mark.parametrize(("path", "reason"), OUTSIDE)
@pytest.mark.parametrize("shape", ["text", "list", "splits", "split lists", "data_dir"])
def test_card_when_a_path_leaves_the_repo_then_the_error_names_key_and_path(
    path: str, reason: str, shape: str
) -> None:
    shapes = {
        "text": ("configs[0].data_files", {"data_files": path}),
        "list": ("configs[0].data_files[1]", {"data_files": ["ok.csv", path]}),
        "splits": (
            "configs[0].data_files[0].path",
            {"data_files": [{"split": "train", "path": path}]},
        ),
        "split lists": (
            "configs[0].data_files[0].path[1]",
            {"data_files": [{"split": "train", "path": ["ok.csv", path]}]},
        ),
        "data_dir": ("configs[0].data_dir", {"data_dir": path}),
    }
    key, config = shapes[shape]
    with pytest.raises(DataError) as caught:
        assert_safe_card({"configs": [{"config_name": "x", **config}]}, where="org/data")
    message = str(caught.value)
    assert f"{key} {reason}" in message
    assert f"where: org/data, README.md: {key}" in message
    assert repr(path) in message
    assert "data/train-*.parquet" in message


def test_card_when_every_path_is_inside_then_it_has_no_faults() -> None:
    files = [{"split": "train", "path": ["data/train-*.parquet", "a..b/x.csv"]}]
    assert card_faults({"configs": [{"config_name": "x", "data_files": files}]}) == []


def test_card_when_several_paths_leave_then_all_are_listed() -> None:
    card = {"configs": [{"data_files": ["/a", "b", "../c"]}, {"data_dir": "hf://x"}]}
    keys = [fault.key for fault in card_faults(card)]
    assert keys == ["configs[0].data_files[0]", "configs[0].data_files[2]", "configs[1].data_dir"]


def test_unsafe_path_when_not_text_then_says_so() -> None:
    assert unsafe_path(7) == "is not text"


def test_parse_card_when_yaml_unfolds_aliases_then_refuses() -> None:
    with pytest.raises(DataError, match="not YAML") as caught:
        parse_card("---\na: &a [x]\nb: [*a, *a]\n---\n", where="org/data")
    assert "aliases" in str(caught.value)


def test_parse_card_when_yaml_is_broken_then_says_where() -> None:
    with pytest.raises(DataError, match="not YAML") as caught:
        parse_card("---\na: [1\n---\n", where="org/data")
    assert "org/data" in str(caught.value)
    assert "between the --- lines" in str(caught.value)


def test_read_card_when_it_is_huge_then_refuses(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x" * 2_000_001)
    with pytest.raises(DataError, match="larger than 2,000,000 bytes"):
        read_card(tmp_path)


def test_read_card_when_there_is_none_then_is_empty(tmp_path: Path) -> None:
    assert read_card(tmp_path) == {}
    (tmp_path / "README.md").write_text("# no block\n")
    assert read_card(tmp_path) == {}


def test_write_card_when_read_back_then_says_the_same(tmp_path: Path) -> None:
    card = {"configs": [{"config_name": "é", "data_files": "x[1].csv"}], "dataset_info": {"a": 1}}
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


def test_card_configs_when_odd_then_only_what_can_be_read_counts() -> None:
    assert card_configs({"configs": "x"}) == {}
    assert list(card_configs({"configs": [{"config_name": 1}, "y", {}]})) == ["1", "default"]


def test_card_features_when_per_config_then_picks_its_own() -> None:
    infos = [{"config_name": "a", "features": 1}, {"config_name": "b", "features": 2}]
    assert card_features({"dataset_info": infos}, "b") == 2
    assert card_features({"dataset_info": {"features": 3}}, "any") == 3
    assert card_features({}, "any") is None
