"""Text classification: a text or a pair in; a label, labels or a number out, by a model's head."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.answers.decisions import Sought
from hub_trainer.errors import Problem
from hub_trainer.finetune.batches import padding_collate
from hub_trainer.finetune.classifier import (
    ClassifierFit,
    fit_classifier,
    knows_outputs,
    labelled_config,
    load_body,
    run_digest,
    save_classifier,
    settle_threshold,
    start_classifier,
)
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems, loss_problems
from hub_trainer.finetune.example_weights import example_weights, positive_weights
from hub_trainer.finetune.heads import HEADS, RowHead, output_order
from hub_trainer.finetune.label_scores import (
    Batches,
    FloatArray,
    batches_by_length,
    device,
    frozen_features,
    label_scores,
)
from hub_trainer.finetune.plan import FitData
from hub_trainer.finetune.reloading import AsUsers, Promised
from hub_trainer.finetune.tokenizers import (
    encode,
    limit_of,
    load_reader,
    load_tokenizer,
    unread_of_text,
)
from hub_trainer.finetune.untouched import untouched
from hub_trainer.inputs import load_input
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.columns import OPTIONAL_INPUTS
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
    TokenCounts,
    Widgets,
    as_users_by_pipeline,
    base_model_problems,
    constant_answer,
    offer_problems,
    unused_problems,
)
from hub_trainer.tasks.outlines import Kind
from hub_trainer.tasks.text_inputs import text_boxes, text_faults

UNUSED_KEYS = (*ESTIMATOR_KEYS, *LANGUAGE_KEYS)

USAGES = {
    "label": """\
from transformers import pipeline

classify = pipeline("text-classification", model="{repo_id}", revision="{commit_sha}")
print(classify("Write your text here.", truncation=True, top_k=3))
""",
    "labels": """\
from transformers import pipeline

classify = pipeline("text-classification", model="{repo_id}", revision="{commit_sha}")
thresholds = classify.model.config.thresholds
found = classify("Write your text here.", truncation=True, top_k=None)
print([one["label"] for one in found if one["score"] >= thresholds[one["label"]]])
""",
    "number": """\
from transformers import pipeline

estimate = pipeline("text-classification", model="{repo_id}", revision="{commit_sha}")
print(estimate("Write your text here.", truncation=True)[0]["score"])
""",
}
"""Name of an answer -> how a model of it is used."""
ONE_TEXT = '"Write your text here."'
TWO_TEXTS = '{"text": "Write the first text here.", "text_pair": "And here the second."}'


@dataclass(frozen=True)
class TextClassification:
    """The pipeline tag `text-classification`."""

    name: str = "text-classification"
    answer: Answer = load_answer("label")
    """A label; or labels, or a number, where the recipe's columns name those."""
    converses: None = None
    modality: str = "text"
    beside: tuple[str, ...] = ()
    """`text_pair` where the recipe's columns name a second text."""
    unfit: ClassVar[Mapping[str, str]] = NOT_QUANTISED
    augmentations: frozenset[str] = frozenset()

    @property
    def metrics(self) -> frozenset[str]:
        """Those of its answer."""
        return self.answer.metrics

    @property
    def columns(self) -> Mapping[str, Kind]:
        """Those of the texts, and the answer's column."""
        inputs = {name: OPTIONAL_INPUTS[name] for name in self.beside}
        return {"text": "text", **inputs, self.answer.column: self.answer.name}  # type: ignore[dict-item]

    @property
    def counts_tokens(self) -> "TextClassification":
        """A text is cut where the model ends."""
        return self

    def token_counts(self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders) -> TokenCounts:
        """Of a text, or of both with what stands between them."""
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        return TokenCounts(_sizes(tokenizer, rows), limit_of(tokenizer))

    @property
    def head(self) -> RowHead:
        """What the model ends in."""
        return HEADS[self.answer.name]

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + base_model_problems(self, recipe)
        problems += unused_problems(self, recipe, UNUSED_KEYS) + argument_problems(recipe.train)
        problems += loss_problems(recipe.train, self.head.problem_type)
        if self.head is HEADS["number"]:
            problems += unused_problems(self, recipe, ("train.class_weights", "train.mixup"))
        if self.head is not HEADS["label"]:
            problems += unused_problems(self, recipe, ("train.arguments.label_smoothing_factor",))
        if base is None:
            return problems
        return problems + base_problems(
            AutoModelForSequenceClassification,
            recipe.train,
            base.model,
            max_length=recipe.prepare.max_length,
        )

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        texts = ("text", *self.beside)
        faults = text_faults(row, texts)
        faults += [
            f"{name} is there, which this model does not read"
            for name in OPTIONAL_INPUTS
            if name in row and name not in texts
        ]
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
        """Fine-tune a model that `pipeline()` loads."""
        assert base is not None
        head, auto_class = self.head, AutoModelForSequenceClassification
        config = labelled_config(base.model, splits.label_names, head, dropout=recipe.train.dropout)
        names = output_order(config)
        known = AutoConfig.from_pretrained(base.model, trust_remote_code=False)
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        starts_from_base = recipe.train.method_facts.needs_weights
        model = start_classifier(auto_class, base.model, config, recipe.train)
        if not (starts_from_base and knows_outputs(known, names, head.problem_type)):
            head.prepare(model, head.targets(splits.train, names))
        model.config.pad_token_id = tokenizer.pad_token_id
        data = _fit_data(self, splits, names, tokenizer, self._weighs_rows(recipe))
        fit = ClassifierFit(
            train=recipe.train,
            primary=recipe.evaluate.primary,
            sought=Sought.of(recipe.evaluate),
            label_names=names,
            run_digest=run_digest(splits, recipe, self.answer),
            progress=progress,
            head=head,
            positive_weights=positive_weights(head.targets(splits.train, names))
            if recipe.train.class_weights and head is HEADS["labels"]
            else None,
        )
        tuned, report = fit_classifier(model, data, fit, out_dir=out_dir)
        rows = splits.validation
        read = partial(_batches, tokenizer, rows)
        report = settle_threshold(tuned, report, fit.sought, rows, read)
        report = replace(report, notes=(*report.notes, *_cut_notes(tokenizer, splits, data)))
        scores = label_scores(tuned, read(), len(rows), head.scores)
        head.settle(tuned, scores, head.targets(rows, names), fit.primary)
        save_classifier(tuned, tokenizer, out_dir / "model")
        return report

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> FitData:
        """Rows in tokens."""
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        names = self.head.outputs(splits.label_names)
        return _fit_data(self, splits, names, tokenizer, self._weighs_rows(recipe))

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """What `pipeline("text-classification", truncation=True, top_k=None)` says of each row."""
        del asked
        if not rows:
            return []
        model, tokenizer = load_reader(AutoModelForSequenceClassification, folders.model)
        scores = label_scores(model, _batches(tokenizer, rows), len(rows), self.head.scores)
        return self.head.predictions(scores, model.config)

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions:
        """The base's own answers if it has these outputs, else what its nearest embeddings say."""
        del asked
        if base is None:
            return constant_answer(self, splits, rows)
        names = self.head.outputs(splits.label_names)
        config = AutoConfig.from_pretrained(base.model)
        if knows_outputs(config, names, self.head.problem_type):
            return BasePredictions("the base model as it is", self.predict(base, rows))
        batches = partial(_batches, load_tokenizer(base.model, None))
        body = load_body(base.model).to(device())
        return BasePredictions(*untouched(self.answer, body, batches, splits, rows))

    def features(self, rows: Sequence[Row], base_dir: Path) -> FloatArray:
        """(N, D) what a base model makes of each row, frozen."""
        body = load_body(base_dir).to(device())
        return frozen_features(body, _batches(load_tokenizer(base_dir, None), rows), len(rows))

    def as_users(self, folders: ModelFolders, rows: Sequence[Row], promised: Promised) -> AsUsers:
        """By a pipeline."""
        return as_users_by_pipeline(self, folders, rows, promised)

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """A box for each text."""
        del examples
        return text_boxes(("text", *self.beside), purpose="classify", unread=_unread)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            usage=self._usage(),
            files=("config.json", "model.safetensors", "tokenizer.json"),
            auto_class="AutoModelForSequenceClassification",
            tags=("text-classification",),
        )

    def _weighs_rows(self, recipe: Recipe) -> bool:
        """Whether rows of rare labels count more; of sets it is the labels that do."""
        return recipe.train.class_weights and self.head is HEADS["label"]

    def _usage(self) -> str:
        """How a model is used; for a pair a pipeline gives back one answer, for a text a list."""
        usage = USAGES[self.answer.name]
        if not self.beside:
            return usage
        return usage.replace(ONE_TEXT, TWO_TEXTS).replace("truncation=True)[0]", "truncation=True)")


def _fit_data(
    task: TextClassification,
    splits: Splits,
    names: Sequence[str],
    tokenizer: Any,
    class_weights: bool,
) -> FitData:
    weights = example_weights(splits.train, class_weights=class_weights)
    train = _encoded(tokenizer, splits.train)
    validation = _encoded(tokenizer, splits.validation)
    targets = task.head.targets(splits.train, names)
    for row, target, weight in zip(train, targets, weights, strict=True):
        row |= {"labels": target, "weight": weight}
    targets = task.head.targets(splits.validation, names)
    for row, target in zip(validation, targets, strict=True):
        row["labels"] = target
    return FitData(
        train=train,
        validation=validation or None,
        collate=padding_collate(tokenizer, on_accelerator=torch.accelerator.is_available()),
        lengths=[len(row["input_ids"]) for row in train],
        validation_lengths=[len(row["input_ids"]) for row in validation],
    )


def _encoded(tokenizer: Any, rows: Sequence[Row]) -> list[dict[str, Any]]:
    if not rows:
        return []
    contents = [load_input("text").for_pipeline(row) for row in rows]
    columns = encode(tokenizer, contents, truncation=True)
    return [{name: columns[name][index] for name in columns} for index in range(len(rows))]


def _sizes(tokenizer: Any, rows: Sequence[Row]) -> list[int]:
    """Tokens of each row, whole."""
    if not rows:
        return []
    contents = [load_input("text").for_pipeline(row) for row in rows]
    return [len(ids) for ids in encode(tokenizer, contents, verbose=False)["input_ids"]]


def _cut_notes(tokenizer: Any, splits: Splits, data: FitData) -> list[str]:
    """How many rows the model has read without their end."""
    longest, notes = limit_of(tokenizer), []
    read = {
        "training": (splits.train, data.lengths),
        "validation": (splits.validation, data.validation_lengths),
    }
    for name, (rows, lengths) in read.items():
        full = [row for row, size in zip(rows, lengths or (), strict=True) if size == longest]
        cut = sum(size > longest for size in _sizes(tokenizer, full)) if longest else 0
        if cut:
            notes.append(
                f"{cut:,} of {len(rows):,} {name} rows are longer than {longest:,} tokens and were "
                "cut at their end"
            )
    return notes


def _batches(tokenizer: Any, rows: Sequence[Row]) -> Batches:
    encoded = _encoded(tokenizer, rows)
    collate = padding_collate(tokenizer, on_accelerator=torch.accelerator.is_available())

    def made() -> Iterator[tuple[Sequence[int], Mapping[str, torch.Tensor]]]:
        for chosen in batches_by_length([len(row["input_ids"]) for row in encoded]):
            yield chosen, collate([encoded[index] for index in chosen])

    return made()


def _unread(model_dir: Path, row: Row) -> list[str]:
    return unread_of_text(model_dir, load_input("text").for_pipeline(row))


TASK = TextClassification()
