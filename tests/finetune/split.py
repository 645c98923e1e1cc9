"""Runs of tiny models, alone or split over processes, and what they must have in common."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.language.tune import (
    LanguageData,
    LanguagePlan,
    fine_tune_language_model,
)
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.ranks import Asked, Sharding
from tests.finetune.language import tiny as language
from tests.finetune.language.kinds import LOSSES, encoded, fit
from tests.finetune.tiny import (
    MODELS,
    TEXT_MODELS,
    accuracy,
    bert,
    image_data,
    largest_difference,
    text_data,
    weights_of,
)

Result = tuple[dict[str, Any], list[dict[str, Any]]]
"""Weights, and what was logged."""


def ask(sharding: Sharding | None) -> None:
    """As a launcher would have: this process and its siblings hold one model in parts."""
    if sharding is not None:
        processes = sharding.shards * sharding.replicas
        on_cpu = not torch.cuda.is_available()
        Asked("a test", processes, on_cpu=on_cpu, sharding=sharding).write()


def classifier(
    folder: Path,
    name: str,
    method: Any,
    micro: int,
    sharding: Sharding | None = None,
    *,
    last_n: int | None = None,
    **more: Any,
) -> Result:
    """Rows of unequal lengths, a last batch that is short, and weights."""
    ask(sharding)
    data = text_data if name in TEXT_MODELS else image_data
    arguments = {
        "learning_rate": 1e-2,
        "num_train_epochs": 1,
        "logging_steps": 1,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": 8,
        **more,
    }
    plan = FitPlan(
        method,
        arguments,
        last_n=last_n,
        compute_metrics=accuracy,
        metric_for_best="accuracy",
    )
    model = bert(dropout=0) if name == "bert" else MODELS[name]()
    trained, report = fine_tune(model, data(train=43, validation=13), plan, out_dir=folder)
    return weights_of(trained), report.history


def language_model(
    folder: Path,
    loss: str,
    method: str,
    micro: int,
    sharding: Sharding | None = None,
    **more: Any,
) -> Result:
    """Rows of unequal lengths and weights, in other numbers of passes on each process."""
    ask(sharding)
    PartialState(cpu=not torch.cuda.is_available())
    kind = loss.split()[0]
    rate = 0.05 if method == "lora" else 3e-3
    arguments = {"num_train_epochs": 1, "learning_rate": rate, **more}
    plan = LanguagePlan(
        fit(method, per_device_train_batch_size=micro, **arguments),
        tokens_per_pass=24,
        **LOSSES[loss],
    )
    model = language.llama()
    if method == "full":
        model.config.tie_word_embeddings = True
        model.tie_weights()
    data = LanguageData(encoded(kind), encoded(kind, copies=1, seed=1))
    trained, report = fine_tune_language_model(model, data, plan, out_dir=folder)
    return weights_of(trained), report.history


def assert_equal(alone: Result, together: list[Result], *, tolerance: float = 1e-5) -> None:
    """Loss and norm of the gradient of each step, and the weights, on every process."""
    for weights, history in together:
        # Adam divides by what may be nearly nothing, so that weights differ more than losses.
        assert largest_difference(alone[0], weights) < 10 * tolerance
        for key in ("loss", "grad_norm", "eval_loss"):
            figures = [[e[key] for e in told if key in e] for told in (alone[1], history)]
            assert len(figures[0]) >= 1
            np.testing.assert_allclose(*figures, rtol=tolerance, err_msg=key)
