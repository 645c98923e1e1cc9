"""The card's account of how good the model is: metrics, the gate, labels, mistakes, limits."""

import math
from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from hub_trainer.answers import Section, Sentence
from hub_trainer.cards.facts import CardFacts
from hub_trainer.cards.markdown import escape, fence, name, one_line, table
from hub_trainer.cards.writing import evidence, writing_limits
from hub_trainer.metrics.senses import with_sense
from hub_trainer.privacy import scan_text
from hub_trainer.reports import ComparisonResult
from hub_trainer.stats import readable

FIGURES = "figures"
CURVE_FIGURE = f"{FIGURES}/training.png"
EXAMPLES_FIGURE = f"{FIGURES}/examples.png"
FEW_TEST_EXAMPLES = 500
BASELINES = {"constant": "constant answer", "base": "base model as it is", "probe": "cheap probe"}
VERDICTS = {
    "promote": "The gate **promoted** this model.",
    "hold": "The gate **held this model back**: it was not shown to be better.",
    "reject": "The gate **rejected** this model: it is worse, or worse on a part of the data.",
}


def results_section(facts: CardFacts) -> str:
    """Metrics with intervals, beside those of other models, and the gate's verdict."""
    results = facts.results
    apart = ", which no training row repeats" if facts.prepared.leakage else ""
    count, num_rows = results.num_examples, results.num_rows or 0
    once = f" ({num_rows:,} test rows, each prompt asked once)" if num_rows > count else ""
    lines = [
        f"On {count:,} sealed test examples{once}{apart}; 95 % intervals in brackets.",
        _metrics_table(facts),
    ]
    lines += [told] if (told := _positive_told(facts)) else []
    lines += [told] if (told := _baselines_told(facts)) else []
    lines += [told] if (told := _perturbed_told(results.detail.get("perturbed"))) else []
    lines += evidence(facts)
    return "\n\n".join([*lines, _gate_section(facts)])


def answer_sections(facts: CardFacts) -> dict[str, str]:
    """What the answer adds: a title -> a picture, a sentence and a table."""
    found = facts.answer.sections(facts.results.detail)
    return {section.title: _section(section) for section in found}


def _section(section: Section) -> str:
    parts = [f"![{section.alt}]({FIGURES}/{section.figure})"] if section.figure else []
    parts += [section.text] if section.text else []
    if section.rows:
        rows = [[_shown(value) for value in row] for row in section.rows]
        parts.append(table(section.header, rows, numbers_from=section.num_names))
    return "\n\n".join(parts)


def _sentence(sentence: Sentence) -> str:
    values = [_shown(value) for value in sentence.values]
    return sentence.text.format(*values) if values else sentence.text


def _shown(value: Any) -> str:
    """A name that cannot break the page, a count, a number, or a metric with its interval."""
    if isinstance(value, str):
        return name(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else estimate(value)


def examples_section(facts: CardFacts) -> str:
    """A few rows with their label and what the model says; rows with personal data stay out."""
    shown = []
    for example in facts.results.examples:
        values = {key: str(value) for key, value in example.items()}
        if not any(scan_text(value) for value in values.values()):
            lines = (f"{key}: {one_line(v, 300)}" for key, v in values.items())
            shown.append("\n".join(fill(line, 90, subsequent_indent="  ") for line in lines))
    if not shown:
        return ""
    block = fence("\n\n".join(shown))
    return f"Rows of the validation split; the test rows stay sealed.\n\n{block}"


def limits_section(facts: CardFacts, further: Sequence[str] = ()) -> str:
    """What the evidence does not show, or shows to be weak."""
    return "\n".join(f"- {limit}" for limit in [*limits(facts), *further])


def limits(facts: CardFacts) -> list[str]:
    """One sentence per weakness that the results themselves show."""
    return [
        *_scope_limits(facts),
        *writing_limits(facts),
        *_answer_limits(facts),
        *_slice_limits(facts),
        *_training_limits(facts),
        *(f"{escape(warning, 400)}." for warning in facts.prepared.warnings),
    ]


def estimate(value: Mapping[str, Any] | float | None) -> str:
    """A metric with its interval, or a bare number, or what stands for none."""
    if value is None:
        return "n/a"
    if not isinstance(value, Mapping):
        return readable(value) if math.isfinite(value) else "undefined"
    if not math.isfinite(value["value"]):
        return "undefined"
    found = readable(value["value"])
    low, high = value.get("low"), value.get("high")
    return found if low is None or high is None else f"{found} [{readable(low)}, {readable(high)}]"


def _gate_section(facts: CardFacts) -> str:
    """The verdict in words, with what it rests on."""
    gate, comparison = facts.results.gate, facts.results.comparison
    told = VERDICTS[gate["verdict"]]
    if comparison:
        p_values = f"p = {comparison.p_value:.3g}{_mcnemar(comparison)}"
        told += f" Compared with {_published(facts)} on the same examples: {p_values}."
    reasons = "\n".join(f"- {escape(reason, 500)}" for reason in gate["reasons"])
    return f"{told}\n\n{reasons}" if reasons else told


def _published(facts: CardFacts) -> str:
    if facts.parent is None:
        return "the published model"
    page = facts.link(f"{facts.repo_id}/tree/{facts.parent}")
    return f"the published model ([{facts.parent[:7]}]({page}))"


def _positive_told(facts: CardFacts) -> str:
    """Which label some of the metrics are of."""
    metrics, positive = facts.positive_metrics, facts.recipe.evaluate.positive
    if not metrics or positive is None:
        return ""
    *others, last = metrics
    told = f"{', '.join(others)} and {last}" if others else last
    return f"Of the label {name(positive)} against all others: {told}."


def _baselines_told(facts: CardFacts) -> str:
    results, recipe = facts.results, facts.recipe
    lines = [
        f"- {BASELINES[one.name]}: {escape(one.description, 500)}." for one in results.baselines
    ]
    if results.validation.metrics:
        chosen = "only the threshold" if facts.fit.threshold else "nothing"
        chosen += " was chosen by them"
        rows = f"- validation: the {results.validation.num_examples:,} rows"
        lines.append(
            f"{rows} that were held back from training; {chosen}."
            if facts.fit.steps is None and recipe.train.early_stopping is None
            else f"{rows} that chose the checkpoint, so that these figures flatter the model."
        )
    return "\n".join(lines)


def _perturbed_told(lost: Mapping[str, Any] | None) -> str:
    """What the primary metric becomes where rows are not as clean as those it was trained on."""
    if not lost:
        return ""
    change = lost["difference"]
    return (
        f"Of {lost['num_examples']:,} of these examples, read {escape(lost['told'], 200)}, it has "
        f"{name(with_sense(lost['metric']))} {estimate(lost['perturbed'])} in place of "
        f"{estimate(lost['plain'])}: {change['value']:+.4f} "
        f"[{change['low']:+.4f}, {change['high']:+.4f}]."
    )


def _metrics_table(facts: CardFacts) -> str:
    """A column for each model, whatever was measured of it."""
    results = facts.results
    columns: dict[str, Mapping[str, Any]] = {
        f"this model (round {facts.round_index})": results.metrics,
        "published before": results.published or {},
        **{BASELINES[one.name]: one.metrics for one in results.baselines},
        "validation": results.validation.metrics or {},
    }
    shown = {header: metrics for header, metrics in columns.items() if metrics}
    rows = [
        [
            with_sense(metric, shown=f"**{metric}**" if metric == results.primary else None),
            *(estimate(metrics.get(metric)) for metrics in shown.values()),
        ]
        for metric in results.metrics
    ]
    return table(["metric", *shown], rows)


def _mcnemar(comparison: ComparisonResult) -> str:
    value = comparison.mcnemar_p_value
    return "" if value is None else f", by McNemar's exact test p = {value:.3g}"


def _scope_limits(facts: CardFacts) -> Iterator[str]:
    results = facts.results
    sources = ", ".join(sorted({one.repo_id for one in facts.test_sources}))
    yield f"Measured on test rows of {sources} alone; other sources were not tried."
    count = results.num_examples
    if count < FEW_TEST_EXAMPLES:
        yield f"The test set is small: {count:,} examples{_smallest_effect(results.gate)}."


def _smallest_effect(gate: Mapping[str, Any]) -> str:
    effect = gate.get("minimum_detectable_effect")
    if effect is None:
        return ""
    return f", too few to show a change below {readable(effect)}"


def _answer_limits(facts: CardFacts) -> Iterator[str]:
    for sentence in facts.answer.limits(facts.results.detail, facts.prepared.counts):
        yield _sentence(sentence)


def _slice_limits(facts: CardFacts) -> Iterator[str]:
    for entry in facts.results.gate.get("slices") or []:
        if entry.get("regressed"):
            group = f"{name(str(entry['column']))} = {name(str(entry['value']))}"
            yield f"Worse than the published model where {group}: {readable(entry['change'], '+')}."


def _training_limits(facts: CardFacts) -> Iterator[str]:
    if facts.fit.resumed_from:
        yield "Training was interrupted and resumed from a checkpoint."
    if not facts.fit.bit_reproducible:
        yield "The weights are not bit-reproducible: the same recipe gives slightly other ones."
