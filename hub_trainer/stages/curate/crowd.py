"""What a crowd says: the ratings that count, one label per rated row, the examples they make."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub_trainer.duplicates import content_keys
from hub_trainer.recipe import CurateSection
from hub_trainer.stats import Aggregation, dawid_skene_labels, majority_labels
from hub_trainer.tasks import ClassificationTask, Row


@dataclass(frozen=True)
class KnownRows:
    """What is known of rows by their content keys."""

    labels_of: Mapping[str, frozenset[str]]
    """Content key -> labels that the dataset's rows give it."""
    sealed: frozenset[str]
    """Content keys of the test rows, which nobody may train on."""


@dataclass(frozen=True)
class Ratings:
    """The ratings that count, each rater's last one per generation, oldest first."""

    votes: Sequence[tuple[str, str, str]]
    """(content key, rater, label)."""
    rows: Mapping[str, Row]
    """Content key -> the rated row."""
    dropped: Mapping[str, int]
    """Reason -> ratings that do not count."""


@dataclass(frozen=True)
class Outcome:
    """What the crowd's labels come to, before anything is proposed."""

    examples: Sequence[dict[str, Any]]
    """Canonical rows with their agreed label, in the order of their content keys."""
    skipped: Mapping[str, int]
    """Reason -> rated rows that bring no example."""
    aggregation: Aggregation


def count_ratings(shard_rows: Sequence[Mapping[str, Any]], task: ClassificationTask) -> Ratings:
    """The votes of a ratings dataset, oldest first: a rater's later rating replaces the earlier."""
    latest: dict[tuple[str, str], Mapping[str, Any]] = {}
    dropped: Counter[str] = Counter()
    for one in shard_rows:
        if one["task"] != task.name:
            dropped["of another task"] += 1
        elif task.problems({**one["row"], "label": one["answer"]}):
            dropped["not usable by the task"] += 1
        else:
            dropped["superseded"] += (one["rater"], one["generation_id"]) in latest
            latest.pop((one["rater"], one["generation_id"]), None)
            latest[one["rater"], one["generation_id"]] = one
    counted = list(latest.values())
    keys = content_keys([one["row"] for one in counted], task.modality)
    votes = [(key, one["rater"], one["answer"]) for key, one in zip(keys, counted, strict=True)]
    rows = {key: one["row"] for key, one in reversed(list(zip(keys, counted, strict=True)))}
    return Ratings(votes, rows, +dropped)


def aggregate(ratings: Ratings, known: KnownRows, section: CurateSection) -> Aggregation:
    """One label per rated row, by the recipe's rule; rows of the dataset are Dawid-Skene's gold."""
    cap = section.max_ratings_per_rater
    needed = section.raters_needed(of_answers=False)
    if section.aggregate == "majority" or not ratings.votes:
        return majority_labels(ratings.votes, min_raters=needed, max_per_rater=cap)
    gold = {
        key: next(iter(known.labels_of[key]))
        for key in ratings.rows
        if len(known.labels_of.get(key, ())) == 1
    }
    return dawid_skene_labels(ratings.votes, gold, min_raters=needed, max_per_rater=cap)


def examples_of(
    ratings: Ratings, aggregation: Aggregation, known: KnownRows, task: ClassificationTask
) -> Outcome:
    """The rows that are agreed on, new to the dataset, and not sealed."""
    skipped: Counter[str] = Counter()
    examples = []
    decided = aggregation.decided
    for key in sorted(ratings.rows):
        label, there = decided.get(key), known.labels_of.get(key, frozenset())
        example = task.example_from_rating(ratings.rows[key], label) if label else None
        if key in known.sealed:
            skipped["sealed for the test"] += 1
        elif label in there or (label is None and there):
            skipped["in the dataset already"] += 1
        elif label is None:
            skipped["too few raters, or no agreement"] += 1
        elif example is None:
            skipped["not usable by the task"] += 1
        else:
            examples.append(example)
    return Outcome(examples, dict(skipped), aggregation)


def summarise(ratings: Ratings, outcome: Outcome) -> dict[str, Any]:
    """What is said of the ratings in the artifact and in the pull request."""
    decided = [one for one in outcome.aggregation.labels if one.decided]
    agreement = sum(one.confidence for one in decided) / len(decided) if decided else None
    return {
        "num_ratings": len(ratings.votes),
        "num_raters": len({rater for _, rater, _ in ratings.votes}),
        "num_rated_rows": len(ratings.rows),
        "num_decided": len(decided),
        "agreement": agreement,
        "dropped_ratings": dict(ratings.dropped),
        "skipped_rows": dict(outcome.skipped),
    }
