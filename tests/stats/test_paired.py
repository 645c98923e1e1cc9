"""Paired comparisons: against scipy, by hand, and how often they raise a false alarm."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_trainer.errors import DataError
from hub_trainer.metrics import counts
from hub_trainer.stats import Metric, Statistics, compare, compare_scores, mcnemar

MACRO_F1 = counts.label_metric(counts.macro(counts.f1))


def compare_predictions(references, new, old, *, metric=MACRO_F1, seed):
    sides = (counts.label_statistics(metric, references, one, 4) for one in (new, old))
    return compare(metric, *sides, seed=seed)


def _answers(num_won, num_lost, num_both=5):
    """Right or wrong of two models with these discordant examples."""
    new = np.repeat([True, False, True], [num_won, num_lost, num_both])
    old = np.repeat([False, True, True], [num_won, num_lost, num_both])
    return new, old


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_of_any_counts_equals_the_binomial_test(num_won, num_lost):
    found = mcnemar(*_answers(num_won, num_lost))
    assert (found.num_won, found.num_lost) == (num_won, num_lost)
    if num_won + num_lost == 0:
        assert (found.p_value, found.p_value_worse, found.p_value_two_sided) == (1, 1, 1)
        return
    for p_value, side in (
        (found.p_value, "greater"),
        (found.p_value_worse, "less"),
        (found.p_value_two_sided, "two-sided"),
    ):
        expected = scipy.stats.binomtest(num_won, num_won + num_lost, alternative=side).pvalue
        assert p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="must share one length"):
        mcnemar([True, False], [True])


def test_compare_scores_without_examples_says_what_to_do():
    with pytest.raises(DataError, match=r"no examples[\s\S]*give a test split rows"):
        compare_scores([], [])


def test_compare_scores_of_right_and_wrong_takes_the_exact_test():
    new, old = _answers(30, 10, 160)
    found = compare_scores(new, old)
    assert found.method == "mcnemar"
    assert found.seed is None
    assert found.difference == pytest.approx(0.1)
    assert found.value - found.baseline_value == pytest.approx(found.difference)
    assert found.discordance == pytest.approx(0.2)
    assert found.p_value == mcnemar(new, old).p_value
    # Bonett-Price by hand: (31 - 11) / 202, adjusted variance
    won, lost = 31 / 202, 11 / 202
    half = 1.959964 * ((won + lost - (won - lost) ** 2) / 202) ** 0.5
    ends = (found.interval.low, found.interval.high)
    assert ends == pytest.approx((won - lost - half, won - lost + half), abs=1e-6)


def test_compare_scores_of_equal_answers_leaves_doubt():
    new, _ = _answers(10, 10)
    found = compare_scores(new, new)
    assert (found.difference, found.p_value, found.p_value_worse) == (0, 1, 1)
    assert found.interval.low < 0 < found.interval.high


def test_compare_scores_of_graded_scores_equals_scipy():
    rng = np.random.default_rng(0)
    old = rng.random(80)
    new = old + rng.normal(0.03, 0.15, size=80)
    found = compare_scores(new, old, seed=1)
    expected = scipy.stats.permutation_test(
        (new, old),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        alternative="greater",
        rng=np.random.default_rng(2),
    )
    assert found.method == "permutation"
    assert found.difference == pytest.approx(float(np.mean(new - old)))
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.01)
    assert found.p_value + found.p_value_worse == pytest.approx(1, abs=0.01)
    assert found.interval.low < found.difference < found.interval.high


def test_compare_scores_of_equal_graded_scores_shows_nothing():
    scores = np.array([0.1, 0.5, 0.7])
    found = compare_scores(scores, scores)
    assert (found.difference, found.p_value, found.p_value_worse) == (0, 1, 1)


def _predictions(num_examples, better, seed=0):
    rng = np.random.default_rng(seed)
    references = rng.integers(0, 4, num_examples)
    old = np.where(rng.random(num_examples) < 0.7, references, rng.integers(0, 4, num_examples))
    new = np.where(rng.random(num_examples) < 0.7 + better, references, old)
    return references, new, old


def test_compare_predictions_of_a_better_model_is_above_zero():
    references, new, old = _predictions(400, better=-0.5)
    found = compare_predictions(references, new, old, seed=0)
    assert found.interval.low > 0
    assert found.p_value < 0.01
    assert found.difference in found.interval


def test_compare_predictions_of_swapped_models_mirrors_the_difference():
    references, new, old = _predictions(300, better=-0.65)
    there = compare_predictions(references, new, old, seed=3)
    back = compare_predictions(references, old, new, seed=3)
    assert there.difference == pytest.approx(-back.difference)
    assert there.value == pytest.approx(back.baseline_value)
    assert there.p_value == pytest.approx(back.p_value_worse, abs=0.02)
    assert there.discordance == pytest.approx(np.mean(new != old))


def test_compare_predictions_with_the_same_seed_is_the_same():
    references, new, old = _predictions(120, better=-0.6)
    first = compare_predictions(references, new, old, seed=5)
    assert first == compare_predictions(references, new, old, seed=5)
    other = compare_predictions(references, new, old, seed=6)
    assert first.difference == other.difference
    assert first.interval != other.interval


def test_compare_predictions_agrees_with_mcnemar_on_accuracy():
    references, new, old = _predictions(300, better=-0.65)
    accuracy = counts.label_metric(lambda found: found.hits.sum(axis=1) / found.support.sum(axis=1))
    found = compare_predictions(references, new, old, metric=accuracy, seed=0)
    exact = compare_scores(new == references, old == references)
    assert found.difference == pytest.approx(exact.difference)
    assert found.p_value == pytest.approx(exact.p_value, abs=0.01)


def test_compare_of_a_metric_of_sums_equals_the_same_metric_of_rows():
    """The quick path of the permutation moves sums; the plain one weighs rows."""
    references, new, old = _predictions(150, better=-0.65)
    by_rows = Metric(of_rows=lambda rows, weights: MACRO_F1.of_sums(weights @ rows))
    quick = compare_predictions(references, new, old, seed=1)
    plain = compare_predictions(references, new, old, metric=by_rows, seed=1)
    for field in ("value", "difference", "p_value", "p_value_worse", "standard_error"):
        assert getattr(quick, field) == pytest.approx(getattr(plain, field), rel=1e-9), field


def test_compare_of_a_metric_where_less_is_better_turns_the_test_around():
    rng = np.random.default_rng(0)
    old = rng.random(100)
    rows = [Statistics.of_scores(one) for one in (old - 0.1 + rng.normal(0, 0.1, 100), old)]
    errors = Metric(lambda sums: sums[:, 0] / sums[:, 1], lower_is_better=True)
    found = compare(errors, *rows)
    assert found.difference < 0 < found.improvement
    assert found.p_value < 0.001 < found.p_value_worse


@pytest.mark.slow
def test_comparisons_of_equal_models_raise_false_alarms_at_their_level():
    rng, alarms = np.random.default_rng(9), 0
    for seed in range(400):
        references = rng.integers(0, 4, 150)
        new, old = (
            np.where(rng.random(150) < 0.8, references, rng.integers(0, 4, 150)) for _ in range(2)
        )
        found = compare_predictions(references, new, old, seed=seed)
        alarms += found.p_value <= 0.05
    print(f"false alarms of the macro F1 permutation test at 0.05: {alarms / 400:.3f}")
    assert alarms / 400 < 0.08


@pytest.mark.slow
@pytest.mark.parametrize(("won", "lost", "num_examples"), [(0.05, 0.05, 200), (0.06, 0.04, 1540)])
def test_bonett_price_over_many_samples_covers_the_truth(won, lost, num_examples):
    draws = np.random.default_rng(1).multinomial(
        num_examples, [won, lost, 1 - won - lost], size=2000
    )
    covered = np.mean([won - lost in compare_scores(*_answers(*draw)).interval for draw in draws])
    print(f"Bonett-Price coverage at +{won - lost:.2f}, n={num_examples}: {covered:.3f}")
    assert 0.93 < covered < 0.97
