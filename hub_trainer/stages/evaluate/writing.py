"""Models that write, on the sealed prompts: metrics, win rates and what the crowd says of pairs."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from hub_trainer.answers import plain_estimate
from hub_trainer.hub import Repo
from hub_trainer.lineage import pinned_ratings
from hub_trainer.metrics.answers import compare, estimate
from hub_trainer.ratings import count_ratings, read_shards
from hub_trainer.ratings.pairs import pair_votes
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.reports import Results, WritingResult
from hub_trainer.rows.store import ROW_ID
from hub_trainer.stages.evaluate.questions import SealedSet, question_of, sealed_set_of
from hub_trainer.stages.evaluate.trained_round import TrainedRound, cut, write_table
from hub_trainer.stages.evaluate.verdict import Candidate, Measurement, judge
from hub_trainer.stages.evaluate.writers import (
    ScoredMetric,
    Writer,
    Writers,
    ask_all,
    measure,
    new_folders,
    sampling_of,
)
from hub_trainer.stats import CrowdWinRate, WinRate, crowd_win_rates, win_rate
from hub_trainer.stats.gate import Against
from hub_trainer.tasks import GenerationTask


def measure_writing(trained: TrainedRound, task: GenerationTask, folder: Path) -> Results:
    """Results; predictions.parquet is written to `folder`."""
    names, primary = trained.recipe.evaluate.metrics, trained.recipe.evaluate.primary
    sealed_set = sealed_set_of(trained.sealed, names)
    writers = ask_all(trained, task, sealed_set)
    trained.progress(0.8, "measuring")
    metrics = {name: measure(trained, sealed_set, name, writers) for name in names}
    measured = _measurement(trained, sealed_set, writers, metrics)
    _write_predictions(sealed_set, writers, metrics[primary], folder / "predictions.parquet")
    published, seed = measured.published, trained.recipe.train.seed
    rate = win_rate(measured.scores, published.scores, seed=seed) if published else None
    return replace(
        judge(trained, measured, num_examples=len(sealed_set.questions)),
        num_rows=len(trained.sealed),
        examples=_examples(trained, task),
        writing=WritingResult(
            sampling=sampling_of(trained).model_dump(mode="json"),
            answers={role: _habits(one) for role, one in _models(writers).items()},
            num_scored={name: len(metric.indexes) for name, metric in metrics.items()},
            win_rate=_plain_rate(rate) if rate else None,
            crowd=[_crowd_entry(one) for one in _crowd(trained, task)],
        ),
    )


def _measurement(
    trained: TrainedRound,
    sealed_set: SealedSet,
    writers: Writers,
    metrics: Mapping[str, ScoredMetric],
) -> Measurement:
    seed, primary = trained.recipe.train.seed, metrics[trained.recipe.evaluate.primary]
    mine = primary.of[writers.new.name]

    def measured(one: Writer) -> dict[str, dict[str, float]]:
        return {
            name: plain_estimate(estimate(metric.of[one.name], seed=seed))
            for name, metric in metrics.items()
        }

    def candidate(against: Against, one: Writer) -> Candidate:
        theirs = primary.of[one.name]
        comparison = partial(compare, mine, theirs, seed=seed)
        return Candidate(against, one.name, measured(one), theirs.scores, comparison)

    return Measurement(
        metrics=measured(writers.new),
        scores=mine.scores,
        published=candidate("published", writers.published) if writers.published else None,
        baselines=[candidate(against, one) for against, one in writers.baselines()],
        slices=trained.slices([sealed_set.questions[index].row for index in primary.indexes]),
    )


def _models(writers: Writers) -> dict[str, Writer]:
    """Models that wrote answers, under the names that results.json has for them."""
    roles = {"new": writers.new, "published": writers.published, "base": writers.base}
    return {role: one for role, one in roles.items() if one and one.answers}


def _habits(writer: Writer) -> dict[str, float]:
    answers = list(writer.answers.values())
    return {
        "mean_tokens": fmean(one.num_tokens for one in answers),
        "finished_fraction": fmean(one.finished for one in answers),
    }


def _plain_rate(rate: WinRate) -> dict[str, float]:
    counts = {"wins": rate.wins, "ties": rate.ties, "losses": rate.losses}
    return {**plain_estimate(rate.estimate), **counts}


def _crowd(trained: TrainedRound, task: GenerationTask) -> list[CrowdWinRate]:
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


def _examples(trained: TrainedRound, task: GenerationTask) -> list[dict[str, str]]:
    """A few validation prompts with what the model answers."""
    rows = [row for row in trained.shown_rows() if row["prompt"]]
    sampling, seed = sampling_of(trained), trained.recipe.train.seed
    found = task.answers(new_folders(trained), rows, sampling, seed=seed) if rows else []
    shown = []
    for row, answer in zip(rows, found, strict=True):
        reference = question_of(row).sealed.reference
        known = {} if reference is None else {"reference": cut(reference)}
        shown.append({"prompt": cut(row["prompt"]), **known, "answer": cut(answer.text)})
    return shown


def _write_predictions(
    sealed_set: SealedSet, writers: Writers, primary: ScoredMetric, path: Path
) -> None:
    """A row per question: what is known, what was said, and the score in the primary metric."""
    questions, new = sealed_set.questions, writers.new
    weights = [new.likelihoods.get(index) for index in range(len(questions))]
    columns: dict[str, Sequence[Any]] = {
        ROW_ID: [one.row[ROW_ID] for one in questions],
        "prompt": [one.prompt for one in questions],
        "reference": [one.sealed.reference for one in questions],
        **_said(sealed_set, new, primary, prefix=""),
        "log_prob": [one and one.log_prob for one in weights],
        "num_tokens": [one and one.num_tokens for one in weights],
    }
    if writers.published is not None:
        columns |= _said(sealed_set, writers.published, primary, prefix="published_")
    write_table(columns, path)


def _said(
    sealed_set: SealedSet, writer: Writer, primary: ScoredMetric, *, prefix: str
) -> dict[str, Sequence[Any]]:
    scores = dict(zip(primary.indexes, primary.of[writer.name].scores.tolist(), strict=True))
    answers = [writer.answers.get(index) for index in range(len(sealed_set.questions))]
    return {
        f"{prefix}answer": [answer and answer.text for answer in answers],
        f"{prefix}score": [scores.get(index) for index in range(len(sealed_set.questions))],
    }
