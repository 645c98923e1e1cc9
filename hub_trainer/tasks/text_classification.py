"""Text classification: a text in, one of the label names out, by a language model with a head."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from hub_trainer.errors import DataError, Problem
from hub_trainer.finetune.batches import padding_collate
from hub_trainer.finetune.classifier import (
    ClassifierFit,
    fit_classifier,
    knows_labels,
    label_ids,
    label_order,
    labelled_config,
    load_body,
    load_classifier,
    new_classifier,
    quiet_transformers,
    run_digest,
    save_classifier,
)
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.label_scores import (
    Batches,
    LabelledRows,
    batches_by_length,
    device,
    label_scores,
    nearest_mean_scores,
)
from hub_trainer.finetune.model_folder import file_stamp
from hub_trainer.finetune.plan import FitData
from hub_trainer.finetune.positions import longest_input
from hub_trainer.finetune.report import FitReport
from hub_trainer.metrics import metric_names
from hub_trainer.recipe import Recipe
from hub_trainer.tasks import (
    LANGUAGE_KEYS,
    BasePredictions,
    Kind,
    ModelCard,
    Prediction,
    Progress,
    Row,
    Splits,
    Widgets,
    base_model_problems,
    commonest_label,
    offer_problems,
    predictions,
    unused_problems,
)

UNUSED_KEYS = ("train.estimator", "train.estimator_arguments", *LANGUAGE_KEYS)
MAX_TEXT_CHARACTERS = 20_000

USAGE = """\
from transformers import pipeline

classify = pipeline("text-classification", model="{repo_id}", revision="{commit_sha}")
print(classify("Write your text here.", truncation=True, top_k=3))
"""


@dataclass(frozen=True)
class TextClassification:
    """The pipeline tag `text-classification`."""

    name: str = "text-classification"
    family: Literal["classification"] = "classification"
    modality: Literal["text", "image", "table"] = "text"
    methods: frozenset[str] = frozenset({"head", "last_n", "full", "lora", "scratch"})
    augmentations: frozenset[str] = frozenset()
    metrics: frozenset[str] = metric_names("labels")

    @property
    def columns(self) -> Mapping[str, Kind]:
        """`text` and `label`."""
        return {"text": "text", "label": "label"}

    def recipe_problems(self, recipe: Recipe, base_dir: Path | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + base_model_problems(self, recipe)
        problems += unused_problems(self, recipe, UNUSED_KEYS) + argument_problems(recipe.train)
        if base_dir is None:
            return problems
        return problems + base_problems(
            AutoModelForSequenceClassification,
            recipe.train,
            base_dir,
            max_length=recipe.prepare.max_length,
        )

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        text, label = row.get("text"), row.get("label")
        faults = []
        if not isinstance(text, str) or not text.strip():
            faults.append("text is empty")
        if not isinstance(label, str) or not label:
            faults.append("label is empty")
        return faults

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base_dir: Path | None,
        progress: Progress,
    ) -> FitReport:
        """Fine-tune a classifier that `pipeline()` loads."""
        assert base_dir is not None
        config = labelled_config(base_dir, splits.label_names)
        tokenizer = _tokenizer(base_dir, recipe.prepare.max_length)
        seed = recipe.train.seed
        if recipe.train.method == "scratch":
            model = new_classifier(AutoModelForSequenceClassification, config, seed=seed)
        else:
            model = load_classifier(AutoModelForSequenceClassification, base_dir, config, seed=seed)
        model.config.pad_token_id = tokenizer.pad_token_id
        data = _fit_data(splits, label_order(config), tokenizer, recipe.train.class_weights)
        fit = ClassifierFit(
            train=recipe.train,
            primary=recipe.evaluate.primary,
            label_names=label_order(config),
            run_digest=run_digest(splits, recipe),
            progress=progress,
        )
        tuned, report = fit_classifier(model, data, fit, out_dir=out_dir)
        save_classifier(tuned, tokenizer, out_dir / "model")
        return report

    def fit_data(self, splits: Splits, recipe: Recipe, base_dir: Path) -> FitData:
        """Rows in tokens."""
        tokenizer = _tokenizer(base_dir, recipe.prepare.max_length)
        return _fit_data(splits, splits.label_names, tokenizer, recipe.train.class_weights)

    def predict(self, model_dir: Path, rows: Sequence[Row]) -> list[Prediction]:
        """What `pipeline("text-classification", truncation=True, top_k=None)` says of each row."""
        if not rows:
            return []
        model, tokenizer = _loaded(model_dir, file_stamp(model_dir))
        scores = label_scores(model, _batches(tokenizer, rows), len(rows))
        return predictions(scores, label_order(model.config))

    def predict_base(
        self, splits: Splits, rows: Sequence[Row], base_dir: Path | None
    ) -> BasePredictions:
        """The base's own answers if it has these labels, else its nearest mean embedding."""
        if base_dir is None:
            return commonest_label(splits, rows)
        if knows_labels(AutoConfig.from_pretrained(base_dir), splits.label_names):
            return BasePredictions("the base model as it is", self.predict(base_dir, rows))
        tokenizer = _tokenizer(base_dir, None)
        names = splits.label_names
        known = LabelledRows(splits.train, label_ids(splits.train, names), len(names))
        scores = nearest_mean_scores(
            load_body(base_dir).to(device()), partial(_batches, tokenizer), known, rows
        )
        description = (
            "the untouched base model: the label whose training rows have the nearest mean "
            "embedding"
        )
        return BasePredictions(description, predictions(scores, names))

    def score(self, row: Row, prediction: Prediction) -> float:
        """1.0 when the label is right."""
        return float(row["label"] == prediction.label)

    def widgets(self, label_names: Sequence[str], examples: Sequence[Row]) -> Widgets:
        """A box for the text, and the labels with their probabilities."""
        del examples
        box = {"label": "Text", "lines": 4, "max_length": MAX_TEXT_CHARACTERS}
        shown = {"label": "Prediction", "num_top_classes": min(5, len(label_names))}
        return Widgets([("Textbox", box)], [("Label", shown)], _text_row)

    def example_from_rating(self, row: Row, label: str) -> dict[str, Any] | None:
        """The rated text under its agreed label."""
        example = {"text": row["text"], "label": label}
        return None if self.problems(example) else example

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            usage=USAGE,
            files=("config.json", "model.safetensors", "tokenizer.json"),
            auto_class="AutoModelForSequenceClassification",
            tags=("text-classification",),
        )


def _tokenizer(folder: Path, max_length: int | None) -> Any:
    """The folder's tokenizer, which cuts at `max_length` or at what the model takes."""
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    limit = longest_input(tokenizer, AutoConfig.from_pretrained(folder, trust_remote_code=False))
    if max_length is not None or limit is not None:
        tokenizer.model_max_length = max_length or limit
    if tokenizer.pad_token is None:
        # Padding is masked by attention, so which token fills it does not matter.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _fit_data(
    splits: Splits, label_names: Sequence[str], tokenizer: Any, class_weights: bool
) -> FitData:
    weights = example_weights(splits.train, class_weights=class_weights)
    train = _encoded(tokenizer, splits.train)
    validation = _encoded(tokenizer, splits.validation)
    for row, label, weight in zip(
        train, label_ids(splits.train, label_names), weights, strict=True
    ):
        row |= {"labels": label, "weight": weight}
    for row, label in zip(validation, label_ids(splits.validation, label_names), strict=True):
        row["labels"] = label
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
    columns = tokenizer([row["text"] for row in rows], truncation=True)
    return [{name: columns[name][index] for name in columns} for index in range(len(rows))]


def _batches(tokenizer: Any, rows: Sequence[Row]) -> Batches:
    encoded = _encoded(tokenizer, rows)
    collate = padding_collate(tokenizer, on_accelerator=torch.accelerator.is_available())

    def made() -> Iterator[tuple[Sequence[int], Mapping[str, torch.Tensor]]]:
        for chosen in batches_by_length([len(row["input_ids"]) for row in encoded]):
            yield chosen, collate([encoded[index] for index in chosen])

    return made()


@lru_cache(maxsize=2)
def _loaded(model_dir: Path, stamp: str) -> tuple[Any, Any]:
    """Model and tokenizer of a folder; loaded anew when its files have changed."""
    del stamp
    with quiet_transformers():
        model = AutoModelForSequenceClassification.from_pretrained(
            model_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    return model.to(device()).eval(), _tokenizer(model_dir, None)


def _text_row(values: Sequence[Any]) -> dict[str, Any]:
    text = values[0]
    if not isinstance(text, str) or not text.strip():
        raise DataError("There is no text to classify.", do="write a text first")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise DataError(
            f"The text is longer than {MAX_TEXT_CHARACTERS:,} characters.",
            got=f"{len(text):,}",
        )
    return {"text": text}


TASK = TextClassification()
