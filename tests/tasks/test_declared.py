"""What a dataset's card declares of its rows: read back as written, or refused in words."""

from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.tasks import load_task
from hub_trainer.tasks.declared import Declared, declared_in


@pytest.mark.parametrize(
    ("declared", "answer", "beside"),
    [
        (Declared("tabular-regression", {"target": "price"}, ("id",)), "number", ()),
        (Declared("text-classification", {"text": "a", "text_pair": "b"}), None, ("text_pair",)),
        (Declared("text-classification", {"labels": "topics"}), "labels", ()),
        (Declared("automatic-speech-recognition", {"text": "said"}), "transcript", ()),
        (Declared("text-generation"), None, ()),
    ],
)
def test_declaration_when_written_into_a_card_then_it_is_read_back(
    declared: Declared, answer: str | None, beside: tuple[str, ...]
) -> None:
    found = declared_in(declared.to_card(), where="x")
    assert found == declared
    assert (declared.answer, declared.beside) == (answer, beside)
    task = load_task(declared.task, declared.answer, beside=declared.beside)
    assert answer in (None, task.answer.name)


def test_card_when_it_declares_nothing_then_none() -> None:
    assert declared_in({"license": "mit"}, where="x") is None


@pytest.mark.parametrize(
    ("block", "got"),
    [
        ("tabular", "it is 'tabular', and no mapping"),
        ({}, "task is missing: one of text-classification, "),
        ({"task": "tabular-regresion"}, "which is none (Did you mean tabular-regression?)"),
        ({"task": ["a"] * 999, "columns": 3}, "columns is no mapping of names to names"),
        ({"task": "tabular-regression", "columns": {"target": 3}}, "no mapping of names to names"),
        ({"task": "tabular-regression", "drop_columns": "id"}, "drop_columns is no list of names"),
        ({"task": "tabular-regression", "colums": {}}, "unknown key 'colums'"),
        (
            {"task": "tabular-regression", "columns": {"label": "price"}},
            "columns names label, which tabular-regression does not learn",
        ),
        (
            {"task": "text-classification", "columns": {"label": "a", "target": "b"}},
            "columns names label and target, which are two answers",
        ),
    ],
)
def test_declaration_when_it_cannot_be_used_then_error_says_what(block: Any, got: str) -> None:
    with pytest.raises(DataError, match="says how its rows are read") as caught:
        declared_in({"hub_trainer": block}, where="http://hub/datasets/a/b")
    assert got in str(caught.value.got)
    assert caught.value.where == "http://hub/datasets/a/b, README.md: hub_trainer"
    assert len(str(caught.value)) < 600
