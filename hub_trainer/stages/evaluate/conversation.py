"""Account of a model that people talk with: its habits, win rates, and what the crowd says."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any

from hub_trainer.answers import Prediction, Questions, plain_estimate
from hub_trainer.hub import Repo
from hub_trainer.lineage import pinned_ratings
from hub_trainer.ratings import count_ratings, read_shards
from hub_trainer.ratings.pairs import pair_votes
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.recipe import GenerationSection
from hub_trainer.reports import WritingResult
from hub_trainer.rows.left_out import MAX_NAMED, source_place
from hub_trainer.rows.row_files import ROW_NUMBER, SOURCE
from hub_trainer.stages.evaluate.gate_verdict import Measurement
from hub_trainer.stages.evaluate.trained_round import TrainedRound
from hub_trainer.stats import CrowdWinRate, WinRate, crowd_win_rates, win_rate
from hub_trainer.tasks import Task

Found = Sequence[Prediction]
NO_ROOM = "the prompt fills all that a model reads"
NOT_WHOLE = "a model does not read both answers whole"


@dataclass(frozen=True)
class Said:
    """What each model has said of the questions."""

    new: Found
    others: Mapping[str, Found]
    """published, base and the like -> what that one said."""


def account_of(
    trained: TrainedRound,
    task: Task,
    metrics: Sequence[str],
    questions: Questions,
    said: Said,
    measured: Measurement,
) -> WritingResult | None:
    """The account of a model's writing; None where nobody talks with it."""
    if task.converses is None:
        return None
    published, seed = measured.published, trained.recipe.train.seed
    rate = win_rate(measured.scores, published.scores, seed=seed) if published else None
    models = {
        "new": said.new,
        **{role: said.others.get(role, ()) for role in ("published", "base")},
    }
    sampling = trained.recipe.evaluate.generation or GenerationSection()
    return WritingResult(
        sampling=sampling.model_dump(mode="json"),
        answers={role: habits for role, found in models.items() if (habits := _habits(found))},
        num_scored={
            name: task.answer.asking.num_scored(name, questions, said.new) for name in metrics
        },
        unscored=list(_unscored(questions, said.new)),
        win_rate=_plain_rate(rate) if rate else None,
        crowd=[_crowd_entry(one) for one in _crowd(trained, task)],
    )


def _unscored(questions: Questions, alike: Found) -> Iterator[str]:
    """Sealed examples that are left out of a comparison, as a model does not read them whole."""
    for places, has_one, why in (
        (questions.weighed, attrgetter("likelihood"), NO_ROOM),
        (questions.paired, attrgetter("preference"), NOT_WHOLE),
    ):
        lost = [questions.rows[place] for place in places if not has_one(alike[place])]
        if not lost:
            continue
        known = [source_place(row.get(ROW_NUMBER), row.get(SOURCE, "unknown")) for row in lost]
        counted = f"1 of {len(places):,} sealed examples is"
        if len(lost) > 1:
            counted = f"{len(lost):,} of {len(places):,} sealed examples are"
        more = f" and {len(lost) - MAX_NAMED:,} more" if len(lost) > MAX_NAMED else ""
        yield f"{counted} not compared, as {why}: {', '.join(known[:MAX_NAMED])}{more}"


def _habits(found: Found) -> dict[str, float]:
    """How the texts of a model came to their end; nothing for one that wrote none."""
    written = [one.written for one in found if one.written]
    if not written:
        return {}
    return {
        "mean_tokens": fmean(one.num_tokens for one in written),
        "finished_fraction": fmean(one.finished for one in written),
    }


def _plain_rate(rate: WinRate) -> dict[str, float]:
    counts = {"wins": rate.wins, "ties": rate.ties, "losses": rate.losses}
    return {**plain_estimate(rate.estimate), **counts}


def _crowd(trained: TrainedRound, task: Task) -> list[CrowdWinRate]:
    """What raters of blind pairs say, of whatever models they were shown."""
    pinned = pinned_ratings(trained.recipe, trained.pins)
    if pinned is None:
        return []
    repo = Repo(pinned.repo_id, "dataset")
    with tempfile.TemporaryDirectory(prefix="hub-trainer-crowd-") as scratch:
        folder = trained.hub.download(repo, pinned.commit_sha, allow=[SHARDS], into=Path(scratch))
        shard_rows = read_shards(folder)
    section = trained.recipe.curate
    counted = count_ratings(
        shard_rows,
        task=task.name,
        anonymous=section.anonymous,
        max_per_source=section.max_ratings_per_rater,
    )
    return crowd_win_rates(pair_votes(counted.rows), seed=trained.recipe.train.seed)


def _crowd_entry(one: CrowdWinRate) -> dict[str, Any]:
    models = {"model": one.model, "rival": one.rival}
    return {**models, **_plain_rate(one.rate), "pairs": one.num_pairs, "raters": one.num_raters}
