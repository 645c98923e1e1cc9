"""Values of the wrong kind are told in the recipe's words: what is taken, what was found, what to
write."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from hub_trainer.errors import Problem, RecipeError
from hub_trainer.recipe import Recipe, load_recipe
from hub_trainer.recipe.arguments import OWNED, training_argument_types
from hub_trainer.recipe.section import section_in
from tests.recipe.test_load import GOOD

WHOLE: dict[str, Any] = yaml.safe_load(GOOD)
RANGE = {"search": {"train.arguments.learning_rate": {"low": 1e-5, "high": 1e-3}}}
WRONG = ("seven", 1, 1.5, ["a"], {"a": 1}, {1: "a"}, True, None, float("nan"))
OPEN = {("evaluate", "json_schema", "key"), ("train", "estimator_arguments", "key")}
"""Keys of the user's own, of which the recipe says nothing."""
OF_PYDANTIC = re.compile(
    r"(?i:input should|valid (dictionary|integer|number|string|boolean|list)|unable to|instance of"
    r"|pydantic|value error|finite number|keys should)|[a-z]Section\b|RepoRef|DatasetSource"
    r"|list\[|dict\[|SearchRange|Threshold|EarlyStopping|Deduplicate|\b(None|True|False)\b"
)


def keys_of(model: Any = Recipe, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key of the schema, through the first entry of lists and maps."""
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        yield path
        section = section_in(field.annotation)
        if path == ("tune", "search"):
            path = (*path, "train.arguments.learning_rate")
        elif "list" in str(field.annotation) and section:
            path = (*path, "0")
        if path != (*prefix, name):
            yield path
        if section:
            yield from keys_of(section, path)
        elif "list[" in str(field.annotation):
            yield (*path, "0")
        elif "dict[" in str(field.annotation):
            yield (*path, "key")


def with_value(content: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy of the content with a value there; what stands in the way makes room for it."""
    if not path:
        return value
    name, *rest = path
    if name == "0":
        return [with_value(content[0] if isinstance(content, list) else {}, tuple(rest), value)]
    held = content if isinstance(content, dict) else {}
    return {**held, name: with_value(held.get(name), tuple(rest), value)}


def problems_of(folder: Path, content: Any) -> list[Problem]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        load_recipe(path)
    except RecipeError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("section", Recipe.model_fields)
def test_keys_when_given_any_kind_of_value_then_no_word_of_pydantic_is_said(
    tmp_path: Path, section: str
) -> None:
    whole = {**WHOLE, "tune": RANGE} if section == "tune" else WHOLE
    for key in {path for path in keys_of() if path[0] == section} - OPEN:
        found = [one for v in WRONG for one in problems_of(tmp_path, with_value(whole, key, v))]
        for problem in found:
            text = problem.told("recipe.yaml")
            assert not OF_PYDANTIC.search(text), text
            assert text.startswith(problem.key), text
        assert found, f"{key}: nothing was refused"


def test_keys_when_walked_then_all_of_the_schema_are_there() -> None:
    dotted = {".".join(path) for path in keys_of()}
    assert {
        "task",
        "collect.datasets.0.columns.key",
        "train.lora.target_modules.0",
        "tune.search.train.arguments.learning_rate.choices.0",
        "serve.rival.revision",
        "train.loss.gamma",
    } <= dotted
    assert len(dotted) > 140


@pytest.mark.parametrize(
    ("key", "value", "message", "got", "do"),
    [
        (
            "train.seed",
            True,
            "train.seed takes a whole number",
            "true",
            "Write a whole number, as 0: YAML reads yes, no, on and off without quotes as true and "
            "false.",
        ),
        ("train.seed", "1", "train.seed takes a whole number", "'1'", "Leave out the quotes: 1."),
        (
            "gate.alpha",
            True,
            "gate.alpha takes a number",
            "true",
            "Write a number, as 0.05: YAML reads yes, no, on and off without quotes as true and "
            "false.",
        ),
        (
            "publish.private",
            "false",
            "publish.private takes true or false",
            "'false'",
            "Leave out the quotes: false.",
        ),
        (
            "publish.private",
            0,
            "publish.private takes true or false",
            "0",
            "Write true or false, as true.",
        ),
        (
            "base_model",
            7,
            "base_model takes org/name, a mapping or null",
            "7",
            "Write org/name, a mapping or null.",
        ),
        (
            "base_model",
            {"repo_id": "org/a", "revision": 1234567},
            "base_model.revision takes text",
            "1234567",
            'Put it in quotes: "1234567".',
        ),
        (
            "evaluate.positive",
            True,
            "evaluate.positive takes text or null",
            "true",
            'Put it in quotes, as "yes": YAML reads yes, no, on and off without quotes as true and '
            "false.",
        ),
        (
            "evaluate.slices",
            "region",
            "evaluate.slices takes a list",
            "'region'",
            "Write a list: ['region'].",
        ),
        (
            "train.lora.target_modules",
            3,
            "train.lora.target_modules takes text or a list",
            "3",
            'Put it in quotes: "3".',
        ),
        (
            "train.lora.target_modules",
            [3],
            "train.lora.target_modules.0 takes text",
            "3",
            'Put it in quotes: "3".',
        ),
        (
            "prepare.clean",
            None,
            "prepare.clean takes true or false",
            "null",
            "Write true or false, as true, or leave the key out.",
        ),
        ("gate.alpha", 0.7, "gate.alpha: must be below 0.5", "0.7", "Write a smaller number."),
        (
            "serve.title",
            "a" * 61,
            "serve.title: must have 60 characters or fewer",
            f"'{'a' * 61}'",
            "Shorten it.",
        ),
        (
            "collect.datasets",
            [],
            "collect.datasets: must name 1 or more",
            "[]",
            "Add what is missing to the list.",
        ),
        (
            "collect.datasets.0.columns",
            {True: "a"},
            "collect.datasets.0.columns takes keys that are text",
            "true",
            'Put it in quotes, as "yes": YAML reads yes, no, on and off without quotes as true and '
            "false.",
        ),
        ("gate", {5: 0.1}, "gate takes keys that are text", "5", 'Put it in quotes: "5".'),
        (
            "train.arguments.bf16",
            "true",
            "train.arguments.bf16 takes true or false, got 'true'",
            None,
            None,
        ),
        (
            "train.arguments.learning_rate",
            True,
            "train.arguments.learning_rate takes a number, got true",
            None,
            None,
        ),
        (
            "train.arguments.lr_scheduler_type",
            True,
            'train.arguments.lr_scheduler_type takes text, got true; put it in quotes, as "yes": '
            "YAML reads yes, no, on and off without quotes as true and false",
            None,
            None,
        ),
        (
            "train.arguments.eval_strategy",
            False,
            'train.arguments.eval_strategy takes text, got false; put it in quotes, as "no": YAML '
            "reads yes, no, on and off without quotes as true and false",
            None,
            None,
        ),
        (
            "train.arguments.save_strategy",
            "epochs",
            "train.arguments.save_strategy takes one of no, steps, epoch, best, got 'epochs'. Did "
            "you mean epoch?",
            None,
            None,
        ),
        (
            "train.arguments.report_to",
            1,
            "train.arguments.report_to takes text, a list or null, got 1",
            None,
            None,
        ),
    ],
)
def test_value_when_of_the_wrong_kind_then_what_is_taken_what_was_found_and_what_to_write(
    tmp_path: Path, key: str, value: Any, message: str, got: str | None, do: str | None
) -> None:
    [told] = problems_of(tmp_path, with_value(WHOLE, tuple(key.split(".")), value))
    assert (told.message, told.got, told.do) == (message, got, do)
    assert told.line


def test_arguments_when_of_the_wrong_kind_then_all_are_told_in_our_words(tmp_path: Path) -> None:
    names = set(training_argument_types()) - set(OWNED)
    told = set()
    for value in ([[1]], {"a": [1]}, True, 1, 10**400, 1.5, "a", None):
        content = with_value(WHOLE, ("train", "arguments"), dict.fromkeys(names, value))
        for problem in problems_of(tmp_path, content):
            assert " takes " in problem.message
            assert not OF_PYDANTIC.search(problem.message)
            told.add(problem.key.rpartition(".")[2])
    assert names == told


def test_number_when_yaml_reads_it_as_text_then_a_number_all_the_same(tmp_path: Path) -> None:
    content = with_value(WHOLE, ("gate", "alpha"), "5e-2")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    assert load_recipe(path).recipe.gate.alpha == 0.05


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", " 1", "0x10"])
def test_number_when_it_is_no_plain_one_then_refused(tmp_path: Path, text: str) -> None:
    [told] = problems_of(tmp_path, with_value(WHOLE, ("prepare", "test_fraction"), text))
    assert told.message == "prepare.test_fraction takes a number"
    assert problems_of(tmp_path, with_value(WHOLE, ("train", "arguments", "weight_decay"), text))


def test_label_when_a_number_then_its_name_is_that_number(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(with_value(WHOLE, ("evaluate", "positive"), 1)))
    assert load_recipe(path).recipe.evaluate.positive == "1"


def test_key_when_missing_then_what_it_is_for_is_said(tmp_path: Path) -> None:
    content = {**WHOLE, "publish": {"license": "mit"}}
    [told] = problems_of(tmp_path, content)
    assert told.message == "publish.repo_id is missing"
    assert told.do == "Write repo_id: text. Model repo, as in `org/name`."


def test_section_when_several_keys_change_nothing_then_all_are_told(tmp_path: Path) -> None:
    train = {"method": "full", "lora": {}, "hybrid": {}, "layer_decay": 0.5}
    told = [one.message for one in problems_of(tmp_path, {**WHOLE, "train": train})]
    assert told == [
        "train: lora changes nothing under method: full; remove one",
        "train: hybrid changes nothing under method: full; remove one",
    ]


def test_classes_when_listed_then_each_has_words() -> None:
    """Else a message would say that a setting takes another kind of value."""
    from hub_trainer.recipe.value_faults import takes

    def fields(model: Any) -> Iterator[Any]:
        for field in model.model_fields.values():
            yield field.annotation
            section = section_in(field.annotation)
            yield from fields(section) if section else ()

    found = [takes(one) for one in fields(Recipe)]
    assert found
    assert not [one for one in found if "another kind" in one]
    assert all(get_args(one) or isinstance(one, type) for one in fields(Recipe))
