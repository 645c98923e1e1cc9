"""The metrics a recipe may name, as evaluate modules that this package ships.

`evaluate.load` with a name fetches a Python file from the Hub and runs it, so it is only ever given
the absolute path of a folder here.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hub_trainer.errors import UsageError
from hub_trainer.metrics import counts
from hub_trainer.metrics.counts import CountMetric, label_metric
from hub_trainer.stats.metric import MEAN, SHARE, Metric, ratio

_FOLDER = Path(__file__).resolve().parent

Needs = Literal["labels", "answers", "likelihoods", "preferences"]


@dataclass(frozen=True)
class MetricSpec:
    """One name in a recipe: the module behind it and how it is measured on examples."""

    module: str
    metric: Metric
    average: str | None = None
    needs: Needs = "labels"
    """A label per example, a written answer, how likely the reference is to the model, or how
    likely each of two answers."""
    unit: str | None = None
    """Of its values, where they have one."""

    @property
    def is_share(self) -> bool:
        """Whether it is a share of the examples, with a closed-form interval and McNemar's test."""
        return self.metric.is_share

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value is a better one."""
        return self.metric.lower_is_better


def _of_labels(
    module: str, of_counts: CountMetric | None, average: str | None = None
) -> MetricSpec:
    return MetricSpec(module, label_metric(of_counts), average)


METRICS: dict[str, MetricSpec] = {
    "accuracy": _of_labels("accuracy", None),
    "balanced_accuracy": _of_labels("balanced_accuracy", counts.balanced_accuracy),
    "mcc": _of_labels("mcc", counts.mcc),
    "precision_macro": _of_labels("precision", counts.macro(counts.precision), "macro"),
    "precision_micro": _of_labels("precision", None, "micro"),
    "precision_weighted": _of_labels("precision", counts.weighted(counts.precision), "weighted"),
    "recall_macro": _of_labels("recall", counts.macro(counts.recall), "macro"),
    "recall_micro": _of_labels("recall", None, "micro"),
    "recall_weighted": _of_labels("recall", None, "weighted"),
    "f1_macro": _of_labels("f1", counts.macro(counts.f1), "macro"),
    "f1_micro": _of_labels("f1", None, "micro"),
    "f1_weighted": _of_labels("f1", counts.weighted(counts.f1), "weighted"),
    "exact_match": MetricSpec("exact_match", SHARE, needs="answers"),
    "token_f1": MetricSpec("token_f1", MEAN, needs="answers"),
    "rouge": MetricSpec("rouge", MEAN, needs="answers"),
    "contains": MetricSpec("contains", SHARE, needs="answers"),
    "json_schema": MetricSpec("json_schema", SHARE, needs="answers"),
    "completion_loss": MetricSpec(
        "completion_loss", Metric(ratio, lower_is_better=True), needs="likelihoods"
    ),
    "perplexity": MetricSpec(
        "perplexity", Metric(ratio, scale=np.exp, lower_is_better=True), needs="likelihoods"
    ),
    "preference_accuracy": MetricSpec("preference_accuracy", SHARE, needs="preferences"),
    "preference_margin": MetricSpec("preference_margin", MEAN, needs="preferences", unit="nats"),
}


def metric_names(*needs: Needs) -> frozenset[str]:
    """The metrics that are computed from one of these."""
    return frozenset(name for name, spec in METRICS.items() if spec.needs in needs)


def metric_needs(name: str) -> Needs | None:
    """What a metric is computed from; None for one that is not of this table."""
    return METRICS[name].needs if name in METRICS else None


def metric_spec(name: str) -> MetricSpec:
    """The row of `METRICS`, or an error that suggests the nearest name."""
    if name in METRICS:
        return METRICS[name]
    near = get_close_matches(name, METRICS, n=1, cutoff=0.4)
    raise UsageError(
        f"there is no metric {name}",
        do=f"did you mean {near[0]}?" if near else f"take one of {', '.join(METRICS)}",
    )


def load_metric(name: str) -> Any:
    """The `evaluate.EvaluationModule` behind a metric, or behind `confusion`.

    It keeps what it is given in memory, so that parallel processes share no file.
    """
    module = "confusion" if name == "confusion" else metric_spec(name).module
    return _load_module(_FOLDER / module)


def compute_metric(name: str, references: list[int], predictions: list[int]) -> float:
    """A metric of label ids, by its evaluate module."""
    spec = metric_spec(name)
    arguments = {"average": spec.average} if spec.average else {}
    result = load_metric(name).compute(predictions=predictions, references=references, **arguments)
    return float(result[spec.module])


def _load_module(folder: Path) -> Any:
    import evaluate

    try:
        _remove_broken_copy(folder / f"{folder.name}.py")
        return evaluate.load(str(folder), keep_in_memory=True)
    except OSError as error:
        raise UsageError(
            "evaluate cannot keep its copy of a metric module",
            where=str(evaluate.config.HF_MODULES_CACHE),
            got=str(error),
            do="set HF_HOME to a folder that can be written to",
        ) from error


def _remove_broken_copy(source: Path) -> None:
    """A process killed while evaluate copied leaves half a file, which evaluate would use for ever.

    The copy lies in a folder named after the source's hash, under a lock, so that versions and
    processes do not meet.
    """
    from datasets.utils.filelock import FileLock
    from evaluate.loading import files_to_hash, init_dynamic_modules

    copies = Path(init_dynamic_modules(), "metrics", source.stem)
    copy = copies / files_to_hash([str(source)]) / source.name
    if copy.exists() and files_to_hash([str(copy)]) != copy.parent.name:
        with FileLock(f"{copies}.lock"):
            copy.unlink(missing_ok=True)
