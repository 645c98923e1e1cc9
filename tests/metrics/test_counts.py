"""Metrics of label counts: equal to the evaluate modules on any examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_trainer.metrics import METRICS, compute_metric, metric_names
from hub_trainer.metrics.counts import label_metric, label_statistics
from hub_trainer.stats import measure

CELLS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1)


@settings(max_examples=15, deadline=None)
@given(CELLS)
def test_metrics_of_any_examples_equal_the_modules(cells):
    references, predictions, repeats = (np.array(column) for column in zip(*cells, strict=True))
    if not repeats.sum():
        repeats[0] = 1
    truth, given_ = (np.repeat(column, repeats) for column in (references, predictions))
    for name in metric_names("labels"):
        metric = METRICS[name].metric
        found = measure(metric, label_statistics(metric, truth, given_, 4))
        expected = compute_metric(name, truth.tolist(), given_.tolist())
        assert found == pytest.approx(expected, abs=1e-12), name


def test_metric_of_several_resamples_keeps_them_apart():
    metric = label_metric(lambda counts: counts.hits[:, 0] + 10 * counts.predicted[:, 1])
    found = label_statistics(metric, np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    weights = np.array([[1.0, 2, 3], [0, 0, 4]])
    assert metric.measure(found.rows, weights).tolist() == [51, 40]
