"""Metrics of sets of labels and of numbers, held to scikit-learn and scipy."""

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as oracle

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.metrics.label_sets import LABEL_SET_METRICS, indicators, set_scores, set_statistics
from hub_trainer.metrics.numbers import NUMBER_METRICS, number_statistics
from hub_trainer.stats import Statistics, measure
from hub_trainer.stats.metric import Metric

NAMES = ["joy", "anger", "fear", "calm"]


def drawn_sets(count: int, seed: int) -> list[frozenset[str]]:
    rng = np.random.default_rng(seed)
    chances = (0.5, 0.2, 0.05, 0.3)
    return [
        frozenset(n for n, c in zip(NAMES, chances, strict=True) if rng.random() < c)
        for _ in range(count)
    ]


SETS = {
    "f1_micro": lambda t, g: oracle.f1_score(t, g, average="micro", zero_division=0),
    "f1_macro": lambda t, g: oracle.f1_score(t, g, average="macro", zero_division=0),
    "precision_micro": lambda t, g: oracle.precision_score(t, g, average="micro", zero_division=0),
    "recall_micro": lambda t, g: oracle.recall_score(t, g, average="micro", zero_division=0),
    "exact_match": oracle.accuracy_score,
    "hamming_loss": oracle.hamming_loss,
}
NUMBERS = {
    "mae": oracle.mean_absolute_error,
    "mse": oracle.mean_squared_error,
    "rmse": oracle.root_mean_squared_error,
    "r2": oracle.r2_score,
    "pearson": lambda t, g: scipy_stats.pearsonr(t, g).statistic,
    "spearman": lambda t, g: scipy_stats.spearmanr(t, g).statistic,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SETS)
def test_set_metric_when_compared_with_scikit_learn_then_equal(name: str, seed: int) -> None:
    assert set(SETS) == set(LABEL_SET_METRICS)
    truth, given = (indicators(drawn_sets(60, seed + shift), NAMES) for shift in (0, 100))
    found = measure(LABEL_SET_METRICS[name], set_statistics(name, truth, given))
    assert found == pytest.approx(SETS[name](truth, given), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NUMBERS)
def test_number_metric_when_compared_with_its_oracle_then_equal(name: str, seed: int) -> None:
    assert set(NUMBERS) == set(NUMBER_METRICS)
    rng = np.random.default_rng(seed)
    truth = np.round(rng.normal(1e6, 3, 80))  # far from 0, and with ties
    given = truth + rng.normal(0, 2, 80)
    found = measure(NUMBER_METRICS[name], number_statistics(name, truth, given))
    assert found == pytest.approx(NUMBERS[name](truth, given), rel=1e-6)


@pytest.mark.parametrize("name", NUMBERS)
def test_number_metric_when_examples_weigh_then_as_if_they_were_repeated(name: str) -> None:
    """What the bootstrap and the permutation test stand on."""
    rng = np.random.default_rng(3)
    truth, given = np.round(rng.normal(0, 3, (2, 30)))
    times = rng.integers(0, 4, 30)
    metric: Metric = NUMBER_METRICS[name]
    of_all = number_statistics(name, truth, given)
    weights = np.bincount(of_all.row_of, times, minlength=len(of_all.rows))[None, :]
    weighed = float(metric.scale(metric.measure(of_all.rows, weights))[0])
    repeated = [np.repeat(one, times) for one in (truth, given)]
    assert weighed == pytest.approx(float(NUMBERS[name](*repeated)), abs=1e-9)


@pytest.mark.parametrize("name", ["r2", "pearson", "spearman"])
def test_number_metric_when_nothing_varies_then_zero_and_no_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = [2.0] * 10
        assert measure(NUMBER_METRICS[name], number_statistics(name, same, range(10))) == 0


def test_set_scores_when_both_are_empty_then_right() -> None:
    truth = indicators([frozenset(), frozenset({"joy"})], NAMES)
    assert set_scores(truth, indicators([frozenset(), frozenset()], NAMES)).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["f1_micro", "hamming_loss"])
def test_compare_when_one_model_is_better_then_its_p_value_says_so(name: str) -> None:
    labels = load_answer("labels")
    truth = drawn_sets(300, 0)
    good = predictions(one if n % 5 else frozenset() for n, one in enumerate(truth))
    bad = predictions(one if n % 2 else frozenset() for n, one in enumerate(truth))
    found = labels.compare(name, truth, (good, bad), NAMES, seed=0)
    assert found.p_value < 0.001
    assert found.improvement > 0
    back = labels.compare(name, truth, (bad, good), NAMES, seed=0)
    assert back.difference == pytest.approx(-found.difference)


def test_estimates_when_asked_then_intervals_hold_the_value() -> None:
    number = load_answer("number")
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 10, 200).tolist()
    found = [
        Prediction(value + float(e)) for value, e in zip(truth, rng.normal(0, 5, 200), strict=True)
    ]
    for name, one in number.estimates(sorted(number.metrics), truth, found, (), seed=0).items():
        assert one.interval.low < one.value < one.interval.high, name


def test_interval_of_r2_when_simulated_then_it_covers_the_truth() -> None:
    """Of 200 samples of 150 rows about 95 % must hold the R2 of the population."""
    rng, number = np.random.default_rng(1), load_answer("number")
    held = 0
    for _ in range(200):
        x = rng.normal(0, 1, 150)
        truth = x + rng.normal(0, 1, 150)
        found = [Prediction(float(value)) for value in x]
        [one] = number.estimates(["r2"], truth.tolist(), found, (), seed=0).values()
        held += one.interval.low <= 0.5 <= one.interval.high
    assert 0.88 < held / 200 <= 1


def predictions(values: Sequence[frozenset[str]]) -> list[Prediction]:
    return [Prediction(value) for value in values]


def test_statistics_when_there_are_no_examples_then_says_so() -> None:
    from hub_trainer.errors import DataError

    with pytest.raises(DataError, match="nothing to score"):
        Statistics.of(np.zeros((0, 3)))
