from pathlib import Path

import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import find_split_files
from hub_trainer.rows.layout import choose_config, files_of

TWO = [{"config_name": "en", "data_files": "en/*.csv"}, {"config_name": "de", "data_files": "de/*"}]


def find(names: list[str], card: dict, config: str | None = None, split: str = "train"):  # type: ignore[no-untyped-def, type-arg]
    return find_split_files(names, card, config=config, split=split, where="org/data@sha")


def test_files_when_no_card_then_names_tell_the_splits() -> None:
    names = ["README.md", "data/train-0.parquet", "data/train-1.parquet", "data/test-0.parquet"]
    found = find(names, {}, split="train")
    assert found.files == {"train": ("data/train-0.parquet", "data/train-1.parquet")}
    assert (found.config, found.reader, found.card) == ("default", "parquet", {})


def test_files_when_the_card_has_configs_then_only_the_named_one_is_fetched() -> None:
    names = ["en/a.csv", "en/b.csv", "de/a.csv"]
    found = find(names, {"configs": TWO}, config="de")
    assert found.files == {"train": ("de/a.csv",)}
    assert found.card["configs"] == [{"config_name": "de", "data_files": "de/*"}]


def test_files_when_one_split_is_asked_for_then_the_card_names_no_other() -> None:
    splits = [{"split": "train", "path": "a.csv"}, {"split": "test", "path": "b.csv"}]
    card = {"configs": [{"config_name": "x", "data_files": splits, "sep": ";", "engine": "python"}]}
    found = find(["a.csv", "b.csv"], card, split="test[:3]")
    assert found.files == {"test": ("b.csv",)}
    assert found.card["configs"] == [{"config_name": "x", "data_files": [splits[1]], "sep": ";"}]


def test_files_when_splits_are_added_then_both_are_fetched() -> None:
    found = find(["train.csv", "test.csv", "validation.csv"], {}, split="train+test[:2]")
    assert found.files == {"train": ("train.csv",), "test": ("test.csv",)}


def test_files_when_a_folder_of_images_then_labels_and_metadata_come_along() -> None:
    names = ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "train/metadata.csv"]
    found = find(names, {})
    assert found.reader == "imagefolder"
    assert sorted(found.files["train"]) == [
        "train/cat/1.png",
        "train/dog/2.png",
        "train/metadata.csv",
    ]


def test_first_files_when_taken_then_one_per_split_and_the_card_agrees() -> None:
    splits = [{"split": "train", "path": "t*.csv"}, {"split": "test", "path": "b.csv"}]
    card = {"configs": [{"config_name": "x", "data_files": splits}]}
    found = find(["t1.csv", "t2.csv", "b.csv"], card).first_files()
    assert found.files == {"train": ("t1.csv",)}
    assert found.card["configs"][0]["data_files"] == splits[:1]


def test_first_files_when_images_then_each_label_keeps_one() -> None:
    found = find(["cat/1.png", "cat/2.png", "dog/3.JPG", "dog/4.png"], {})
    assert found.first_files().files == {"train": ("cat/1.png", "dog/3.JPG")}


def test_first_files_when_images_are_listed_then_all_stay() -> None:
    found = find(["1.png", "2.png", "metadata.csv"], {})
    assert sorted(found.first_files().files["train"]) == ["1.png", "2.png", "metadata.csv"]


def test_config_when_unknown_then_lists_those_there_are() -> None:
    with pytest.raises(DataError, match="no config 'fr'") as caught:
        find(["en/a.csv", "de/a.csv"], {"configs": TWO}, config="fr")
    assert "configs en, de" in str(caught.value)


def test_config_when_none_is_default_then_asks_for_one() -> None:
    with pytest.raises(DataError, match="several configs") as caught:
        find(["en/a.csv", "de/a.csv"], {"configs": TWO})
    assert "config: en" in str(caught.value)


def test_config_when_one_is_marked_or_named_default_then_takes_it() -> None:
    marked = {"configs": [{"config_name": "a"}, {"config_name": "b", "default": True}]}
    assert choose_config(marked, None, where="x") == "b"
    named = {"configs": [{"config_name": "a"}, {"config_name": "default"}]}
    assert choose_config(named, None, where="x") == "default"


def test_split_when_unknown_then_lists_those_there_are() -> None:
    with pytest.raises(DataError, match="no split 'dev'") as caught:
        find(["train.csv", "test.csv"], {}, split="dev")
    assert "splits train, test" in str(caught.value)


@pytest.mark.parametrize("split", ["train[", "", "train + ", "tra in", "train[:3]]"])
def test_split_when_not_one_then_shows_how_to_write_it(split: str) -> None:
    with pytest.raises(DataError, match="not a split") as caught:
        find(["train.csv"], {}, split=split)
    assert "train[:500]" in str(caught.value)


def test_reader_when_it_would_do_more_than_parse_then_is_refused() -> None:
    with pytest.raises(DataError, match="reader 'arrow'") as caught:
        find(["train.arrow"], {})
    assert ".arrow" in str(caught.value)
    assert "Use parquet" in str(caught.value)


def test_files_when_there_is_no_data_then_says_so() -> None:
    with pytest.raises(DataError, match="cannot be told apart"):
        find(["script.py", "README.md"], {})


def test_files_when_the_card_points_at_nothing_then_says_so() -> None:
    with pytest.raises(DataError, match="cannot be told apart") as caught:
        find(["a.csv"], {"configs": [{"config_name": "x", "data_files": "b.csv"}]})
    assert "b.csv" in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_files_when_the_card_leaves_the_repo_then_nothing_is_looked_up() -> None:
    with pytest.raises(DataError, match="outside the repo"):
        find(["a.csv"], {"configs": [{"config_name": "x", "data_files": "/etc/passwd"}]})


def test_files_when_there_are_too_many_then_refuses() -> None:
    with pytest.raises(DataError, match="more than 100,000 files"):
        find([f"{i}.csv" for i in range(100_001)], {})


def test_files_of_when_a_builder_points_outside_then_refuses(tmp_path: Path) -> None:
    class Config:
        data_files = {"train": ["/etc/passwd"]}

    class Builder:
        config = Config()

    with pytest.raises(DataError, match="outside the repo"):
        files_of(Builder(), tmp_path)


@pytest.mark.parametrize(
    ("names", "got", "do"),
    [
        (["README.md", ".gitattributes", "train.CSV"], "train.CSV", "small letters, as .csv"),
        ([f"{i}.pkl" for i in range(7)], "0.pkl, 1.pkl, 2.pkl, 3.pkl, 4.pkl and 2 more", "parquet"),
        (["README.md"], "no files", "parquet"),
    ],
)
def test_files_when_of_no_known_kind_then_error_names_them(
    names: list[str], got: str, do: str
) -> None:
    with pytest.raises(DataError, match="cannot be told apart") as caught:
        find(names, {})
    assert caught.value.got == got
    assert do in str(caught.value.do)


def test_files_when_some_are_never_read_then_said() -> None:
    pictures = ["train/cat/1.png", "train/dog/2.png"]
    found = find([*pictures, "train/cat/3.heic", "train/cat/4.avif", "train/dog/all.zip"], {})
    assert found.notes == (
        "left aside: train/dog/all.zip; archives and sheets are not read",
        "left aside: train/cat/3.heic, train/cat/4.avif; pictures are read as PNG, JPEG, WebP, "
        "BMP, TIFF or GIF",
    )
    with pytest.raises(DataError, match="file of another kind") as caught:
        find([*pictures, "train/cat/5.ico", "train/cat/6.jfif"], {})
    assert caught.value.got == "1 of 4 files, ending in .ico"


def test_files_when_the_card_does_not_take_one_up_then_a_note_says_so() -> None:
    files = [{"split": "train", "path": "data/train-*"}]
    names = ["data/train-0.csv", "data/train.csv", "data/train.jsonl"]
    found = find(names, {"configs": [{"config_name": "default", "data_files": files}]})
    assert found.files == {"train": ("data/train-0.csv",)}
    assert found.notes == (
        "the card's data_files of the split train do not take up data/train.csv: it is left aside",
        "the split train has files of several kinds: data/train.jsonl are left aside, and only "
        "files for the reader csv are read",
    )
