"""Candidates on the sealed questions: their answers, and how likely references are to them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.model_folder import (
    adapter_base,
    download_folders,
    download_model,
    is_adapter,
)
from hub_trainer.metrics import metric_spec
from hub_trainer.metrics.answers import Losses, Measured, byte_log_prob, score_answers
from hub_trainer.recipe import GenerationSection
from hub_trainer.rows.store import read_rows
from hub_trainer.stages.evaluate.bench import Bench
from hub_trainer.stages.evaluate.exam import FEWEST, Exam, Question, question_of
from hub_trainer.stats.gate import Against
from hub_trainer.tasks import GenerationTask, Likelihood, ModelFolders, WrittenAnswer

CONSTANT = (
    "always the commonest answer of the training rows; "
    "to likelihoods, any byte as likely as another"
)


@dataclass(frozen=True)
class Witness:
    """What one model, or a stand-in for one, says; by the indexes of questions."""

    name: str
    answers: Mapping[int, WrittenAnswer]
    likelihoods: Mapping[int, Likelihood]
    is_model: bool = True


@dataclass(frozen=True)
class Witnesses:
    """All that are heard."""

    new: Witness
    published: Witness | None
    """None before the first promotion."""
    base: Witness | None
    """The base model as it is; None when the model began at random."""
    constant: Witness

    def all(self) -> list[Witness]:
        """Those that there are."""
        models = [one for one in (self.new, self.published, self.base) if one]
        return [*models, self.constant]

    def baselines(self) -> list[tuple[Against, Witness]]:
        """What is reached without this round's training; what a first model is tested against
        leads."""
        constant: tuple[Against, Witness] = ("baseline", self.constant)
        return [("base", self.base), constant] if self.base else [constant]


@dataclass(frozen=True)
class Figure:
    """One metric of every witness."""

    metric: str
    indexes: Sequence[int]
    """The questions that it scores."""
    of: Mapping[str, Measured]
    """Name of a witness -> the metric of it."""


def hear(bench: Bench, task: GenerationTask, exam: Exam) -> Witnesses:
    """Ask the new, the published and the base model the same questions in the same way."""
    bench.progress(0.0, "the new model")
    asked, weighed = exam.asked, sorted({*exam.weighed, *exam.witnessed})
    new = _consult(bench, task, exam, ("the new model", new_folders(bench)), (asked, weighed))
    bench.progress(0.3, "the published model")
    published = _published(bench, task, exam)
    bench.progress(0.5, "the base model")
    base = _base(bench, task, exam, published)
    return Witnesses(new, published, base, _constant(bench, exam))


def new_folders(bench: Bench) -> ModelFolders:
    """The new model, and the base that it needs when it is an adapter."""
    if not is_adapter(bench.model_dir):
        return ModelFolders(bench.model_dir)
    base = adapter_base(bench.hub, bench.model_dir)
    assert base is not None
    return ModelFolders(bench.model_dir, download_model(bench.hub, *base))


def sampling_of(bench: Bench) -> GenerationSection:
    """How answers are written; greedily when the recipe does not say."""
    return bench.recipe.evaluate.generation or GenerationSection()


def measure(bench: Bench, exam: Exam, name: str, witnesses: Witnesses) -> Figure:
    """A metric of each witness, on the questions that all of them were asked."""
    if metric_spec(name).needs == "likelihoods":
        return _losses(exam, name, witnesses)
    indexes = exam.scored_by[name]
    sealed = [exam.questions[index].sealed for index in indexes]
    schema = bench.recipe.evaluate.json_schema

    def measured(one: Witness) -> Measured:
        texts = [one.answers[index].text for index in indexes]
        return Measured(name, score_answers(name, texts, sealed, json_schema=schema))

    return Figure(name, indexes, {one.name: measured(one) for one in witnesses.all()})


def _losses(exam: Exam, name: str, witnesses: Witnesses) -> Figure:
    """Losses of all models per token of the new one, so that other tokenizers can be compared."""
    everyone = witnesses.all()
    indexes = [
        index
        for index in exam.scored_by[name]
        if all(one.likelihoods[index].num_tokens for one in everyone)
    ]
    if len(indexes) < FEWEST:
        raise DataError(
            f"The metric {name} can score too few of the test rows.",
            where="evaluate.metrics",
            got=f"{len(indexes)} of {len(exam.scored_by[name])} leave room for an answer",
            do="give test rows with shorter prompts, or a base model that takes longer ones",
        )
    num_tokens = np.array([witnesses.new.likelihoods[i].num_tokens for i in indexes])

    def measured(one: Witness) -> Measured:
        nats = np.array([-one.likelihoods[index].log_prob for index in indexes])
        losses = Losses(nats, num_tokens)
        return Measured(name, losses.scores, losses)

    return Figure(name, indexes, {one.name: measured(one) for one in everyone})


def _consult(
    bench: Bench,
    task: GenerationTask,
    exam: Exam,
    witness: tuple[str, ModelFolders],
    wanted: tuple[Sequence[int], Sequence[int]],
) -> Witness:
    name, folders = witness
    asked, weighed = ([exam.questions[i].row for i in indexes] for indexes in wanted)
    sampling, seed = sampling_of(bench), bench.recipe.train.seed
    answers = task.answers(folders, asked, sampling, seed=seed) if asked else []
    likelihoods = task.likelihoods(folders, weighed) if weighed else []
    _assert_finite(name, likelihoods)
    return Witness(
        name,
        dict(zip(wanted[0], answers, strict=True)),
        dict(zip(wanted[1], likelihoods, strict=True)),
    )


def _assert_finite(name: str, likelihoods: Sequence[Likelihood]) -> None:
    broken = sum(not math.isfinite(one.log_prob) for one in likelihoods)
    if broken:
        raise TrainingError(
            f"To {name} sealed answers have a likelihood that is no number.",
            got=f"{broken} of {len(likelihoods)}",
            do="its weights are broken; train again, with a smaller learning rate perhaps",
        )


def _published(bench: Bench, task: GenerationTask, exam: Exam) -> Witness | None:
    if bench.pins.parent is None:
        return None
    folders = download_folders(bench.hub, bench.recipe.publish.repo_id, bench.pins.parent)
    witness = ("the published model", ModelFolders(*folders))
    return _consult(bench, task, exam, witness, (exam.asked, exam.weighed))


def _base(
    bench: Bench, task: GenerationTask, exam: Exam, published: Witness | None
) -> Witness | None:
    """The base model; of a round that goes on from the published one, what that has said."""
    base = bench.pins.base_model
    if base is None or not bench.recipe.train.method_facts.needs_weights:
        return None
    name = f"the base model {base.repo_id} as it is"
    there = bench.recipe.publish.repo_id, bench.pins.parent
    if published is not None and (base.repo_id, base.commit_sha) == there:
        return replace(published, name=name)
    folders = ModelFolders(*download_folders(bench.hub, base.repo_id, base.commit_sha))
    return _consult(bench, task, exam, (name, folders), (exam.asked, exam.weighed))


def _constant(bench: Bench, exam: Exam) -> Witness:
    text = _commonest_answer(bench)
    return Witness(
        CONSTANT,
        {index: WrittenAnswer(text, 0, finished=True) for index in exam.asked},
        {index: _of_bytes(exam.questions[index]) for index in exam.weighed},
        is_model=False,
    )


def _of_bytes(question: Question) -> Likelihood:
    text = question.sealed.reference or ""
    return Likelihood(byte_log_prob(text), max(1, len(text.encode())))


def _commonest_answer(bench: Bench) -> str:
    rows = read_rows(bench.prepared.folder / "train.parquet")
    known = (question_of(row).sealed.reference for row in rows)
    counts = Counter(text for text in known if text)
    return min(counts, key=lambda text: (-counts[text], text), default="")
