"""Image classification: a picture in, one of the label names out, by a vision model with a head."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    ResNetConfig,
    ViTImageProcessorPil,
)

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.cards.contact_sheet import contact_sheet
from hub_trainer.errors import DataError, Problem
from hub_trainer.finetune.augment import AUGMENTATIONS, augment
from hub_trainer.finetune.classifier import (
    ClassifierFit,
    fit_classifier,
    knows_outputs,
    labelled_config,
    load_body,
    load_classifier,
    new_classifier,
    quiet_transformers,
    run_digest,
    save_classifier,
    set_outputs,
)
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.heads import HEADS, label_ids, label_predictions, output_order
from hub_trainer.finetune.label_scores import (
    BATCH_SIZE,
    Batches,
    LabelledRows,
    device,
    label_scores,
    nearest_mean_scores,
)
from hub_trainer.finetune.model_folder import file_stamp
from hub_trainer.finetune.plan import FitData
from hub_trainer.pictures import as_png, image_problem, open_image
from hub_trainer.recipe import Recipe
from hub_trainer.reports import FitReport
from hub_trainer.tasks import (
    LANGUAGE_KEYS,
    PLAIN,
    Asked,
    BasePredictions,
    ModelCard,
    ModelFolders,
    Progress,
    Row,
    Splits,
    Widgets,
    base_model_problems,
    constant_answer,
    offer_problems,
    unused_problems,
)
from hub_trainer.tasks.outlines import Kind

UNUSED_KEYS = (
    "train.estimator",
    "train.estimator_arguments",
    "prepare.max_length",
    *LANGUAGE_KEYS,
)
HEAD = HEADS["label"]
NEW_SIDE = 64
"""Pixels of the square at which a model without a base sees pictures."""

USAGE = """\
from transformers import pipeline

classify = pipeline("image-classification", model="{repo_id}", revision="{commit_sha}")
print(classify("picture.png", top_k=3))
"""


@dataclass(frozen=True)
class ImageClassification:
    """The pipeline tag `image-classification`."""

    name: str = "image-classification"
    answer: Answer = load_answer("label")
    converses: None = None
    modality: str = "image"
    methods: frozenset[str] = frozenset({"head", "last_n", "full", "lora", "scratch"})
    augmentations: frozenset[str] = frozenset(AUGMENTATIONS)
    metrics: frozenset[str] = load_answer("label").metrics

    @property
    def columns(self) -> Mapping[str, Kind]:
        """`image` (the encoded file) and `label`."""
        return {"image": "image", "label": "label"}

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + unused_problems(self, recipe, UNUSED_KEYS)
        problems += argument_problems(recipe.train)
        if recipe.train.method_facts.needs_weights:
            problems += base_model_problems(self, recipe)
        if base is None:
            return problems
        return problems + base_problems(AutoModelForImageClassification, recipe.train, base.model)

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        image = row.get("image")
        faults = []
        if not isinstance(image, bytes) or not image:
            faults.append("image is empty")
        elif problem := image_problem(image):
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
        auto_class = AutoModelForImageClassification
        if base is None:
            config, processor = _small_architecture(HEAD.outputs(splits.label_names))
        else:
            config = labelled_config(base.model, splits.label_names)
            processor = _processor(base.model)
        if base is None or not train.method_facts.needs_weights:
            model = new_classifier(auto_class, config, seed=train.seed)
        else:
            model = load_classifier(auto_class, base.model, config, seed=train.seed)
        fit = ClassifierFit(
            train=train,
            primary=recipe.evaluate.primary,
            positive=recipe.evaluate.positive,
            label_names=output_order(config),
            run_digest=run_digest(splits, recipe, self.answer),
            progress=progress,
        )
        data = _fit_data(splits, recipe, processor, output_order(config))
        tuned, report = fit_classifier(model, data, fit, out_dir=out_dir)
        save_classifier(tuned, processor, out_dir / "model")
        return report

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> FitData:
        """Pictures as the base's processor makes them."""
        return _fit_data(splits, recipe, _processor(base.model), splits.label_names)

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """What `pipeline("image-classification")` says of each row, for every label."""
        del asked
        if not rows:
            return []
        model, processor = _loaded(folders.model, file_stamp(folders.model))
        scores = label_scores(model, _batches(processor, rows), len(rows))
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
        config = AutoConfig.from_pretrained(base.model)
        if knows_outputs(config, splits.label_names, HEAD.problem_type):
            return BasePredictions("the base model as it is", self.predict(base, rows))
        processor = _processor(base.model)
        names = splits.label_names
        known = LabelledRows(splits.train, label_ids(splits.train, names), len(names))
        scores = nearest_mean_scores(
            load_body(base.model).to(device()), partial(_batches, processor), known, rows
        )
        description = (
            "the untouched base model: the label whose training rows have the nearest mean features"
        )
        return BasePredictions(description, label_predictions(scores, names))

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """A picture to upload."""
        del examples
        # The file itself, whatever its mode: Gradio would decode it in a way of its own.
        picture: dict[str, Any] = {"label": "Picture", "type": "filepath", "image_mode": None}
        picture["sources"] = ["upload", "clipboard"]
        return Widgets([("Image", picture)], _image_row)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            usage=USAGE,
            files=("config.json", "model.safetensors", "preprocessor_config.json"),
            auto_class="AutoModelForImageClassification",
            tags=("image-classification",),
            draw_rows=_draw_rows,
        )


@dataclass(frozen=True)
class Pictures:
    """Training rows read when they are needed, augmented anew each time."""

    rows: Sequence[Row]
    labels: Sequence[int]
    weights: Sequence[float]
    augmentations: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture = open_image(self.rows[index]["image"])
        if self.augmentations:
            # The engine has seeded the global state for this batch of this epoch.
            rng = random.Random(random.getrandbits(64))  # noqa: S311 - no secret
            picture = augment(picture, self.augmentations, rng)
        return {"picture": picture, "labels": self.labels[index], "weight": self.weights[index]}


def _draw_rows(groups: Mapping[str, Sequence[Row]]) -> bytes:
    """The rows' pictures, each label's side by side."""
    return contact_sheet({name: [row["image"] for row in rows] for name, rows in groups.items()})


def _processor(folder: Path) -> Any:
    with quiet_transformers():
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")


def _small_architecture(names: Sequence[str]) -> tuple[Any, Any]:
    """A ResNet of 0.7 million parameters, and the processor that goes with it.

    Its stem sees a quarter of the side, so that small pictures are better enlarged than shrunk.
    """
    config = ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128], depths=[2, 2, 2], layer_type="basic"
    )
    processor = ViTImageProcessorPil(size={"height": NEW_SIDE, "width": NEW_SIDE})
    return set_outputs(config, names), processor


def _fit_data(
    splits: Splits, recipe: Recipe, processor: Any, label_names: Sequence[str]
) -> FitData:
    weights = example_weights(splits.train, class_weights=recipe.train.class_weights)
    names = recipe.prepare.augment
    train = Pictures(splits.train, label_ids(splits.train, label_names), weights, names)
    ids = label_ids(splits.validation, label_names)
    validation = Pictures(splits.validation, ids, [1.0] * len(ids), [])
    return FitData(
        train=train,
        validation=validation if len(validation) else None,
        collate=_collate(processor),
        augmented=bool(names),
    )


def _collate(processor: Any) -> Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]:
    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = dict(processor(images=[row["picture"] for row in rows], return_tensors="pt"))
        return batch | {"labels": torch.tensor([row["labels"] for row in rows])}

    return collate


def _batches(processor: Any, rows: Sequence[Row]) -> Batches:
    def made() -> Iterator[tuple[Sequence[int], Mapping[str, torch.Tensor]]]:
        for start in range(0, len(rows), BATCH_SIZE):
            chosen = range(start, min(start + BATCH_SIZE, len(rows)))
            pictures = [open_image(rows[index]["image"]) for index in chosen]
            yield chosen, dict(processor(images=pictures, return_tensors="pt"))

    return made()


@lru_cache(maxsize=2)
def _loaded(model_dir: Path, stamp: str) -> tuple[Any, Any]:
    """Model and processor of a folder; loaded anew when its files have changed."""
    del stamp
    with quiet_transformers():
        model = AutoModelForImageClassification.from_pretrained(
            model_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    return model.to(device()).eval(), _processor(model_dir)


def _image_row(values: Sequence[Any]) -> dict[str, Any]:
    """The uploaded file, decoded as training pictures are, without what its EXIF data tells."""
    if not isinstance(values[0], str):
        raise DataError("There is no picture to classify.", do="upload or paste one first")
    content = Path(values[0]).read_bytes()
    if problem := image_problem(content):
        raise DataError(f"The model cannot take this: {problem}.", do="choose another picture")
    return {"image": as_png(content)}


TASK = ImageClassification()
