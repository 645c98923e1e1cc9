import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback

from hub_trainer.errors import ExitCode, Interrupted, TrainingError
from hub_trainer.finetune import engine
from hub_trainer.finetune import trainer as trainer_module
from hub_trainer.finetune.checkpoints import newest_valid_checkpoint
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import EarlyStopping, FitData, FitPlan
from hub_trainer.finetune.progress import StepProgress
from hub_trainer.finetune.trainer import FitTrainer
from hub_trainer.reports import FitReport
from tests.finetune.tiny import (
    IMAGE_MODELS,
    MODELS,
    accuracy,
    bert,
    collate_text,
    image_data,
    language_model,
    largest_difference,
    same_weights,
    text_data,
    text_rows,
    weights_of,
)

ARGUMENTS: dict[str, Any] = {
    "learning_rate": 3e-3,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 16,
}


def plan(method: str = "full", **changes: Any) -> FitPlan:
    arguments = {**ARGUMENTS, **changes.pop("arguments", {})}
    known = {"compute_metrics": accuracy, "metric_for_best": "accuracy", **changes}
    return FitPlan(method, arguments, **known)  # type: ignore[arg-type]


def stop_at(step: int) -> Callable[[StepProgress], None]:
    """The signal of a machine that is taken away, at a step."""

    def on_progress(now: StepProgress) -> None:
        if now.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_progress


def trained(
    out_dir: Path, fit: FitPlan, data: FitData | None = None, model: nn.Module | None = None
) -> tuple[dict[str, torch.Tensor], FitReport]:
    tuned, report = fine_tune(
        model or bert(), data or text_data(), fit, out_dir=out_dir, run_digest="run"
    )
    return weights_of(tuned), report


@pytest.mark.parametrize("method", ["head", "last_n", "full", "lora", "scratch"])
@pytest.mark.parametrize("name", MODELS)
def test_every_method_lowers_the_loss_of_every_kind_of_model(
    tmp_path: Path, name: str, method: str
) -> None:
    data = image_data() if name in IMAGE_MODELS else text_data()
    fit = plan(method, last_n=1 if method == "last_n" else None, arguments={"learning_rate": 0.01})
    _, report = trained(tmp_path, fit, data, MODELS[name]())
    losses = [entry["loss"] for entry in report.history if "loss" in entry]
    assert min(losses[1:]) < losses[0]
    assert report.method == method
    assert report.steps == 12
    assert report.epochs == 2.0


def test_a_report_counts_rows_tokens_and_parameters(tmp_path: Path) -> None:
    data = text_data()
    _, report = trained(tmp_path, plan(), data)
    assert report.rows == 96
    assert report.tokens == 2 * sum(len(row["input_ids"]) for row in data.train)
    assert report.trainable_parameters == sum(p.numel() for p in bert().parameters())
    assert report.rows_per_second == pytest.approx(2 * 96 / report.seconds)
    assert report.tokens_per_second == pytest.approx(report.tokens / report.seconds)
    assert report.num_processes == 1
    assert report.peak_mb > 1
    assert report.bit_reproducible
    assert report.resumed_from is None
    assert report.notes == ()
    json.dumps(report.to_json())


def test_images_have_no_tokens(tmp_path: Path) -> None:
    _, report = trained(tmp_path, plan(), image_data(), IMAGE_MODELS["vit"]())
    assert (report.tokens, report.tokens_per_second) == (None, None)


def test_the_same_run_twice_gives_the_same_weights(tmp_path: Path) -> None:
    one, _ = trained(tmp_path / "a", plan())
    other, _ = trained(tmp_path / "b", plan())
    assert same_weights(one, other)
    assert not same_weights(one, trained(tmp_path / "c", plan(seed=1))[0])


def weighted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "weight": 0.1 + index % 7} for index, row in enumerate(rows)]


@pytest.mark.parametrize(("micro", "accumulation"), [(4, 4), (2, 8), (5, 3)])
def test_accumulation_gives_the_result_of_the_whole_batch(
    tmp_path: Path, micro: int, accumulation: int
) -> None:
    data = replace(text_data(), train=weighted(text_rows(95)), lengths=None)
    total = micro * accumulation
    cut = {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": 1e-3,
    }
    whole = {"per_device_train_batch_size": total, "learning_rate": 1e-3}
    one, _ = trained(tmp_path / "a", plan(arguments=whole), data, bert(dropout=0))
    other, report = trained(tmp_path / "b", plan(arguments=cut), data, bert(dropout=0))
    assert report.gradient_accumulation_steps == accumulation
    assert largest_difference(one, other) < 2e-5


def test_accumulation_counts_the_labels_of_a_language_model_and_not_its_rows(
    tmp_path: Path,
) -> None:
    rows = [{"input_ids": row["input_ids"], "labels": 0} for row in text_rows(32)]

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = collate_text(rows)
        return {**batch, "labels": batch["input_ids"].masked_fill(batch["input_ids"] == 0, -100)}

    data = FitData(weighted(rows), None, collate)
    losses = []
    for micro, accumulation in ((8, 1), (2, 4)):
        cut = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": accumulation}
        fit = FitPlan("full", {**cut, "logging_steps": 1, "learning_rate": 1e-3, "max_steps": 6})
        _, report = trained(tmp_path / str(micro), fit, data, language_model())
        losses.append([entry["loss"] for entry in report.history if "loss" in entry])
    assert np.allclose(losses[0], losses[1], atol=1e-4)
    assert len(losses[0]) == 6


def test_a_row_of_weight_zero_teaches_nothing(tmp_path: Path) -> None:
    rows = text_rows(40)
    wrong = [{**row, "labels": (row["labels"] + 1) % 3, "weight": 0.0} for row in rows]
    mixed = FitData([*rows, *wrong], None, collate_text)
    fit = plan(arguments={"num_train_epochs": 20, "learning_rate": 5e-3})
    tuned, _ = fine_tune(bert(dropout=0), mixed, fit, out_dir=tmp_path)
    with torch.no_grad():
        answers = tuned(**collate_text(rows)).logits.argmax(-1)
    assert (answers == torch.tensor([row["labels"] for row in rows])).float().mean() > 0.9


STEPS = 12


@pytest.mark.parametrize("step", [1, 5, 6, 11, 12])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_stopped_by_a_signal_and_run_again_the_weights_are_the_same(
    tmp_path: Path, method: str, step: int
) -> None:
    expected, _ = trained(tmp_path / "whole", plan(method))
    with pytest.raises(Interrupted, match="stopped by a signal") as caught:
        fine_tune(
            bert(),
            text_data(),
            plan(method),
            out_dir=tmp_path / "cut",
            run_digest="run",
            on_progress=stop_at(step),
        )
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert f"checkpoint-{step}" in str(caught.value.where)
    assert "run the same command again" in str(caught.value.do)
    found, report = trained(tmp_path / "cut", plan(method))
    assert same_weights(found, expected)
    assert report.resumed_from == step
    assert report.bit_reproducible
    assert report.notes == (f"resumed from step {step}",)


def test_a_checkpoint_is_made_when_one_is_overdue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an epoch's end it waits for the evaluation, which a resume would otherwise lose."""
    expected, _ = trained(tmp_path / "whole", plan())
    monkeypatch.setattr(trainer_module, "SECONDS_BETWEEN_SAVES", 0.0)
    seen: dict[int, list[str]] = {}

    def look(now: StepProgress) -> None:
        seen[now.step] = sorted(path.name for path in (tmp_path / "often").rglob("checkpoint-*"))

    tuned, report = fine_tune(
        bert(), text_data(), plan(), out_dir=tmp_path / "often", run_digest="run", on_progress=look
    )
    assert seen[3] == ["checkpoint-1", "checkpoint-2"]
    assert seen[6] == ["checkpoint-4", "checkpoint-5"]
    assert seen[7] == ["checkpoint-5", "checkpoint-6"]
    assert same_weights(weights_of(tuned), expected)
    assert len([entry for entry in report.history if "eval_loss" in entry]) == 2


def test_a_resumed_run_reports_the_whole_of_it(tmp_path: Path) -> None:
    _, whole = trained(tmp_path / "whole", plan())
    with pytest.raises(Interrupted):
        fine_tune(
            bert(),
            text_data(),
            plan(),
            out_dir=tmp_path / "cut",
            run_digest="run",
            on_progress=stop_at(7),
        )
    _, report = trained(tmp_path / "cut", plan())
    assert report.tokens == whole.tokens
    assert report.rows_per_second == pytest.approx(2 * 96 / report.seconds)
    kept = ("loss", "eval_loss", "eval_accuracy")
    assert [[e.get(k) for k in kept] for e in report.history] == [
        [e.get(k) for k in kept] for e in whole.history
    ]


def test_random_transforms_are_resumed_too(tmp_path: Path) -> None:
    class Shaken:
        def __init__(self) -> None:
            self.rows = text_rows(96)

        def __len__(self) -> int:
            return 96

        def __getitem__(self, index: int) -> dict[str, Any]:
            row = dict(self.rows[index])
            row["input_ids"] = [*row["input_ids"], int(torch.randint(5, 50, ()))]
            return row

    data = replace(text_data(lengths=None), train=Shaken(), augmented=True)
    expected, _ = trained(tmp_path / "whole", plan(), data)
    with pytest.raises(Interrupted):
        fine_tune(
            bert(),
            data,
            plan(),
            out_dir=tmp_path / "cut",
            run_digest="run",
            on_progress=stop_at(8),
        )
    assert same_weights(trained(tmp_path / "cut", plan(), data)[0], expected)


def test_a_finished_run_that_is_run_again_gives_its_result_at_once(tmp_path: Path) -> None:
    fit = plan(arguments={"max_steps": 8})
    expected, first = trained(tmp_path, fit)
    found, report = trained(tmp_path, fit)
    assert same_weights(found, expected)
    assert report.resumed_from == 8
    assert report.steps == first.steps == 8


def test_early_stopping_is_remembered_over_a_resume(tmp_path: Path) -> None:
    fit = plan(
        early_stopping=EarlyStopping(2, min_delta=1.0),
        arguments={"num_train_epochs": 9},
    )
    expected, first = trained(tmp_path / "whole", fit)
    assert first.steps == 18
    with pytest.raises(Interrupted):
        fine_tune(
            bert(),
            text_data(),
            fit,
            out_dir=tmp_path / "cut",
            run_digest="run",
            on_progress=stop_at(13),
        )
    found, report = trained(tmp_path / "cut", fit)
    assert report.steps == 18
    assert same_weights(found, expected)
    again, report = trained(tmp_path / "cut", fit)
    assert report.steps == report.resumed_from == 18
    assert same_weights(again, expected)


def test_the_best_model_is_the_one_that_comes_back(tmp_path: Path) -> None:
    data = text_data()
    data = replace(data, validation=[{**row, "labels": 0} for row in data.validation])
    fit = plan(metric_for_best="loss", arguments={"num_train_epochs": 4, "learning_rate": 0.01})
    tuned, report = fine_tune(bert(), data, fit, out_dir=tmp_path)
    evaluations = [e["eval_loss"] for e in report.history if "eval_loss" in e]
    assert report.best_metric == min(evaluations)
    assert min(evaluations) < evaluations[-1]
    with torch.no_grad():
        outputs = tuned(**collate_text([dict(row) for row in data.validation]))
    assert float(outputs.loss) == pytest.approx(report.best_metric, abs=1e-5)
    assert not tuned.training


def test_another_digest_starts_over(tmp_path: Path) -> None:
    expected, _ = trained(tmp_path / "fresh", plan())
    fine_tune(bert(), text_data(), plan(seed=4), out_dir=tmp_path / "used", run_digest="old")
    found, report = trained(tmp_path / "used", plan())
    assert same_weights(found, expected)
    assert report.resumed_from is None
    assert report.notes == ("2 checkpoints of another run were removed",)


def test_another_environment_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        fine_tune(
            bert(), text_data(), plan(), out_dir=tmp_path, run_digest="run", on_progress=stop_at(3)
        )
    real = trainer_module.environment_of
    monkeypatch.setattr(trainer_module, "environment_of", lambda args: {**real(args), "torch": "9"})
    _, report = trained(tmp_path, plan())
    assert not report.bit_reproducible
    assert "resumed in another environment: torch" in report.notes


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fine_tune(
            bert(), text_data(), plan(), out_dir=tmp_path, run_digest="run", on_progress=stop_at(3)
        )
    with pytest.raises(TrainingError, match="another model or another method") as caught:
        trained(tmp_path, plan("lora"))
    assert "names differ" in str(caught.value.got)
    assert "remove this folder" in str(caught.value.do)


def test_a_best_checkpoint_damaged_while_training_is_refused(tmp_path: Path) -> None:
    def damage(now: StepProgress) -> None:
        if now.step == 11:
            weights = tmp_path / "checkpoints/checkpoint-6/trained.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"?")

    data = text_data()
    fit = plan(metric_for_best="loss", arguments={"learning_rate": 0.0})
    with pytest.raises(TrainingError, match="best checkpoint does not read back") as caught:
        fine_tune(bert(), data, fit, out_dir=tmp_path, on_progress=damage)
    assert "checkpoint-6" in str(caught.value.where)


def broken_rows(at: set[int]) -> FitData:
    """Images of which some make the loss not a number."""
    data = image_data()
    rows = [dict(row) for row in data.train]
    for index in at:
        rows[index]["pixel_values"] = np.full((1, 8, 8), np.nan, dtype="float32")
    return replace(data, train=rows)


def test_a_step_that_is_not_finite_is_skipped_and_told(tmp_path: Path) -> None:
    model = IMAGE_MODELS["vit"]()
    weights, report = trained(tmp_path, plan(), broken_rows({3}), model)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    skipped = [note for note in report.notes if "skipped: its gradient was not finite" in note]
    assert len(skipped) == 2
    losses = [entry["loss"] for entry in report.history if "loss" in entry]
    assert np.isfinite(losses).all()


def test_steps_that_stay_not_finite_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not finite in 4 steps in a row") as caught:
        trained(tmp_path, plan(), broken_rows(set(range(96))), IMAGE_MODELS["vit"]())
    assert str(caught.value.where).startswith("step 4")
    assert caught.value.got == "loss nan, gradient norm nan"
    assert "learning_rate" in str(caught.value.do)
    assert caught.value.exit_code == ExitCode.TRAINING
    assert not list((tmp_path / "checkpoints").glob("checkpoint-*"))


def test_weights_that_end_not_finite_are_refused(tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        def on_train_end(self, *args: Any, model: nn.Module, **kwargs: Any) -> None:
            model.classifier.bias.data[0] = float("inf")

    real = FitTrainer.__init__

    def spoilt(self: FitTrainer, *args: Any, callbacks: Any, **kwargs: Any) -> None:
        real(self, *args, callbacks=[*callbacks, Spoil()], **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitTrainer, "__init__", spoilt)
        with pytest.raises(TrainingError, match="trained weights are not finite") as caught:
            trained(tmp_path, plan())
    assert caught.value.where == "classifier.bias"


class ShortOfMemory(nn.Module):
    """A model that runs out of memory above so many rows, from some forward on."""

    def __init__(self, limit: int, after: int) -> None:
        super().__init__()
        self.inner, self.limit, self.after, self.calls = bert(dropout=0), limit, after, 0
        self.config, self.base_model = self.inner.config, self.inner.base_model

    def forward(self, **inputs: Any) -> Any:
        self.calls += self.training
        if self.training and self.calls > self.after and len(inputs["input_ids"]) > self.limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.inner(**inputs)


@pytest.mark.parametrize("after", [0, 3, 8])
def test_out_of_memory_halves_the_batch_and_keeps_the_result(tmp_path: Path, after: int) -> None:
    expected, _ = trained(tmp_path / "whole", plan(), model=ShortOfMemory(99, 0))
    found, report = trained(tmp_path / "short", plan(), model=ShortOfMemory(5, after))
    assert largest_difference(expected, found) < 1e-4
    assert report.per_device_train_batch_size == 4
    assert report.gradient_accumulation_steps == 4
    assert report.steps == STEPS
    assert not report.bit_reproducible
    assert f"out of memory at step {after + 1}" in report.notes[0]
    assert "per_device_train_batch_size 16 -> 8" in report.notes[0]
    assert report.tokens == 2 * sum(len(row["input_ids"]) for row in text_data().train)


def test_a_smaller_batch_is_kept_over_a_resume(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fine_tune(
            ShortOfMemory(9, 3),
            text_data(),
            plan(),
            out_dir=tmp_path,
            run_digest="run",
            on_progress=stop_at(9),
        )
    _, report = trained(tmp_path, plan(), model=ShortOfMemory(9, 0))
    assert report.per_device_train_batch_size == 8
    assert len([note for note in report.notes if "out of memory" in note]) == 1


def test_out_of_memory_with_one_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="memory is not enough") as caught:
        trained(tmp_path, plan(), model=ShortOfMemory(0, 0))
    assert caught.value.where == "step 1"
    assert caught.value.got == "per_device_train_batch_size 1 on 1 processes"
    assert "method lora or head" in str(caught.value.do)


def test_any_other_fault_of_a_model_is_not_swallowed(tmp_path: Path) -> None:
    model = bert()
    model.classifier = nn.Linear(7, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trained(tmp_path, plan(), model=model, data=text_data(validation=None))


def test_a_full_disk_ends_with_the_last_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = trained(tmp_path / "whole", plan())
    real = torch.save

    def full(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if "staging-12" in str(path) and "scheduler" in str(path):
            raise OSError(28, "No space left on device")
        real(content, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="checkpoint of step 12 could not be written") as caught:
        trained(tmp_path / "full", plan())
    assert "No space left on device" in str(caught.value.got)
    assert "it goes on from step 6" in str(caught.value.do)
    folder = tmp_path / "full/checkpoints"
    assert [path.name for path in folder.iterdir()] == ["checkpoint-6"]
    monkeypatch.setattr(torch, "save", real)
    assert same_weights(trained(tmp_path / "full", plan())[0], expected)


@pytest.mark.parametrize("limit", [1_500, 20_000, 100_000])
def test_files_that_cannot_grow_end_with_the_last_checkpoint_whole(
    tmp_path: Path, limit: int
) -> None:
    """The kernel refuses every byte beyond the limit, in whichever library is writing."""
    expected, _ = trained(tmp_path / "whole", plan())
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def shrink(now: StepProgress) -> None:
        if now.step == 11:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    try:
        with pytest.raises(TrainingError, match="checkpoint of step 12 could not be written"):
            fine_tune(
                bert(),
                text_data(),
                plan(),
                out_dir=tmp_path / "full",
                run_digest="run",
                on_progress=shrink,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert [path.name for path in (tmp_path / "full/checkpoints").iterdir()] == ["checkpoint-6"]
    assert same_weights(trained(tmp_path / "full", plan())[0], expected)


@pytest.mark.parametrize("damage", ["flip", "cut", "zeros", "gone"])
@pytest.mark.parametrize(
    "name",
    [
        "MANIFEST.json",
        "counts.json",
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trained.safetensors",
        "trainer_state.json",
    ],
)
def test_damage_to_any_file_of_a_checkpoint_is_found_and_changes_nothing(
    damaged_run: "DamagedRun", name: str, damage: str
) -> None:
    path = damaged_run.folder / "checkpoints/checkpoint-8" / name
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    changed = {
        "flip": content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
        "cut": content[:middle],
        "zeros": content[:middle] + b"\0" * (len(content) - middle),
    }
    path.unlink()
    if damage != "gone":
        path.write_bytes(changed[damage])
    found = newest_valid_checkpoint(damaged_run.folder / "checkpoints", run_digest="run")
    assert found is not None
    assert found.step == 6
    weights, report = trained(damaged_run.folder, plan())
    assert report.resumed_from == 6
    assert same_weights(weights, damaged_run.expected)


@dataclass(frozen=True)
class DamagedRun:
    """A run stopped at step 8 with a checkpoint of step 6 before it, to be damaged."""

    folder: Path
    expected: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> DamagedRun:
    folder = tmp_path_factory.mktemp("damage")
    expected, _ = trained(folder / "whole", plan())
    with pytest.raises(Interrupted):
        fine_tune(
            bert(),
            text_data(),
            plan(),
            out_dir=folder / "cut",
            run_digest="run",
            on_progress=stop_at(8),
        )
    return DamagedRun(folder / "cut", expected)


@pytest.fixture
def damaged_run(stopped_run: DamagedRun, tmp_path: Path) -> DamagedRun:
    shutil.copytree(stopped_run.folder, tmp_path / "run")
    return replace(stopped_run, folder=tmp_path / "run")


def test_a_metric_that_is_not_computed_is_found_before_training(tmp_path: Path) -> None:
    steps: list[int] = []
    with pytest.raises(TrainingError, match="chooses the best model is not computed") as caught:
        fine_tune(
            bert(),
            text_data(),
            plan(metric_for_best="f1"),
            out_dir=tmp_path,
            on_progress=lambda now: steps.append(now.step),
        )
    assert caught.value.got == "f1"
    assert caught.value.do == "use one of loss, accuracy"
    assert steps == []


def test_an_empty_training_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="training split is empty"):
        fine_tune(bert(), FitData([], None, collate_text), plan(), out_dir=tmp_path)


def test_early_stopping_without_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs a validation split") as caught:
        trained(tmp_path, plan(early_stopping=EarlyStopping(1)), text_data(validation=None))
    assert caught.value.where == "train.early_stopping"


def test_a_launcher_that_joined_fewer_processes_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "training_arguments", _arguments_of_one_process(monkeypatch))
    with pytest.raises(TrainingError, match="2 processes were asked for"):
        trained(tmp_path, plan())


def _arguments_of_one_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    real = engine.training_arguments

    def made(*args: Any, **kwargs: Any) -> Any:
        arguments = real(*args, **kwargs)
        monkeypatch.setenv("WORLD_SIZE", "2")
        return arguments

    return made


def test_nothing_that_loads_code_or_holds_a_token_is_written(tmp_path: Path) -> None:
    trained(tmp_path, plan())
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        "MANIFEST.json",
        "counts.json",
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trained.safetensors",
        "trainer_state.json",
    }


def test_a_head_checkpoint_holds_the_head_alone(tmp_path: Path) -> None:
    trained(tmp_path, plan("head"))
    weights = next((tmp_path / "checkpoints").rglob("trained.safetensors"))
    assert set(load_file(weights)) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }


def test_tensorboard_logs_go_into_the_round_folder(tmp_path: Path) -> None:
    trained(tmp_path, plan(arguments={"report_to": "tensorboard"}))
    assert list((tmp_path / "logs").rglob("events.*"))
