"""Ratings of completions: thumbs, preferences and edits become examples of the dataset's kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.artifacts import Draft
from hub_trainer.duplicates import content_keys
from hub_trainer.errors import UsageError
from hub_trainer.inputs.language_examples import KIND_OF, Kind, as_prompts
from hub_trainer.recipe import Recipe
from hub_trainer.stages.curate.agreed_file import Numbers, answer_numbers
from hub_trainer.stages.curate.curate_context import Agreed, CurateContext
from hub_trainer.stages.curate.signals import (
    SIGNALS_FOR,
    KnownExamples,
    Opinions,
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


def assert_no_gold(recipe: Recipe) -> None:
    """Raise UsageError when a recipe wants gold of answers, which have none."""
    if recipe.curate.gold is not None:
        raise UsageError(
            "Answers that people write have no gold: no answer is the right one.",
            where="curate.gold",
            got=str(recipe.curate.gold),
            do="Leave it out, or ask for more raters: curate.min_raters.",
        )


BEGINS_DATASET = True
"""Whether examples of ratings alone may begin a dataset."""


def agreed(context: CurateContext, draft: Draft) -> Agreed:
    """What the crowd says, as examples of the kind that the dataset holds; the numbers go into the
    draft's outputs."""
    assert_no_gold(context.recipe)
    section = context.recipe.curate
    shards = context.read_ratings()
    opinions = count_opinions(shards, context.task.name, section)
    rows = context.dataset_rows()
    kind = _kind(context, rows, opinions)
    modality, sealed = context.task.modality, as_prompts(context.sealed_rows())
    seen = KnownExamples(*(frozenset(content_keys(side, modality)) for side in (rows, sealed)))
    needed = section.min_raters or context.task.answer.usual_raters
    found = examples_of_kind(opinions.all, kind, seen, min_raters=needed)
    draft.outputs.update(kind=NAMES[kind], **summarise_opinions(opinions, found))
    return found


def numbers(context: CurateContext, outputs: Mapping[str, Any]) -> Numbers:
    """What the pull request says of them."""
    return answer_numbers(context.recipe, outputs, context.task.answer)


def _kind(context: CurateContext, rows: Sequence[Mapping[str, Any]], opinions: Opinions) -> Kind:
    """As the dataset's rows are; of a dataset to come, as the loss wants, or as most ratings."""
    if rows:
        return KIND_OF[rows[0]["label"]]
    language = context.recipe.train.language
    if language is not None and language.loss_type is not None:
        return KIND_OF_LOSS[language.loss_type]
    counts = Counter(one.signal for one in opinions.all)
    return max(("kto", "dpo", "sft"), key=lambda k: sum(counts[s] for s in SIGNALS_FOR[k]))
