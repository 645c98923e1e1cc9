"""Ratings of answers: thumbs, preferences and edits become examples of the dataset's own kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.artifacts import Draft
from hub_trainer.duplicates import content_keys
from hub_trainer.errors import UsageError
from hub_trainer.privacy import find_personal_data
from hub_trainer.rows.examples import KIND_OF, as_prompts
from hub_trainer.rows.formats import Kind
from hub_trainer.stages.curate.bench import Bench
from hub_trainer.stages.curate.signals import (
    SIGNALS_FOR,
    Agreed,
    Opinions,
    Seen,
    canonical_of,
    count_opinions,
    examples_of_kind,
    summarise_opinions,
)

KIND_OF_LOSS: Mapping[str, Kind] = {
    "nll": "sft",
    "sigmoid": "dpo",
    "ipo": "dpo",
    "robust": "dpo",
    "kto": "kto",
    "apo_zero_unpaired": "kto",
}
NAMES: Mapping[Kind, str] = {"sft": "demonstrations", "dpo": "preferences", "kto": "ratings"}


def agreed_answers(bench: Bench, draft: Draft) -> tuple[Kind, Agreed]:
    """What the crowd says, as examples of the kind that the dataset holds."""
    section = bench.recipe.curate
    if section.gold is not None:
        raise UsageError(
            "Answers that people write have no gold: no answer is the right one.",
            where="curate.gold",
            got=str(section.gold),
            do="Leave it out, or ask for more raters: curate.min_raters.",
        )
    shards = bench.read_ratings()
    opinions = count_opinions(shards, bench.task.name, section)
    rows = list(bench.rows_of(bench.source, "target")) if bench.has(bench.source) else []
    kind = _kind(bench, rows, opinions)
    seen = Seen(frozenset(content_keys(rows, "text")), _sealed_prompts(bench))
    needed = section.raters_needed(of_answers=True)
    agreed = examples_of_kind(opinions.all, kind, seen, min_raters=needed)
    agreed = _without_personal_data(agreed)
    draft.outputs.update(kind=NAMES[kind], **summarise_opinions(opinions, agreed))
    return kind, agreed


def _kind(bench: Bench, rows: Sequence[Mapping[str, Any]], opinions: Opinions) -> Kind:
    """As the dataset's rows are; of a dataset to come, as the loss wants, or as most ratings."""
    if rows:
        return KIND_OF[rows[0]["label"]]
    language = bench.recipe.train.language
    if language is not None and language.loss_type is not None:
        return KIND_OF_LOSS[language.loss_type]
    counts = Counter(one.signal for one in opinions.all)
    return max(("kto", "dpo", "sft"), key=lambda k: sum(counts[s] for s in SIGNALS_FOR[k]))


def _sealed_prompts(bench: Bench) -> frozenset[str]:
    test = bench.recipe.prepare.test_split
    if test is None:
        return frozenset()
    return frozenset(content_keys(as_prompts(list(bench.rows_of(test, "test"))), "text"))


def _without_personal_data(agreed: Agreed) -> Agreed:
    """Strangers write prompts: what looks like a person's or a secret goes no further."""
    found = find_personal_data([canonical_of(one) for one in agreed.examples])
    marked = {number for rows in found.rows.values() for number in rows}
    if not marked:
        return agreed
    kept = [one for number, one in enumerate(agreed.examples) if number not in marked]
    return Agreed(kept, {**agreed.skipped, "with personal data": len(marked)})
