"""Metrics from counts are the evaluate modules' values, resample by resample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_trainer.metrics import METRICS, compute_metric, metric_names
from hub_trainer.metrics.counts import count_labels, weighted_metric

CELLS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1)


@settings(max_examples=15, deadline=None)
@given(CELLS)
def test_count_metrics_of_any_examples_equal_the_modules(cells):
    references, predictions, repeats = (np.array(column) for column in zip(*cells, strict=True))
    if not repeats.sum():
        repeats[0] = 1
    weights = repeats[None, :].astype(float)
    expanded = [np.repeat(column, repeats).tolist() for column in (references, predictions)]
    for name in metric_names("labels"):
        from_counts = METRICS[name].from_counts
        assert from_counts
        found = weighted_metric(from_counts, 4)(references, predictions, weights)
        assert found.shape == (1,)
        assert found[0] == pytest.approx(compute_metric(name, *expanded), abs=1e-12), name


def test_count_labels_of_several_resamples_keeps_them_apart():
    references, predictions = np.array([0, 0, 1]), np.array([0, 1, 1])
    counts = count_labels(references, predictions, np.array([[1.0, 2, 3], [0, 0, 4]]), 2)
    assert counts.hits.tolist() == [[1, 3], [0, 4]]
    assert counts.support.tolist() == [[3, 3], [0, 4]]
    assert counts.predicted.tolist() == [[1, 5], [0, 4]]
