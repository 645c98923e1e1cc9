"""Models that predict a column, on the sealed rows: metrics, errors, the gate.

Which kind of answer that is, is asked of the answer alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hub_trainer.answers import Answer, Prediction, plain_estimate
from hub_trainer.errors import DataError
from hub_trainer.finetune.model_folder import download_model
from hub_trainer.inputs import load_input
from hub_trainer.rows.store import ROW_ID, read_rows
from hub_trainer.stages.evaluate.bench import (
    Bench,
    cut,
    plain_baseline,
    plain_comparison,
    plain_gate,
    write_table,
)
from hub_trainer.stages.evaluate.probe import probe_answers
from hub_trainer.stats import Comparison, Floor, decide, decide_first, mcnemar
from hub_trainer.stats.gate import Against
from hub_trainer.tasks import PredictingTask, Row, Splits


@dataclass(frozen=True)
class Baseline:
    """What is reached without this round's training: a prediction for each sealed row."""

    name: Against
    description: str
    predictions: Sequence[Prediction]


@dataclass(frozen=True)
class Measured:
    """What the models say of the sealed rows, in the rows' order."""

    bench: Bench
    answer: Answer
    names: Sequence[str]
    rows: Sequence[Row]
    new: Sequence[Prediction]
    published: Sequence[Prediction] | None
    """None before the first promotion."""
    baselines: Sequence[Baseline]
    """A constant answer; the base model, where weights of one were changed; a cheap probe."""

    @cached_property
    def references(self) -> list[Any]:
        """The true answer of each row."""
        return [row[self.answer.column] for row in self.rows]

    def metrics(self, found: Sequence[Prediction]) -> dict[str, dict[str, float]]:
        """All metrics of these predictions."""
        return _metrics(self.bench, self.answer, self.references, found, self.names)

    def compared(self, found: Sequence[Prediction]) -> Comparison:
        """The new model against these predictions in the primary metric."""
        recipe = self.bench.recipe
        return self.answer.compare(
            recipe.evaluate.primary,
            self.references,
            (self.new, found),
            self.names,
            seed=recipe.train.seed,
        )


def measure_predictions(bench: Bench, task: PredictingTask, folder: Path) -> dict[str, Any]:
    """What results.json holds; predictions.parquet and any figure are written to `folder`."""
    measured = _measured(bench, task)
    bench.progress(0.8, "measuring")
    answer = task.answer
    detail = answer.detail(measured.references, measured.new, measured.names)
    results = {
        **_results(measured),
        **detail,
        "answer": answer.name,
        "validation": _validation(bench, task),
        "examples": _examples(bench, task),
    }
    _write_predictions(measured, folder / "predictions.parquet")
    answer.draw(detail, folder)
    return results


def _measured(bench: Bench, task: PredictingTask) -> Measured:
    rows, names, answer = bench.sealed, bench.prepared.outputs["label_names"], task.answer
    bench.progress(0.0, "the new model")
    new = answer.over(task.predict(bench.model_dir, rows), names)
    bench.progress(0.3, "the published model")
    published = _published(bench, task, rows, names)
    bench.progress(0.5, "the baselines")
    return Measured(bench, answer, names, rows, new, published, _baselines(bench, task, rows))


def _published(
    bench: Bench, task: PredictingTask, rows: Sequence[Row], names: Sequence[str]
) -> list[Prediction] | None:
    """The published model's answers, among the names of this round.

    A label that it does not know it never answers, which counts as wrong; one that is not of this
    round any more it may not answer.
    """
    repo_id, parent = bench.recipe.publish.repo_id, bench.pins.parent
    if parent is None:
        return None
    found = task.predict(download_model(bench.hub, repo_id, parent), rows)
    if not task.answer.is_shared(found[0], names):
        raise DataError(
            "The published model and this round have no label in common.",
            where=f"{repo_id}@{parent}",
            got=", ".join(list(found[0].scores)[:10]),
            do="publish to another repo, or map the labels in collect.datasets",
        )
    return task.answer.over(found, names)


def _baselines(bench: Bench, task: PredictingTask, rows: Sequence[Row]) -> list[Baseline]:
    recipe, answer = bench.recipe, task.answer
    train = read_rows(bench.prepared.folder / "train.parquet")
    references = [row[answer.column] for row in rows]
    told, value = answer.constant(references, recipe.evaluate.primary)
    found = [Baseline("baseline", told, [Prediction(value)] * len(rows))]
    base = _base(bench, task, train, rows)
    probe = probe_answers(task, train, rows, seed=recipe.train.seed)
    found += [base] if base else []
    found += [Baseline("probe", probe.description, probe.predictions)] if probe else []
    return found


def _base(
    bench: Bench, task: PredictingTask, train: Sequence[Row], rows: Sequence[Row]
) -> Baseline | None:
    """The base model as it is; None where the round began with no weights of one, or with a body
    that says nothing."""
    pinned = bench.pins.base_model
    if pinned is None or not bench.recipe.train.method_facts.needs_weights:
        return None
    base_dir = download_model(bench.hub, pinned.repo_id, pinned.commit_sha)
    names = bench.prepared.outputs["label_names"]
    base = task.predict_base(Splits(train, [], names), rows, base_dir)
    if base is None:
        return None
    return Baseline("base", base.description, task.answer.over(base.predictions, names))


def _validation(bench: Bench, task: PredictingTask) -> dict[str, Any]:
    """The same metrics on the validation rows, which chose the checkpoint."""
    rows = read_rows(bench.prepared.folder / "validation.parquet")
    names, answer = bench.prepared.outputs["label_names"], task.answer
    if not rows:
        return {"metrics": None, "num_examples": 0}
    found = answer.over(task.predict(bench.model_dir, rows), names)
    references = [row[answer.column] for row in rows]
    metrics = _metrics(bench, answer, references, found, names)
    return {"metrics": metrics, "num_examples": len(rows)}


def _metrics(
    bench: Bench,
    answer: Answer,
    references: Sequence[Any],
    found: Sequence[Prediction],
    names: Sequence[str],
) -> dict[str, dict[str, float]]:
    wanted, seed = bench.recipe.evaluate.metrics, bench.recipe.train.seed
    estimates = answer.estimates(wanted, references, found, names, seed=seed)
    return {name: plain_estimate(estimate) for name, estimate in estimates.items()}


def _results(measured: Measured) -> dict[str, Any]:
    comparison = measured.compared(measured.published) if measured.published else None
    baselines = [
        plain_baseline(one.name, one.description, measured.metrics(one.predictions))
        for one in measured.baselines
    ]
    return {
        "metrics": measured.metrics(measured.new),
        "published": measured.metrics(measured.published) if measured.published else None,
        "base": next((one for one in baselines if one["name"] == "base"), None),
        "baselines": baselines,
        "primary": measured.bench.recipe.evaluate.primary,
        "num_examples": len(measured.rows),
        "comparison": _comparison_results(measured, comparison),
        "gate": _gate(measured, comparison),
    }


def _comparison_results(measured: Measured, comparison: Comparison | None) -> dict[str, Any] | None:
    """The comparison, and where scores are right and wrong, McNemar's test of those."""
    if comparison is None or measured.published is None:
        return None
    new, old = (
        measured.answer.scores(measured.references, found)
        for found in (measured.new, measured.published)
    )
    plain = plain_comparison(comparison)
    if not set(new.tolist()) | set(old.tolist()) <= {0.0, 1.0}:
        return plain
    return {**plain, "mcnemar_p_value": mcnemar(new > 0, old > 0).p_value}


def _gate(measured: Measured, comparison: Comparison | None) -> dict[str, Any]:
    bench, answer, references = measured.bench, measured.answer, measured.references
    seed, scores = bench.recipe.train.seed, answer.scores(references, measured.new)
    if comparison is None or measured.published is None:
        constant, *others = measured.baselines
        decision = decide_first(
            scores,
            answer.scores(references, constant.predictions),
            rule=bench.rule,
            comparison=measured.compared(constant.predictions),
            floors=[Floor(one.name, measured.compared(one.predictions)) for one in others],
            seed=seed,
        )
    else:
        decision = decide(
            scores,
            answer.scores(references, measured.published),
            rule=bench.rule,
            slices={**answer.slices(references), **bench.slices(measured.rows)},
            comparison=comparison,
            seed=seed,
        )
    return plain_gate(decision, bench.rule)


def _examples(bench: Bench, task: PredictingTask) -> list[dict[str, str]]:
    """A few validation rows with what the model says of them."""
    rows, answer, told = bench.shown_rows(), task.answer, load_input(task.modality).told
    found = task.predict(bench.model_dir, rows)
    return [
        {
            **{name: cut(text) for name, text in told(row).items()},
            "reference": answer.told(answer.dumps(row[answer.column])),
            "prediction": answer.told(answer.dumps(one.value)),
        }
        for row, one in zip(rows, found, strict=True)
    ]


def _write_predictions(measured: Measured, path: Path) -> None:
    """A row per sealed example: its id, its answer, and what each model said with what score."""
    answer = measured.answer
    columns: dict[str, Sequence[Any]] = {
        ROW_ID: [row[ROW_ID] for row in measured.rows],
        "reference": [answer.dumps(value) for value in measured.references],
        **_columns(measured, measured.new, prefix=""),
    }
    if measured.published is not None:
        columns |= _columns(measured, measured.published, prefix="published_")
    write_table(columns, path)


def _columns(
    measured: Measured, found: Sequence[Prediction], *, prefix: str
) -> dict[str, Sequence[Any]]:
    """The answer as a text, its score, and the probability of each name."""
    answer = measured.answer
    return {
        f"{prefix}prediction": [answer.dumps(one.value) for one in found],
        f"{prefix}score": answer.scores(measured.references, found).tolist(),
        f"{prefix}scores": [
            [{"name": name, "score": score} for name, score in one.scores.items()] for one in found
        ],
    }
