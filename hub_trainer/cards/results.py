"""The card's account of how good the model is: metrics, the gate, labels, mistakes, limits."""

import math
from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from hub_trainer.cards.facts import CardFacts
from hub_trainer.cards.markdown import escape, fence, name, one_line, table
from hub_trainer.cards.writing import evidence, writing_limits
from hub_trainer.metrics import metric_spec
from hub_trainer.privacy import scan_text

CONFUSION_FIGURE = "figures/confusion.png"
CURVE_FIGURE = "figures/training.png"
FEW_TEST_EXAMPLES = 500
FEW_LABEL_EXAMPLES = 30
IMBALANCE = 3.0
NOTICEABLE_ECE = 0.05
BASELINES = {"constant": "constant answer", "base": "base model as it is", "probe": "cheap probe"}
VERDICTS = {
    "promote": "The gate **promoted** this model.",
    "hold": "The gate **held this model back**: it was not shown to be better.",
    "reject": "The gate **rejected** this model: it is worse, or worse on a part of the data.",
}


def results_section(facts: CardFacts) -> str:
    """Metrics with intervals, beside those of other models, and the gate's verdict."""
    results = facts.results
    apart = ", which no training row repeats" if facts.prepared.get("leakage") else ""
    lines = [
        f"On {results['num_examples']:,} sealed test examples{apart}; 95 % intervals in brackets.",
        _metrics_table(facts),
    ]
    lines += [told] if (told := _baselines_told(results)) else []
    lines += evidence(facts) if facts.writes else []
    return "\n\n".join([*lines, _gate_section(facts)])


def labels_section(facts: CardFacts) -> str:
    """Precision, recall and F1 per label."""
    header = ["label", "precision", "recall", "F1", "test rows"]
    rows = [
        [
            name(entry["label"]),
            *(estimate(entry[metric]) for metric in ("precision", "recall", "f1")),
            f"{entry['support']:,}",
        ]
        for entry in facts.results["per_label"]
    ]
    return table(header, rows)


def confusion_section(facts: CardFacts) -> str:
    """The picture of the confusion matrix and its largest mistakes."""
    picture = f"![Confusion matrix of the test examples]({CONFUSION_FIGURE})"
    mistakes = _mistakes(facts.results["confusion"])[:10]
    if not mistakes:
        return f"{picture}\n\nNo test example got a wrong label."
    rows = [[name(truth), name(answer), f"{count:,}"] for count, truth, answer in mistakes]
    listed = table(["true label", "predicted", "test rows"], rows, numbers_from=2)
    return f"{picture}\n\nMost frequent mistakes:\n\n{listed}"


def examples_section(facts: CardFacts) -> str:
    """A few rows with their label and what the model says; rows with personal data stay out."""
    shown = []
    for example in facts.results.get("examples") or []:
        values = {key: str(value) for key, value in example.items()}
        if not any(scan_text(value) for value in values.values()):
            lines = (f"{key}: {one_line(v, 300)}" for key, v in values.items())
            shown.append("\n".join(fill(line, 90, subsequent_indent="  ") for line in lines))
    if not shown:
        return ""
    block = fence("\n\n".join(shown))
    return f"Rows of the validation split; the test rows stay sealed.\n\n{block}"


def limits_section(facts: CardFacts) -> str:
    """What the evidence does not show, or shows to be weak."""
    return "\n".join(f"- {limit}" for limit in limits(facts))


def limits(facts: CardFacts) -> list[str]:
    """One sentence per weakness that the results themselves show."""
    return [
        *_scope_limits(facts),
        *(writing_limits(facts) if facts.writes else _label_limits(facts)),
        *_slice_limits(facts),
        *_training_limits(facts),
        *(f"{escape(warning, 400)}." for warning in facts.prepared.get("warnings") or []),
        *(escape(warning, 400) for warning in facts.licence.warnings),
    ]


def estimate(value: Mapping[str, Any] | float | None) -> str:
    """A metric with its interval, or a bare number, or what stands for none."""
    if value is None:
        return "n/a"
    if not isinstance(value, Mapping):
        return f"{value:.4f}" if math.isfinite(value) else "undefined"
    if not math.isfinite(value["value"]):
        return "undefined"
    shown = f"{value['value']:.4f}"
    low, high = value.get("low"), value.get("high")
    return shown if low is None or high is None else f"{shown} [{low:.4f}, {high:.4f}]"


def _gate_section(facts: CardFacts) -> str:
    """The verdict in words, with what it rests on."""
    gate, comparison = facts.results["gate"], facts.results.get("comparison")
    told = VERDICTS[gate["verdict"]]
    if comparison:
        p_values = f"p = {comparison['p_value']:.3g}{_mcnemar(comparison)}"
        told += f" Compared with {_published(facts)} on the same examples: {p_values}."
    reasons = "\n".join(f"- {escape(reason, 500)}" for reason in gate["reasons"])
    return f"{told}\n\n{reasons}" if reasons else told


def _published(facts: CardFacts) -> str:
    if facts.parent is None:
        return "the published model"
    page = facts.link(f"{facts.repo_id}/tree/{facts.parent}")
    return f"the published model ([{facts.parent[:7]}]({page}))"


def baselines(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is reached without this round's training; older results know the base model alone."""
    known = results.get("baselines")
    if known is None:
        base = results.get("base")
        return [{"name": "base", **base}] if base else []
    return list(known)


def _baselines_told(results: Mapping[str, Any]) -> str:
    lines = [
        f"- {BASELINES[one['name']]}: {escape(one['description'], 500)}."
        for one in baselines(results)
    ]
    validation = results.get("validation") or {}
    if validation.get("metrics"):
        lines.append(
            f"- validation: the {validation['num_examples']:,} rows that chose the checkpoint, so "
            "that these figures flatter the model."
        )
    return "\n".join(lines)


def _metrics_table(facts: CardFacts) -> str:
    """A column for each model, whatever was measured of it."""
    results = facts.results
    columns: dict[str, Mapping[str, Any]] = {
        f"this model (round {facts.round_index})": results["metrics"],
        "published before": results.get("published") or {},
        **{BASELINES[one["name"]]: one["metrics"] for one in baselines(results)},
        "validation": (results.get("validation") or {}).get("metrics") or {},
    }
    shown = {header: metrics for header, metrics in columns.items() if metrics}
    rows = [
        [
            _metric_name(metric, metric == results["primary"]),
            *(estimate(metrics.get(metric)) for metrics in shown.values()),
        ]
        for metric in results["metrics"]
    ]
    return table(["metric", *shown], rows)


def _metric_name(metric: str, is_primary: bool) -> str:
    sense = ", lower is better" if metric_spec(metric).lower_is_better else ""
    return (f"**{metric}**" if is_primary else metric) + sense


def _mcnemar(comparison: Mapping[str, Any]) -> str:
    value = comparison.get("mcnemar_p_value")
    return "" if value is None else f", by McNemar's exact test p = {value:.3g}"


def _mistakes(confusion: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    labels: Sequence[str] = confusion["labels"]
    found = [
        (int(count), labels[truth], labels[answer])
        for truth, row in enumerate(confusion["counts"])
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return sorted(found, key=lambda mistake: (-mistake[0], mistake[1], mistake[2]))


def _scope_limits(facts: CardFacts) -> Iterator[str]:
    results = facts.results
    sources = ", ".join(sorted({entry["repo_id"] for entry in facts.test_sources}))
    yield f"Measured on test rows of {sources} alone; other sources were not tried."
    count = results["num_examples"]
    if count < FEW_TEST_EXAMPLES:
        yield f"The test set is small: {count:,} examples{_smallest_effect(results['gate'])}."
    ece = (results.get("calibration") or {}).get("ece")
    if ece is not None and ece > NOTICEABLE_ECE:
        yield f"Its probabilities are off by {ece:.4f} on average (expected calibration error)."


def _smallest_effect(gate: Mapping[str, Any]) -> str:
    effect = gate.get("minimum_detectable_effect")
    return "" if effect is None else f", on which a change below {effect:.4f} cannot be told apart"


def _label_limits(facts: CardFacts) -> Iterator[str]:
    entries = [entry for entry in facts.results["per_label"] if entry["support"]]
    if entries:
        worst = min(entries, key=lambda entry: (_value(entry["f1"]), entry["label"]))
        yield (
            f"The weakest label is {name(worst['label'])}: F1 {estimate(worst['f1'])} "
            f"on {worst['support']:,} test rows."
        )
    few = sum(entry["support"] < FEW_LABEL_EXAMPLES for entry in facts.results["per_label"])
    if few:
        yield f"Labels with fewer than {FEW_LABEL_EXAMPLES} test rows: {few}; wide intervals."
    counts = facts.prepared["counts"]["train"]
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] > IMBALANCE * max(1, counts[least]):
        yield (
            f"The training labels are unbalanced: {counts[most]:,} rows of {name(most)}, "
            f"{counts[least]:,} of {name(least)}."
        )


def _slice_limits(facts: CardFacts) -> Iterator[str]:
    for entry in facts.results["gate"].get("slices") or []:
        if entry.get("regressed"):
            group = f"{name(str(entry['column']))} = {name(str(entry['value']))}"
            yield f"Worse than the published model where {group}: {entry['change']:+.4f}."


def _training_limits(facts: CardFacts) -> Iterator[str]:
    if facts.fit.get("resumed_from"):
        yield "Training was interrupted and resumed from a checkpoint."
    if not facts.fit.get("bit_reproducible", True):
        yield "The weights are not bit-reproducible: the same recipe gives slightly other ones."


def _value(metric: Mapping[str, Any] | float) -> float:
    value = float(metric["value"] if isinstance(metric, Mapping) else metric)
    return value if math.isfinite(value) else 0.0
