from pathlib import Path
from typing import Any

import pytest
import torch

from hub_trainer.errors import DataError, Interrupted, TrainingError
from hub_trainer.finetune.language import tune as tune_module
from hub_trainer.finetune.language.encode import Encoded
from hub_trainer.finetune.language.tune import (
    LanguageData,
    LanguagePlan,
    fine_tune_language_model,
    make_objective,
    tokens_per_pass,
)
from tests.finetune.language.kinds import LOSSES, encoded, fit
from tests.finetune.language.tiny import llama
from tests.finetune.test_engine import stop_at
from tests.finetune.tiny import largest_difference, same_weights, weights_of


def tuned(
    name: str, folder: Path, plan: Any = None, *, validation: bool = False, **changes: Any
) -> tuple[torch.nn.Module, Any]:
    kind = name.split()[0]
    held = encoded(kind, copies=1, seed=1) if validation else None
    data = LanguageData(encoded(kind), held)
    language = LanguagePlan(plan or fit(), **LOSSES[name], **changes)
    return fine_tune_language_model(llama(), data, language, out_dir=folder)


def losses(report: Any) -> list[float]:
    return [entry["loss"] for entry in report.history if "loss" in entry]


@pytest.mark.parametrize("name", LOSSES)
def test_how_a_batch_is_cut_changes_nothing(name: str, tmp_path: Path) -> None:
    whole, one = tuned(name, tmp_path / "one")
    plan = fit(per_device_train_batch_size=2, gradient_accumulation_steps=4)
    cut, other = tuned(name, tmp_path / "two", plan, tokens_per_pass=20)
    before = weights_of(llama())
    assert largest_difference(weights_of(whole), before) > 1e-3
    assert largest_difference(weights_of(whole), weights_of(cut)) < 2e-6
    assert losses(one) == pytest.approx(losses(other), abs=1e-5)
    assert one.tokens == other.tokens


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_learned_and_validated(name: str, tmp_path: Path) -> None:
    plan = fit("lora", optim="adamw_torch", learning_rate=0.02, num_train_epochs=6)
    model, report = tuned(name, tmp_path, plan, validation=True)
    assert losses(report)[-1] < losses(report)[0] - 0.05
    measured = [entry for entry in report.history if "eval_loss" in entry]
    assert len(measured) == 6
    key = {"sft": "eval_perplexity", "dpo": "eval_reward_accuracy"}.get(
        name.split()[0], "eval_desirable_reward"
    )
    assert all(key in entry for entry in measured)
    assert ("eval_kl" in measured[0]) == (name == "kto")
    assert model.config._attn_implementation == "sdpa"
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", ["sft", "dpo", "kto"])
def test_in_bfloat16_the_losses_are_those_of_float32(
    name: str, method: str, tmp_path: Path
) -> None:
    _, exact = tuned(name, tmp_path / "exact", fit(method))
    _, mixed = tuned(name, tmp_path / "mixed", fit(method, bf16=True), validation=True)
    assert losses(mixed) == pytest.approx(losses(exact), rel=0.05)


def test_padded_models_learn_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sft", "dpo", "kto"):
        packed, _ = tuned(name, tmp_path / name / "packed")
        monkeypatch.setattr(tune_module, "can_be_dense", lambda model: False)
        padded, _ = tuned(name, tmp_path / name / "padded")
        monkeypatch.undo()
        assert largest_difference(weights_of(packed), weights_of(padded)) < 2e-6


def test_weight_of_zero_is_as_if_the_row_were_not_there(tmp_path: Path) -> None:
    rows = encoded("sft").rows[:8]
    ignored = [{**row, "weight": 0.0} for row in encoded("sft", seed=5).rows[:8]]
    plan = fit(per_device_train_batch_size=16, num_train_epochs=1)
    models = [
        fine_tune_language_model(
            llama(),
            LanguageData(Encoded("sft", "", kept)),
            LanguagePlan(plan),
            out_dir=tmp_path / name,
        )[0]
        for name, kept in (("with", rows + ignored), ("without", rows))
    ]
    assert largest_difference(*map(weights_of, models)) < 1e-6


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_weight_of_two_is_as_if_the_row_were_there_twice(kind: str, tmp_path: Path) -> None:
    rows = [{**row, "weight": 1.0} for row in encoded(kind).rows[:8]]
    heavy = [{**row, "weight": 2.0} for row in rows[:4]] + rows[4:]
    plan = fit(per_device_train_batch_size=16, num_train_epochs=1)
    # Its KL is estimated from each answer once, whatever it weighs; this loss has none.
    loss = "apo_zero_unpaired" if kind == "kto" else None
    models = [
        fine_tune_language_model(
            llama(),
            LanguageData(Encoded(kind, "", kept)),  # type: ignore[arg-type]
            LanguagePlan(plan, loss),  # type: ignore[arg-type]
            out_dir=tmp_path / name,
        )[0]
        for name, kept in (("heavy", heavy), ("twice", [*rows[:4], *rows]))
    ]
    assert largest_difference(*map(weights_of, models)) < 1e-6
    assert largest_difference(weights_of(models[0]), weights_of(llama())) > 1e-4


def test_first_dpo_loss_is_log_two_and_reference_does_not_move(tmp_path: Path) -> None:
    _, report = tuned("dpo", tmp_path)
    assert losses(report)[0] == pytest.approx(0.693147, abs=1e-4)
    (kept,) = (tmp_path / "references").iterdir()
    assert kept.suffix == ".safetensors"


def test_adapter_over_bfloat16_learns_in_float32(tmp_path: Path) -> None:
    model, report = fine_tune_language_model(
        llama(dtype=torch.bfloat16),
        LanguageData(encoded("sft")),
        LanguagePlan(fit("lora", optim="adamw_torch", learning_rate=0.01, num_train_epochs=8)),
        out_dir=tmp_path,
    )
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if "lora_" in name else torch.bfloat16)
    assert losses(report)[-1] < losses(report)[0] - 0.1


def test_killed_preference_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    plan = fit("lora", learning_rate=0.01, save_strategy="steps", save_steps=1)
    whole, _ = tuned("kto", tmp_path / "whole", plan)
    with pytest.raises(Interrupted):
        fine_tune_language_model(
            llama(),
            LanguageData(encoded("kto")),
            LanguagePlan(plan, **LOSSES["kto"]),
            out_dir=tmp_path / "cut",
            on_progress=stop_at(2),
        )
    found, report = tuned("kto", tmp_path / "cut", plan)
    assert report.resumed_from == 2
    assert same_weights(weights_of(whole), weights_of(found))


def test_weights_of_ratings_come_from_their_counts() -> None:
    train = encoded("kto")
    sums = {True: 0.0, False: 0.0}
    for row in train.rows:
        sums[row["desirable"]] += row["weight"]
    good, bad = make_objective(train, LanguagePlan(fit())).class_weights
    assert good * sums[True] == pytest.approx(bad * sums[False])
    assert min(good, bad) == 1.0
    given = LanguagePlan(fit(), desirable_weight=3.0, undesirable_weight=0.5)
    assert make_objective(train, given).class_weights == (3.0, 0.5)


def test_loss_of_another_kind_is_refused() -> None:
    with pytest.raises(TrainingError, match="cannot be learned with this loss") as caught:
        make_objective(encoded("dpo"), LanguagePlan(fit(), "kto"))
    assert caught.value.do == "use sigmoid, ipo, robust"


def test_loss_that_is_not_set_up_right_is_refused() -> None:
    with pytest.raises(TrainingError, match="not set up right"):
        make_objective(encoded("dpo"), LanguagePlan(fit(), "robust"))


def test_batch_of_one_rating_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="batches of two"):
        tuned("kto", tmp_path, fit(per_device_train_batch_size=1))


def test_tokens_are_real_ones_with_the_prompt_once_per_answer(tmp_path: Path) -> None:
    _, report = tuned("dpo", tmp_path, fit(num_train_epochs=1))
    assert report.tokens == encoded("dpo").num_tokens


def test_pass_when_in_float32_on_a_cpu_then_half_as_many_tokens() -> None:
    exact, low = (tokens_per_pass("cpu", dtype) for dtype in (torch.float32, torch.bfloat16))
    assert 2 * exact == low
    assert tokens_per_pass("cuda", torch.float32) == tokens_per_pass("cuda", torch.bfloat16)
