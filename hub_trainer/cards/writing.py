"""The card's account of a model that writes: win rates, how it answers, what it learned from.

Each part is empty for a round whose results say nothing of writing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub_trainer.cards.facts import CardFacts
from hub_trainer.cards.markdown import escape, name, table
from hub_trainer.metrics import metric_needs
from hub_trainer.recipe.chat_templates import told as template_told
from hub_trainer.reports import Results, WritingResult

MOST_PAIRS_SHOWN = 10
NOTICEABLE_CUT = 0.05
KINDS = {
    "demonstration": ("sft", "nll"),
    "preference": ("dpo", "sigmoid"),
    "desirable": ("kto", "kto"),
    "undesirable": ("kto", "kto"),
}
"""What a row is -> the name of learning from it, and its usual loss."""
HELD_BY_BETA = ("dpo", "kto")


def evidence(facts: CardFacts) -> list[str]:
    """What stands beside the metrics: how answers were written, and who wins how often."""
    results, writing = facts.results, facts.results.writing
    if writing is None:
        return []
    parts = [_how_written(writing), *_partly_scored(results, writing), *_compared(results)]
    parts += _win_rate(results, writing)
    crowd = _crowd(writing.crowd)
    return [" ".join(parts), *([crowd] if crowd else [])]


def writing_limits(facts: CardFacts) -> Iterator[str]:
    """What a reader should not expect of the answers."""
    writing = facts.results.writing
    if writing is None:
        return
    habits = writing.answers.get("new")
    cut = 1 - habits["finished_fraction"] if habits else 0.0
    if cut > NOTICEABLE_CUT:
        most = writing.sampling["max_new_tokens"]
        yield f"{100 * cut:.0f} % of its answers to the test prompts were cut at {most} tokens."
    for repo_id in facts.presentation.machine_annotated:
        yield f"By its card, what {repo_id} says was made by machines: no person's opinion."


def training_tags(facts: CardFacts) -> list[str]:
    """Tags for how it learned: sft, dpo or kto, and lora or qlora."""
    method = facts.train.method_facts
    if facts.results.writing is None:
        return []
    return [_kind(facts)[0], *([method.name] if method.adapter else [])]


def training_lines(facts: CardFacts) -> list[list[str]]:
    """Rows of the table of settings: the loss, and what holds the model to its start."""
    language = facts.train.language
    if facts.results.writing is None:
        return []
    kind, usual = _kind(facts)
    loss = (language.loss_type if language else None) or usual
    lines = [["learned from", _learned_from(facts)], ["loss", f"{kind}, {loss}"]]
    if kind in HELD_BY_BETA:
        lines.append(["beta", f"{language.beta if language else 0.1:g}"])
    if language and language.chat_template is not None:
        lines.append(["chat template", template_told(language.chat_template)])
    return lines


def _kind(facts: CardFacts) -> tuple[str, str]:
    return KINDS[max(_counts(facts), key=_counts(facts).__getitem__)]


def _counts(facts: CardFacts) -> Mapping[str, int]:
    counts: Mapping[str, int] = facts.prepared.counts["train"]
    return counts


def _learned_from(facts: CardFacts) -> str:
    counts = _counts(facts)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts.get(kind)) + " rows"


def _how_written(writing: WritingResult) -> str:
    habits, sampling = writing.answers.get("new"), writing.sampling
    if habits is None:
        return "Likelihoods were measured; no test prompt was answered."
    told = f"Test prompts were answered {_sampled(sampling)}, in {sampling['max_new_tokens']} "
    return told + (
        f"tokens at most: {habits['mean_tokens']:.1f} tokens on average, "
        f"{100 * habits['finished_fraction']:.0f} % of the answers came to their own end."
    )


def _sampled(sampling: Mapping[str, Any]) -> str:
    if sampling["temperature"] is None:
        return "greedily"
    named = ("temperature", "top_k", "top_p")
    given = [f"{key} {sampling[key]:g}" for key in named if sampling[key] is not None]
    return f"by sampling ({', '.join(given)})"


def _partly_scored(results: Results, writing: WritingResult) -> Iterator[str]:
    """Not every example says what a metric needs."""
    count = results.num_examples
    parts = [f"{metric} {n:,}" for metric, n in writing.num_scored.items() if n < count]
    if parts:
        yield f"Not all of the {count:,} examples could be scored: {', '.join(parts)}."
    for told in writing.unscored:
        yield f"{escape(told, 300)}."


def _compared(results: Results) -> Iterator[str]:
    """How the answers of a pair were held against each other."""
    if any(metric_needs(metric) == "preferences" for metric in results.metrics):
        yield (
            "Of a sealed pair the answer that is more probable as a whole is the likelier one: "
            "log-probabilities summed over tokens, without a reference model, so that every model "
            "stands beside the others. Short answers are likelier than long ones; what that alone "
            "would give is the constant answer's figure."
        )


def _win_rate(results: Results, writing: WritingResult) -> Iterator[str]:
    rate = writing.win_rate
    if rate:
        yield (
            f"In {results.primary} it beats the published model on {rate['wins']:,} test "
            f"examples, ties on {rate['ties']:,} and loses on {rate['losses']:,}: a win rate of "
            f"{_rate(rate)}, a tie being half a win."
        )


def _crowd(entries: Sequence[Mapping[str, Any]]) -> str:
    """People's votes on blind pairs, whatever models they were shown."""
    if not entries:
        return ""
    most = sorted(entries, key=lambda one: (-one["pairs"], one["model"], one["rival"]))
    rows = [
        [
            _model(one["model"]),
            _model(one["rival"]),
            _rate(one),
            f"{one['wins']:,} / {one['ties']:,} / {one['losses']:,}",
            f"{one['raters']:,}",
        ]
        for one in most[:MOST_PAIRS_SHOWN]
    ]
    header = ["model", "against", "win rate", "won / tied / lost", "raters"]
    told = "What raters said of blind pairs of answers, in the Space; intervals are over raters."
    return f"{told}\n\n{table(header, rows, numbers_from=2)}"


def _model(told: str) -> str:
    repo_id, _, sha = told.partition("@")
    return name(f"{repo_id} {sha[:7]}".strip())


def _rate(rate: Mapping[str, Any]) -> str:
    return f"{rate['value']:.4f} [{rate['low']:.4f}, {rate['high']:.4f}]"
