"""Audio classification: a sound in, one of the label names out, by a speech or sound model."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.errors import DataError, Problem
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
    LabelledRows,
    device,
    label_scores,
    nearest_mean_scores,
)
from hub_trainer.finetune.model_folder import file_stamp
from hub_trainer.finetune.plan import FitData
from hub_trainer.finetune.sound_augment import AUGMENTATIONS, augment
from hub_trainer.finetune.sounds import extracted, load_extractor, sound_batches
from hub_trainer.recipe import Recipe
from hub_trainer.reports import FitReport
from hub_trainer.sounds import as_wav, decode, inspect, sound_problem
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
SHORTEST = 0.25
"""Seconds to which a training sound is filled up, as SpecAugment needs some frames to mask."""
NEW_BANDS, NEW_WIDTH, NEW_LAYERS, NEW_HEADS = 64, 96, 2, 4
"""Bands of the spectrogram, width and blocks of a model without a base."""
NEW_SECONDS = 30
"""Seconds that a model without a base hears at most."""
HEARD = 0.99
"""Share of the training rows that such a model hears to their end."""
FRAMES_PER_SECOND = 50

USAGE = """\
import soundfile
import soxr
from transformers import pipeline

classify = pipeline("audio-classification", model="{repo_id}", revision="{commit_sha}")
samples, rate = soundfile.read("sound.wav", dtype="float32", always_2d=True)
own_rate = classify.feature_extractor.sampling_rate
samples = soxr.resample(samples.mean(axis=1), rate, own_rate)
print(classify({"raw": samples, "sampling_rate": own_rate}, top_k=3))
"""


@dataclass(frozen=True)
class AudioClassification:
    """The pipeline tag `audio-classification`."""

    name: str = "audio-classification"
    answer: Answer = load_answer("label")
    converses: None = None
    modality: str = "audio"
    methods: frozenset[str] = frozenset({"head", "last_n", "full", "lora", "scratch"})
    augmentations: frozenset[str] = frozenset(AUGMENTATIONS)
    metrics: frozenset[str] = load_answer("label").metrics

    @property
    def columns(self) -> Mapping[str, Kind]:
        """`audio` (the encoded file) and `label`."""
        return {"audio": "audio", "label": "label"}

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + unused_problems(self, recipe, UNUSED_KEYS)
        problems += argument_problems(recipe.train)
        if recipe.train.method_facts.needs_weights:
            problems += base_model_problems(self, recipe)
        if base is None:
            return problems
        return problems + base_problems(AutoModelForAudioClassification, recipe.train, base.model)

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        sound = row.get("audio")
        faults = []
        if not isinstance(sound, bytes) or not sound:
            faults.append("audio is empty")
        elif problem := sound_problem(sound):
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
        auto_class = AutoModelForAudioClassification
        if base is None:
            seconds = np.quantile([inspect(row["audio"]).seconds for row in splits.train], HEARD)
            names = HEAD.outputs(splits.label_names)
            config, extractor = _small_architecture(names, float(seconds))
        else:
            config = labelled_config(base.model, splits.label_names)
            extractor = load_extractor(base.model)
        if base is None or not train.method_facts.needs_weights:
            model = new_classifier(auto_class, config, seed=train.seed)
        else:
            model = load_classifier(auto_class, base.model, config, seed=train.seed)
        fit = ClassifierFit(
            train=train,
            primary=recipe.evaluate.primary,
            label_names=output_order(config),
            run_digest=run_digest(splits, recipe, self.answer),
            progress=progress,
        )
        data = _fit_data(splits, recipe, extractor, output_order(config))
        tuned, report = fit_classifier(model, data, fit, out_dir=out_dir)
        save_classifier(tuned, extractor, out_dir / "model")
        return report

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> FitData:
        """Sounds as the base's feature extractor makes them."""
        return _fit_data(splits, recipe, load_extractor(base.model), splits.label_names)

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """What `pipeline("audio-classification")` says of each row, for every label."""
        del asked
        if not rows:
            return []
        model, extractor = _loaded(folders.model, file_stamp(folders.model))
        scores = label_scores(model, sound_batches(extractor, rows), len(rows))
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
        extractor = load_extractor(base.model)
        names = splits.label_names
        known = LabelledRows(splits.train, label_ids(splits.train, names), len(names))
        scores = nearest_mean_scores(
            _encoder(load_body(base.model)).to(device()),
            partial(sound_batches, extractor),
            known,
            rows,
        )
        description = (
            "the untouched base model: the label whose training rows have the nearest mean features"
        )
        return BasePredictions(description, label_predictions(scores, names))

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """A sound to record or to upload."""
        del examples
        # The file itself, whatever its format: Gradio would decode it in a way of its own.
        sound: dict[str, Any] = {"label": "Sound", "type": "filepath"}
        sound["sources"] = ["microphone", "upload"]
        return Widgets([("Audio", sound)], _audio_row)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            usage=USAGE,
            files=("config.json", "model.safetensors", "preprocessor_config.json"),
            auto_class="AutoModelForAudioClassification",
            tags=("audio-classification",),
        )


@dataclass(frozen=True)
class Sounds:
    """Training rows decoded when they are needed, augmented anew each time."""

    rows: Sequence[Row]
    labels: Sequence[int]
    weights: Sequence[float]
    augmentations: Sequence[str]
    rate: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = decode(self.rows[index]["audio"], self.rate)
        if self.augmentations:
            # The engine has seeded the global state for this batch of this epoch.
            rng = np.random.default_rng(random.getrandbits(64))
            samples = augment(samples, self.rate, self.augmentations, rng)
        missing = max(0, round(SHORTEST * self.rate) - len(samples))
        samples = np.pad(samples, (0, missing))
        return {"sound": samples, "labels": self.labels[index], "weight": self.weights[index]}


def _small_architecture(names: Sequence[str], seconds: float) -> tuple[Any, Any]:
    """A Whisper encoder of 0.3 million parameters, and the extractor that goes with it.

    It hears whole seconds, as many as it takes, and nothing of what comes later. Two convolutions
    over the spectrogram come before its blocks, so that a few hundred rows teach it something.
    """
    heard = min(NEW_SECONDS, int(np.ceil(seconds)))
    config = WhisperConfig(
        num_mel_bins=NEW_BANDS,
        d_model=NEW_WIDTH,
        encoder_layers=NEW_LAYERS,
        encoder_attention_heads=NEW_HEADS,
        encoder_ffn_dim=2 * NEW_WIDTH,
        max_source_positions=heard * FRAMES_PER_SECOND,
        classifier_proj_size=NEW_WIDTH,
        dropout=0.1,
    )
    extractor = WhisperFeatureExtractor(feature_size=NEW_BANDS, chunk_length=heard)
    return set_outputs(config, names), extractor


def _encoder(body: Any) -> Any:
    """The part of a body that hears: of a model that also writes, its encoder."""
    return getattr(body, "encoder", body) if body.config.is_encoder_decoder else body


def _fit_data(
    splits: Splits, recipe: Recipe, extractor: Any, label_names: Sequence[str]
) -> FitData:
    weights = example_weights(splits.train, class_weights=recipe.train.class_weights)
    names, rate = recipe.prepare.augment, extractor.sampling_rate
    train = Sounds(splits.train, label_ids(splits.train, label_names), weights, names, rate)
    ids = label_ids(splits.validation, label_names)
    validation = Sounds(splits.validation, ids, [1.0] * len(ids), [], rate)
    return FitData(
        train=train,
        validation=validation if len(validation) else None,
        collate=_collate(extractor),
        augmented=bool(names),
    )


def _collate(extractor: Any) -> Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]:
    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = extracted(extractor, [row["sound"] for row in rows])
        return batch | {"labels": torch.tensor([row["labels"] for row in rows])}

    return collate


@lru_cache(maxsize=2)
def _loaded(model_dir: Path, stamp: str) -> tuple[Any, Any]:
    """Model and extractor of a folder; loaded anew when its files have changed."""
    del stamp
    with quiet_transformers():
        model = AutoModelForAudioClassification.from_pretrained(
            model_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    return model.to(device()).eval(), load_extractor(model_dir)


def _audio_row(values: Sequence[Any]) -> dict[str, Any]:
    """The recorded or uploaded file, decoded as training sounds are, without what else it tells."""
    if not isinstance(values[0], str):
        raise DataError("There is no sound to classify.", do="record or upload one first")
    content = Path(values[0]).read_bytes()
    if problem := sound_problem(content):
        raise DataError(f"The model cannot take this: {problem}.", do="choose another sound")
    return {"audio": as_wav(content)}


TASK = AudioClassification()
