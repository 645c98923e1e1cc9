"""Ratings of labels: what raters agree on becomes examples under the agreed label."""

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
from hub_trainer.tasks import classification


def agreed_labels(bench: Bench, draft: Draft) -> Outcome:
    """What the crowd agrees on; the numbers go into the draft's outputs."""
    task = classification(bench.task)
    ratings = read_votes(bench.read_ratings(), task, bench.recipe.curate)
    known = _known_rows(bench) if ratings.votes else KnownRows({}, frozenset())
    aggregation = aggregate(ratings, known, bench.recipe.curate)
    outcome = examples_of(ratings, aggregation, known, task)
    draft.outputs.update(summarise(ratings, outcome))
    return outcome


def _known_rows(bench: Bench) -> KnownRows:
    """Read the dataset's rows and the sealed ones, as content keys."""
    rows, sealed = bench.dataset_rows(), bench.sealed_rows()
    labels_of: dict[str, set[str]] = {}
    for key, row in zip(content_keys(rows, bench.task.modality), rows, strict=True):
        labels_of.setdefault(key, set()).add(str(row["label"]))
    frozen = {key: frozenset(labels) for key, labels in labels_of.items()}
    return KnownRows(frozen, frozenset(content_keys(sealed, bench.task.modality)))
