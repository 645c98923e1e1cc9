"""What a recipe searches is checked as the rest of it: each key, both ends, all faults at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_trainer.errors import Problem, RecipeError
from hub_trainer.recipe import Recipe, TrainSection, load_recipe
from hub_trainer.recipe.search import end_problems, is_whole, with_settings

RATE = {"low": "1e-5", "high": "1e-3", "log": True}
KEY = "train.arguments.learning_rate"


def write(folder: Path, search: dict[str, Any], tune: Any = None, train: Any = None) -> Path:
    content = {
        "task": "text-classification",
        "base_model": "org/encoder",
        "collect": {"datasets": ["org/data"]},
        "train": train or {"method": "lora"},
        "tune": {"trials": 5, "search": search, **(tune or {})},
        "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
        "publish": {"repo_id": "org/model"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def faults_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert all(problem.line for problem in caught.value.problems)
    return [problem.message for problem in caught.value.problems]


def searched(folder: Path, search: dict[str, Any], **more: Any) -> Recipe:
    return load_recipe(write(folder, search, **more)).recipe


def test_search_when_several_faults_then_all_are_named_with_the_nearest_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            KEY: RATE,
            "train.argumens.weight_decay": {"low": 0, "high": 1},
            "train.lora.rank": {"choices": [4, 8]},
            "learning_rate": RATE,
            "prepare.max_length": {"choices": [64, 128]},
            "train.seed": {"choices": [1, 2]},
            "train.arguments": {"choices": [1, 2]},
            "train.lora.r": {"low": 0, "high": 8},
            "train.arguments.lr": {"low": 1, "high": 2},
            "train.arguments.num_train_epochs": {"choices": [1, "many"]},
            "train.lora.lora_dropout": {"low": 0, "high": 1},
        },
    )
    assert faults_of(path) == [
        "tune.search.train.argumens.weight_decay: is not a setting."
        " Did you mean train.arguments.weight_decay?",
        "tune.search.train.lora.rank: is not a setting. Did you mean train.lora.r?",
        "tune.search.learning_rate: is not a setting. Did you mean train.arguments.learning_rate?",
        "tune.search.prepare.max_length: cannot be searched: only settings of train are",
        "tune.search.train.seed: is not searched: a seed is no setting that can be better; the"
        " search would choose luck",
        "tune.search.train.arguments: holds no single value; name one of its keys, as"
        " train.arguments.NAME",
        "tune.search.train.lora.r: 0 will not do: must be above 0",
        "tune.search.train.arguments.lr: 1 will not do: lr: is not a TrainingArguments key;"
        " write learning_rate",
        "tune.search.train.arguments.num_train_epochs: 'many' will not do: num_train_epochs: takes"
        " a number, got 'many'",
        "tune.search.train.lora.lora_dropout: 1 will not do: must be below 1",
    ]


def test_search_when_two_values_exclude_each_other_then_says_which(tmp_path: Path) -> None:
    search = {"train.method": {"choices": ["lora", "head"]}, "train.lora.r": {"low": 4, "high": 8}}
    assert faults_of(write(tmp_path, search)) == [
        "tune.search.train.method: 'head' will not do beside train.lora.r 4: lora changes nothing"
        " under method: head; remove one"
    ]


@pytest.mark.parametrize(
    ("one", "fault"),
    [
        ({"low": 2, "high": 1}, "needs low below high, got 2 and 1"),
        ({"low": 2}, "needs low below high, got 2 and null"),
        ({}, "needs low and high, or two choices or more that differ"),
        ({"choices": [1]}, "needs low and high, or two choices or more that differ"),
        ({"choices": [1, 1]}, "needs low and high, or two choices or more that differ"),
        ({"low": 1, "high": 2, "choices": [1, 2]}, "has low and high, and choices"),
        ({"choices": [1, 2], "log": True}, "log and step change nothing beside choices"),
        ({"low": 0, "high": 2, "log": True}, "log needs low above 0, got 0"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "log and step do not go together"),
        ({"low": 1, "high": 2, "step": 3}, "step 3 is wider than from 1 to 2"),
        ({"low": 1, "high": 2, "stp": 1}, "stp is not a setting. Did you mean step?"),
        ({"low": "much", "high": 2}, "low takes a number or null"),
    ],
)
def test_range_when_it_is_none_then_says_why(tmp_path: Path, one: Any, fault: str) -> None:
    assert fault in faults_of(write(tmp_path, {KEY: one}))[0]


@pytest.mark.parametrize(
    ("tune", "fault"),
    [
        ({"trials": None}, "trials: null needs minutes, or the search would never end"),
        ({"trials": 0, "minutes": 5}, "minutes changes nothing with trials: 0"),
        ({"search": {}}, "names nothing to search"),
        ({"workers": 0}, "must be above 0"),
    ],
)
def test_tune_when_it_makes_no_sense_then_says_why(tmp_path: Path, tune: Any, fault: str) -> None:
    assert fault in faults_of(write(tmp_path, {KEY: RATE}, tune))[0]


def test_search_when_there_are_no_trials_then_it_is_off(tmp_path: Path) -> None:
    assert not searched(tmp_path, {KEY: RATE}, tune={"trials": 0}).tune.is_on
    assert searched(tmp_path, {KEY: RATE}, tune={"trials": None, "minutes": 1}).tune.is_on


def test_override_when_it_reaches_into_a_range_then_it_replaces_it(tmp_path: Path) -> None:
    path = write(tmp_path, {KEY: RATE})
    overrides = ["tune.search.train.lora.r={low: 2, high: 4}", f"tune.search.{KEY}.high=1"]
    search = load_recipe(path, overrides).recipe.tune.search
    assert list(search) == [KEY, "train.lora.r"]
    assert (search[KEY].ends, search["train.lora.r"].ends) == ([1e-5, 1], [2, 4])


def test_settings_when_put_in_then_the_rest_of_the_section_stays() -> None:
    train = TrainSection.model_validate({"method": "lora", "arguments": {"weight_decay": 0.1}})
    changed = with_settings(train, {KEY: 1e-3, "train.lora.r": 4})
    assert changed.arguments == {"weight_decay": 0.1, "learning_rate": 1e-3}
    assert changed.lora is not None
    assert (changed.lora.r, changed.method, train.lora) == (4, "lora", None)


@pytest.mark.parametrize(
    ("key", "range_", "whole"),
    [
        ("train.lora.r", {"low": 1, "high": 3}, True),
        ("train.lora.lora_dropout", {"low": 0, "high": 0.5}, False),
        ("train.arguments.warmup_steps", {"low": 0, "high": 9}, False),
        ("train.arguments.gradient_accumulation_steps", {"low": 1, "high": 9}, True),
        ("train.estimator_arguments.max_depth", {"low": 1, "high": 9}, True),
        ("train.estimator_arguments.C", {"low": 1, "high": 9.5}, False),
    ],
)
def test_range_when_its_setting_is_whole_then_so_are_its_values(
    tmp_path: Path, key: str, range_: Any, whole: bool
) -> None:
    assert is_whole(key, searched(tmp_path, {key: range_}).tune.search[key]) is whole


def test_ends_when_the_task_refuses_one_then_the_range_is_told(tmp_path: Path) -> None:
    recipe = searched(tmp_path, {"train.lora.r": {"low": 2, "high": 4}, KEY: RATE})

    def judge(changed: Recipe) -> list[Problem]:
        rank = changed.train.lora.r if changed.train.lora else 0
        return [Problem("train.lora.r", f"train.lora.r: {rank} is much")] if rank > 2 else []

    [problem] = end_problems(recipe, judge)
    assert problem.key == "tune.search.train.lora.r"
    assert problem.message == "tune.search.train.lora.r: with 4, train.lora.r: 4 is much"
