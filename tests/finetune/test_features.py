from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from hub_trainer.errors import Interrupted
from hub_trainer.finetune import engine
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.features import cached_features
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.training_arguments import training_arguments
from tests.finetune.tiny import (
    IMAGE_MODELS,
    MODELS,
    accuracy,
    bert,
    image_data,
    largest_difference,
    llama,
    text_data,
    text_rows,
    weights_of,
)

SEPARABLE = [name for name in MODELS if name != "llama"]
PLAN = FitPlan(
    "head",
    {"learning_rate": 0.01, "num_train_epochs": 3, "per_device_train_batch_size": 16},
    compute_metrics=accuracy,
)


def data_for(name: str) -> Any:
    return image_data() if name in IMAGE_MODELS else text_data()


def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head behind its whole frozen body, as without a cache."""
    monkeypatch.setattr(engine, "_may_cache", lambda data, plan: False)


@pytest.mark.parametrize("name", SEPARABLE)
def test_a_head_on_cached_features_is_the_head_behind_its_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model, cached = fine_tune(MODELS[name](), data_for(name), PLAN, out_dir=tmp_path / "a")
    plain(monkeypatch)
    other, whole = fine_tune(MODELS[name](), data_for(name), PLAN, out_dir=tmp_path / "b")
    assert type(model) is type(other)
    assert largest_difference(weights_of(model), weights_of(other)) < 1e-4
    assert cached.tokens == whole.tokens
    assert [e.get("eval_accuracy") for e in cached.history] == [
        e.get("eval_accuracy") for e in whole.history
    ]
    frozen, start = weights_of(model.base_model), weights_of(MODELS[name]().base_model)
    changed = {key for key in frozen if not torch.equal(frozen[key], start[key])}
    assert all(key.startswith("pooler.") for key in changed)


class CountedBody(nn.Module):
    """Counts the rows that pass the body."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.rows = body, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.rows += len(args[0] if args else kwargs["input_ids"])
        return self.body(*args, **kwargs)


def with_counted_body(model: PreTrainedModel) -> CountedBody:
    body = CountedBody(model.base_model)
    setattr(model, model.base_model_prefix, body)
    return body


def test_the_body_sees_each_row_once(tmp_path: Path) -> None:
    model = bert()
    body = with_counted_body(model)
    fine_tune(model, text_data(), PLAN, out_dir=tmp_path)
    probe = 2 * 4
    assert body.rows == 96 + 32 + probe
    assert model.bert is body


def test_rows_that_change_are_never_cached(tmp_path: Path) -> None:
    model = bert()
    body = with_counted_body(model)
    fine_tune(model, replace(text_data(), augmented=True), PLAN, out_dir=tmp_path)
    assert body.rows > 3 * 96


def test_a_head_that_cannot_be_separated_trains_the_plain_way(tmp_path: Path) -> None:
    args = training_arguments({}, output_dir=tmp_path, seed=0, evaluates=True)
    model = llama()
    body = model.base_model
    with cached_features(model, text_data(), args) as cached:
        assert cached is None
    assert model.base_model is body
    _, report = fine_tune(model, text_data(), PLAN, out_dir=tmp_path)
    assert report.steps == 18


def test_features_beyond_the_memory_set_aside_are_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_trainer.finetune.features.MAX_CACHE_BYTES", 1000)
    args = training_arguments({}, output_dir=tmp_path, seed=0, evaluates=True)
    with cached_features(bert(), text_data(), args) as cached:
        assert cached is None


def test_weights_and_order_survive_the_cache(tmp_path: Path) -> None:
    rows = [{**row, "weight": index / 10} for index, row in enumerate(text_rows(40))]
    data = replace(text_data(), train=rows, lengths=[len(row["input_ids"]) for row in rows])
    args = training_arguments({}, output_dir=tmp_path, seed=0, evaluates=True)
    with cached_features(bert(), data, args) as cached:
        assert cached is not None
        kept = [cached.data.train[index] for index in range(40)]
    assert [round(row["weight"], 4) for row in kept] == [index / 10 for index in range(40)]
    assert [int(row["labels"]) for row in kept] == [row["labels"] for row in rows]
    assert [row["num_tokens"] for row in kept] == [len(row["input_ids"]) for row in rows]


def test_the_body_is_put_back_when_training_is_stopped(tmp_path: Path) -> None:
    model = bert()
    body = model.base_model

    def stop(now: Any) -> None:
        raise Interrupted("stop")

    with pytest.raises(Interrupted):
        fine_tune(model, text_data(), PLAN, out_dir=tmp_path, on_progress=stop)
    assert model.base_model is body


def test_a_head_of_several_labels_is_cached_too(tmp_path: Path) -> None:
    rows = [
        {"input_ids": row["input_ids"], "labels": torch.eye(3)[row["labels"]]}
        for row in text_rows(48)
    ]

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = text_data().collate([{**row, "labels": 0} for row in rows])
        return {**batch, "labels": torch.stack([row["labels"] for row in rows])}

    data = replace(text_data(), train=rows, validation=None, collate=collate, lengths=None)
    _, report = fine_tune(bert(), data, PLAN, out_dir=tmp_path)
    assert report.steps == 9
