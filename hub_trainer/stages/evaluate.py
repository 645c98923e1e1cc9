"""The evaluate stage: the new, the published and the base model on the same sealed examples.

The gate's verdict is computed here and obeyed by publish.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import Artifact, find_artifact, write_artifact, write_durably
from hub_trainer.cards.plots import plot_confusion
from hub_trainer.errors import DataError
from hub_trainer.finetune.model_folder import download_model
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins, load_pins, read_rounds
from hub_trainer.metrics.report import (
    calibration,
    class_table,
    compare_metric,
    confusion_matrix,
    majority_predictions,
    score_report,
)
from hub_trainer.recipe import Recipe
from hub_trainer.rows.store import ROW_ID, read_rows, read_table
from hub_trainer.stats import (
    Comparison,
    Estimate,
    GateRule,
    count_looks,
    decide,
    decide_first,
    mcnemar,
)
from hub_trainer.tasks import (
    BasePredictions,
    ClassificationTask,
    Prediction,
    Row,
    Splits,
    classification,
    load_task,
)

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
NUM_EXAMPLES = 6
MAX_EXAMPLE_CHARACTERS = 200


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Answers:
    """What the models say of the sealed rows, in the rows' order."""

    rows: Sequence[Row]
    label_names: Sequence[str]
    new: Sequence[Prediction]
    published: Sequence[Prediction] | None
    """None before the first promotion."""
    base: BasePredictions
    scores: Sequence[float]
    """The task's score of each example, for the new model."""
    published_scores: Sequence[float] | None

    @cached_property
    def references(self) -> list[str]:
        """The true label of each row."""
        return [str(row["label"]) for row in self.rows]


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Measure and judge; the artifact holds results.json, predictions.parquet, confusion.png."""
    trained, prepared = _artifact(round_dir, "train"), _artifact(round_dir, "prepare")
    pins = load_pins(round_dir)
    assert pins is not None
    rounds = read_rounds(hub, recipe.publish.repo_id)
    verdicts = [record.verdict for record in rounds if record.round < pins.round]
    inputs = {
        "stage": "evaluate",
        "task": recipe.task,
        "train": trained.digest,
        "prepare": prepared.digest,
        "published": pins.parent,
        "verdicts": verdicts,
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "gate": recipe.gate.model_dump(mode="json"),
    }
    folder = round_dir / "evaluate"
    done = find_artifact(folder, inputs)
    if done:
        return done
    logger.info("evaluate: %s sealed examples", prepared.outputs["rows"]["test"])
    num_looks, in_a_row = count_looks(verdicts)  # type: ignore[arg-type]
    rule = GateRule(recipe.gate.alpha, recipe.gate.min_slice_change, num_looks, in_a_row)
    with write_artifact(folder, inputs) as draft:
        answers = _answers(recipe, (trained, prepared), pins, hub, progress)
        progress(0.8, "measuring")
        results = _results(recipe, answers, rule)
        results["examples"] = _examples(classification(load_task(recipe.task)), trained, prepared)
        _write_predictions(answers, draft.folder / "predictions.parquet")
        confusion = results["confusion"]
        plot_confusion(confusion["labels"], confusion["counts"], draft.folder / "confusion.png")
        content = json.dumps(results, indent=1, ensure_ascii=False).encode()
        write_durably(draft.folder / "results.json", content)
        draft.outputs |= _essentials(results)
    assert draft.artifact is not None
    logger.info("evaluate: %s", results["gate"]["verdict"])
    return draft.artifact


def _answers(
    recipe: Recipe,
    artifacts: tuple[Artifact, Artifact],
    pins: Pins,
    hub: Hub,
    progress: Progress,
) -> Answers:
    trained, prepared = artifacts
    task = classification(load_task(recipe.task))
    rows = read_rows(prepared.folder / "test.parquet")
    label_names = prepared.outputs["label_names"]
    if not rows:
        raise DataError("There are no test rows to measure on.", where=str(prepared.folder))
    progress(0.0, "the new model")
    new = _over(task.predict(trained.folder / "model", rows), label_names)
    progress(0.3, "the published model")
    published = _published(task, recipe.publish.repo_id, pins, hub, rows, label_names)
    progress(0.5, "the base model")
    base = _base(task, recipe, prepared, pins, hub, rows)
    old = _scores(task, rows, published) if published is not None else None
    return Answers(rows, label_names, new, published, base, _scores(task, rows, new), old)


def _scores(
    task: ClassificationTask, rows: Sequence[Row], found: Sequence[Prediction]
) -> list[float]:
    return [task.score(row, one) for row, one in zip(rows, found, strict=True)]


def _published(
    task: ClassificationTask,
    repo_id: str,
    pins: Pins,
    hub: Hub,
    rows: Sequence[Row],
    label_names: Sequence[str],
) -> list[Prediction] | None:
    """The published model's answers, among the labels of this round.

    A label that it does not know it never answers, which counts as wrong; one that is not of this
    round any more it may not answer.
    """
    if pins.parent is None:
        return None
    found = task.predict(download_model(hub, repo_id, pins.parent), rows)
    if not set(found[0].scores) & set(label_names):
        raise DataError(
            "The published model and this round have no label in common.",
            where=f"{repo_id}@{pins.parent}",
            got=", ".join(list(found[0].scores)[:10]),
            do="publish to another repo, or map the labels in collect.datasets",
        )
    return _over(found, label_names)


def _base(
    task: ClassificationTask,
    recipe: Recipe,
    prepared: Artifact,
    pins: Pins,
    hub: Hub,
    rows: Sequence[Row],
) -> BasePredictions:
    base_dir = None
    if pins.base_model is not None and recipe.train.method != "scratch":
        base_dir = download_model(hub, pins.base_model.repo_id, pins.base_model.commit_sha)
    label_names = prepared.outputs["label_names"]
    splits = Splits(read_rows(prepared.folder / "train.parquet"), [], label_names)
    base = task.predict_base(splits, rows, base_dir)
    return BasePredictions(base.description, _over(base.predictions, label_names))


def _over(found: Sequence[Prediction], label_names: Sequence[str]) -> list[Prediction]:
    """Predictions as a choice among exactly these labels, in their order."""
    chosen = []
    for one in found:
        scores = {name: one.scores.get(name, 0.0) for name in label_names}
        chosen.append(Prediction(max(scores, key=scores.__getitem__), scores))
    return chosen


def _results(recipe: Recipe, answers: Answers, rule: GateRule) -> dict[str, Any]:
    references, names = answers.references, answers.label_names
    labels = _labels(answers.new)
    comparison = _comparison(recipe, answers)
    return {
        "metrics": _metrics(recipe, answers, answers.new),
        "published": _metrics(recipe, answers, answers.published) if answers.published else None,
        "base": _base_results(recipe, answers),
        "primary": recipe.evaluate.primary,
        "per_label": [
            {
                "label": one.label,
                "precision": _estimate(one.precision),
                "recall": _estimate(one.recall),
                "f1": _estimate(one.f1),
                "support": one.support,
            }
            for one in class_table(references, labels, names)
        ],
        "confusion": {"labels": names, "counts": confusion_matrix(references, labels, names)},
        "calibration": {"ece": _calibration_error(answers)},
        "num_examples": len(answers.rows),
        "comparison": _comparison_results(comparison, answers),
        "gate": _gate(recipe, answers, rule, comparison),
    }


def _metrics(
    recipe: Recipe, answers: Answers, found: Sequence[Prediction]
) -> dict[str, dict[str, float]]:
    report = score_report(
        answers.references,
        _labels(found),
        answers.label_names,
        recipe.evaluate.metrics,
        seed=recipe.train.seed,
    )
    return {name: _estimate(estimate) for name, estimate in report.items()}


def _base_results(recipe: Recipe, answers: Answers) -> dict[str, Any]:
    metrics = _metrics(recipe, answers, answers.base.predictions)
    return {"description": answers.base.description, "metrics": metrics}


def _comparison(recipe: Recipe, answers: Answers) -> Comparison | None:
    if answers.published is None:
        return None
    return compare_metric(
        recipe.evaluate.primary,
        answers.references,
        _labels(answers.new),
        _labels(answers.published),
        answers.label_names,
        seed=recipe.train.seed,
    )


def _comparison_results(comparison: Comparison | None, answers: Answers) -> dict[str, Any] | None:
    if comparison is None:
        return None
    interval = comparison.interval
    right = [score > 0 for score in answers.scores]
    was_right = [score > 0 for score in answers.published_scores or []]
    return {
        "p_value": comparison.p_value,
        "mcnemar_p_value": mcnemar(right, was_right).p_value,
        "difference": {
            "value": comparison.difference,
            "low": interval.low,
            "high": interval.high,
        },
        "method": comparison.method,
    }


def _gate(
    recipe: Recipe, answers: Answers, rule: GateRule, comparison: Comparison | None
) -> dict[str, Any]:
    seed = recipe.train.seed
    if comparison is None or answers.published_scores is None:
        constant = majority_predictions(answers.references)
        against = compare_metric(
            recipe.evaluate.primary,
            answers.references,
            _labels(answers.new),
            constant,
            answers.label_names,
            seed=seed,
        )
        baseline = [float(a == b) for a, b in zip(constant, answers.references, strict=True)]
        decision = decide_first(answers.scores, baseline, rule=rule, comparison=against, seed=seed)
    else:
        decision = decide(
            answers.scores,
            answers.published_scores,
            rule=rule,
            slices=_slices(recipe, answers),
            comparison=comparison,
            seed=seed,
        )
    return {**decision.as_dict(), "alpha": rule.alpha, "look": rule.num_looks + 1}


def _slices(recipe: Recipe, answers: Answers) -> dict[str, list[Any]]:
    """Each label, and each value of the columns that the recipe names."""
    columns: dict[str, list[Any]] = {"label": list(answers.references)}
    for column in recipe.evaluate.slices:
        if column not in answers.rows[0]:
            raise DataError(
                f"evaluate.slices names {column}, which the test rows do not have.",
                got=", ".join(answers.rows[0]),
                do="name a column of the data, or remove it from evaluate.slices",
            )
        columns[column] = [row[column] for row in answers.rows]
    return columns


def _calibration_error(answers: Answers) -> float:
    shares = [[one.scores[name] for name in answers.label_names] for one in answers.new]
    found = calibration(answers.references, shares, answers.label_names)
    return found.expected_calibration_error


def _examples(
    task: ClassificationTask, trained: Artifact, prepared: Artifact
) -> list[dict[str, str]]:
    """A few validation rows with what the model says of them; the sealed rows stay sealed."""
    path = prepared.folder / "validation.parquet"
    count = read_table(path).num_rows
    chosen = sorted({index * count // NUM_EXAMPLES for index in range(min(NUM_EXAMPLES, count))})
    rows = read_table(path).take(chosen).to_pylist() if chosen else []
    found = task.predict(trained.folder / "model", rows)
    return [
        {**_shown(task, row), "reference": row["label"], "prediction": one.label}
        for row, one in zip(rows, found, strict=True)
    ]


def _shown(task: ClassificationTask, row: Row) -> dict[str, str]:
    if task.modality == "text":
        return {"text": _cut(str(row["text"]))}
    if task.modality == "image":
        return {"image": f"row {str(row[ROW_ID])[:12]}"}
    values = [f"{k}={v}" for k, v in row.items() if k != "label" and not k.startswith("_")]
    return {"features": _cut(", ".join(values))}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_EXAMPLE_CHARACTERS else f"{text[:MAX_EXAMPLE_CHARACTERS]}…"


def _write_predictions(answers: Answers, path: Path) -> None:
    """A row per sealed example: its id, its label, and what each model said with what score."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Sequence[Any]] = {
        ROW_ID: [row[ROW_ID] for row in answers.rows],
        "reference": answers.references,
        **_columns(answers.new, answers.scores, answers.label_names, prefix=""),
    }
    if answers.published is not None and answers.published_scores is not None:
        published, scores = answers.published, answers.published_scores
        columns |= _columns(published, scores, answers.label_names, prefix="published_")
    pq.write_table(pa.table(dict(columns)), path, compression="zstd")


def _columns(
    found: Sequence[Prediction],
    scores: Sequence[float],
    label_names: Sequence[str],
    *,
    prefix: str,
) -> dict[str, Sequence[Any]]:
    columns: dict[str, Sequence[Any]] = {
        f"{prefix}label": _labels(found),
        f"{prefix}score": list(scores),
    }
    for name in label_names:
        columns[f"{prefix}score:{name}"] = [one.scores[name] for one in found]
    return columns


def _essentials(results: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("metrics", "published", "primary", "num_examples", "comparison")
    gate = {key: results["gate"][key] for key in ("verdict", "reasons")}
    return {**{key: results[key] for key in keys}, "gate": gate}


def _labels(found: Sequence[Prediction]) -> list[str]:
    return [one.label for one in found]


def _estimate(estimate: Estimate) -> dict[str, float]:
    interval = estimate.interval
    return {"value": estimate.value, "low": interval.low, "high": interval.high}


def _artifact(round_dir: Path, stage: str) -> Artifact:
    found = find_artifact(round_dir / stage)
    if found is None:
        raise DataError(
            f"Stage {stage} has not been run.",
            where=str(round_dir / stage),
            do=f"run hub-trainer {stage} first, or hub-trainer run for the whole round",
        )
    return found
