"""Models that write, on the sealed prompts: metrics, win rates, the crowd's word, the gate."""

import tempfile
from collections.abc import Mapping, Sequence
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
from hub_trainer.rows.store import ROW_ID
from hub_trainer.stages.evaluate.bench import (
    Bench,
    cut,
    plain_baseline,
    plain_comparison,
    plain_gate,
    write_table,
)
from hub_trainer.stages.evaluate.exam import Exam, question_of, set_exam
from hub_trainer.stages.evaluate.witnesses import (
    Figure,
    Witness,
    Witnesses,
    hear,
    measure,
    new_folders,
    sampling_of,
)
from hub_trainer.stats import (
    Comparison,
    CrowdWinRate,
    Floor,
    WinRate,
    crowd_win_rates,
    decide,
    decide_first,
    win_rate,
)
from hub_trainer.tasks import GenerationTask


def measure_answers(bench: Bench, task: GenerationTask, folder: Path) -> dict[str, Any]:
    """What results.json holds; predictions.parquet is written to `folder`."""
    metrics, primary = bench.recipe.evaluate.metrics, bench.recipe.evaluate.primary
    exam = set_exam(bench.sealed, metrics)
    witnesses = hear(bench, task, exam)
    bench.progress(0.8, "measuring")
    figures = {name: measure(bench, exam, name, witnesses) for name in metrics}
    _write_predictions(exam, witnesses, figures[primary], folder / "predictions.parquet")
    return {
        **_results(bench, exam, witnesses, figures),
        "answers": {one: _habits(said) for one, said in _roles(witnesses).items()},
        "sampling": sampling_of(bench).model_dump(mode="json"),
        "crowd": [_crowd_entry(one) for one in _crowd(bench, task)],
        "examples": _examples(bench, task),
    }


def _results(
    bench: Bench, exam: Exam, witnesses: Witnesses, figures: Mapping[str, Figure]
) -> dict[str, Any]:
    seed, primary = bench.recipe.train.seed, figures[bench.recipe.evaluate.primary]
    published = witnesses.published
    baselines = [
        plain_baseline(name, one.name, _metrics(figures, one, seed))
        for name, one in witnesses.baselines()
    ]
    mine, theirs = primary.of[witnesses.new.name], published and primary.of[published.name]
    comparison = compare(mine, theirs, seed=seed) if theirs else None
    rate = win_rate(mine.scores, theirs.scores, seed=seed) if theirs else None
    return {
        "metrics": _metrics(figures, witnesses.new, seed),
        "published": _metrics(figures, published, seed) if published else None,
        "base": next((one for one in baselines if one["name"] == "base"), None),
        "baselines": baselines,
        "primary": primary.metric,
        "num_examples": len(exam.questions),
        "num_rows": len(bench.sealed),
        "num_scored": {name: len(figure.indexes) for name, figure in figures.items()},
        "comparison": plain_comparison(comparison) if comparison else None,
        "win_rate": _plain_rate(rate) if rate else None,
        "gate": _gate(bench, exam, witnesses, primary, comparison),
    }


def _metrics(
    figures: Mapping[str, Figure], witness: Witness, seed: int
) -> dict[str, dict[str, float]]:
    return {
        name: plain_estimate(estimate(figure.of[witness.name], seed=seed))
        for name, figure in figures.items()
    }


def _gate(
    bench: Bench,
    exam: Exam,
    witnesses: Witnesses,
    primary: Figure,
    comparison: Comparison | None,
) -> dict[str, Any]:
    seed, mine = bench.recipe.train.seed, primary.of[witnesses.new.name]
    if comparison is None or witnesses.published is None:
        (against, first), *others = witnesses.baselines()
        other = primary.of[first.name]
        decision = decide_first(
            mine.scores,
            other.scores,
            rule=bench.rule,
            against=against,
            comparison=compare(mine, other, seed=seed),
            floors=[
                Floor(name, compare(mine, primary.of[one.name], seed=seed)) for name, one in others
            ],
            seed=seed,
        )
    else:
        decision = decide(
            mine.scores,
            primary.of[witnesses.published.name].scores,
            rule=bench.rule,
            slices=bench.slices([exam.questions[index].row for index in primary.indexes]),
            comparison=comparison,
            seed=seed,
        )
    return plain_gate(decision, bench.rule)


def _roles(witnesses: Witnesses) -> dict[str, Witness]:
    """Those that wrote answers, under the names that results.json has for them."""
    roles = {"new": witnesses.new, "published": witnesses.published, "base": witnesses.base}
    return {role: one for role, one in roles.items() if one and one.is_model and one.answers}


def _habits(witness: Witness) -> dict[str, float]:
    answers = list(witness.answers.values())
    return {
        "mean_tokens": fmean(one.num_tokens for one in answers),
        "finished_fraction": fmean(one.finished for one in answers),
    }


def _plain_rate(rate: WinRate) -> dict[str, float]:
    counts = {"wins": rate.wins, "ties": rate.ties, "losses": rate.losses}
    return {**plain_estimate(rate.estimate), **counts}


def _crowd(bench: Bench, task: GenerationTask) -> list[CrowdWinRate]:
    """What raters of blind pairs say, of whatever models they were shown."""
    pinned = pinned_ratings(bench.recipe, bench.pins)
    if pinned is None:
        return []
    repo = Repo(pinned.repo_id, "dataset")
    with tempfile.TemporaryDirectory(prefix="hub-trainer-crowd-") as scratch:
        folder = bench.hub.download(repo, pinned.commit_sha, allow=[SHARDS], into=Path(scratch))
        shard_rows = read_shards(folder)
    section = bench.recipe.curate
    counted = count_ratings(
        shard_rows,
        task=task.name,
        anonymous=section.anonymous,
        max_per_source=section.max_ratings_per_rater,
    )
    return crowd_win_rates(pair_votes(counted.rows), seed=bench.recipe.train.seed)


def _crowd_entry(one: CrowdWinRate) -> dict[str, Any]:
    models = {"model": one.model, "rival": one.rival}
    return {**models, **_plain_rate(one.rate), "pairs": one.num_pairs, "raters": one.num_raters}


def _examples(bench: Bench, task: GenerationTask) -> list[dict[str, str]]:
    """A few validation prompts with what the model answers."""
    rows = [row for row in bench.shown_rows() if row["prompt"]]
    sampling, seed = sampling_of(bench), bench.recipe.train.seed
    found = task.answers(new_folders(bench), rows, sampling, seed=seed) if rows else []
    shown = []
    for row, answer in zip(rows, found, strict=True):
        reference = question_of(row).sealed.reference
        known = {} if reference is None else {"reference": cut(reference)}
        shown.append({"prompt": cut(row["prompt"]), **known, "answer": cut(answer.text)})
    return shown


def _write_predictions(exam: Exam, witnesses: Witnesses, primary: Figure, path: Path) -> None:
    """A row per question: what is known, what was said, and the score in the primary metric."""
    questions, new = exam.questions, witnesses.new
    weights = [new.likelihoods.get(index) for index in range(len(questions))]
    columns: dict[str, Sequence[Any]] = {
        ROW_ID: [one.row[ROW_ID] for one in questions],
        "prompt": [one.prompt for one in questions],
        "reference": [one.sealed.reference for one in questions],
        **_said(exam, new, primary, prefix=""),
        "log_prob": [one and one.log_prob for one in weights],
        "num_tokens": [one and one.num_tokens for one in weights],
    }
    if witnesses.published is not None:
        columns |= _said(exam, witnesses.published, primary, prefix="published_")
    write_table(columns, path)


def _said(
    exam: Exam, witness: Witness, primary: Figure, *, prefix: str
) -> dict[str, Sequence[Any]]:
    scores = dict(zip(primary.indexes, primary.of[witness.name].scores.tolist(), strict=True))
    answers = [witness.answers.get(index) for index in range(len(exam.questions))]
    return {
        f"{prefix}answer": [answer and answer.text for answer in answers],
        f"{prefix}score": [scores.get(index) for index in range(len(exam.questions))],
    }
