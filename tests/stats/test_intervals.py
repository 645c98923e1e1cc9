"""Intervals: against scipy, against hand-made cases, and how often they hold the truth."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_trainer.stats import (
    Interval,
    bca_interval,
    bootstrap_estimate,
    group_examples,
    percentile_interval,
    readable,
    resample,
    wilson_estimate,
    wilson_interval,
)
from hub_trainer.stats import intervals as intervals_module


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_interval_of_any_share_equals_scipy(num_examples, share, confidence):
    num_hits = round(share * num_examples)
    expected = scipy.stats.binomtest(num_hits, num_examples).proportion_ci(confidence, "wilson")
    found = wilson_interval(num_hits, num_examples, confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_without_examples_is_everything():
    assert wilson_interval(0, 0) == Interval(0.0, 1.0, 0.95)


def test_wilson_interval_with_more_hits_than_examples_is_refused():
    with pytest.raises(ValueError, match=r"num_hits must lie in \[0, 3\], got 4"):
        wilson_interval(4, 3)


def test_estimate_as_dict_names_what_cards_read():
    found = wilson_estimate(9, 10).as_dict()
    assert found["value"] == 0.9
    assert found["low"] < 0.9 < found["high"]
    assert (found["confidence"], found["method"], found["num_examples"]) == (0.95, "wilson", 10)


def test_interval_contains_its_ends_and_nothing_beyond():
    interval = Interval(0.2, 0.4)
    assert 0.2 in interval
    assert 0.4 in interval
    assert 0.41 not in interval


def test_group_examples_with_equal_rows_counts_them():
    (first, second), counts = group_examples(np.array([1, 0, 1, 1]), np.array([2, 2, 2, 3]))
    cells = sorted(zip(first.tolist(), second.tolist(), counts.tolist(), strict=True))
    assert cells == [(0, 2, 1), (1, 2, 2), (1, 3, 1)]


def _mean_of(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_resampled_means_spread_as_the_standard_error():
    values = np.random.default_rng(1).normal(size=400)
    (cells,), counts = group_examples(values)
    means = resample(_mean_of(cells), counts, num_resamples=4000, rng=np.random.default_rng(2))
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)


def test_resample_in_small_chunks_gives_as_many_values(monkeypatch):
    monkeypatch.setattr(intervals_module, "_MAX_CHUNK_CELLS", 7)
    (cells,), counts = group_examples(np.array([1.0, 2.0, 3.0]))
    rng = np.random.default_rng(0)
    assert resample(_mean_of(cells), counts, num_resamples=11, rng=rng).shape == (11,)
    assert bootstrap_estimate(_mean_of(cells), counts, rng=rng).method == "bca"


def test_bca_interval_of_a_skewed_mean_equals_scipy():
    values = np.random.default_rng(3).exponential(size=60)
    (cells,), counts = group_examples(values)
    statistic = _mean_of(cells)
    rng = np.random.default_rng(4)
    resampled = resample(statistic, counts, num_resamples=20_000, rng=rng)
    found = bca_interval(statistic, counts, resampled)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.015)
    plain = percentile_interval(resampled)
    assert found.low > plain.low
    assert found.high > plain.high


def test_bootstrap_estimate_with_the_same_seed_is_the_same():
    (cells,), counts = group_examples(np.random.default_rng(6).random(50))
    first, second = (
        bootstrap_estimate(_mean_of(cells), counts, rng=np.random.default_rng(7)) for _ in range(2)
    )
    assert first == second


def test_bootstrap_estimate_without_any_error_falls_back_to_wilson():
    (cells,), counts = group_examples(np.ones(40))
    found = bootstrap_estimate(_mean_of(cells), counts, rng=np.random.default_rng(0))
    assert found.method == "wilson"
    assert (found.value, found.interval) == (1.0, wilson_interval(40, 40))
    assert found.interval.low < 0.92


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "num_examples"), [(0.5, 30), (0.9, 50), (0.97, 100), (0.99, 300)]
)
def test_wilson_interval_over_many_samples_covers_the_truth(share, num_examples):
    hits = np.random.default_rng(8).binomial(num_examples, share, size=4000)
    covered = np.mean([share in wilson_interval(int(hit), num_examples) for hit in hits])
    print(f"wilson coverage at {share}, n={num_examples}: {covered:.3f}")
    assert covered > 0.92


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.5, "0.5000"),
        (0.0, "0.0000"),
        (2e-6, "2e-06"),
        (12_345_678.9, "1.235e+07"),
        (6e-5, "0.0001"),
    ],
)
def test_readable_when_small_or_large_then_four_digits(value: float, said: str) -> None:
    assert readable(value) == said
    assert readable(value, "+") == f"+{said}"
