from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from hub_trainer.finetune.classifier_objective import LabelObjective, default_objective
from hub_trainer.finetune.plan import FitPlan, Loss
from tests.finetune.tiny import bert, language_model


def outputs_of(logits: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_labels_cost_cross_entropy(smoothing: float) -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 2])
    objective = LabelObjective(smoothing)
    batch = {"labels": labels}
    expected = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert torch.allclose(objective.losses(outputs_of(logits), batch).mean(), expected)
    assert objective.amounts(batch).tolist() == [1.0, 1.0, 1.0, 1.0]


def test_an_ignored_label_costs_and_counts_nothing() -> None:
    objective = LabelObjective()
    batch = {"labels": torch.tensor([1, -100])}
    losses = objective.losses(outputs_of(torch.randn(2, 3)), batch)
    assert losses[1] == 0
    assert objective.amounts(batch).tolist() == [1.0, 0.0]


def test_several_labels_cost_binary_cross_entropy_over_the_classes() -> None:
    logits, labels = torch.randn(4, 5), torch.randint(0, 2, (4, 5)).float()
    expected = functional.binary_cross_entropy_with_logits(logits, labels)
    found = LabelObjective().losses(outputs_of(logits), {"labels": labels})
    assert torch.allclose(found.mean(), expected)


def test_numbers_cost_their_squared_error() -> None:
    logits, labels = torch.randn(4, 1), torch.randn(4)
    found = LabelObjective().losses(outputs_of(logits), {"labels": labels})
    assert torch.allclose(found, (logits[:, 0] - labels) ** 2)
    assert LabelObjective().amounts({"labels": labels}).tolist() == [1.0] * 4


def test_a_language_model_costs_what_its_own_class_says() -> None:
    model = language_model()
    ids = torch.randint(1, 50, (3, 7))
    labels = ids.clone()
    labels[0, :4] = labels[2, 5:] = -100
    objective = default_objective(model, 0.0, FitPlan("full"))
    batch = {"labels": labels}
    outputs = model(input_ids=ids, labels=labels)
    amounts = objective.amounts(batch)
    found = objective.losses(outputs, batch).sum() / amounts.sum()
    assert amounts.tolist() == [3.0, 6.0, 4.0]
    assert torch.allclose(found, outputs.loss, atol=1e-6)


def test_a_classifier_is_not_shifted() -> None:
    assert default_objective(bert(), 0.2, FitPlan("full")) == LabelObjective(0.2, shifted=False)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_labels_cost_less_the_surer_they_are(gamma: float) -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 2, 1, 2, -100, 0])
    objective = LabelObjective(loss=Loss("focal", gamma=gamma))
    found = objective.losses(outputs_of(logits), {"labels": labels})
    shares = logits.softmax(-1)
    for row, label in enumerate(labels.tolist()):
        share = float(shares[row, label]) if label >= 0 else 1.0
        expected = -((1 - share) ** gamma) * float(torch.tensor(share).log())
        assert float(found[row]) == pytest.approx(expected, abs=1e-6)


def test_focal_sets_of_labels_are_those_of_the_paper() -> None:
    logits, labels = torch.randn(4, 5), torch.randint(0, 2, (4, 5)).float()
    found = LabelObjective(loss=Loss("focal")).losses(outputs_of(logits), {"labels": labels})
    shares = logits.sigmoid()
    true = torch.where(labels > 0, shares, 1 - shares)
    assert torch.allclose(found, (-((1 - true) ** 2) * true.log()).mean(dim=1), atol=1e-6)


def test_positive_weights_count_indicators_of_one() -> None:
    logits, labels = torch.randn(4, 2), torch.randint(0, 2, (4, 2)).float()
    objective = LabelObjective(positive_weights=(3.0, 1.0))
    expected = functional.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=torch.tensor([3.0, 1.0])
    )
    assert torch.allclose(objective.losses(outputs_of(logits), {"labels": labels}).mean(), expected)


def test_numbers_cost_their_size_beyond_delta_by_huber() -> None:
    logits, labels = torch.tensor([[0.5], [5.0], [-3.0]]), torch.zeros(3)
    objective = LabelObjective(loss=Loss("huber", delta=2.0))
    found = objective.losses(outputs_of(logits), {"labels": labels})
    assert found.tolist() == pytest.approx([0.5 * 0.25, 2 * (5 - 1), 2 * (3 - 1)])
