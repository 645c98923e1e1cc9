"""Models on the sealed rows: the new one, the published one and baselines, measured and judged.

What they predict only the answer knows, and how rows become questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hub_trainer.answers import Answer, Prediction, Questions, plain_estimate
from hub_trainer.answers.decisions import Sought, decide, reached_of, thresholds_for
from hub_trainer.errors import DataError
from hub_trainer.finetune.model_folder import adapter_base, download_folders, download_model
from hub_trainer.inputs import load_input
from hub_trainer.recipe import GenerationSection
from hub_trainer.reports import Metrics, PrepareReport, Results, ValidationResult
from hub_trainer.rows.row_files import ROW_ID, read_rows
from hub_trainer.stages.evaluate.conversation import Said, account_of
from hub_trainer.stages.evaluate.gate_verdict import Candidate, Measurement, judge
from hub_trainer.stages.evaluate.importance import FIGURE, draw_importance, measure_importance
from hub_trainer.stages.evaluate.probe_baseline import probe_answers
from hub_trainer.stages.evaluate.robustness import Loss
from hub_trainer.stages.evaluate.trained_round import TrainedRound, cut, write_table
from hub_trainer.stats.gate import Against
from hub_trainer.tasks import Asked, ModelFolders, Row, Splits, Task

Found = Sequence[Prediction]


@dataclass(frozen=True)
class Truth:
    """Questions with what is known of their right answers, and how predictions are measured."""

    questions: Questions
    answer: Answer
    names: Sequence[str]
    """What the answers choose from, in the round's order."""
    metrics: Sequence[str]
    primary: str
    seed: int

    def measure(self, found: Found) -> Metrics:
        """All metrics of these predictions."""
        estimates = self.answer.estimates(
            self.metrics, self.questions.references, found, self.names, seed=self.seed
        )
        return {name: plain_estimate(estimate) for name, estimate in estimates.items()}

    def scores(self, found: Found) -> Any:
        """(N,) a score per question in the primary metric; NaN where it can score none."""
        return self.answer.scores(self.questions.references, found)


@dataclass(frozen=True)
class Other:
    """What the new model is compared with, and what it says of each question."""

    against: Against
    description: str
    found: Found


def measure_round(trained: TrainedRound, task: Task, folder: Path) -> Results:
    """Results; predictions.parquet and any picture are written to `folder`."""
    answer, section = task.answer, trained.recipe.evaluate
    names = PrepareReport.from_json(trained.prepared.outputs).label_names
    questions = answer.asking.questions(answer, trained.sealed, section)
    truth = Truth(questions, answer, names, section.metrics, section.primary, _seed(trained))
    answer.assert_measurable(truth.metrics, names)
    trained.progress(0.0, "the new model")
    folders = new_folders(trained)
    asked = _asked(trained, questions, weighed=sorted({*questions.weighed, *questions.repeated}))
    new = task.predict(folders, questions.rows, asked)
    answer.asking.assert_sound("the new model", new)
    new = answer.over(new, names)
    trained.progress(0.3, "the published model")
    published = _published(trained, task, truth)
    trained.progress(0.5, "the baselines")
    others = [*([published] if published else []), *_baselines(trained, task, truth, published)]
    trained.progress(0.8, "measuring")
    everyone = [new, *(one.found for one in others)]
    alike, *rest = answer.asking.comparable(truth.metrics, questions, everyone)
    others = [replace(one, found=found) for one, found in zip(others, rest, strict=True)]
    measured = _measurement(trained, truth, alike, others)
    detail = answer.detail(questions.references, alike, names)
    if "positive" in detail and section.slices:
        detail["positive_slices"] = _positive_slices(trained, truth, alike)
    write_table(_predictions(truth, new, alike, others), folder / "predictions.parquet")
    answer.draw(detail, folder)
    if load_input(task.modality).has_features:
        of = measure_importance(task, folders, questions.rows, seed=truth.seed)
        draw_importance(of, folder / FIGURE)
        detail["importance"] = of
    loss = Loss(task, folders, truth.primary, names, truth.seed)
    if section.perturb and (lost := loss.measure(questions, alike)) is not None:
        detail["perturbed"] = lost
    said = Said(alike, {one.against: one.found for one in others})
    return replace(
        judge(trained, measured, num_examples=len(questions.rows)),
        answer=answer.name,
        num_rows=questions.num_rows,
        detail=detail,
        validation=_validation(trained, task, truth, folders),
        examples=_examples(trained, task, folders),
        writing=account_of(trained, task, truth.metrics, questions, said, measured),
    )


def new_folders(trained: TrainedRound) -> ModelFolders:
    """The new model, and the base that it needs when it is an adapter."""
    base = adapter_base(trained.hub, trained.model_dir)
    return ModelFolders(trained.model_dir, download_model(trained.hub, *base) if base else None)


def _seed(trained: TrainedRound) -> int:
    return trained.recipe.train.seed


def _asked(trained: TrainedRound, questions: Questions, *, weighed: Sequence[int]) -> Asked:
    sampling = trained.recipe.evaluate.generation or GenerationSection()
    language = trained.recipe.train.language
    return Asked(
        sampling,
        _seed(trained),
        questions.answered,
        weighed,
        questions.paired,
        language.chat_template if language else None,
    )


def _published(trained: TrainedRound, task: Task, truth: Truth) -> Other | None:
    """The published model's answers, among the names of this round.

    A label that it does not know it never answers, which counts as wrong; one that is not of this
    round any more it may not answer.
    """
    repo_id, parent = trained.recipe.publish.repo_id, trained.pins.parent
    if parent is None:
        return None
    folders = ModelFolders(*download_folders(trained.hub, repo_id, parent))
    asked = _asked(trained, truth.questions, weighed=truth.questions.weighed)
    name = "the published model"
    found = task.predict(folders, truth.questions.rows, asked)
    task.answer.asking.assert_sound(name, found)
    if not task.answer.is_shared(found[0], truth.names):
        raise DataError(
            "The published model and this round have no label in common.",
            where=f"{repo_id}@{parent}",
            got=", ".join(list(found[0].scores)[:10]),
            do="publish to another repo, or map the labels in collect.datasets",
        )
    return Other("published", name, task.answer.over(found, truth.names))


def _baselines(
    trained: TrainedRound, task: Task, truth: Truth, published: Other | None
) -> list[Other]:
    """A constant answer; the base model, where weights of one were changed; a cheap probe.

    What a first model is tested against comes first.
    """
    asking = task.answer.asking
    train = read_rows(trained.prepared.folder / "train.parquet")
    told, constant = asking.baseline(task.answer, train, truth.questions, truth.primary)
    found = [Other("baseline", told, constant)]
    deciding = _deciding(trained, task)
    base = _base(trained, task, truth, train, published, deciding)
    if base is not None:
        found = [base, *found] if asking.base_leads else [*found, base]
    probe = probe_answers(task, train, [*truth.questions.rows, *deciding.rows], seed=truth.seed)
    if probe is None:
        return found
    return [*found, Other("probe", probe.description, deciding.sealed(probe.predictions))]


@dataclass(frozen=True)
class _Deciding:
    """Rows on which a baseline chooses a threshold of its own, as the model did: none without."""

    sought: Sought
    rows: Sequence[Row]
    column: str

    def sealed(self, found: Found) -> list[Prediction]:
        """Of predictions of the sealed rows and then of these, the former as decided so."""
        split = len(found) - len(self.rows)
        truth = [row[self.column] for row in self.rows]
        return decide(found[:split], thresholds_for(found[split:], truth, self.sought))


def _deciding(trained: TrainedRound, task: Task) -> _Deciding:
    sought = Sought.of(trained.recipe.evaluate)
    chooses = sought.sensitivity is not None
    rows = read_rows(trained.prepared.folder / "validation.parquet") if chooses else []
    return _Deciding(sought, rows, task.answer.column)


def _base(
    trained: TrainedRound,
    task: Task,
    truth: Truth,
    train: Sequence[Row],
    published: Other | None,
    deciding: "_Deciding",
) -> Other | None:
    """The base model; None where no weights of one were changed, or it says nothing by itself.

    One that is asked as it is, and is the published model, has said it already.
    """
    pinned, asking = trained.pins.base_model, task.answer.asking
    if pinned is None or not trained.recipe.train.method_facts.needs_weights:
        return None
    name = f"the base model {pinned.repo_id} as it is"
    there = trained.recipe.publish.repo_id, trained.pins.parent
    if asking.base_leads and published and (pinned.repo_id, pinned.commit_sha) == there:
        return Other("base", name, published.found)
    folders = ModelFolders(*download_folders(trained.hub, pinned.repo_id, pinned.commit_sha))
    asked = _asked(trained, truth.questions, weighed=truth.questions.weighed)
    rows = [*truth.questions.rows, *deciding.rows]
    base = task.predict_base(Splits(train, [], truth.names), rows, folders, asked)
    if base is None:  # a body without letters says nothing
        return None
    asking.assert_sound(name, base.predictions)
    told = name if asking.base_leads else base.description
    found = task.answer.over(base.predictions, truth.names)
    return Other("base", told, deciding.sealed(found))


def _measurement(
    trained: TrainedRound, truth: Truth, new: Found, others: Sequence[Other]
) -> Measurement:
    answer, references = truth.answer, truth.questions.references
    scores = truth.scores(new)
    scored = np.flatnonzero(~np.isnan(scores)).tolist()
    rows = [truth.questions.rows[place] for place in scored]
    groups = answer.slices([references[place] for place in scored])

    def candidate(one: Other) -> Candidate:
        pair = new, one.found
        return Candidate(
            one.against,
            one.description,
            truth.measure(one.found),
            truth.scores(one.found)[scored],
            partial(answer.compare, truth.primary, references, pair, truth.names, seed=truth.seed),
        )

    candidates = [candidate(one) for one in others]
    published = [one for one in candidates if one.against == "published"]
    return Measurement(
        metrics=truth.measure(new),
        scores=scores[scored],
        published=published[0] if published else None,
        baselines=[one for one in candidates if one.against != "published"],
        slices={**groups, **trained.slices(rows)},
    )


def _positive_slices(trained: TrainedRound, truth: Truth, found: Found) -> list[dict[str, Any]]:
    """Sensitivity and specificity of each value of the columns that the recipe compares."""
    positive, references = str(trained.recipe.evaluate.positive), truth.questions.references
    measured = []
    for column, values in trained.slices(truth.questions.rows).items():
        for value in sorted(set(values), key=str):
            of = [index for index, one in enumerate(values) if one == value]
            reached = reached_of([found[i] for i in of], [references[i] for i in of], positive)
            measured.append({"column": column, "value": str(value), **reached})
    return measured


def _validation(
    trained: TrainedRound, task: Task, truth: Truth, folders: ModelFolders
) -> ValidationResult:
    """The same metrics on the validation rows, which chose the checkpoint."""
    answer, rows = task.answer, read_rows(trained.prepared.folder / "validation.parquet")
    if not rows or not answer.asking.has_validation:
        return ValidationResult()
    questions = answer.asking.questions(answer, rows, trained.recipe.evaluate)
    found = answer.over(task.predict(folders, rows), truth.names)
    return ValidationResult(len(rows), replace(truth, questions=questions).measure(found))


def _examples(trained: TrainedRound, task: Task, folders: ModelFolders) -> list[dict[str, str]]:
    """A few validation rows with what the model says of them."""
    answer, told = task.answer, load_input(task.modality).told
    rows = answer.asking.shown(trained.shown_rows())
    asked = replace(_asked(trained, Questions(rows, ()), weighed=()), answered=None)
    found = task.predict(folders, rows, asked) if rows else []
    return [
        {
            **{name: cut(text) for name, text in told(row).items()},
            **answer.asking.example(answer, row, one),
        }
        for row, one in zip(rows, found, strict=True)
    ]


def _predictions(
    truth: Truth, new: Found, alike: Found, others: Sequence[Other]
) -> dict[str, Sequence[Any]]:
    """A row per question: its id, its right answer, and what each model said with what score."""
    answer, questions = truth.answer, truth.questions
    columns: dict[str, Sequence[Any]] = {
        ROW_ID: [row[ROW_ID] for row in questions.rows],
        **answer.asking.references(answer, questions, new),
    }
    models = [("", alike), *(("published_", o.found) for o in others if o.against == "published")]
    for prefix, found in models:
        scores = [None if np.isnan(one) else float(one) for one in truth.scores(found)]
        said = answer.asking.columns(answer, found, scores)
        columns |= {f"{prefix}{name}": values for name, values in said.items()}
    return columns
