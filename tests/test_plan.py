"""The dry run asks the task what it needs to know, so that a new task is no change to it."""

import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from transformers import AutoModelForSequenceClassification

from hub_trainer import tasks
from hub_trainer.base_models import base_folders
from hub_trainer.finetune import trial
from hub_trainer.finetune.trial import try_classifier
from hub_trainer.lineage import PinnedRepo, Pins
from hub_trainer.plan import (
    ADAPTER_FILES,
    CARD_FILES,
    count_sizes,
    planned_writes,
)
from hub_trainer.plan.forecast import Amount, Forecast, amount_of, by_record, search_of
from hub_trainer.plan.plan_table import duration, render_plan
from hub_trainer.plan.planned import Plan, PlannedRows, PlannedWrite
from hub_trainer.ranks import Sharding
from hub_trainer.recipe import SearchRange, TuneSection
from hub_trainer.tasks import ModelFolders, Splits, load_task
from hub_trainer.tasks.image_classification import TASK as IMAGE_TASK
from hub_trainer.tasks.text_classification import TASK
from tests.tasks.factory import image_base, image_rows, recipe, text_base, text_rows

POEMS = "poem-classification"
SHA = "1" * 40


class HubOfOneModel:
    """A hub whose only model lies in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list_files(self, *args: Any) -> list[Any]:
        return []

    def download(self, *args: Any, **named: Any) -> Path:
        return self.folder


@pytest.fixture
def poems(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A task that is one file and one line in the table."""
    module: Any = ModuleType("poems")
    module.TASK = replace(TASK, name=POEMS)
    monkeypatch.setitem(sys.modules, "poems", module)
    monkeypatch.setattr(tasks, "TASKS", {POEMS: "poems"})
    yield POEMS
    load_task.cache_clear()


@pytest.fixture
def pins() -> Pins:
    base = PinnedRepo("org/base", "model", "main", SHA)
    return Pins(round=3, run_id="r", parent=None, base_model=base, datasets=(), recipe_digest="d")


def test_plan_when_the_task_is_new_then_its_files_and_parameters_are_known(
    poems: str, pins: Pins, tmp_path: Path
) -> None:
    chosen = recipe(poems, train__method="full")
    [write] = planned_writes(chosen, pins)
    assert write.files == (*TASK.card().files, "figures/confusion.png", *CARD_FILES)
    assert write.what.endswith("tag round-3")
    base = text_base(tmp_path)
    hub: Any = HubOfOneModel(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert pins.base_model is not None
    folders = base_folders(chosen, pins.base_model, hub, with_weights=False)
    sizes = count_sizes(chosen, folders, list("abcde"))
    assert sizes is not None
    assert sizes[0] == {"total": total, "trainable": total, "quantized": 0}
    assert sizes[1]["sum"] == pytest.approx(16 * total / 2**20, abs=0.2)


def test_plan_when_the_rows_are_pictures_then_it_names_the_sheet_of_them(pins: Pins) -> None:
    [write] = planned_writes(recipe("image-classification"), pins)
    assert write.files[-5:] == ("figures/confusion.png", "figures/examples.png", *CARD_FILES)


@pytest.mark.parametrize(
    ("changes", "adapter"),
    [
        ({"train__method": "lora"}, True),
        ({"train__method": "qlora", "train__language": {}}, True),
        ({"train__method": "lora", "train__language": {"merge": True}}, False),
        ({"train__method": "full"}, False),
    ],
)
def test_plan_when_the_model_writes_then_it_names_the_adapter_or_the_whole(
    changes: dict[str, Any], adapter: bool, pins: Pins
) -> None:
    chosen = recipe("text-generation", **changes)
    [write] = planned_writes(chosen, pins)
    whole = load_task("text-generation").card().files
    assert write.files == (*(ADAPTER_FILES if adapter else whole), *CARD_FILES)


def test_plan_when_the_model_is_not_of_transformers_then_no_parameters_are_counted(
    pins: Pins, tmp_path: Path
) -> None:
    chosen = recipe("tabular-classification", base_model=None)
    assert count_sizes(chosen, ModelFolders(tmp_path), ["a", "b"]) is None
    assert "model.skops" in planned_writes(chosen, pins)[0].files


@pytest.mark.parametrize(
    ("arguments", "processes", "steps", "batch"),
    [
        ({"num_train_epochs": 2, "per_device_train_batch_size": 16}, 1, 14, 16),
        ({"num_train_epochs": 2, "per_device_train_batch_size": 16}, 4, 4, 64),
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}, 1, 12, 32),
        ({"max_steps": 5}, 1, 5, 8),
    ],
)
def test_steps_when_processes_and_accumulation_change_then_as_the_trainer_counts(
    arguments: dict[str, Any], processes: int, steps: int, batch: int
) -> None:
    amount = amount_of(arguments, {"train": 100, "validation": 9}, processes)
    assert (amount.steps, amount.batch) == (steps, batch)


def test_trial_when_a_small_classifier_is_tried_then_seconds_and_activations_are_known(
    tmp_path: Path,
) -> None:
    chosen = recipe("text-classification", train__method="full")
    rows = text_rows(24)
    names = sorted({row["label"] for row in rows})
    base = text_base(tmp_path)
    data = TASK.fit_data(Splits(rows, [], names), chosen, ModelFolders(base))
    tried = try_classifier(str(TASK.card().auto_class), base, chosen.train, data, num_labels=3)
    assert tried.activation_bytes
    assert tried.activation_bytes > 10_000
    assert tried.step_seconds
    assert tried.answer_seconds
    assert tried.inputs == {"tokens": sum(data.lengths or ()), "longest": max(data.lengths or ())}


def test_trial_when_the_model_is_too_large_then_it_is_laid_out_without_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MAX_PARAMETERS", 10)
    chosen = recipe("image-classification", train__method="full")
    rows, base = image_rows(9), image_base(tmp_path)
    names = sorted({row["label"] for row in rows})
    data = IMAGE_TASK.fit_data(Splits(rows, [], names), chosen, ModelFolders(base))
    auto_class = str(IMAGE_TASK.card().auto_class)
    tried = try_classifier(auto_class, base, chosen.train, data, num_labels=3)
    assert tried.step_seconds is None
    assert tried.activation_bytes
    assert tried.inputs["pixels"][0] == 3


def test_time_when_nothing_can_be_tried_then_the_last_round_or_unknown(tmp_path: Path) -> None:
    chosen = recipe("text-classification", train__method="full")
    amount = amount_of({}, {"train": 100}, 1)
    seconds, basis = by_record(chosen, amount, None, otherwise="the model is too large")
    assert seconds is None
    assert basis.startswith("unknown: the model is too large, and no round")
    assert duration(seconds) == "no estimate"
    base = chosen.base_model and {"repo_id": chosen.base_model.repo_id}
    last: Any = SimpleNamespace(
        round=3,
        train={"rows_per_second": 10.0},
        recipe={"train": {"method": "full"}},
        base_model=base,
    )
    seconds, basis = by_record(chosen, amount, last, otherwise="")
    assert (seconds, basis) == (31.2, "10 rows per second, as in round 3")
    last.recipe["train"]["method"] = "lora"
    assert "trained in another way" in by_record(chosen, amount, last, otherwise="")[1]


TUNE = TuneSection(trials=5, workers=2, search={"train.lora.r": SearchRange(low=1, high=8)})


@pytest.mark.parametrize(
    ("changes", "seconds", "expected"),
    [
        ({}, 200.0, 600.0),
        ({"minutes": 2}, 200.0, 120.0),
        ({"minutes": 2}, None, 120.0),
        ({"trials": None, "minutes": 2}, 200.0, 120.0),
        ({}, None, None),
    ],
)
def test_search_when_planned_then_its_time_is_that_of_its_trials_and_at_most_its_minutes(
    changes: dict[str, Any], seconds: float | None, expected: float | None
) -> None:
    found = search_of(TUNE.model_copy(update=changes), seconds)
    assert found is not None
    assert found.seconds == expected
    assert search_of(TuneSection(), 200.0) is None


def test_table_when_several_processes_train_then_it_says_what_each_holds(pins: Pins) -> None:
    memory = {"weights": 4.0, "exchange": 1.0, "runtime": 500.0, "sum": 505.0}
    inputs = {"tokens": 9000, "longest": 40}
    file = "model.safetensors"
    write = PlannedWrite("model", "org/m", "one commit", (file, "README.md"), {file: 4_000_000})
    plan = Plan(
        recipe=recipe("text-classification", train__method="full"),
        pins=pins,
        rows=PlannedRows({"train": 1000, "test": 50}, {}, {"exact duplicate": 2}),
        num_labels=3,
        preview=None,
        amount=Amount(63, 1.0, 8, 1, 2, 1000, 0),
        has_steps=True,
        sharding=None,
        parameters={"total": 1_000_000, "trainable": 1000, "quantized": 0},
        forecast=Forecast(memory, "counted", 200.0, "a few steps", inputs),
        search=search_of(TUNE, 200.0),
        writes=(write,),
    )
    console = Console(width=100, file=io.StringIO())
    console.print(render_plan(plan))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "63 in 1 epoch, 16 rows a step over 2 processes, each with the whole model",
        "2 exact duplicates",
        "1,000,000, of which 1,000 learn (0.1%)",
        "about 3 min (a few steps)",
        "about 10 min (trials as long as the training): 5 trials, 2 side by side, over"
        " train.lora.r",
        "memory of each process",
        "4.0 MB",
        "README.md some kB",
        "model org/m: one commit",
    ):
        assert words in " ".join(shown.split())
    console.print(render_plan(replace(plan, sharding=Sharding(shards=4, replicas=2))))
    split = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 processes, the model split over 4, 2 times" in " ".join(split.split())
    # A model made in training has no size before it.
    console.print(render_plan(replace(plan, writes=(replace(write, sizes={}),))))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "model.safetensors unknown" in " ".join(shown.split())
