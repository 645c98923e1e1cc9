"""Classification of encoded files: what tasks of pictures and of sounds have in common.

What differs by medium, a task says in `Models`: how its models read a file and what one without a
base looks like.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from transformers import AutoConfig

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.answers.decisions import Sought
from hub_trainer.errors import Problem
from hub_trainer.finetune.classifier import (
    ClassifierFit,
    fit_classifier,
    knows_outputs,
    labelled_config,
    load_body,
    quiet_transformers,
    run_digest,
    save_classifier,
    settle_threshold,
    start_classifier,
)
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems, loss_problems
from hub_trainer.finetune.dropout import set_dropout
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.heads import HEADS, label_ids, label_predictions, output_order
from hub_trainer.finetune.label_scores import (
    Batches,
    FloatArray,
    LabelledRows,
    device,
    frozen_features,
    label_scores,
    nearest_mean_scores,
)
from hub_trainer.finetune.model_folder import file_stamp
from hub_trainer.finetune.plan import FitData
from hub_trainer.finetune.reloading import AsUsers, Promised
from hub_trainer.inputs.media import MEDIA, uploaded
from hub_trainer.recipe import Recipe
from hub_trainer.reports import FitReport
from hub_trainer.tasks import (
    ESTIMATOR_KEYS,
    LANGUAGE_KEYS,
    NOT_QUANTISED,
    PLAIN,
    Asked,
    BasePredictions,
    ModelCard,
    ModelFolders,
    Progress,
    Row,
    Splits,
    Widgets,
    as_users_by_pipeline,
    base_model_problems,
    constant_answer,
    offer_problems,
    unused_problems,
)
from hub_trainer.tasks.outlines import Kind

UNUSED_KEYS = (
    *ESTIMATOR_KEYS,
    "prepare.max_length",
    "prepare.too_long",
    *LANGUAGE_KEYS,
)
HEAD = HEADS["label"]


class Examples(Protocol):
    """Training rows, each read when it is needed: `labels`, `weight`, and what `collate` takes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class Models(Protocol):
    """How the models of one medium read files; it holds nothing, so that it can be hashed."""

    def __hash__(self) -> int: ...

    @property
    def drops_out(self) -> bool:
        """Whether a model without a base has dropouts."""

    def processor(self, folder: Path) -> Any:
        """What makes a model's input of files, from a model's folder."""

    def new(self, splits: Splits, names: Sequence[str]) -> tuple[Any, Any]:
        """The config of a small model without a base, and its processor."""

    def examples(
        self,
        rows: Sequence[Row],
        labels: tuple[Sequence[int], Sequence[float]],
        augmentations: Sequence[str],
        processor: Any,
    ) -> Examples:
        """Training rows with their label ids and weights, augmented anew each time."""

    def collate(self, processor: Any, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Tensors for the model, without the labels."""

    def batches(self, processor: Any, rows: Sequence[Row]) -> Batches:
        """Rows for a model that answers."""

    def unread(self, folder: Path, row: Row) -> list[str]:
        """What of a file the model in a folder does not read, in sentences."""

    def body(self, model: Any) -> Any:
        """The part of a model without a head whose features are means of what it reads."""


@dataclass(frozen=True)
class MediaClassification:
    """A pipeline tag whose rows are an encoded file and one label."""

    name: str
    modality: str
    """Name of the input, of its medium and of its column."""
    kind: Kind
    auto_class: Any
    """The class of transformers that loads the weights."""
    models: Models
    augmentations: frozenset[str]
    widget: tuple[str, Mapping[str, Any]]
    """The Gradio component in which a file is given, and its arguments."""
    usage: str
    draw_rows: Callable[[Mapping[str, Sequence[Row]]], bytes] | None = None
    answer: Answer = load_answer("label")
    converses: None = None
    unfit: ClassVar[Mapping[str, str]] = NOT_QUANTISED
    counts_tokens: None = None
    metrics: frozenset[str] = load_answer("label").metrics

    @property
    def columns(self) -> Mapping[str, Kind]:
        """The encoded file, and `label`."""
        return {self.modality: self.kind, self.answer.column: "label"}

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + unused_problems(self, recipe, UNUSED_KEYS)
        problems += argument_problems(recipe.train)
        problems += loss_problems(recipe.train, HEAD.problem_type)
        if recipe.train.method_facts.needs_weights:
            problems += base_model_problems(self, recipe)
        if recipe.base_model is None and not self.models.drops_out:
            problems += unused_problems(self, recipe, ("train.dropout",))
        if base is None:
            return problems
        return problems + base_problems(self.auto_class, recipe.train, base.model)

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        content, faults = row.get(self.modality), []
        if not isinstance(content, bytes) or not content:
            faults.append(f"{self.modality} is empty")
        elif problem := MEDIA[self.modality].problem(content):
            faults.append(problem)
        return faults + self.answer.faults(row.get(self.answer.column))

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base: ModelFolders | None,
        progress: Progress,
    ) -> FitReport:
        """Fine-tune a classifier that `pipeline()` loads."""
        train = recipe.train
        if base is None:
            config, processor = self.models.new(splits, HEAD.outputs(splits.label_names))
            set_dropout(config, train.dropout)
        else:
            config = labelled_config(base.model, splits.label_names, dropout=train.dropout)
            processor = self.models.processor(base.model)
        model = start_classifier(self.auto_class, base.model if base else None, config, train)
        fit = ClassifierFit(
            train=train,
            primary=recipe.evaluate.primary,
            sought=Sought.of(recipe.evaluate),
            label_names=output_order(config),
            run_digest=run_digest(splits, recipe, self.answer),
            progress=progress,
        )
        data = self._data(splits, recipe, processor, output_order(config))
        tuned, report = fit_classifier(model, data, fit, out_dir=out_dir)
        rows = splits.validation
        read = partial(self.models.batches, processor, rows)
        report = settle_threshold(tuned, report, fit.sought, rows, read)
        save_classifier(tuned, processor, out_dir / "model")
        return report

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> FitData:
        """Files as the base's processor makes them."""
        return self._data(splits, recipe, self.models.processor(base.model), splits.label_names)

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """What transformers' pipeline says of each row, for every label."""
        del asked
        if not rows:
            return []
        model, processor = _loaded(
            self.auto_class, self.models, folders.model, file_stamp(folders.model)
        )
        scores = label_scores(model, self.models.batches(processor, rows), len(rows))
        return HEAD.predictions(scores, model.config)

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions:
        """The base's own answers if it has these labels, else its nearest mean features."""
        del asked
        if base is None:
            return constant_answer(self, splits, rows)
        config = AutoConfig.from_pretrained(base.model, trust_remote_code=False)
        if knows_outputs(config, splits.label_names, HEAD.problem_type):
            return BasePredictions("the base model as it is", self.predict(base, rows))
        names, body = splits.label_names, self.models.body(load_body(base.model))
        known = LabelledRows(splits.train, label_ids(splits.train, names), len(names))
        batches = partial(self.models.batches, self.models.processor(base.model))
        scores = nearest_mean_scores(body.to(device()), batches, known, rows)
        description = (
            "the untouched base model: the label whose training rows have the nearest mean features"
        )
        return BasePredictions(description, label_predictions(scores, names))

    def features(self, rows: Sequence[Row], base_dir: Path) -> FloatArray:
        """(N, D) what a base model makes of each row, frozen."""
        body = self.models.body(load_body(base_dir)).to(device())
        batches = self.models.batches(self.models.processor(base_dir), rows)
        return frozen_features(body, batches, len(rows))

    def as_users(self, folders: ModelFolders, rows: Sequence[Row], promised: Promised) -> AsUsers:
        """By a pipeline."""
        return as_users_by_pipeline(self, folders, rows, promised)

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """A file to give, as it is: Gradio would decode it in a way of its own."""
        del examples
        component, options = self.widget
        to_row = partial(uploaded, MEDIA[self.modality])
        inputs = [(component, {**options, "type": "filepath"})]
        return Widgets(inputs, to_row, unread=self.models.unread)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            usage=self.usage,
            files=("config.json", "model.safetensors", "preprocessor_config.json"),
            auto_class=self.auto_class.__name__,
            tags=(self.name,),
            draw_rows=self.draw_rows,
        )

    def _data(
        self, splits: Splits, recipe: Recipe, processor: Any, names: Sequence[str]
    ) -> FitData:
        weights = example_weights(splits.train, class_weights=recipe.train.class_weights)
        augmentations = recipe.prepare.augment
        labels = label_ids(splits.train, names), weights
        train = self.models.examples(splits.train, labels, augmentations, processor)
        ids = label_ids(splits.validation, names)
        labels = ids, [1.0] * len(ids)
        validation = self.models.examples(splits.validation, labels, [], processor)

        def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            batch = self.models.collate(processor, rows)
            return batch | {"labels": torch.tensor([row["labels"] for row in rows])}

        return FitData(
            train=train,
            validation=validation if len(validation) else None,
            collate=collate,
            augmented=bool(augmentations),
        )


@lru_cache(maxsize=2)
def _loaded(auto_class: Any, models: Models, model_dir: Path, stamp: str) -> tuple[Any, Any]:
    """Model and processor of a folder; loaded anew when its files have changed."""
    del stamp
    with quiet_transformers():
        model = auto_class.from_pretrained(
            model_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    return model.to(device()).eval(), models.processor(model_dir)
