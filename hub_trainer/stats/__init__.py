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
from hub_trainer.stats.metric import MEAN, SHARE, Metric, Statistics, estimate, measure
from hub_trainer.stats.paired import (
    Comparison,
    McNemar,
    compare,
    compare_scores,
    mcnemar,
)
from hub_trainer.stats.power import minimum_detectable_effect, required_num_examples
from hub_trainer.stats.win_rate import (
    CrowdWinRate,
    PairVote,
    WinRate,
    crowd_win_rates,
    win_rate,
)

__all__ = [
    "MEAN",
    "SHARE",
    "AggregatedLabel",
    "Aggregation",
    "Annotation",
    "Comparison",
    "CrowdWinRate",
    "Estimate",
    "GateDecision",
    "GateRule",
    "Interval",
    "McNemar",
    "Metric",
    "PairVote",
    "RaterSummary",
    "SliceChange",
    "Statistics",
    "Verdict",
    "WinRate",
    "bca_interval",
    "bootstrap_estimate",
    "compare",
    "compare_scores",
    "compare_slices",
    "count_looks",
    "crowd_win_rates",
    "dawid_skene_labels",
    "decide",
    "decide_first",
    "estimate",
    "group_examples",
    "majority_labels",
    "mcnemar",
    "measure",
    "minimum_detectable_effect",
    "percentile_interval",
    "required_num_examples",
    "resample",
    "wilson_estimate",
    "wilson_interval",
    "win_rate",
]
