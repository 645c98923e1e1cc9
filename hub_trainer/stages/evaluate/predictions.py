"""Models that predict a column, on the sealed rows; what kind of column, only the answer knows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hub_trainer.answers import Answer, Prediction, plain_estimate
from hub_trainer.answers.decisions import Sought, decide, reached_of, thresholds_for
from hub_trainer.errors import DataError
from hub_trainer.finetune.model_folder import download_model
from hub_trainer.inputs import load_input
from hub_trainer.reports import Metrics, Results, ValidationResult
from hub_trainer.rows.store import ROW_ID, read_rows
from hub_trainer.stages.evaluate.importance import FIGURE, draw_importance, measure_importance
from hub_trainer.stages.evaluate.probe import probe_answers
from hub_trainer.stages.evaluate.trained_round import TrainedRound, cut, write_table
from hub_trainer.stages.evaluate.verdict import Candidate, Measurement, judge
from hub_trainer.stats.gate import Against
from hub_trainer.tasks import PredictingTask, Row, Splits


@dataclass(frozen=True)
class Truth:
    """Rows with their true answers, and how predictions of them are measured."""

    rows: Sequence[Row]
    answer: Answer
    names: Sequence[str]
    """What the answers choose from, in the round's order."""
    metrics: Sequence[str]
    """The primary first."""
    seed: int

    @property
    def references(self) -> list[Any]:
        """The true answer of each row."""
        return [row[self.answer.column] for row in self.rows]

    def measure(self, found: Sequence[Prediction]) -> Metrics:
        """All metrics of these predictions."""
        estimates = self.answer.estimates(
            self.metrics, self.references, found, self.names, seed=self.seed
        )
        return {name: plain_estimate(estimate) for name, estimate in estimates.items()}


def measure_predictions(trained: TrainedRound, task: PredictingTask, folder: Path) -> Results:
    """Results; predictions.parquet and any scored are written to `folder`."""
    truth = _truth(trained, task, trained.sealed)
    answer, names = task.answer, truth.names
    answer.assert_measurable(truth.metrics, names)
    trained.progress(0.0, "the new model")
    new = answer.over(task.predict(trained.model_dir, truth.rows), names)
    trained.progress(0.3, "the published model")
    published = _published(trained, task, truth)
    trained.progress(0.5, "the baselines")
    baselines = _baselines(trained, task, truth)
    trained.progress(0.8, "measuring")
    references = truth.references

    def candidate(against: Against, description: str, found: Sequence[Prediction]) -> Candidate:
        return Candidate(
            against,
            description,
            truth.measure(found),
            answer.scores(references, found),
            partial(
                answer.compare,
                trained.recipe.evaluate.primary,
                references,
                (new, found),
                names,
                seed=truth.seed,
            ),
        )

    measured = Measurement(
        metrics=truth.measure(new),
        scores=answer.scores(references, new),
        published=candidate("published", "the published model", published) if published else None,
        baselines=[candidate(*one) for one in baselines],
        slices={**answer.slices(references), **trained.slices(truth.rows)},
    )
    detail = answer.detail(references, new, names)
    _write_predictions(truth, new, published, folder / "predictions.parquet")
    if "positive" in detail and trained.recipe.evaluate.slices:
        detail["positive_slices"] = _positive_slices(trained, truth, new)
    answer.draw(detail, folder)
    if load_input(task.modality).has_features:
        of = measure_importance(task, trained.model_dir, truth.rows, seed=truth.seed)
        draw_importance(of, folder / FIGURE)
        detail["importance"] = of
    return replace(
        judge(trained, measured, num_examples=len(truth.rows)),
        answer=answer.name,
        detail=detail,
        validation=_validation(trained, task),
        examples=_examples(trained, task),
    )


def _positive_slices(
    trained: TrainedRound, truth: Truth, found: Sequence[Prediction]
) -> list[dict[str, Any]]:
    """Sensitivity and specificity of each value of the columns that the recipe compares."""
    positive, references = str(trained.recipe.evaluate.positive), truth.references
    measured = []
    for column, values in trained.slices(truth.rows).items():
        for value in sorted(set(values), key=str):
            of = [index for index, one in enumerate(values) if one == value]
            reached = reached_of([found[i] for i in of], [references[i] for i in of], positive)
            measured.append({"column": column, "value": str(value), **reached})
    return measured


def _truth(trained: TrainedRound, task: PredictingTask, rows: Sequence[Row]) -> Truth:
    recipe, names = trained.recipe, trained.prepared.outputs["label_names"]
    return Truth(rows, task.answer, names, recipe.evaluate.metrics, recipe.train.seed)


def _published(
    trained: TrainedRound, task: PredictingTask, truth: Truth
) -> list[Prediction] | None:
    """The published model's answers, among the names of this round.

    A label that it does not know it never answers, which counts as wrong; one that is not of this
    round any more it may not answer.
    """
    repo_id, parent = trained.recipe.publish.repo_id, trained.pins.parent
    if parent is None:
        return None
    found = task.predict(download_model(trained.hub, repo_id, parent), truth.rows)
    if not task.answer.is_shared(found[0], truth.names):
        raise DataError(
            "The published model and this round have no label in common.",
            where=f"{repo_id}@{parent}",
            got=", ".join(list(found[0].scores)[:10]),
            do="publish to another repo, or map the labels in collect.datasets",
        )
    return task.answer.over(found, truth.names)


def _baselines(
    trained: TrainedRound, task: PredictingTask, truth: Truth
) -> list[tuple[Against, str, Sequence[Prediction]]]:
    """A constant answer; the base model, where weights of one were changed; a cheap probe."""
    recipe, answer = trained.recipe, task.answer
    train = read_rows(trained.prepared.folder / "train.parquet")
    told, constant = answer.constant(truth.references, recipe.evaluate.primary)
    found: list[tuple[Against, str, Sequence[Prediction]]] = [
        ("baseline", told, [constant] * len(truth.rows))
    ]
    deciding = _deciding(trained, task)
    rows = [*truth.rows, *deciding.rows]
    pinned = trained.pins.base_model
    if pinned is not None and recipe.train.method_facts.needs_weights:
        base_dir = download_model(trained.hub, pinned.repo_id, pinned.commit_sha)
        base = task.predict_base(Splits(train, [], truth.names), rows, base_dir)
        if base is not None:  # a body without letters says nothing
            said = deciding.sealed(answer.over(base.predictions, truth.names))
            found.append(("base", base.description, said))
    probe = probe_answers(task, train, rows, seed=recipe.train.seed)
    if probe:
        found.append(("probe", probe.description, deciding.sealed(probe.predictions)))
    return found


@dataclass(frozen=True)
class _Deciding:
    """Rows on which a baseline chooses a threshold of its own, as the model did: none without."""

    sought: Sought
    rows: Sequence[Row]
    column: str

    def sealed(self, found: Sequence[Prediction]) -> list[Prediction]:
        """Of predictions of the sealed rows and then of these, the former as decided so."""
        split = len(found) - len(self.rows)
        truth = [row[self.column] for row in self.rows]
        return decide(found[:split], thresholds_for(found[split:], truth, self.sought))


def _deciding(trained: TrainedRound, task: PredictingTask) -> _Deciding:
    sought = Sought.of(trained.recipe.evaluate)
    chooses = sought.sensitivity is not None
    rows = read_rows(trained.prepared.folder / "validation.parquet") if chooses else []
    return _Deciding(sought, rows, task.answer.column)


def _validation(trained: TrainedRound, task: PredictingTask) -> ValidationResult:
    """The same metrics on the validation rows, which chose the checkpoint."""
    rows = read_rows(trained.prepared.folder / "validation.parquet")
    if not rows:
        return ValidationResult()
    truth = _truth(trained, task, rows)
    found = task.answer.over(task.predict(trained.model_dir, rows), truth.names)
    return ValidationResult(len(rows), truth.measure(found))


def _examples(trained: TrainedRound, task: PredictingTask) -> list[dict[str, str]]:
    """A few validation rows with what the model says of them."""
    rows, answer, told = trained.shown_rows(), task.answer, load_input(task.modality).told
    found = task.predict(trained.model_dir, rows)
    return [
        {
            **{name: cut(text) for name, text in told(row).items()},
            "reference": answer.told(answer.dumps(row[answer.column])),
            "prediction": answer.told(answer.dumps(one.value)),
        }
        for row, one in zip(rows, found, strict=True)
    ]


def _write_predictions(
    truth: Truth,
    new: Sequence[Prediction],
    published: Sequence[Prediction] | None,
    path: Path,
) -> None:
    """A row per sealed example: its id, its answer, and what each model said with what score."""
    answer, references = truth.answer, truth.references
    columns: dict[str, Sequence[Any]] = {
        ROW_ID: [row[ROW_ID] for row in truth.rows],
        "reference": [answer.dumps(value) for value in references],
    }
    for prefix, found in (("", new), ("published_", published)):
        if found is not None:
            columns[f"{prefix}prediction"] = [answer.dumps(one.value) for one in found]
            columns[f"{prefix}score"] = answer.scores(references, found).tolist()
            columns[f"{prefix}scores"] = [
                [{"name": name, "score": score} for name, score in one.scores.items()]
                for one in found
            ]
    write_table(columns, path)
