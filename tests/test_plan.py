"""The dry run asks the task what it needs to know, so that a new task is no change to it."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from hub_trainer import tasks
from hub_trainer.base_models import base_folders
from hub_trainer.lineage import PinnedRepo, Pins
from hub_trainer.plan import (
    ADAPTER_FILES,
    CARD_FILES,
    CONFUSION,
    count_sizes,
    planned_writes,
)
from hub_trainer.tasks import ModelFolders, load_task
from hub_trainer.tasks.text_classification import TASK
from tests.tasks.factory import recipe, text_base

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
    assert write["files"] == [*TASK.card().files, CONFUSION, *CARD_FILES]
    assert write["what"].endswith("tag round-3")
    base = text_base(tmp_path)
    hub: Any = HubOfOneModel(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert pins.base_model is not None
    folders = base_folders(chosen, pins.base_model, hub, with_weights=False)
    sizes = count_sizes(chosen, folders, num_labels=5)
    assert sizes is not None
    assert sizes[0] == {"total": total, "trainable": total, "quantized": 0}
    assert sizes[1]["sum"] == pytest.approx(16 * total / 2**20, abs=0.2)


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
    assert write["files"] == [*(ADAPTER_FILES if adapter else whole), *CARD_FILES]


def test_plan_when_the_model_is_not_of_transformers_then_no_parameters_are_counted(
    pins: Pins, tmp_path: Path
) -> None:
    chosen = recipe("tabular-classification", base_model=None)
    assert count_sizes(chosen, ModelFolders(tmp_path), num_labels=2) is None
    assert "model.skops" in planned_writes(chosen, pins)[0]["files"]
