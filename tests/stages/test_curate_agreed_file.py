"""The file that a dataset is offered."""

import re
from typing import Any

import pytest
from datasets import ClassLabel, Features, Value

from hub_trainer.answers import ANSWERS, load_answer
from hub_trainer.checks.review_context import Tip
from hub_trainer.errors import DataError, UsageError
from hub_trainer.hub import Repo, RepoFile
from hub_trainer.recipe import DatasetSource
from hub_trainer.rows.own_schema import OwnSchema
from hub_trainer.stages.curate.agreed_file import (
    Target,
    answer_numbers,
    build_file,
    fitting_rows,
    prediction_numbers,
)
from tests.tasks.factory import recipe

LABEL = load_answer("label")
CLASSES = OwnSchema(
    Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])}).to_dict()
)


def _target(*paths: str, card: str = "", **source: Any) -> Target:
    files = tuple(RepoFile(path, 10, "blob", None) for path in paths)
    tip = Tip(Repo("org/data", "dataset"), "c" * 40, files, card.encode() or None)
    return Target(DatasetSource(repo_id="org/data", **source), tip)


def _plain() -> OwnSchema:
    features = Features({"text": Value("string"), "label": Value("string")})
    return OwnSchema(features.to_dict())


@pytest.mark.parametrize(
    ("there", "place"),
    [
        ("data/train-00000-of-00001.parquet", "data/train-00000-of-00001-ratings-"),
        ("data/train.parquet", "data/train_ratings-"),
        ("train.csv", "train_ratings-"),
        ("rows.jsonl", "ratings-"),
        ("train/rows.jsonl", "train/train-ratings-"),
    ],
)
def test_file_when_placed_is_read_after_those_that_are_there(there: str, place: str) -> None:
    file = build_file([{"text": "x", "label": "a"}], _target(there), _plain(), "text")
    assert file.path.startswith(place)
    assert file.path.rsplit(".", 1)[1] == there.rsplit(".", 1)[1]


def test_file_when_the_same_examples_is_the_same() -> None:
    rows = [{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]
    first, second = (build_file(rows, _target("train.parquet"), _plain(), "text") for _ in "12")
    assert first == second


def test_file_when_a_label_is_unknown_leaves_its_examples_out() -> None:
    rows = [{"text": "x", "label": "odd"}, {"text": "y", "label": "b"}]
    left_out = {"with a label that the dataset does not have": 1}
    assert fitting_rows(rows, _target("train.parquet"), CLASSES, LABEL) == (rows[1:], left_out)


def test_file_when_one_row_does_not_fit_the_columns_leaves_only_that_one_out() -> None:
    schema = OwnSchema(Features({"age": Value("int64"), "label": Value("string")}).to_dict())
    ages: list[Any] = [1, 1.5, "many", 2**70, float("nan"), "\ud800", 4.0]
    rows = [{"age": age, "label": "a"} for age in ages]
    fitting, left_out = fitting_rows(rows, _target("train.csv"), schema, LABEL)
    assert [row["age"] for row in fitting] == [1, 4.0]
    assert left_out == {"with values that the dataset's columns do not take": 5}
    assert build_file(fitting, _target("train.csv"), schema, "table").rows == 2


@pytest.mark.parametrize(("there", "separator"), [("rows.csv", ";"), ("rows.tsv", "\t")])
def test_file_when_the_dataset_separates_otherwise_then_so_does_it(
    there: str, separator: str
) -> None:
    schema = OwnSchema(_plain().features, separator=separator)
    file = build_file([{"text": "x, y", "label": "a"}], _target(there), schema, "text")
    assert file.path.endswith(there[-4:])
    assert file.content.decode().splitlines()[1] == f'"x, y"{separator}"a"'


def test_row_when_the_encoding_has_no_sign_for_it_then_is_left_out_and_never_a_question_mark() -> (
    None
):
    schema = OwnSchema(_plain().features, encoding="latin-1")
    rows = [{"text": "caf\u00e9", "label": "a"}, {"text": "\u4f60", "label": "a"}]
    fitting, left_out = fitting_rows(rows, _target("train.csv"), schema, LABEL)
    assert (fitting, sum(left_out.values())) == (rows[:1], 1)
    with pytest.raises(DataError, match="latin-1, has no room for a character") as caught:
        build_file(rows, _target("train.csv"), schema, "text")
    assert "row 2" in str(caught.value)


def test_file_when_the_card_names_one_file_says_what_to_widen() -> None:
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    card += "  - {split: train, path: data/rows.csv}\n---\n"
    target = _target("data/rows.csv", card=card)
    with pytest.raises(DataError, match="leaves no room for another file") as caught:
        build_file([{"text": "x", "label": "a"}], target, _plain(), "text")
    assert "data/train-*" in str(caught.value)


def test_images_when_they_would_join_a_folder_say_to_convert() -> None:
    target = _target("train/a/1.png", "train/b/2.png")
    with pytest.raises(UsageError, match="takes no file of rows") as caught:
        build_file([{"image": b"x", "label": "a"}], target, _plain(), "image")
    assert "push_to_hub" in str(caught.value)


def test_values_when_they_do_not_fit_the_column_say_which() -> None:
    features = Features({"age": Value("int64"), "label": Value("string")})
    rows = [{"age": 1.5, "label": "a"}]
    with pytest.raises(DataError, match="'age' cannot be written") as caught:
        build_file(rows, _target("train.csv"), OwnSchema(features.to_dict()), "table")
    assert "int64" in str(caught.value)


@pytest.mark.parametrize(("least", "told"), [(1, r"at least 1 rater\b"), (2, "at least 2 raters")])
@pytest.mark.parametrize("answer", [name for name in ANSWERS if name != "completion"])
@pytest.mark.parametrize("aggregate", ["majority", "dawid_skene"])
def test_rule_when_one_rater_is_enough_then_speaks_of_one(
    least: int, told: str, answer: str, aggregate: str
) -> None:
    of = recipe("text-classification", curate__min_raters=least, curate__aggregate=aggregate)
    counts = dict.fromkeys(("num_ratings", "num_raters", "num_rated_rows", "num_decided"), 1)
    more = {"agreement": 1.0, "skipped_rows": {}, "left_out": {}, "dropped_ratings": {}}
    outputs = {**counts, **more, "notes": [], "signals": {}, "trust": {"min": 1.0, "max": 1.0}}
    assert re.search(told, prediction_numbers(of, outputs, load_answer(answer)).rule)
    assert re.search(told, answer_numbers(of, outputs, load_answer(answer)).rule)
