"""Ratings of labels: what raters agree on becomes examples under the agreed label."""

from collections.abc import Iterator

from hub_trainer.artifacts import Draft
from hub_trainer.duplicates import content_keys
from hub_trainer.recipe import DatasetSource
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
    test = bench.recipe.prepare.test_split
    labels_of: dict[str, set[str]] = {}
    for key, label in _keys(bench, bench.source, "target"):
        labels_of.setdefault(key, set()).add(label)
    sealed = {key for key, _ in _keys(bench, test, "test")} if test else set()
    frozen = {key: frozenset(labels) for key, labels in labels_of.items()}
    return KnownRows(frozen, frozenset(sealed))


def _keys(bench: Bench, source: DatasetSource, name: str) -> Iterator[tuple[str, str]]:
    """(content key, label) of each row of a source."""
    rows = list(bench.rows_of(source, name))
    keys = content_keys(rows, bench.task.modality)
    yield from zip(keys, (str(row["label"]) for row in rows), strict=True)
