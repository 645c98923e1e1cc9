"""Models that choose labels, on the sealed rows: metrics, mistakes, calibration, the gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hub_trainer.cards.plots import plot_confusion
from hub_trainer.errors import DataError
from hub_trainer.finetune.model_folder import download_model
from hub_trainer.metrics.report import (
    calibration,
    class_table,
    compare_metric,
    confusion_matrix,
    majority_predictions,
    score_report,
)
from hub_trainer.recipe import Recipe
from hub_trainer.rows.store import ROW_ID, read_rows
from hub_trainer.stages.evaluate.bench import (
    Bench,
    cut,
    plain_baseline,
    plain_comparison,
    plain_estimate,
    plain_gate,
    write_table,
)
from hub_trainer.stages.evaluate.probe import probe_labels
from hub_trainer.stats import Comparison, Floor, decide, decide_first, mcnemar
from hub_trainer.stats.gate import Against
from hub_trainer.tasks import ClassificationTask, Prediction, Row, Splits

CONSTANT = "always the commonest label of the test rows"


@dataclass(frozen=True)
class Baseline:
    """What is reached without this round's training: a label for each sealed row."""

    name: Against
    description: str
    labels: Sequence[str]


@dataclass(frozen=True)
class Answers:
    """What the models say of the sealed rows, in the rows' order."""

    rows: Sequence[Row]
    label_names: Sequence[str]
    new: Sequence[Prediction]
    published: Sequence[Prediction] | None
    """None before the first promotion."""
    baselines: Sequence[Baseline]
    """A constant answer; the base model, where weights of one were changed; a cheap probe."""
    scores: Sequence[float]
    """The task's score of each example, for the new model."""
    published_scores: Sequence[float] | None

    @cached_property
    def references(self) -> list[str]:
        """The true label of each row."""
        return [str(row["label"]) for row in self.rows]


def measure_labels(bench: Bench, task: ClassificationTask, folder: Path) -> dict[str, Any]:
    """What results.json holds; predictions.parquet and confusion.png are written to `folder`."""
    answers = _answers(bench, task)
    bench.progress(0.8, "measuring")
    results = {
        **_results(bench, answers),
        "validation": _validation(bench, task),
        "examples": _examples(bench, task),
    }
    _write_predictions(answers, folder / "predictions.parquet")
    confusion = results["confusion"]
    plot_confusion(confusion["labels"], confusion["counts"], folder / "confusion.png")
    return results


def _answers(bench: Bench, task: ClassificationTask) -> Answers:
    rows, label_names = bench.sealed, bench.prepared.outputs["label_names"]
    bench.progress(0.0, "the new model")
    new = _over(task.predict(bench.model_dir, rows), label_names)
    bench.progress(0.3, "the published model")
    published = _published(bench, task, rows, label_names)
    bench.progress(0.5, "the baselines")
    baselines = _baselines(bench, task, rows)
    old = _scores(task, rows, published) if published is not None else None
    return Answers(rows, label_names, new, published, baselines, _scores(task, rows, new), old)


def _scores(
    task: ClassificationTask, rows: Sequence[Row], found: Sequence[Prediction]
) -> list[float]:
    return [task.score(row, one) for row, one in zip(rows, found, strict=True)]


def _published(
    bench: Bench, task: ClassificationTask, rows: Sequence[Row], label_names: Sequence[str]
) -> list[Prediction] | None:
    """The published model's answers, among the labels of this round.

    A label that it does not know it never answers, which counts as wrong; one that is not of this
    round any more it may not answer.
    """
    repo_id, parent = bench.recipe.publish.repo_id, bench.pins.parent
    if parent is None:
        return None
    found = task.predict(download_model(bench.hub, repo_id, parent), rows)
    if not set(found[0].scores) & set(label_names):
        raise DataError(
            "The published model and this round have no label in common.",
            where=f"{repo_id}@{parent}",
            got=", ".join(list(found[0].scores)[:10]),
            do="publish to another repo, or map the labels in collect.datasets",
        )
    return _over(found, label_names)


def _baselines(bench: Bench, task: ClassificationTask, rows: Sequence[Row]) -> list[Baseline]:
    train = read_rows(bench.prepared.folder / "train.parquet")
    constant = majority_predictions([str(row["label"]) for row in rows])
    found = [Baseline("baseline", CONSTANT, constant)]
    base = _base(bench, task, train, rows)
    probe = probe_labels(task.modality, train, rows, seed=bench.recipe.train.seed)
    found += [base] if base else []
    found += [Baseline("probe", probe.description, probe.labels)] if probe else []
    return found


def _base(
    bench: Bench, task: ClassificationTask, train: Sequence[Row], rows: Sequence[Row]
) -> Baseline | None:
    """The base model as it is; None where the round began with no weights of one."""
    pinned = bench.pins.base_model
    if pinned is None or bench.recipe.train.method == "scratch":
        return None
    base_dir = download_model(bench.hub, pinned.repo_id, pinned.commit_sha)
    label_names = bench.prepared.outputs["label_names"]
    base = task.predict_base(Splits(train, [], label_names), rows, base_dir)
    return Baseline("base", base.description, _labels(_over(base.predictions, label_names)))


def _validation(bench: Bench, task: ClassificationTask) -> dict[str, Any]:
    """The same metrics on the validation rows, which chose the checkpoint."""
    rows = read_rows(bench.prepared.folder / "validation.parquet")
    names = bench.prepared.outputs["label_names"]
    if not rows:
        return {"metrics": None, "num_examples": 0}
    found = _labels(_over(task.predict(bench.model_dir, rows), names))
    references = [str(row["label"]) for row in rows]
    return {
        "metrics": _metrics(bench.recipe, references, found, names),
        "num_examples": len(rows),
    }


def _over(found: Sequence[Prediction], label_names: Sequence[str]) -> list[Prediction]:
    """Predictions as a choice among exactly these labels, in their order."""
    chosen = []
    for one in found:
        scores = {name: one.scores.get(name, 0.0) for name in label_names}
        chosen.append(Prediction(max(scores, key=scores.__getitem__), scores))
    return chosen


def _results(bench: Bench, answers: Answers) -> dict[str, Any]:
    recipe = bench.recipe
    references, names = answers.references, answers.label_names
    labels = _labels(answers.new)
    comparison = _comparison(recipe, answers)
    baselines = [_baseline_results(recipe, answers, one) for one in answers.baselines]

    def metrics(found: Sequence[Prediction]) -> dict[str, dict[str, float]]:
        return _metrics(recipe, references, _labels(found), names)

    return {
        "metrics": metrics(answers.new),
        "published": metrics(answers.published) if answers.published else None,
        "base": next((one for one in baselines if one["name"] == "base"), None),
        "baselines": baselines,
        "primary": recipe.evaluate.primary,
        "per_label": [
            {
                "label": one.label,
                "precision": plain_estimate(one.precision),
                "recall": plain_estimate(one.recall),
                "f1": plain_estimate(one.f1),
                "support": one.support,
            }
            for one in class_table(references, labels, names)
        ],
        "confusion": {"labels": names, "counts": confusion_matrix(references, labels, names)},
        "calibration": {"ece": _calibration_error(answers)},
        "num_examples": len(answers.rows),
        "comparison": _comparison_results(comparison, answers),
        "gate": _gate(bench, answers, comparison),
    }


def _metrics(
    recipe: Recipe, references: Sequence[str], labels: Sequence[str], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    wanted, seed = recipe.evaluate.metrics, recipe.train.seed
    report = score_report(references, labels, names, wanted, seed=seed)
    return {name: plain_estimate(estimate) for name, estimate in report.items()}


def _baseline_results(recipe: Recipe, answers: Answers, baseline: Baseline) -> dict[str, Any]:
    found = _metrics(recipe, answers.references, baseline.labels, answers.label_names)
    return plain_baseline(baseline.name, baseline.description, found)


def _comparison(recipe: Recipe, answers: Answers) -> Comparison | None:
    if answers.published is None:
        return None
    return _compared(recipe, answers, _labels(answers.published))


def _compared(recipe: Recipe, answers: Answers, labels: Sequence[str]) -> Comparison:
    """The new model against these labels in the primary metric."""
    return compare_metric(
        recipe.evaluate.primary,
        answers.references,
        _labels(answers.new),
        labels,
        answers.label_names,
        seed=recipe.train.seed,
    )


def _comparison_results(comparison: Comparison | None, answers: Answers) -> dict[str, Any] | None:
    if comparison is None:
        return None
    right = [score > 0 for score in answers.scores]
    was_right = [score > 0 for score in answers.published_scores or []]
    p_value = mcnemar(right, was_right).p_value
    return {**plain_comparison(comparison), "mcnemar_p_value": p_value}


def _gate(bench: Bench, answers: Answers, comparison: Comparison | None) -> dict[str, Any]:
    seed = bench.recipe.train.seed
    if comparison is None or answers.published_scores is None:
        constant, *others = answers.baselines
        floors = [Floor(one.name, _compared(bench.recipe, answers, one.labels)) for one in others]
        pairs = zip(constant.labels, answers.references, strict=True)
        decision = decide_first(
            answers.scores,
            [float(answer == reference) for answer, reference in pairs],
            rule=bench.rule,
            comparison=_compared(bench.recipe, answers, constant.labels),
            floors=floors,
            seed=seed,
        )
    else:
        decision = decide(
            answers.scores,
            answers.published_scores,
            rule=bench.rule,
            slices={"label": answers.references, **bench.slices(answers.rows)},
            comparison=comparison,
            seed=seed,
        )
    return plain_gate(decision, bench.rule)


def _calibration_error(answers: Answers) -> float:
    shares = [[one.scores[name] for name in answers.label_names] for one in answers.new]
    found = calibration(answers.references, shares, answers.label_names)
    return found.expected_calibration_error


def _examples(bench: Bench, task: ClassificationTask) -> list[dict[str, str]]:
    """A few validation rows with what the model says of them."""
    rows = bench.shown_rows()
    found = task.predict(bench.model_dir, rows)
    return [
        {**_shown(task, row), "reference": row["label"], "prediction": one.label}
        for row, one in zip(rows, found, strict=True)
    ]


def _shown(task: ClassificationTask, row: Row) -> dict[str, str]:
    if task.modality == "text":
        return {"text": cut(str(row["text"]))}
    if task.modality == "image":
        return {"image": f"row {str(row[ROW_ID])[:12]}"}
    values = [f"{k}={v}" for k, v in row.items() if k != "label" and not k.startswith("_")]
    return {"features": cut(", ".join(values))}


def _write_predictions(answers: Answers, path: Path) -> None:
    """A row per sealed example: its id, its label, and what each model said with what score."""
    columns: dict[str, Sequence[Any]] = {
        ROW_ID: [row[ROW_ID] for row in answers.rows],
        "reference": answers.references,
        **_columns(answers.new, answers.scores, answers.label_names, prefix=""),
    }
    if answers.published is not None and answers.published_scores is not None:
        published, scores = answers.published, answers.published_scores
        columns |= _columns(published, scores, answers.label_names, prefix="published_")
    write_table(columns, path)


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


def _labels(found: Sequence[Prediction]) -> list[str]:
    return [one.label for one in found]
