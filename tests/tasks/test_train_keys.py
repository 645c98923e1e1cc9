"""A key or value of `train` that no task would use is not legal."""

from typing import Any, get_args

import pytest
from peft import LoraConfig

from hub_trainer.finetune.language.tune import LOSSES
from hub_trainer.finetune.sizes import BYTES_OF_QUANTIZED
from hub_trainer.recipe import LanguageSection, LoraSection, TrainSection
from hub_trainer.recipe.method_table import METHODS
from hub_trainer.tasks import TASKS, load_task, offered_beside
from tests.tasks.factory import recipe

SET: dict[str, dict[str, Any]] = {
    "method": {"method": "scratch"},
    "last_n": {"method": "last_n", "last_n": 1},
    "lora": {"method": "lora", "lora": {"r": 4}},
    "estimator": {"estimator": "random_forest"},
    "estimator_arguments": {"estimator_arguments": {"max_iter": 9}},
    "language": {"language": {"beta": 0.2}},
    "speech": {"speech": {"language": "de"}},
    "arguments": {"arguments": {"learning_rate": 1e-3}},
    "early_stopping": {"early_stopping": {"patience": 2}},
    "hybrid": {"method": "hybrid", "hybrid": {"new_blocks": 2}},
    "layer_decay": {"layer_decay": 0.9},
    "l1": {"l1": 0.1},
    "dropout": {"dropout": 0.2},
    "mixup": {"mixup": 0.2},
    "loss": {"loss": "focal"},
    "fuse": {"fuse": {"method": "greedy_soup"}},
    "class_weights": {"class_weights": True},
    "profile": {"profile": True},
    "seed": {"seed": 3},
}


def test_methods_when_listed_then_each_is_offered_by_some_task() -> None:
    assert set().union(*(offered_beside(load_task(name).unfit) for name in TASKS)) == set(METHODS)


@pytest.mark.parametrize("key", TrainSection.model_fields)
def test_key_when_set_then_some_task_takes_it(key: str) -> None:
    problems = [
        load_task(name).recipe_problems(recipe(name, train=SET[key]), None) for name in TASKS
    ]
    assert [found for found in problems if not any(p.key.startswith("train") for p in found)]


def test_values_when_language_models_take_them_then_each_is_known_to_training() -> None:
    losses, bits = (LanguageSection.model_fields[k] for k in ("loss_type", "quantization"))
    assert set(get_args(get_args(losses.annotation)[0])) == {x for k in LOSSES.values() for x in k}
    assert set(get_args(bits.annotation)) == set(BYTES_OF_QUANTIZED)
    assert set(LoraSection.model_fields) <= set(LoraConfig.__dataclass_fields__)


REFUSED = {
    "mixup": {
        "token-classification",
        "automatic-speech-recognition",
        "sentence-similarity",
        "text-generation",
        "tabular-classification",
        "tabular-regression",
    },
    # Pictures have no dropout where no base is named; recipe() of the others names one
    "dropout": {"text-generation", "tabular-classification", "tabular-regression"},
}


@pytest.mark.parametrize("key", REFUSED)
def test_regulariser_when_a_task_has_no_use_for_it_then_says_so(key: str) -> None:
    found = {
        name: [problem.message for problem in problems if problem.key == f"train.{key}"]
        for name in TASKS
        for problems in [load_task(name).recipe_problems(recipe(name, train=SET[key]), None)]
    }
    assert {name for name, told in found.items() if told} == REFUSED[key]
    for name in REFUSED[key]:
        assert found[name] == [f"train.{key}: changes nothing in {name}; remove it"]


def test_dropout_when_pictures_start_from_no_base_then_is_refused() -> None:
    for task, refused in (("image-classification", True), ("audio-classification", False)):
        wanted = recipe(task, base_model=None, train={"method": "scratch", "dropout": 0.2})
        told = [problem.message for problem in load_task(task).recipe_problems(wanted, None)]
        text = f"train.dropout: changes nothing in {task}; remove it"
        assert (text in told) == refused
