"""Statistics on plain values: intervals, paired tests, the gate, labels from many raters."""

from hub_trainer.stats.aggregate import (
    AggregatedLabel,
    Aggregation,
    Annotation,
    RaterSummary,
    majority_labels,
)
from hub_trainer.stats.dawid_skene import dawid_skene_labels
from hub_trainer.stats.gate import (
    GateDecision,
    GateRule,
    SliceChange,
    Verdict,
    compare_slices,
    count_looks,
    decide,
    decide_first,
)
from hub_trainer.stats.intervals import (
    Estimate,
    Interval,
    bca_interval,
    bootstrap_estimate,
    group_examples,
    percentile_interval,
    resample,
    wilson_estimate,
    wilson_interval,
)
from hub_trainer.stats.paired import (
    BootstrapDifference,
    Comparison,
    McNemar,
    WeightedMetric,
    compare_predictions,
    compare_scores,
    mcnemar,
    paired_bootstrap,
)
from hub_trainer.stats.power import minimum_detectable_effect, required_num_examples

__all__ = [
    "AggregatedLabel",
    "Aggregation",
    "Annotation",
    "BootstrapDifference",
    "Comparison",
    "Estimate",
    "GateDecision",
    "GateRule",
    "Interval",
    "McNemar",
    "RaterSummary",
    "SliceChange",
    "Verdict",
    "WeightedMetric",
    "bca_interval",
    "bootstrap_estimate",
    "compare_predictions",
    "compare_scores",
    "compare_slices",
    "count_looks",
    "dawid_skene_labels",
    "decide",
    "decide_first",
    "group_examples",
    "majority_labels",
    "mcnemar",
    "minimum_detectable_effect",
    "paired_bootstrap",
    "percentile_interval",
    "required_num_examples",
    "resample",
    "wilson_estimate",
    "wilson_interval",
]
