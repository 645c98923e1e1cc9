import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import IntervalStrategy
from transformers.trainer_utils import SaveStrategy

from hub_trainer.errors import ExitCode, RecipeError, TrainingError
from hub_trainer.finetune.training_arguments import assert_as_asked, training_arguments
from hub_trainer.ranks import ASKED, Asked


def made(tmp_path: Path, *, evaluates: bool = True, **arguments: Any) -> Any:
    return training_arguments(
        arguments, output_dir=tmp_path, seed=5, evaluates=evaluates, metric_for_best="f1"
    )


def test_defaults_evaluate_and_save_each_epoch_and_report_nowhere(tmp_path: Path) -> None:
    args = made(tmp_path)
    assert args.eval_strategy == IntervalStrategy.EPOCH
    assert args.save_strategy == SaveStrategy.EPOCH
    assert args.load_best_model_at_end
    assert args.metric_for_best_model == "f1"
    assert args.greater_is_better
    assert args.report_to == []
    assert args.seed == 5
    assert args.n_gpu <= 1
    assert not args.logging_nan_inf_filter
    assert args.restore_callback_states_from_checkpoint


def test_without_validation_nothing_is_evaluated(tmp_path: Path) -> None:
    args = made(tmp_path, evaluates=False)
    assert args.eval_strategy == IntervalStrategy.NO
    assert not args.load_best_model_at_end


def test_eval_strategy_no_is_obeyed(tmp_path: Path) -> None:
    args = made(tmp_path, eval_strategy="no")
    assert args.eval_strategy == IntervalStrategy.NO
    assert not args.load_best_model_at_end


@pytest.mark.parametrize("said", ["eval", "save"])
def test_the_rhythm_that_is_not_said_follows_the_one_that_is(tmp_path: Path, said: str) -> None:
    args = made(tmp_path, **{f"{said}_strategy": "steps", f"{said}_steps": 7})
    assert args.eval_strategy == IntervalStrategy.STEPS
    assert args.save_strategy == SaveStrategy.STEPS
    assert (args.eval_steps, args.save_steps) == (7, 7)


def test_user_arguments_win(tmp_path: Path) -> None:
    args = made(tmp_path, learning_rate=0.01, report_to="tensorboard", logging_steps=3)
    assert args.learning_rate == 0.01
    assert args.report_to == ["tensorboard"]
    assert args.logging_steps == 3


def test_without_an_accelerator_the_cpu_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    args = made(tmp_path)
    assert args.use_cpu
    assert not args.dataloader_pin_memory
    assert not args.bf16


@pytest.mark.parametrize(("arguments", "bf16"), [({}, True), ({"fp16": True}, False)])
def test_bfloat16_is_used_where_the_gpu_has_it_unless_fp16_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], bf16: bool
) -> None:
    from hub_trainer.finetune.training_arguments import _rhythm

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    assert _rhythm(arguments, True, None)["bf16"] is bf16


def test_keys_of_the_engine_are_refused_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        made(tmp_path, output_dir="x", save_only_model=True, learning_rte=1)
    message = str(caught.value)
    assert caught.value.exit_code == ExitCode.RECIPE
    assert "train.arguments: 3 problems" in message
    assert "train.arguments.output_dir: is not a setting of a recipe" in message
    assert "train.arguments.save_only_model: is not a setting of a recipe; remove it" in message
    assert "train.arguments.learning_rte: " in message
    assert "learning_rate" in message


def test_different_rhythms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="train.arguments") as caught:
        made(tmp_path, eval_strategy="epoch", save_strategy="steps")
    assert "save_strategy must be the same as eval_strategy" in str(caught.value)


def test_evaluation_without_a_validation_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        made(tmp_path, evaluates=False, eval_strategy="epoch")
    assert "eval_strategy needs a validation split" in str(caught.value)


def test_fewer_than_two_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        made(tmp_path, save_total_limit=1)
    assert "save_total_limit must be 2 or more" in str(caught.value)


def test_a_value_that_transformers_refuses_is_a_recipe_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        made(tmp_path, lr_scheduler_type="zigzag")
    assert "zigzag" in str(caught.value)


def test_what_runs_when_it_is_not_what_was_asked_for_then_every_difference_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = made(tmp_path)
    assert_as_asked(args)
    monkeypatch.setenv(ASKED, json.dumps(asdict(Asked("my.yaml", 2))))
    args.__dict__["_setup_devices"] = torch.device("meta")
    with pytest.raises(TrainingError, match="not what was asked for") as caught:
        assert_as_asked(args)
    assert caught.value.where == "my.yaml"
    assert caught.value.got == (
        "2 processes were asked for, 1 are running; device cpu was asked for, meta is used;"
        " processes that train together were asked for, 2 train alone"
    )
    assert "torchrun" in str(caught.value.do)


def test_device_when_the_launcher_asks_for_the_cpu_then_no_gpu_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert made(tmp_path).use_cpu
