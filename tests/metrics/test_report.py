"""The report of a classifier: values, intervals that hold, labels that are wrong, calibration."""

from functools import partial

import numpy as np
import pytest
import sklearn.metrics

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.errors import DataError, UsageError
from hub_trainer.metrics import METRICS, metric_names, metric_spec
from hub_trainer.metrics.counts import label_statistics
from hub_trainer.metrics.report import (
    calibration,
    class_table,
    confusion_matrix,
    count_statistics,
    encode_labels,
)
from hub_trainer.stats import bca_interval, estimate, percentile_interval, resample

NAMES = ["cat", "dog", "bird"]
LABEL = load_answer("label")


def _report(references, predictions, metrics, seed=0):
    return LABEL.estimates(metrics, references, _said(predictions), NAMES, seed=seed)


def _compared(metric, references, predictions, baseline, seed=0):
    pair = _said(predictions), _said(baseline)
    return LABEL.compare(metric, references, pair, NAMES, seed=seed)


def _said(values):
    return [Prediction(value) for value in values]


def _labels(num_examples=200, right=0.8, seed=0):
    rng = np.random.default_rng(seed)
    references = rng.choice(3, num_examples, p=[0.6, 0.3, 0.1])
    guesses = rng.integers(0, 3, num_examples)
    predictions = np.where(rng.random(num_examples) < right, references, guesses)
    return [NAMES[label] for label in references], [NAMES[label] for label in predictions]


def test_estimates_of_all_metrics_equals_scikit_learn_within_intervals():
    references, predictions = _labels()
    report = _report(references, predictions, sorted(metric_names("labels")))
    assert list(report) == sorted(metric_names("labels"))
    expected = sklearn.metrics.f1_score(references, predictions, average="macro")
    assert report["f1_macro"].value == pytest.approx(expected, rel=1e-12)
    for name, one in report.items():
        assert one.interval.low < one.value < one.interval.high, name
        assert one.num_examples == 200
    assert report["accuracy"].method == "wilson"
    assert report["f1_macro"].method == "bca"
    assert report["f1_micro"].interval == report["accuracy"].interval


def test_estimates_with_the_same_seed_is_the_same():
    references, predictions = _labels()
    first, second, other = (
        _report(references, predictions, ["f1_macro"], seed=seed)["f1_macro"] for seed in (1, 1, 2)
    )
    assert first == second
    assert first.interval != other.interval


def test_interval_with_more_confidence_is_wider():
    statistics = count_statistics("f1_macro", *_labels(), NAMES)
    wide, narrow = (
        estimate(metric_spec("f1_macro").metric, statistics, confidence=confidence).interval
        for confidence in (0.99, 0.8)
    )
    assert wide.low < narrow.low
    assert wide.high > narrow.high


def test_estimates_of_a_perfect_model_still_doubts():
    references, _ = _labels(num_examples=50)
    report = _report(references, references, ["accuracy", "f1_macro", "mcc"])
    for one in report.values():
        assert one.value == pytest.approx(1)
        assert 0.9 < one.interval.low < 0.95
        assert one.interval.high == 1


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ([], [], r"nothing to score[\s\S]*give the split rows"),
        (["cat"], ["fish"], r"not among the labels[\s\S]*example 0[\s\S]*'fish'[\s\S]*cat, dog"),
        (["cat", 3], ["cat", 1], r"example 1[\s\S]*3"),
    ],
)
def test_statistics_of_unusable_labels_says_where(references, predictions, message):
    with pytest.raises(DataError, match=message):
        count_statistics("accuracy", references, predictions, NAMES)


def test_statistics_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="2 references but 1 predictions"):
        count_statistics("accuracy", ["cat", "dog"], ["cat"], NAMES)


def test_statistics_of_an_unknown_metric_is_refused():
    with pytest.raises(UsageError, match="did you mean accuracy"):
        count_statistics("acuracy", ["cat"], ["cat"], NAMES)


def test_encode_labels_takes_names_and_indices():
    assert encode_labels(["dog", 0, np.int64(2)], NAMES).tolist() == [1, 0, 2]


def test_class_table_equals_scikit_learn_and_keeps_absent_labels():
    references, predictions = _labels()
    names = [*NAMES, "newt"]
    rows = class_table(references, predictions, names)
    expected = sklearn.metrics.precision_recall_fscore_support(
        references, predictions, labels=names, zero_division=0.0
    )
    for row, *values in zip(rows, *expected, strict=True):
        assert (row.precision.value, row.recall.value) == pytest.approx(values[:2])
        assert (row.f1.value, row.support) == pytest.approx(tuple(values[2:]))
        assert row.f1.value in row.f1.interval
    assert [row.label for row in rows] == names
    newt = rows[-1]
    assert (newt.support, newt.recall.value) == (0, 0)
    assert (newt.recall.interval.low, newt.recall.interval.high) == (0, 1)


def test_confusion_matrix_counts_every_example_once():
    matrix = confusion_matrix(["cat", "cat", "dog"], ["cat", "dog", "dog"], NAMES)
    assert matrix == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_compare_of_a_share_takes_the_exact_test():
    references, predictions = _labels()
    baseline = [max(sorted(set(references)), key=list(references).count)] * len(references)
    found = _compared("f1_micro", references, predictions, baseline)
    assert (found.method, found.metric) == ("mcnemar", "f1_micro")
    assert found.p_value < 0.001


def test_compare_of_an_average_takes_the_permutation():
    references, predictions = _labels()
    baseline = [max(sorted(set(references)), key=list(references).count)] * len(references)
    found = _compared("f1_macro", references, predictions, baseline, seed=2)
    assert (found.method, found.metric, found.seed) == ("permutation", "f1_macro", 2)
    expected = sklearn.metrics.f1_score(references, baseline, average="macro", zero_division=0.0)
    assert found.baseline_value == pytest.approx(expected)


def test_calibration_of_a_small_case_equals_the_one_by_hand():
    probabilities = [[0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]
    found = calibration(["cat", "dog", "dog", "bird"], probabilities, NAMES, num_bins=2)
    assert [one.num_examples for one in found.bins] == [4]
    assert found.expected_calibration_error == pytest.approx(abs(2.9 / 4 - 3 / 4))
    finer = calibration(["cat", "dog", "dog", "bird"], probabilities, NAMES, num_bins=4)
    assert [(one.low, one.high, one.num_examples) for one in finer.bins] == [
        (0.5, 0.75, 2),
        (0.75, 1.0, 2),
    ]
    # (0.6, 0.6): both right; (0.9, 0.8): one right
    assert finer.expected_calibration_error == pytest.approx((2 * 0.4 + 2 * 0.35) / 4)


def test_calibration_of_honest_probabilities_is_near_zero():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], size=20_000)
    references = [NAMES[rng.choice(3, p=row)] for row in probabilities]
    assert calibration(references, probabilities, NAMES).expected_calibration_error < 0.015
    proud = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert calibration(references, proud, NAMES).expected_calibration_error > 0.1


@pytest.mark.parametrize(("references", "probabilities"), [(["cat"], [[0.5, 0.5]]), ([], [])])
def test_calibration_of_wrong_shape_is_refused(references, probabilities):
    with pytest.raises(DataError, match=r"a row per example[\s\S]*shape"):
        calibration(references, probabilities, NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("num_examples", [60, 200])
def test_macro_f1_intervals_over_many_samples_cover_the_truth(num_examples):
    """Which of the two bootstraps holds 95 %, on classes of 60, 30 and 10 percent."""
    metric = METRICS["f1_macro"].metric
    joint = np.diag([0.6, 0.3, 0.1]) * 0.7 + 0.3 * np.outer([0.6, 0.3, 0.1], [1, 1, 1]) / 3
    cells = np.array([(row, column) for row in range(3) for column in range(3)]).T
    every = label_statistics(metric, *cells, 3)
    truth = metric.measure(every.rows[every.row_of], joint.reshape(1, -1))[0]
    rng, held = np.random.default_rng(0), {"bca": 0, "percentile": 0}
    for _ in range(400):
        drawn = rng.choice(9, num_examples, p=joint.ravel())
        found = label_statistics(metric, *cells[:, drawn], 3)
        statistic, counts = partial(metric.measure, found.rows), found.counts
        resampled = resample(statistic, counts, num_resamples=1000, rng=rng)
        held["bca"] += truth in bca_interval(statistic, counts, resampled)
        held["percentile"] += truth in percentile_interval(resampled)
    coverage = {method: count / 400 for method, count in held.items()}
    print(f"macro F1 coverage at n={num_examples}: {coverage}")
    assert coverage["bca"] > 0.9


@pytest.mark.slow
def test_class_f1_intervals_over_many_samples_cover_the_truth():
    shares = {"hit": 0.08, "miss": 0.02, "alarm": 0.03, "rest": 0.87}
    truth, held = 2 * 0.08 / (2 * 0.08 + 0.05), 0
    for draw in np.random.default_rng(1).multinomial(200, list(shares.values()), size=500):
        references = np.repeat([0, 0, 1, 1], draw)
        predictions = np.repeat([0, 1, 0, 1], draw)
        held += truth in class_table(references, predictions, ["a", "b"])[0].f1.interval
    print(f"class F1 coverage: {held / 500:.3f}")
    assert 0.92 < held / 500 < 0.98
