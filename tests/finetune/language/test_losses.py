import math
from typing import Any

import pytest
import torch

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.language.losses import (
    check_loss,
    class_weights,
    dpo_losses,
    kto_losses,
)

LENGTHS = torch.tensor([[3.0, 4.0]])


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def test_sigmoid_of_no_difference_is_log_two() -> None:
    losses = dpo_losses(
        one(0), one(0), loss_type="sigmoid", beta=0.1, label_smoothing=0, lengths=LENGTHS
    )
    assert float(losses) == pytest.approx(math.log(2))


def test_ipo_is_zero_at_its_target_margin_per_token() -> None:
    losses = dpo_losses(
        one(15.0), one(0), loss_type="ipo", beta=0.1, label_smoothing=0, lengths=LENGTHS
    )
    assert float(losses) == pytest.approx(0, abs=1e-12)


def test_robust_is_unbiased_under_its_flip_rate() -> None:
    """Over flipped and unflipped preferences its mean is the clean sigmoid loss."""
    options: dict[str, Any] = {"beta": 0.3, "lengths": LENGTHS}
    clean = dpo_losses(one(2), one(-1), loss_type="sigmoid", label_smoothing=0, **options)
    right = dpo_losses(one(2), one(-1), loss_type="robust", label_smoothing=0.2, **options)
    flipped = dpo_losses(one(-1), one(2), loss_type="robust", label_smoothing=0.2, **options)
    assert float(0.8 * right + 0.2 * flipped) == pytest.approx(float(clean))


def test_kto_pushes_good_answers_up_and_bad_ones_down() -> None:
    ratios = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    losses = kto_losses(
        ratios,
        torch.tensor([True, False]),
        torch.tensor(0.5),
        loss_type="kto",
        beta=0.1,
        weights=(2.0, 1.0),
    )
    losses.sum().backward()
    assert ratios.grad is not None
    assert ratios.grad[0] < 0 < ratios.grad[1]
    assert losses[0].item() == pytest.approx(2 * (1 - 1 / (1 + math.exp(0.05))))


@pytest.mark.parametrize(
    ("counts", "expected"), [((100, 1), (1, 100)), ((1, 4), (4, 1)), ((5, 5), (1, 1))]
)
def test_weights_make_both_kinds_count_the_same(
    counts: tuple[int, int], expected: tuple[float, float]
) -> None:
    found = class_weights(*counts)
    assert found == expected
    assert counts[0] * found[0] == pytest.approx(counts[1] * found[1])


@pytest.mark.parametrize(
    ("loss_type", "options", "where"),
    [
        ("hinge", {}, "loss_type"),
        ("sigmoid", {"beta": 0.0}, "beta"),
        ("robust", {}, "label_smoothing"),
        ("robust", {"label_smoothing": 0.5}, "label_smoothing"),
        ("sigmoid", {"label_smoothing": 0.1}, "label_smoothing"),
    ],
)
def test_wrong_settings_are_refused(loss_type: str, options: dict[str, float], where: str) -> None:
    with pytest.raises(TrainingError, match="not set up right") as caught:
        check_loss(loss_type, **{"beta": 0.1, "label_smoothing": 0.0, **options})
    assert caught.value.where == f"train.language.{where}"
    assert caught.value.do


def test_good_settings_pass() -> None:
    check_loss("robust", beta=0.1, label_smoothing=0.2)
    check_loss("kto", beta=0.1, label_smoothing=0.0)
