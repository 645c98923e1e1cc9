"""Small encoded sets of each kind, of unequal lengths and weights, and plans to learn them."""

from typing import Any

from hub_trainer.finetune.language.encode import Encoded
from hub_trainer.finetune.plan import FitPlan
from tests.finetune.language.tiny import token_rows

LOSSES: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": {"beta": 0.5},
    "dpo robust": {"loss_type": "robust", "beta": 0.5, "label_smoothing": 0.2},
    "dpo ipo": {"loss_type": "ipo", "beta": 0.5},
    "kto": {"beta": 0.5},
    "kto apo": {"loss_type": "apo_zero_unpaired", "beta": 0.5},
}
SIZES = [(3, 4, 9), (1, 12, 2), (8, 5, 5), (2, 1, 20), (6, 30, 3), (4, 2, 2), (2, 7, 11), (5, 3, 1)]


def encoded(kind: str, *, copies: int = 2, seed: int = 0) -> Encoded:
    answers = 2 if kind == "dpo" else 1
    sizes = [size[: answers + 1] for size in SIZES * copies]
    rows = token_rows(sizes, seed=seed)
    for index, row in enumerate(rows):
        row["weight"] = 0.25 + index % 3
        if kind == "kto":
            row["desirable"] = index % 3 > 0
    return Encoded(kind, kind, rows)  # type: ignore[arg-type]


def fit(method: str = "full", **arguments: Any) -> FitPlan:
    known = {
        "learning_rate": 3e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "max_grad_norm": 0.0,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
    }
    return FitPlan(method, {**known, **arguments})  # type: ignore[arg-type]
