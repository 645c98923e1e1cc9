"""Token classification: the words of a text in; spans of them with types out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.answers.word_lists import words_of, written_words
from hub_trainer.errors import DataError, Problem
from hub_trainer.finetune.batches import padding_collate
from hub_trainer.finetune.classifier import (
    ClassifierFit,
    fit_classifier,
    knows_outputs,
    labelled_config,
    load_body,
    quiet_transformers,
    run_digest,
    save_classifier,
    start_classifier,
)
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems, loss_problems
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.heads import SPANS_HEAD, output_order
from hub_trainer.finetune.label_scores import centroid_scores, device
from hub_trainer.finetune.plan import FitData
from hub_trainer.finetune.reloading import AsUsers, Promised
from hub_trainer.finetune.tokenizers import load_reader, load_tokenizer
from hub_trainer.finetune.word_pieces import (
    encoded,
    tag_labels,
    windows_of,
    word_features,
    word_scores,
)
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
    "train.mixup",
    "train.class_weights",
    "prepare.too_long",
    *ESTIMATOR_KEYS,
    *LANGUAGE_KEYS,
)
MAX_TEXT_CHARACTERS = 10_000
MAX_KNOWN_ROWS = 500
"""Training rows whose words an untouched base model is asked about."""
USAGE = """\
from transformers import pipeline

find = pipeline(
    "token-classification",
    model="{repo_id}",
    revision="{commit_sha}",
    aggregation_strategy="first",
)
for span in find("Write your text here."):
    print(span["word"], span["entity_group"], round(float(span["score"]), 3))
"""


@dataclass(frozen=True)
class TokenClassification:
    """The pipeline tag `token-classification`.

    A dataset has two columns, `tokens` and `tags`. A canonical row has the first as a text, with a
    blank between each two words, so that all that is done with texts is done with it; the second is
    the answer, and holds its words beside their tags, so that it means something by itself.
    """

    name: str = "token-classification"
    answer: Answer = load_answer("spans")
    converses: None = None
    counts_tokens: None = None
    """None: long texts are read in windows, to their end."""
    modality: Literal["text", "image", "table"] = "text"
    unfit: ClassVar[Mapping[str, str]] = NOT_QUANTISED
    augmentations: frozenset[str] = frozenset()

    @property
    def metrics(self) -> frozenset[str]:
        """Those of its answer."""
        return self.answer.metrics

    @property
    def columns(self) -> Mapping[str, Kind]:
        """Words, and their tags."""
        return {"tokens": "words", "tags": "spans"}

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + base_model_problems(self, recipe)
        problems += unused_problems(self, recipe, UNUSED_KEYS) + argument_problems(recipe.train)
        problems += loss_problems(recipe.train, SPANS_HEAD.problem_type)
        if base is None:
            return problems
        found = base_problems(
            AutoModelForTokenClassification,
            recipe.train,
            base.model,
            max_length=recipe.prepare.max_length,
        )
        return problems + found + ([] if found else _tokenizer_problems(base.model))

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        text, value = row.get("text"), row.get(self.answer.column)
        faults = [] if isinstance(text, str) and text.strip() else ["text is empty"]
        wrong = self.answer.faults(value)
        if not faults and not wrong and [word for word, _ in value or ()] != words_of(str(text)):
            wrong = ["tags are those of another text"]
        return faults + wrong

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
        config = labelled_config(
            base.model, splits.label_names, SPANS_HEAD, dropout=recipe.train.dropout
        )
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        auto_class = AutoModelForTokenClassification
        model = start_classifier(auto_class, base.model, config, recipe.train)
        model.config.pad_token_id = tokenizer.pad_token_id
        names = output_order(config)
        fit = ClassifierFit(
            train=recipe.train,
            primary=recipe.evaluate.primary,
            label_names=names,
            run_digest=run_digest(splits, recipe, self.answer),
            progress=progress,
            head=SPANS_HEAD,
        )
        data = _fit_data(splits, names, tokenizer)
        tuned, report = fit_classifier(model, data, fit, out_dir=out_dir)
        save_classifier(tuned, tokenizer, out_dir / "model")
        return replace(report, rows=len(splits.train))  # and not the windows that they make

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> FitData:
        """Windows of rows in tokens."""
        tokenizer = load_tokenizer(base.model, recipe.prepare.max_length)
        return _fit_data(splits, SPANS_HEAD.outputs(splits.label_names), tokenizer)

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """What `pipeline("token-classification")` says of the first piece of each word."""
        del asked
        if not rows:
            return []
        model, tokenizer = load_reader(AutoModelForTokenClassification, folders.model)
        texts = [str(row["text"]) for row in rows]
        scores = word_scores(model, tokenizer, texts)
        return SPANS_HEAD.predictions(texts, scores, model.config)

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions:
        """The base's own answers if it has these tags, else what its nearest embeddings say."""
        del asked
        if base is None:
            return constant_answer(self, splits, rows)
        names = SPANS_HEAD.outputs(splits.label_names)
        config = AutoConfig.from_pretrained(base.model)
        if knows_outputs(config, names, SPANS_HEAD.problem_type):
            return BasePredictions("the base model as it is", self.predict(base, rows))
        config.id2label = dict(enumerate(names))
        texts = [str(row["text"]) for row in rows]
        scores = _nearest_tags(splits.train, names, texts, base.model)
        told = "the untouched base model: the tag whose training words have the nearest mean "
        told += "embedding"
        return BasePredictions(told, SPANS_HEAD.predictions(texts, scores, config))

    def as_users(self, folders: ModelFolders, rows: Sequence[Row], promised: Promised) -> AsUsers:
        """By a pipeline."""
        return as_users_by_pipeline(self, folders, rows, promised)

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """A box for the text."""
        del examples
        return Widgets([("Textbox", {"label": "Text", "lines": 4})], _text_row)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            usage=USAGE,
            files=("config.json", "model.safetensors", "tokenizer.json"),
            auto_class="AutoModelForTokenClassification",
            tags=("token-classification",),
        )


def _tokenizer_problems(base_dir: Path) -> list[Problem]:
    """A problem when the tokenizer does not say which piece stands where in a text."""
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(base_dir, trust_remote_code=False)
    if tokenizer.is_fast:
        return []
    text = "base_model: its tokenizer does not say where in a text each piece stands"
    return [Problem("base_model", f"{text}; name a model that has a tokenizer.json")]


def _fit_data(splits: Splits, names: Sequence[str], tokenizer: Any) -> FitData:
    weights = example_weights(splits.train, class_weights=False)
    train = _windows(splits.train, names, tokenizer, weights)
    validation = _windows(splits.validation, names, tokenizer, [1.0] * len(splits.validation))
    return FitData(
        train=train,
        validation=validation or None,
        collate=padding_collate(
            tokenizer, on_accelerator=torch.accelerator.is_available(), labels_per_token=True
        ),
        lengths=[len(row["input_ids"]) for row in train],
        validation_lengths=[len(row["input_ids"]) for row in validation],
    )


def _windows(
    rows: Sequence[Row], names: Sequence[str], tokenizer: Any, weights: Sequence[float]
) -> list[dict[str, Any]]:
    """Each window of each row, with the tags of its own words."""
    windows = windows_of(tokenizer, [str(row["text"]) for row in rows])
    tags, found = SPANS_HEAD.targets(rows, names), []
    for window, row in zip(windows, encoded(tokenizer, windows), strict=True):
        labels = tag_labels(row, tags[window.row], window.own, window.first)
        del row["first_pieces"]
        found.append({**row, "labels": labels, "weight": weights[window.row]})
    return found


def _nearest_tags(
    train: Sequence[Row], names: Sequence[str], texts: Sequence[str], base_dir: Path
) -> list[Any]:
    """Per text the (W, C) scores of its words, by the mean embedding of each tag's words."""
    known = train[:: max(1, len(train) // MAX_KNOWN_ROWS)]
    tokenizer, body = load_tokenizer(base_dir, None), load_body(base_dir).to(device())
    features = np.concatenate(word_features(body, tokenizer, [str(one["text"]) for one in known]))
    tags = [tag for row in SPANS_HEAD.targets(known, names) for tag in row]
    asked = word_features(body, tokenizer, texts)
    scores = centroid_scores(features, tags, np.concatenate(asked), num_labels=len(names))
    return list(np.split(scores, np.cumsum([len(one) for one in asked])[:-1]))


def _text_row(values: Sequence[Any]) -> dict[str, Any]:
    """The text as words with blanks between, as rows of a dataset have it."""
    text = values[0]
    words = written_words(text) if isinstance(text, str) else []
    if not words:
        raise DataError("There is no text to look at.", do="write a text first")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise DataError(
            f"The text has {len(text):,} characters, and {MAX_TEXT_CHARACTERS:,} is the limit.",
            do="shorten it",
        )
    return {"text": " ".join(words)}


TASK = TokenClassification()
