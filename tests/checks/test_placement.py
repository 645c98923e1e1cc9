import pytest

from hub_trainer.checks.placement import check_placement
from hub_trainer.checks.verdict import Check

CARD = {
    "configs": [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "data/train-*"},
                {"split": "test", "path": "data/test-*"},
            ],
        }
    ]
}
MAIN = ["README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"]


def _place(*added: str, before: list[str] = MAIN, card: object = CARD) -> Check:
    return check_placement(before, list(added), card, config=None, split="train")  # type: ignore[arg-type]


def test_file_when_it_joins_the_split_then_passes() -> None:
    assert _place("data/train-new.parquet").passed


@pytest.mark.parametrize("path", ["data/test-new.parquet", "extra.parquet", "data/more.parquet"])
def test_file_when_in_another_split_or_none_then_a_person_decides(path: str) -> None:
    check = _place(path)
    assert (check.passed, check.blocks) == (False, "human")
    assert repr(path) in check.detail


def test_format_when_another_then_refused() -> None:
    check = _place("data/train-new.csv")
    assert check.blocks == "refuse"
    expected = "the dataset would not load: The files of a split are of several kinds."
    assert check.detail == expected


def test_file_when_it_displaces_those_of_main_then_refused() -> None:
    """Without configs in the card, shards in data/ are read in place of train.csv."""
    check = _place("data/train-00000-of-00001.csv", before=["train.csv"], card={})
    assert (check.passed, check.blocks) == (False, "refuse")
    assert "'train.csv' of the dataset would not be read any more" in check.detail


def test_main_when_it_does_not_load_itself_then_a_person_decides() -> None:
    check = _place("data/train-new.parquet", before=["README.md", "notes.txt"])
    assert (check.passed, check.blocks) == (False, "human")
    assert check.detail == "main itself has no readable split 'train'"


def test_reader_when_it_would_change_then_refused() -> None:
    added = [f"train/{number}.jsonl" for number in range(3)]
    check = _place(*added, before=["train.csv"], card={})
    assert (check.passed, check.blocks) == (False, "refuse")


def test_image_when_added_to_an_image_folder_then_passes() -> None:
    before = ["train/cat/1.png", "train/dog/2.png"]
    assert _place("train/cat/3.jpg", before=before, card={}).passed
