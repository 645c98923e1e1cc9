"""Ratings of predictions: what raters agree on becomes examples with the agreed answer."""

from collections.abc import Mapping
from typing import Any

from hub_trainer.answers import load_answer
from hub_trainer.artifacts import Draft
from hub_trainer.duplicates import content_keys
from hub_trainer.stages.curate.agreed_file import Numbers, prediction_numbers
from hub_trainer.stages.curate.crowd import (
    KnownRows,
    aggregate,
    examples_of,
    raters_needed,
    read_votes,
    summarise,
)
from hub_trainer.stages.curate.curate_context import Agreed, CurateContext
from hub_trainer.tasks import Task

BEGINS_DATASET = False
"""Whether examples of ratings alone may begin a dataset."""


def agreed(context: CurateContext, draft: Draft) -> Agreed:
    """What the crowd agrees on; the numbers go into the draft's outputs."""
    task = context.task
    ratings = read_votes(context.read_ratings(), task, context.recipe.curate)
    known = _known_rows(context, task) if ratings.votes else KnownRows({}, frozenset())
    answer = load_answer(task.answer.name)
    aggregation = aggregate(ratings, known, context.recipe.curate, answer)
    needed = raters_needed(context.recipe.curate, answer)
    outcome = examples_of(ratings, aggregation, known, task, min_raters=needed)
    draft.outputs.update(summarise(ratings, outcome))
    return Agreed(outcome.examples, outcome.skipped)


def numbers(context: CurateContext, outputs: Mapping[str, Any]) -> Numbers:
    """What the pull request says of them."""
    return prediction_numbers(context.recipe, outputs, context.task.answer)


def _known_rows(context: CurateContext, task: Task) -> KnownRows:
    """Read the dataset's rows and the sealed ones, as content keys."""
    rows, sealed, answer = context.dataset_rows(), context.sealed_rows(), task.answer
    answers_of: dict[str, set[str]] = {}
    for key, row in zip(content_keys(rows, context.task.modality), rows, strict=True):
        answers_of.setdefault(key, set()).add(answer.dumps(row[answer.column]))
    frozen = {key: frozenset(answers) for key, answers in answers_of.items()}
    return KnownRows(frozen, frozenset(content_keys(sealed, context.task.modality)))
