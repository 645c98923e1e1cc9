"""Models that write, and stand-ins: their answers to the sealed questions, and likelihoods."""

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
from hub_trainer.stages.evaluate.questions import FEWEST, Question, SealedSet, question_of
from hub_trainer.stages.evaluate.trained_round import TrainedRound
from hub_trainer.stats.gate import Against
from hub_trainer.tasks import GenerationTask, Likelihood, ModelFolders, WrittenAnswer

CONSTANT = (
    "always the commonest answer of the training rows; "
    "to likelihoods, any byte as likely as another"
)


@dataclass(frozen=True)
class Writer:
    """What one model, or a stand-in for one, says; by the indexes of questions."""

    name: str
    answers: Mapping[int, WrittenAnswer]
    likelihoods: Mapping[int, Likelihood]


@dataclass(frozen=True)
class Writers:
    """The new model and all that it is compared with."""

    new: Writer
    published: Writer | None
    """None before the first promotion."""
    base: Writer | None
    """The base model as it is; None when the model began at random."""
    constant: Writer

    def all(self) -> list[Writer]:
        """Those that there are."""
        models = [one for one in (self.new, self.published, self.base) if one]
        return [*models, self.constant]

    def baselines(self) -> list[tuple[Against, Writer]]:
        """What is reached without this round's training; what a first model is tested against
        leads."""
        constant: tuple[Against, Writer] = ("baseline", self.constant)
        return [("base", self.base), constant] if self.base else [constant]


@dataclass(frozen=True)
class ScoredMetric:
    """One metric of every writer."""

    metric: str
    indexes: Sequence[int]
    """The questions that it scores."""
    of: Mapping[str, Measured]
    """Name of a writer -> the metric of it."""


def ask_all(trained: TrainedRound, task: GenerationTask, sealed_set: SealedSet) -> Writers:
    """Ask the new, the published and the base model the same questions in the same way."""
    trained.progress(0.0, "the new model")
    new = _ask(
        trained,
        task,
        sealed_set,
        "the new model",
        new_folders(trained),
        also_weighed=sealed_set.repeated,
    )
    trained.progress(0.3, "the published model")
    published = _published(trained, task, sealed_set)
    trained.progress(0.5, "the base model")
    base = _base(trained, task, sealed_set, published)
    return Writers(new, published, base, _constant(trained, sealed_set))


def new_folders(trained: TrainedRound) -> ModelFolders:
    """The new model, and the base that it needs when it is an adapter."""
    if not is_adapter(trained.model_dir):
        return ModelFolders(trained.model_dir)
    base = adapter_base(trained.hub, trained.model_dir)
    assert base is not None
    return ModelFolders(trained.model_dir, download_model(trained.hub, *base))


def sampling_of(trained: TrainedRound) -> GenerationSection:
    """How answers are written; greedily when the recipe does not say."""
    return trained.recipe.evaluate.generation or GenerationSection()


def measure(
    trained: TrainedRound, sealed_set: SealedSet, name: str, writers: Writers
) -> ScoredMetric:
    """A metric of each writer, on the questions that all of them were asked."""
    if metric_spec(name).needs == "likelihoods":
        return _losses(sealed_set, name, writers)
    indexes = sealed_set.scored_by[name]
    sealed = [sealed_set.questions[index].sealed for index in indexes]
    schema = trained.recipe.evaluate.json_schema

    def measured(one: Writer) -> Measured:
        texts = [one.answers[index].text for index in indexes]
        return Measured(name, score_answers(name, texts, sealed, json_schema=schema))

    return ScoredMetric(name, indexes, {one.name: measured(one) for one in writers.all()})


def _losses(sealed_set: SealedSet, name: str, writers: Writers) -> ScoredMetric:
    """Losses of all models per token of the new one, so that other tokenizers can be compared."""
    everyone = writers.all()
    indexes = [
        index
        for index in sealed_set.scored_by[name]
        if all(one.likelihoods[index].num_tokens for one in everyone)
    ]
    if len(indexes) < FEWEST:
        raise DataError(
            f"The metric {name} can score too few of the test rows.",
            where="evaluate.metrics",
            got=f"{len(indexes)} of {len(sealed_set.scored_by[name])} leave room for an answer",
            do="give test rows with shorter prompts, or a base model that takes longer ones",
        )
    num_tokens = np.array([writers.new.likelihoods[i].num_tokens for i in indexes])

    def measured(one: Writer) -> Measured:
        nats = np.array([-one.likelihoods[index].log_prob for index in indexes])
        losses = Losses(nats, num_tokens)
        return Measured(name, losses.scores, losses)

    return ScoredMetric(name, indexes, {one.name: measured(one) for one in everyone})


def _ask(
    trained: TrainedRound,
    task: GenerationTask,
    sealed_set: SealedSet,
    name: str,
    folders: ModelFolders,
    *,
    also_weighed: Sequence[int] = (),
) -> Writer:
    asked, weighed = sealed_set.asked, sorted({*sealed_set.weighed, *also_weighed})
    prompts, references = (
        [sealed_set.questions[index].row for index in indexes] for indexes in (asked, weighed)
    )
    sampling, seed = sampling_of(trained), trained.recipe.train.seed
    answers = task.answers(folders, prompts, sampling, seed=seed) if prompts else []
    likelihoods = task.likelihoods(folders, references) if references else []
    _assert_finite(name, likelihoods)
    return Writer(
        name,
        dict(zip(asked, answers, strict=True)),
        dict(zip(weighed, likelihoods, strict=True)),
    )


def _assert_finite(name: str, likelihoods: Sequence[Likelihood]) -> None:
    broken = sum(not math.isfinite(one.log_prob) for one in likelihoods)
    if broken:
        raise TrainingError(
            f"To {name} sealed answers have a likelihood that is no number.",
            got=f"{broken} of {len(likelihoods)}",
            do="its weights are broken; train again, with a smaller learning rate perhaps",
        )


def _published(trained: TrainedRound, task: GenerationTask, sealed_set: SealedSet) -> Writer | None:
    if trained.pins.parent is None:
        return None
    folders = download_folders(trained.hub, trained.recipe.publish.repo_id, trained.pins.parent)
    return _ask(trained, task, sealed_set, "the published model", ModelFolders(*folders))


def _base(
    trained: TrainedRound, task: GenerationTask, sealed_set: SealedSet, published: Writer | None
) -> Writer | None:
    """The base model; of a round that goes on from the published one, what that has said."""
    base = trained.pins.base_model
    if base is None or not trained.recipe.train.method_facts.needs_weights:
        return None
    name = f"the base model {base.repo_id} as it is"
    there = trained.recipe.publish.repo_id, trained.pins.parent
    if published is not None and (base.repo_id, base.commit_sha) == there:
        return replace(published, name=name)
    folders = ModelFolders(*download_folders(trained.hub, base.repo_id, base.commit_sha))
    return _ask(trained, task, sealed_set, name, folders)


def _constant(trained: TrainedRound, sealed_set: SealedSet) -> Writer:
    text = _commonest_answer(trained)
    return Writer(
        CONSTANT,
        {index: WrittenAnswer(text, 0, finished=True) for index in sealed_set.asked},
        {index: _of_bytes(sealed_set.questions[index]) for index in sealed_set.weighed},
    )


def _of_bytes(question: Question) -> Likelihood:
    text = question.sealed.reference or ""
    return Likelihood(byte_log_prob(text), max(1, len(text.encode())))


def _commonest_answer(trained: TrainedRound) -> str:
    rows = read_rows(trained.prepared.folder / "train.parquet")
    known = (question_of(row).sealed.reference for row in rows)
    counts = Counter(text for text in known if text)
    return min(counts, key=lambda text: (-counts[text], text), default="")
