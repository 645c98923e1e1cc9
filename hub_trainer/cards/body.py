"""The card's text: what the model is, what it learned from and how, and how to use and rate it."""

import re
from collections.abc import Mapping
from typing import Any

from hub_trainer.cards.decision import decision_limits, decision_section, slices_section
from hub_trainer.cards.facts import CardFacts
from hub_trainer.cards.importance_section import importance_limits, importance_section
from hub_trainer.cards.markdown import code_block, escape, fence, name, one_line, table
from hub_trainer.cards.metadata import to_yaml
from hub_trainer.cards.results import (
    BASELINES,
    CURVE_FIGURE,
    EXAMPLES_FIGURE,
    answer_sections,
    estimate,
    examples_section,
    limits_section,
    results_section,
)
from hub_trainer.cards.search_section import search_section
from hub_trainer.cards.writing import training_lines
from hub_trainer.reports import Results
from hub_trainer.stats import readable

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_NOTICE = 500


def render_body(facts: CardFacts) -> str:
    """Everything below the front matter; a section without content is left out."""
    sections = {
        "How to use": _usage_section(facts),
        "How to rate": _rating_section(facts),
        "Results": results_section(facts),
        "Decision": decision_section(facts),
        "Slices": slices_section(facts),
        **answer_sections(facts),
        "Columns": importance_section(facts),
        "Examples": examples_section(facts),
        "Limits": limits_section(facts, decision_limits(facts) + importance_limits(facts)),
        "Training data": _data_section(facts),
        "Training": _training_section(facts),
        "Search over settings": search_section(facts.tune) if facts.tune else "",
        "Contributors": _contributors_section(facts),
        "Licence": _licence_section(facts),
    }
    title = f"# {facts.repo_id.rpartition('/')[2]}"
    parts = [f"## {heading}\n\n{text}" for heading, text in sections.items() if text]
    notice = facts.recipe.publish.notice
    notes = [f"> {escape(notice, MAX_NOTICE)}"] if notice else []
    return "\n\n".join([title, *notes, _summary(facts), *parts]) + "\n"


def _summary(facts: CardFacts) -> str:
    results, primary = facts.results, facts.results.primary
    task = facts.recipe.task.replace("-", " ")
    labels = facts.answer.summary(facts.prepared.label_names)
    learned = {one.repo_id for one in facts.datasets if one.role == "train"}
    sources = " and ".join(sorted(learned))
    return (
        f"A model for {task}{labels}, round {facts.round_index} of a community loop. "
        f"{_origin(facts)} on {facts.fit.rows:,} examples of {sources}. On "
        f"{_num_scored(results):,} sealed test examples its {primary} is "
        f"{estimate(results.metrics[primary])} (95 % interval){_beside(results)}."
    )


def _num_scored(results: Results) -> int:
    """Sealed examples that the primary metric could score."""
    scored = results.writing.num_scored if results.writing else {}
    return scored.get(results.primary, results.num_examples)


def _beside(results: Results) -> str:
    """The best that was reached without this round's training."""
    known = [(BASELINES[one.name], one.metrics.get(results.primary)) for one in results.baselines]
    found = [f"{estimate(value)} of the {told}" for told, value in known if value]
    return f", beside {', '.join(found)}" if found else ""


def _origin(facts: CardFacts) -> str:
    base = facts.base_model
    if base is None:
        return "It was trained from scratch"
    link = f"[{base.repo_id}]({facts.link(f'{base.repo_id}/tree/{base.commit_sha}')})"
    if base.relation is None:
        return f"It was trained from scratch in the shape of {link}"
    how = "with an adapter trained" if base.relation == "adapter" else "fine-tuned"
    return f"It is {link}, {how}"


def _usage_section(facts: CardFacts) -> str:
    usage = facts.presentation.usage.replace("{repo_id}", facts.repo_id)
    code = code_block(usage.replace("{commit_sha}", facts.revision), "python")
    reload = facts.presentation.reload
    return (
        f"{code}\n\nBefore it was published, a fresh process loaded this folder "
        f"({one_line(str(reload['loaded_with']))}): on {reload['rows']} test rows "
        f"{facts.answer.repeated(reload['max_difference'])}."
    )


def _rating_section(facts: CardFacts) -> str:
    serve = facts.recipe.serve
    if serve is None:
        return ""
    space = f"[{serve.repo_id}]({facts.link(f'spaces/{serve.repo_id}')})"
    return (
        f"Try the model in {space}{facts.answer.rated_how} The ratings of several people become "
        "examples, and those a pull request on the data; the next round learns from them."
    )


def _data_section(facts: CardFacts) -> str:
    parts = [*_thumbnails(facts), _datasets_table(facts), _counts_table(facts)]
    notes = [
        *_counted("Rows left out", facts.prepared.dropped),
        *_counted("Duplicates found", facts.prepared.duplicates),
        *_repeats(facts.prepared.leakage),
        *_counted("Rows with patterns of personal data", facts.prepared.personal_data),
    ]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def _thumbnails(facts: CardFacts) -> list[str]:
    """The picture of training rows with its sentence, or the sentence that says why it is not."""
    shown, answer = facts.thumbnails, facts.answer
    if shown is None:
        return []
    if shown.left_out:
        return [f"No training rows are shown, because {escape(shown.left_out, 400)}."]
    every = len(shown.groups) == shown.num_groups
    of = (
        f"each {answer.noun}"
        if every
        else f"{len(shown.groups)} of the {shown.num_groups:,} {answer.plural}"
    )
    what = f"Up to {shown.rows_each} training rows of {of}"
    alt = ", ".join(escape(group, 60) for group in shown.groups)
    named = ", ".join(name(group) for group in shown.groups)
    return [
        f"![{what}: {alt}]({EXAMPLES_FIGURE})",
        f"{what}, chosen at random and under the licence of their dataset: {named}.",
    ]


def _datasets_table(facts: CardFacts) -> str:
    rows = []
    for one in facts.datasets:
        page = facts.link(f"datasets/{one.repo_id}/tree/{one.commit_sha}")
        rows.append(
            [
                f"[{one.repo_id}]({page})",
                escape(one.config or "default"),
                escape(one.split),
                one.role,
                escape(one.license or "not stated"),
                f"{one.rows:,}",
            ]
        )
    header = ["dataset, at its commit", "config", "split", "used as", "licence", "rows"]
    return table(header, rows, numbers_from=5)


def _counts_table(facts: CardFacts) -> str:
    prepared, splits = facts.prepared, list(facts.prepared.counts)
    rows = [
        [name(label), *(f"{prepared.counts[split].get(label, 0):,}" for split in splits)]
        for label in prepared.label_names
    ]
    rows.append(["all", *(f"{prepared.rows[split]:,}" for split in splits)])
    return table([facts.answer.counted or "rows", *splits], rows)


def _repeats(leakage: Mapping[str, Mapping[str, int]] | None) -> list[str]:
    """One line of how many rows of a split repeated rows of another: keys are "train in test"."""
    parts = []
    for key, found in (leakage or {}).items():
        split, _, sealed = key.partition(" in ")
        ways = [f"{found[kind]:,} {kind}ly" for kind in ("exact", "near") if found[kind]]
        count = found["exact"] + found["near"]
        if count:
            verb = "repeats" if count == 1 else "repeat"
            repeated = _rows(found["sealed_rows"], sealed)
            parts.append(f"{_rows(count, split)} {verb} {repeated} ({', '.join(ways)})")
    return [f"- Repeats across splits, kept out of training: {'; '.join(parts)}."] if parts else []


def _rows(count: int, split: str) -> str:
    return f"{count:,} {split} row{'' if count == 1 else 's'}"


def _counted(title: str, counts: Mapping[str, Any] | None) -> list[str]:
    """One line of the counts in a report, by whatever names and splits it has."""
    parts = []
    for key, value in (counts or {}).items():
        if isinstance(value, Mapping):
            inner = _listed(value)
            parts += [f"{key}: {inner}"] if inner else []
        elif value:
            parts.append(_listed({key: value}))
    return [f"- {title}: {escape('; '.join(parts), 1_000)}."] if parts else []


def _listed(counts: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count
    )


def _training_section(facts: CardFacts) -> str:
    fit, train = facts.fit, facts.train
    settings = to_yaml(facts.recipe.model_dump(mode="json", exclude_unset=True))
    rows = [
        _how(facts),
        ["seed", str(train.seed)],
        ["examples", f"{fit.rows:,}"],
        ["epochs", f"{fit.epochs:g}"],
        ["trainable parameters", f"{fit.trainable_parameters:,}"],
        ["seconds of training", f"{fit.seconds:,.1f}"],
        ["processes", str(fit.num_processes)],
        ["largest memory", f"{fit.peak_mb:,.0f} MiB"],
    ]
    rows += [["tokens", f"{fit.tokens:,}"]] if fit.tokens else []
    if fit.fused:
        rows.append([*_fused(fit.fused)])
    rows += training_lines(facts)
    notes = "\n".join(f"- {escape(note, 500)}." for note in fit.notes)
    versions = "\n".join(f"{package}=={version}" for package, version in facts.versions.items())
    return "\n\n".join(
        [
            table(["", "value"], rows),
            *([notes] if notes else []),
            *([f"![Loss and metric over the steps]({CURVE_FIGURE})"] if facts.has_curve else []),
            f"The recipe, as far as it was written:\n\n{fence(settings.strip(), 'yaml')}",
            f"Packages:\n\n{fence(versions)}",
            "`round.json` holds the whole recipe, the commits of everything that went in and all "
            "metrics, so that the round can be run again.",
        ]
    )


def _fused(fused: Mapping[str, Any]) -> tuple[str, str]:
    """What was joined; what that gave, and each of its parts."""
    name = "soup of checkpoints"
    if "density" in fused:
        name = "adapters of checkpoints"
    elif "estimator" in fused["parts"][0]:
        name = "ensemble of estimators"
    parts = ", ".join(
        f"{readable(part['score'])} {_part(part)}" + ("" if part["taken"] else " (left out)")
        for part in fused["parts"]
    )
    verdict = "kept" if fused["kept"] else "no better than the best of them, and not kept"
    density = f" at density {fused['density']:g}" if "density" in fused else ""
    return name, (
        f"{fused['method']}{density}: {fused['metric']} {readable(fused['score'])} on validation "
        f"rows, of {parts}; {verdict}"
    )


def _part(part: Mapping[str, Any]) -> str:
    return f"by {part['estimator']}" if "estimator" in part else f"at step {part['step']:,}"


def _how(facts: CardFacts) -> list[str]:
    """What learned: an estimator with its arguments, or parts of a network."""
    train, estimator = facts.train, facts.presentation.estimator
    if estimator is None:
        return ["method", f"{train.method}: {_method(facts)}"]
    given = ", ".join(f"{name}={value}" for name, value in train.estimator_arguments.items())
    return ["estimator", escape(f"{estimator}({given})" if given else estimator, 400)]


def _method(facts: CardFacts) -> str:
    method, base = facts.train.method_facts, facts.base_model
    if base and base.relation == "adapter":
        weights = "quantised" if method.quantized else "frozen"
        return f"low-rank adapters learned over {weights} weights, and are published by themselves"
    return method.learned


def _contributors_section(facts: CardFacts) -> str:
    people = sorted(set(facts.presentation.contributors), key=str.lower)
    if not people:
        return ""
    return f"The data was written by {', '.join(_person(facts, who) for who in people)}."


def _person(facts: CardFacts, who: str) -> str:
    """An account as a link; the name in a commit that was pushed may be none."""
    return f"[{who}]({facts.link(who)})" if _ACCOUNT.fullmatch(who) else escape(who)


def _licence_section(facts: CardFacts) -> str:
    licence = facts.licence
    doubts = "".join(f"\n- {escape(doubt, 400)}" for doubt in licence.warnings)
    named = name(licence.name) if licence.name else f"`{one_line(licence.license)}`"
    if licence.link:
        named += f" ({escape(licence.link, 300)})"
    told = f"{named}. {escape(licence.reason, 400)}"
    return f"{told}\n{doubts}" if doubts else told
