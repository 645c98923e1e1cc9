"""Figures of validation rows by which a checkpoint is chosen, for metrics of probabilities."""

import numpy as np
import pytest
from sklearn import metrics as oracle
from transformers import BertConfig, EvalPrediction

from hub_trainer.answers.decisions import NOTHING_SOUGHT, Sought
from hub_trainer.answers.name_probabilities import LABEL_METRICS
from hub_trainer.finetune.heads import HEADS
from hub_trainer.metrics.probabilities import PROBABILITY_METRICS

NAMES = ["ill", "well"]


def test_label_head_when_a_metric_chooses_then_it_is_of_the_softmax_and_the_positive_label() -> (
    None
):
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(60, 2)).astype(np.float32), rng.integers(0, 2, 60)
    shares = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    is_ill, given = truth == 0, logits.argmax(axis=1) == 0
    expected = {
        "auroc": oracle.roc_auc_score(is_ill, shares),
        "average_precision": oracle.average_precision_score(is_ill, shares),
        "brier": oracle.brier_score_loss(is_ill, shares),
        "sensitivity": oracle.recall_score(is_ill, given),
        "specificity": oracle.recall_score(~is_ill, ~given),
    }
    assert expected.keys() == LABEL_METRICS.keys() - {"calibration_error"}
    for name, value in expected.items():
        found = HEADS["label"].metrics(name, NAMES, Sought("ill"))(EvalPrediction(logits, truth))
        assert found["accuracy"] == pytest.approx(np.mean(is_ill == given))
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_label_set_head_when_a_metric_chooses_then_it_is_of_the_sigmoid() -> None:
    rng = np.random.default_rng(1)
    logits, truth = rng.normal(size=(60, 2)), rng.integers(0, 2, (60, 2)).astype(np.float64)
    for name in PROBABILITY_METRICS:
        found = HEADS["labels"].metrics(name, NAMES, NOTHING_SOUGHT)(EvalPrediction(logits, truth))
        assert set(found) == {"f1_micro", name}
    found = HEADS["labels"].metrics("auroc", NAMES, NOTHING_SOUGHT)(EvalPrediction(logits, truth))
    assert found["auroc"] == pytest.approx(oracle.roc_auc_score(truth, logits))


@pytest.mark.parametrize("answer", ["label", "labels"])
def test_head_when_less_of_the_metric_is_better_then_the_loss_chooses(answer: str) -> None:
    assert [HEADS[answer].best_by(name) for name in ("auroc", "brier")] == ["auroc", "loss"]


def test_label_head_when_a_threshold_is_wanted_then_figures_are_at_that_of_these_rows() -> None:
    shares = np.array([0.9, 0.3, 0.2, 0.4, 0.1])
    logits = np.log(np.stack([shares, 1 - shares], axis=1))
    truth = np.array([0, 0, 1, 1, 1])
    at = HEADS["label"].metrics("specificity", NAMES, Sought("ill", 1.0))
    found = at(EvalPrediction(logits, truth))
    assert found["specificity"] == pytest.approx(2 / 3)
    assert found["accuracy"] == pytest.approx(4 / 5)
    without = HEADS["label"].metrics("specificity", NAMES, Sought("ill"))
    assert without(EvalPrediction(logits, truth))["specificity"] == 1


def test_label_head_when_a_model_has_a_threshold_then_it_decides() -> None:
    config = BertConfig(id2label=dict(enumerate(NAMES)), thresholds={"ill": 0.25})
    scores = np.array([[0.3, 0.7], [0.2, 0.8]], dtype=np.float32)
    found = HEADS["label"].predictions(scores, config)
    assert [one.value for one in found] == NAMES
    assert found[0].scores["well"] == pytest.approx(0.7)
