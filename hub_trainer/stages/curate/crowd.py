"""Votes of a crowd: the ratings that count, one answer per rated row, the examples they make."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub_trainer.answers import Answer, RatedAnswer
from hub_trainer.duplicates import content_keys
from hub_trainer.ratings import count_ratings, last_about
from hub_trainer.recipe import CurateSection
from hub_trainer.stages.curate.reasons import NO_AGREEMENT, TOO_FEW_RATERS
from hub_trainer.stats import Aggregation
from hub_trainer.tasks import Row, Task, rated_example

UNPROVEN = "of raters who lack right answers to known rows"
REPEATED = "of the same rater about the same row"
GOLD_NEEDED = 3
"""Gold answers of a rater before Dawid-Skene hears them, when the recipe names no number."""


@dataclass(frozen=True)
class KnownRows:
    """What is known of rows by their content keys."""

    answers_of: Mapping[str, frozenset[str]]
    """Content key -> answers that the dataset's rows give it, as texts."""
    sealed: frozenset[str]
    """Content keys of the test rows, which nobody may train on."""


@dataclass(frozen=True)
class Ratings:
    """The ratings that count, each rater's last one of each row."""

    votes: Sequence[tuple[str, str, str]]
    """(content key, rater, answer as a text)."""
    rows: Mapping[str, Row]
    """Content key -> the rated row."""
    dropped: Mapping[str, int]
    """Reason -> ratings that do not count."""
    notes: Sequence[str] = ()
    """What a person should know of where the ratings came from."""


@dataclass(frozen=True)
class Outcome:
    """What the crowd's answers come to, before anything is proposed."""

    examples: Sequence[dict[str, Any]]
    """Canonical rows with their agreed answer, in the order of their content keys."""
    skipped: Mapping[str, int]
    """Reason -> rated rows that bring no example."""
    aggregation: Aggregation


def read_votes(
    shard_rows: Sequence[Mapping[str, Any]], task: Task, section: CurateSection
) -> Ratings:
    """The votes of a ratings dataset: of one source about one content the last one counts."""
    counted = count_ratings(
        shard_rows,
        task=task.name,
        anonymous=section.anonymous,
        max_per_source=section.max_ratings_per_rater,
        is_usable=lambda one: _is_usable(one, task),
    )
    keys = content_keys([one["row"] for one in counted.rows], task.modality)
    last, notes = last_about([one["rater"] for one in counted.rows], keys)
    repeated = Counter({REPEATED: len(keys) - len(last)})
    return Ratings(
        votes=[(keys[n], counted.rows[n]["rater"], counted.rows[n]["answer"]) for n in last],
        rows={keys[n]: counted.rows[n]["row"] for n in reversed(range(len(keys)))},
        dropped=dict(Counter(counted.dropped) + repeated),
        notes=[*counted.notes, *notes],
    )


def _is_usable(rating: Mapping[str, Any], task: Task) -> bool:
    """Whether the row and the answer are ones that the task can learn."""
    try:
        value = task.answer.loads(rating["answer"])
    except ValueError:
        return False
    return rated_example(task, rating["row"], value) is not None


def aggregate(
    ratings: Ratings, known: KnownRows, section: CurateSection, answer: RatedAnswer
) -> Aggregation:
    """One answer per rated row, by the recipe's rule; rows of the dataset are the gold."""
    gold = {
        key: next(iter(known.answers_of[key]))
        for key in ratings.rows
        if len(known.answers_of.get(key, ())) == 1 and key not in known.sealed
    }
    votes = ratings.votes
    if section.aggregate == "majority" or not votes:
        votes = _of_the_proven(ratings, gold, section.gold, answer)
    return answer.agree(
        votes,
        gold,
        rule=section.aggregate,
        min_raters=raters_needed(section, answer),
        min_gold=section.gold or GOLD_NEEDED,
    )


def raters_needed(section: CurateSection, answer: RatedAnswer) -> int:
    """Raters of a row before what they say counts."""
    return section.min_raters or answer.usual_raters


def _of_the_proven(
    ratings: Ratings, gold: Mapping[str, str], needed: int | None, answer: Answer
) -> Sequence[tuple[str, str, str]]:
    """The votes of raters who have given so many gold answers and most of them right; all without
    a number."""
    if needed is None:
        return ratings.votes
    asked = Counter(rater for key, rater, _ in ratings.votes if key in gold)
    right = Counter(
        rater
        for key, rater, said in ratings.votes
        if key in gold and answer.same(answer.loads(gold[key]), answer.loads(said))
    )
    return [
        vote
        for vote in ratings.votes
        if asked[vote[1]] >= needed and 2 * right[vote[1]] > asked[vote[1]]
    ]


def examples_of(
    ratings: Ratings, aggregation: Aggregation, known: KnownRows, task: Task, *, min_raters: int
) -> Outcome:
    """The rows that are agreed on, new to the dataset, and not sealed."""
    enough = {one.example_id for one in aggregation.labels if one.num_raters >= min_raters}
    skipped: Counter[str] = Counter()
    examples = []
    decided, answer = aggregation.decided, task.answer
    for key in sorted(ratings.rows):
        agreed, there = decided.get(key), known.answers_of.get(key, frozenset())
        value = None if agreed is None else answer.loads(agreed)
        example = None if agreed is None else rated_example(task, ratings.rows[key], value)
        if key in known.sealed:
            skipped["sealed for the test"] += 1
        elif there and (agreed is None or _is_among(value, there, answer)):
            skipped["in the dataset already"] += 1
        elif agreed is None:
            skipped[NO_AGREEMENT if key in enough else TOO_FEW_RATERS] += 1
        elif example is None:
            skipped["not usable by the task"] += 1
        else:
            examples.append(example)
    return Outcome(examples, dict(skipped), aggregation)


def _is_among(value: Any, there: frozenset[str], answer: Answer) -> bool:
    return any(answer.same(value, answer.loads(one)) for one in there)


def summarise(ratings: Ratings, outcome: Outcome) -> dict[str, Any]:
    """What is said of the ratings in the artifact and in the pull request."""
    decided = [one for one in outcome.aggregation.labels if one.decided]
    agreement = sum(one.confidence for one in decided) / len(decided) if decided else None
    heard = sum(rater.num_counted for rater in outcome.aggregation.raters)
    dropped = Counter(ratings.dropped) + Counter({UNPROVEN: len(ratings.votes) - heard})
    return {
        "notes": list(ratings.notes),
        "num_ratings": len(ratings.votes),
        "num_raters": len({rater for _, rater, _ in ratings.votes}),
        "num_rated_rows": len(ratings.rows),
        "num_decided": len(decided),
        "agreement": agreement,
        "dropped_ratings": dict(dropped),
        "skipped_rows": dict(outcome.skipped),
    }
