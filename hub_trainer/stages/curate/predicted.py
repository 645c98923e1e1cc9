"""Ratings of predictions: what raters agree on becomes examples with the agreed answer."""

from hub_trainer.artifacts import Draft
from hub_trainer.duplicates import content_keys
from hub_trainer.stages.curate.bench import Bench
from hub_trainer.stages.curate.crowd import (
    KnownRows,
    Outcome,
    aggregate,
    examples_of,
    read_votes,
    summarise,
)
from hub_trainer.tasks import PredictingTask, predicting


def agreed_predictions(bench: Bench, draft: Draft) -> Outcome:
    """What the crowd agrees on; the numbers go into the draft's outputs."""
    task = predicting(bench.task)
    ratings = read_votes(bench.read_ratings(), task, bench.recipe.curate)
    known = _known_rows(bench, task) if ratings.votes else KnownRows({}, frozenset())
    aggregation = aggregate(ratings, known, bench.recipe.curate, task.answer)
    outcome = examples_of(ratings, aggregation, known, task)
    draft.outputs.update(summarise(ratings, outcome))
    return outcome


def _known_rows(bench: Bench, task: PredictingTask) -> KnownRows:
    """Read the dataset's rows and the sealed ones, as content keys."""
    rows, sealed, answer = bench.dataset_rows(), bench.sealed_rows(), task.answer
    answers_of: dict[str, set[str]] = {}
    for key, row in zip(content_keys(rows, bench.task.modality), rows, strict=True):
        answers_of.setdefault(key, set()).add(answer.dumps(row[answer.column]))
    frozen = {key: frozenset(answers) for key, answers in answers_of.items()}
    return KnownRows(frozen, frozenset(content_keys(sealed, bench.task.modality)))
