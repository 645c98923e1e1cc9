"""Metrics of probabilities and of a positive label: scikit-learn's values, intervals, tests."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm
from sklearn import metrics as oracle

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.answers.name_probabilities import LABEL_METRICS, label_statistics
from hub_trainer.metrics.probabilities import (
    MEANINGS,
    NUM_BINS,
    PROBABILITY_METRICS,
    RANK_METRICS,
    bin_of,
    calibration_statistics,
    probability_statistics,
    rank_statistics,
)
from hub_trainer.metrics.report import calibration
from hub_trainer.metrics.senses import lower_is_better
from hub_trainer.stats import Statistics, compare, estimate, measure, paired

NAMES = ["ill", "well"]
MANY = ["a", "b", "c", "d"]
AUROC, ERROR = (PROBABILITY_METRICS[name] for name in ("auroc", "calibration_error"))
ROWS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2)


def drawn(count: int, names: list[str], seed: int = 0) -> tuple[list[str], list[Prediction]]:
    """Labels, and probabilities of one decimal, so that many are tied."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(
        len(names), count, p=np.arange(1, len(names) + 1) / sum(range(len(names) + 1))
    )
    scores = rng.dirichlet(np.ones(len(names)), count) + np.eye(len(names))[truth] / 3
    scores = np.round(scores / scores.sum(axis=1, keepdims=True), 1)
    scores[:, -1] = np.maximum(0, 1 - scores[:, :-1].sum(axis=1))
    return [names[one] for one in truth], [said(row, names) for row in scores]


def said(row: Any, names: list[str]) -> Prediction:
    shares = dict(zip(names, row.tolist(), strict=True))
    return Prediction(max(shares, key=shares.__getitem__), shares)


def value_of(
    name: str, truth: list[str], found: list[Prediction], names: list[str], positive: str | None
) -> float:
    return measure(LABEL_METRICS[name], label_statistics(name, truth, found, names, positive))


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_two_labels_when_compared_with_scikit_learn_then_equal(seed: int) -> None:
    truth, found = drawn(80, NAMES, seed)
    is_ill = [one == "ill" for one in truth]
    scores = [one.scores["ill"] for one in found]
    given_ = [one.value == "ill" for one in found]
    expected = {
        "auroc": oracle.roc_auc_score(is_ill, scores),
        "average_precision": oracle.average_precision_score(is_ill, scores),
        "brier": oracle.brier_score_loss(is_ill, scores),
        "sensitivity": oracle.recall_score(is_ill, given_),
        "specificity": oracle.recall_score(is_ill, given_, pos_label=False),
    }
    for name, value in expected.items():
        assert value_of(name, truth, found, NAMES, "ill") == pytest.approx(value, abs=1e-12), name
    assert set(expected) == set(LABEL_METRICS) - {"calibration_error"}


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_many_labels_when_compared_with_scikit_learn_then_equal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, scores = rng.integers(0, 4, 90), rng.dirichlet(np.ones(4), 90)
    truth, found = [MANY[one] for one in codes], [said(row, MANY) for row in scores]
    marks = np.eye(4)[codes]
    macro = {
        "auroc": oracle.roc_auc_score(codes, scores, multi_class="ovr", average="macro"),
        "average_precision": oracle.average_precision_score(marks, scores, average="macro"),
        "brier": oracle.brier_score_loss(codes, scores, labels=range(4)),
    }
    for name, value in macro.items():
        assert value_of(name, truth, found, MANY, None) == pytest.approx(value, abs=1e-12), name
    of_b = oracle.roc_auc_score(marks[:, 1], scores[:, 1])
    assert value_of("auroc", truth, found, MANY, "b") == pytest.approx(of_b, abs=1e-12)
    others = [one.value != "b" for one, label in zip(found, truth, strict=True) if label != "b"]
    assert value_of("specificity", truth, found, MANY, "b") == pytest.approx(np.mean(others))


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_ranks_when_examples_weigh_then_as_if_they_were_repeated(
    rows: list[tuple[int, bool, int]],
) -> None:
    """What the bootstrap and the permutation test stand on; with ties, and labels that are lost."""
    scores, truth, times = (np.array(column) for column in zip(*rows, strict=True))
    repeated = [np.repeat(one, times) for one in (truth, scores)]
    statistics = rank_statistics(truth[:, None].astype(float), scores[:, None].astype(float))
    weights = np.bincount(statistics.row_of, times, minlength=len(statistics.rows))
    weights = np.stack([weights, statistics.counts]).astype(np.float64)
    known = 0 < repeated[0].sum() < len(repeated[0])
    oracles = {"auroc": oracle.roc_auc_score, "average_precision": oracle.average_precision_score}
    for name, unknown in (("auroc", 0.5), ("average_precision", float(repeated[0].any()))):
        found = PROBABILITY_METRICS[name].measure(statistics.rows, weights)
        expected = oracles[name](*repeated) if known else unknown
        assert found[0] == pytest.approx(expected, abs=1e-12), name


def test_ranks_when_more_resamples_than_a_block_then_each_keeps_its_own() -> None:
    rng = np.random.default_rng(0)
    statistics = rank_statistics(rng.integers(0, 2, (30, 3)) * 1.0, rng.random((30, 3)))
    weights = rng.integers(0, 3, (150, 30)).astype(np.float64)
    together = AUROC.measure(statistics.rows, weights)
    assert together.tolist() == [AUROC.measure(statistics.rows, one[None])[0] for one in weights]


def test_labels_when_compared_with_scikit_learn_then_macro_over_those_that_occur() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random((70, 4)) < [0.5, 0.2, 0.1, 0.0]).astype(np.float64)
    scores = np.round(rng.random((70, 4)), 1)
    found = {
        name: measure(metric, probability_statistics(name, truth, scores))
        for name, metric in PROBABILITY_METRICS.items()
    }
    occurs = truth[:, :3], scores[:, :3]  # no row has the last one
    assert found["auroc"] == pytest.approx(oracle.roc_auc_score(*occurs), abs=1e-12)
    expected = oracle.average_precision_score(*occurs)
    assert found["average_precision"] == pytest.approx(expected, abs=1e-12)
    per_name = [
        oracle.brier_score_loss(truth[:, one], scores[:, one], labels=[0, 1]) for one in range(4)
    ]
    assert found["brier"] == pytest.approx(np.mean(per_name), abs=1e-12)
    bins = bin_of(scores.ravel())
    gaps = [abs((scores - truth).ravel()[bins == one].sum()) for one in range(NUM_BINS)]
    assert found["calibration_error"] == pytest.approx(sum(gaps) / truth.size, abs=1e-12)


def test_calibration_error_when_beside_the_card_then_the_same() -> None:
    truth, found = drawn(120, MANY, 3)
    shares = [[one.scores[name] for name in MANY] for one in found]
    ece = calibration(truth, shares, MANY).expected_calibration_error
    assert value_of("calibration_error", truth, found, MANY, None) == pytest.approx(ece, abs=1e-12)


def test_senses_when_asked_then_errors_are_better_when_lower() -> None:
    assert [name for name in LABEL_METRICS if lower_is_better(name)] == [
        "brier",
        "calibration_error",
    ]
    for name, told in MEANINGS.items():
        assert ("lower is better" in told) == lower_is_better(name)


# --- models with few or no probabilities


def test_constant_when_measured_then_chance_and_no_warning() -> None:
    label = load_answer("label", "ill")
    truth, _ = drawn(60, NAMES)
    told, constant = label.constant(truth, "auroc")
    share = truth.count("well") / 60
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = label.estimates(list(LABEL_METRICS), truth, [constant] * 60, NAMES, seed=0)
    assert told == "always the commonest label of the test rows"
    assert {name: one.value for name, one in found.items()} == {
        "sensitivity": 0,
        "specificity": 1,
        "auroc": 0.5,
        "average_precision": pytest.approx(1 - share),
        "brier": pytest.approx(share * (1 - share)),
        "calibration_error": 0,
    }


def test_probabilities_when_there_are_none_then_the_value_is_certain() -> None:
    truth = ["ill", "well", "well", "well"]
    found = [Prediction("ill"), Prediction("ill"), Prediction("well"), Prediction("well")]
    assert value_of("brier", truth, found, NAMES, None) == 1 / 4
    assert value_of("auroc", truth, found, NAMES, "ill") == pytest.approx(5 / 6)
    partly = [Prediction("ill", {"ill": 0.8}), *found[1:]]
    assert value_of("brier", truth, partly, NAMES, None) == pytest.approx((1 + 0.04 / 2) / 4)


@pytest.mark.parametrize("name", ["auroc", "average_precision", "brier", "calibration_error"])
def test_sets_of_labels_when_a_model_gives_no_probability_then_measured(name: str) -> None:
    labels = load_answer("labels")
    truth = [["a"], ["a", "b"], [], ["b"]] * 10
    sure = [Prediction(frozenset(one)) for one in truth]
    _, constant = labels.constant(truth, name)
    found, usual = (
        labels.estimates([name], truth, one, ["a", "b", "c"], seed=0)[name].value
        for one in (sure, [constant] * 40)
    )
    perfect = 0 if lower_is_better(name) else 1
    assert found == perfect
    chances = {"auroc": 0.5, "average_precision": 0.5, "brier": 1 / 6, "calibration_error": 0}
    assert usual == pytest.approx(chances[name])


def test_sensitivity_when_no_row_is_positive_then_nothing_is_known() -> None:
    label = load_answer("label", "ill")
    found = label.estimates(["sensitivity"], ["well"] * 5, [Prediction("well")] * 5, NAMES, seed=0)
    assert (found["sensitivity"].value, found["sensitivity"].num_examples) == (0, 0)
    assert (found["sensitivity"].interval.low, found["sensitivity"].interval.high) == (0, 1)


# --- intervals


def test_sensitivity_when_all_are_found_then_the_interval_goes_by_the_positive_rows() -> None:
    label = load_answer("label", "ill")
    truth = ["ill"] * 10 + ["well"] * 990
    found = label.estimates(
        ["sensitivity", "specificity"], truth, [Prediction(one) for one in truth], NAMES, seed=0
    )
    assert found["sensitivity"].num_examples == 10
    assert 0.7 < found["sensitivity"].interval.low < 0.75
    assert found["specificity"].interval.low > 0.99


def test_auroc_when_no_row_is_out_of_order_then_the_interval_goes_by_the_rarer_side() -> None:
    truth = np.r_[np.ones(10), np.zeros(990)]
    found = estimate(AUROC, rank_statistics(truth[:, None], truth[:, None]))
    assert found.value == found.interval.high == 1
    assert 0.7 < found.interval.low < 0.75


def test_calibration_error_when_stated_then_its_interval_holds_it_and_begins_at_zero() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, (400, 1))
    fair = calibration_statistics(confidence, (rng.random((400, 1)) < confidence) * 1.0)
    bold = calibration_statistics(confidence, (rng.random((400, 1)) < confidence - 0.3) * 1.0)
    calibrated, off = (estimate(ERROR, one) for one in (fair, bold))
    assert calibrated.interval.low == 0 < calibrated.value <= calibrated.interval.high < 0.1
    assert 0.2 < off.interval.low < off.value < off.interval.high < 0.4
    assert off.method == "length"


def normal_scores(rng: np.random.Generator, count: int, auroc: float) -> Statistics:
    truth = (rng.random((count, 1)) < 0.3) * 1.0
    return rank_statistics(truth, rng.normal(truth * norm.ppf(auroc) * 2**0.5))


@pytest.mark.slow
@pytest.mark.parametrize("auroc", [0.7, 0.9])
def test_interval_of_auroc_when_simulated_then_it_covers_the_truth(auroc: float) -> None:
    rng = np.random.default_rng(4)
    found = [estimate(AUROC, normal_scores(rng, 200, auroc), seed=one) for one in range(600)]
    covered = np.mean([auroc in one.interval for one in found])
    print(f"coverage of the interval of auroc {auroc} at n=200: {covered:.3f}")
    assert 0.92 < covered < 0.98


@pytest.mark.slow
@pytest.mark.parametrize("boldness", [1.0, 1.5, 2.5])
def test_interval_of_calibration_error_when_simulated_then_it_covers_the_truth(
    boldness: float,
) -> None:
    def decisions(rng: np.random.Generator, count: int) -> Statistics:
        logit = rng.normal(0, 1.5, (count, 1))
        stated, is_yes = expit(logit * boldness), rng.random((count, 1)) < expit(logit)
        return calibration_statistics(
            np.maximum(stated, 1 - stated), ((stated > 0.5) == is_yes) * 1.0
        )

    rng = np.random.default_rng(5)
    truth = measure(ERROR, decisions(rng, 1_000_000))
    found = [estimate(ERROR, decisions(rng, 300), seed=one) for one in range(300)]
    covered = np.mean([truth in one.interval for one in found])
    print(f"coverage of the interval of calibration error {truth:.3f} at n=300: {covered:.3f}")
    assert covered > 0.92


# --- two models


def test_compare_of_auroc_when_one_is_better_then_its_p_value_says_so() -> None:
    rng = np.random.default_rng(2)
    truth = (rng.random((120, 1)) < 0.3) * 1.0
    good, bad = (rank_statistics(truth, rng.normal(truth * d)) for d in (2.5, 0.5))
    found = compare(AUROC, good, bad)
    assert found.p_value < 0.001 < 0.9 < found.p_value_worse
    assert found.difference == pytest.approx(measure(AUROC, good) - measure(AUROC, bad))
    assert found.interval.low > 0


def test_compare_of_auroc_when_scores_are_only_stretched_then_no_difference_at_all() -> None:
    rng = np.random.default_rng(3)
    truth, scores = (rng.random((100, 1)) < 0.3) * 1.0, rng.random((100, 1))
    found = compare(AUROC, rank_statistics(truth, scores), rank_statistics(truth, scores / 9 + 0.4))
    assert (found.difference, found.p_value, found.discordance) == (0, 1, 0)


def test_compare_of_sensitivity_when_both_answer_then_by_the_positive_rows() -> None:
    label = load_answer("label", "ill")
    truth = ["ill"] * 20 + ["well"] * 80
    bad = [Prediction("ill")] * 5 + [Prediction("well")] * 95
    found = label.compare(
        "sensitivity", truth, ([Prediction(o) for o in truth], bad), NAMES, seed=0
    )
    assert (found.method, found.num_examples, found.metric) == ("mcnemar", 20, "sensitivity")
    assert (found.value, found.baseline_value) == (1, 0.25)


@pytest.mark.slow
@pytest.mark.parametrize("stretch", [1.0, 0.1])
def test_compare_of_auroc_when_models_are_equal_then_false_alarms_at_their_level(
    stretch: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "NUM_PERMUTATIONS", 1_000)
    monkeypatch.setattr(paired, "NUM_RESAMPLES", 100)
    rng, alarms = np.random.default_rng(6), []
    for seed in range(200):
        truth = (rng.random((120, 1)) < 0.3) * 1.0
        shared = 1.2 * truth + 0.7 * rng.normal(size=truth.shape)
        new, old = (expit(shared + 0.7 * rng.normal(size=truth.shape)) for _ in range(2))
        found = compare(
            AUROC,
            rank_statistics(truth, new),
            rank_statistics(truth, 0.5 + stretch * (old - 0.5)),
            seed=seed,
        )
        alarms.append((found.p_value <= 0.05, found.p_value_worse <= 0.05))
    better, worse = np.mean(alarms, axis=0)
    print(f"false alarms of the auroc permutation test at 0.05: {better:.3f}, {worse:.3f}")
    assert max(better, worse) < 0.09


def test_ranks_when_named_then_all_others_are_functions_of_sums() -> None:
    assert {n for n, m in PROBABILITY_METRICS.items() if m.of_rows} == set(RANK_METRICS)
