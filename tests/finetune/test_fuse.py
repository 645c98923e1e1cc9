"""A soup is the mean of checkpoints, and is taken only where it is better on validation rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hub_trainer.errors import TrainingError
from hub_trainer.finetune import fuse
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.fuse import mean_of
from hub_trainer.finetune.plan import FitPlan, Fuse
from hub_trainer.finetune.trainer import FitTrainer
from tests.finetune.tiny import accuracy, bert, same_weights, text_data, weights_of

ARGUMENTS = {"learning_rate": 3e-3, "num_train_epochs": 4, "per_device_train_batch_size": 16}


def plan(method: str = "greedy_soup", kind: str = "full", **changes: Any) -> FitPlan:
    known = {"compute_metrics": accuracy, "metric_for_best": "accuracy", "fuse": Fuse(method, 4)}
    return FitPlan(kind, ARGUMENTS, **{**known, **changes})  # type: ignore[arg-type]


def test_mean_when_of_several_then_floats_are_averaged_and_counts_are_of_the_first() -> None:
    parts = [
        {"w": torch.tensor([1.0, 2.0], dtype=torch.bfloat16), "n": torch.tensor(3)},
        {"w": torch.tensor([2.0, 4.0], dtype=torch.bfloat16), "n": torch.tensor(5)},
    ]
    mean = mean_of(parts)
    assert mean["w"].tolist() == [1.5, 3.0]
    assert (mean["w"].dtype, mean["n"].item()) == (torch.bfloat16, 3)


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("method", ["uniform_soup", "greedy_soup"])
def test_soup_when_made_then_the_model_is_as_good_as_is_said(
    tmp_path: Path, method: str, kind: str
) -> None:
    kept = plan(method, kind, metric_for_best="loss")
    model, report = fine_tune(bert(), text_data(), kept, out_dir=tmp_path)
    fused = report.fused
    assert fused is not None
    assert len(fused["parts"]) == 4
    assert (fused["method"], fused["metric"]) == (method, "loss")
    scores = [part["score"] for part in fused["parts"]]
    assert scores == sorted(scores)
    assert fused["kept"] == (fused["score"] < scores[0])
    assert all(part["taken"] for part in fused["parts"]) or method == "greedy_soup"
    again, _ = fine_tune(bert(), text_data(), kept, out_dir=tmp_path / "again")
    assert same_weights(weights_of(model), weights_of(again))
    best = min(fused["score"], scores[0])
    assert report.best_metric == pytest.approx(best)


@pytest.mark.parametrize(("soup", "kept"), [(0.9, True), (0.7, False)])
def test_soup_when_it_is_no_better_then_the_best_checkpoint_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soup: float, kept: bool
) -> None:
    scores = iter([0.5, 0.8, 0.6, 0.4, soup])
    put: list[Any] = []

    def score(trainer: FitTrainer, weights: Any) -> float:
        put.append(weights)
        return next(scores)

    monkeypatch.setattr(fuse, "_score", score)
    model, report = fine_tune(bert(), text_data(), plan("uniform_soup"), out_dir=tmp_path)
    assert report.fused is not None
    assert report.fused["kept"] is kept
    assert [part["step"] for part in report.fused["parts"]] == [12, 18, 6, 24]
    expected = put[4] if kept else put[1]
    state = dict(model.named_parameters())
    assert all(torch.equal(state[name], value) for name, value in expected.items() if name in state)


def test_greedy_soup_when_a_part_makes_it_worse_then_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.8, 0.6, 0.4, 0.85, 0.7, 0.85, 0.9])
    monkeypatch.setattr(fuse, "_score", lambda trainer, weights: next(scores))
    _, report = fine_tune(bert(), text_data(), plan(), out_dir=tmp_path)
    assert report.fused is not None
    taken = {part["step"]: part["taken"] for part in report.fused["parts"]}
    assert taken == {12: True, 18: True, 6: False, 24: True}


def test_soup_when_there_is_one_checkpoint_then_says_what_to_do(tmp_path: Path) -> None:
    one = FitPlan("full", {**ARGUMENTS, "num_train_epochs": 1}, fuse=Fuse("greedy_soup", 4))
    with pytest.raises(TrainingError, match="no two checkpoints") as caught:
        fine_tune(bert(), text_data(), one, out_dir=tmp_path)
    assert "train for more epochs" in str(caught.value.do)


def test_soup_when_there_are_no_validation_rows_then_says_so(tmp_path: Path) -> None:
    data = text_data()
    with pytest.raises(TrainingError, match="Fuse needs a validation split"):
        fine_tune(bert(), type(data)(data.train, None, data.collate), plan(), out_dir=tmp_path)


def test_fuse_when_the_model_is_split_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = FitPlan("full", {"num_train_epochs": 1}, fuse=Fuse("greedy_soup", 3))
    wanted = SimpleNamespace(sharding=SimpleNamespace())
    monkeypatch.setattr("hub_trainer.finetune.engine.asked", lambda: wanted)
    with pytest.raises(TrainingError, match="Checkpoints of a split model are not fused") as caught:
        fine_tune(bert(), text_data(), fit, out_dir=tmp_path)
    assert caught.value.where == "train.fuse"
