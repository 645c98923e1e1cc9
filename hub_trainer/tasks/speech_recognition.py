"""Speech recognition: a clip in; what is said in it out, by a model of CTC or by Whisper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from transformers import AutoConfig

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.errors import Problem
from hub_trainer.finetune.auto_classes import (
    SPEECH,
    AutoModelForSpeechRecognition,
    writes_words,
)
from hub_trainer.finetune.classifier import run_digest
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems
from hub_trainer.finetune.plan import FitData
from hub_trainer.finetune.reloading import AsUsers, Promised
from hub_trainer.finetune.sound_augment import OF_SPEECH
from hub_trainer.finetune.sound_batches import unheard
from hub_trainer.finetune.speech import (
    SpeechFit,
    answers_as_it_is,
    fit_speech,
    new_learner,
    save_speech,
    speech_data,
    transcribe,
)
from hub_trainer.finetune.speech_writing import is_multilingual, language_code, writing_tokenizer
from hub_trainer.inputs.media import MEDIA, uploaded
from hub_trainer.recipe import Recipe
from hub_trainer.reports import FitReport
from hub_trainer.sounds import sound_problem
from hub_trainer.tasks import (
    ESTIMATOR_KEYS,
    LANGUAGE_KEYS,
    NOT_QUANTISED,
    PLAIN,
    SPEECH_KEYS,
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
    "train.class_weights",
    "train.loss",
    "train.mixup",
    *ESTIMATOR_KEYS,
    "train.arguments.label_smoothing_factor",
    "prepare.max_length",
    "prepare.too_long",
    *LANGUAGE_KEYS,
)
MAX_SECONDS = 30.0
"""Of one clip: what Whisper hears at once, and what fits into memory of other models."""
LANGUAGE = "train.speech.language"
USAGE = """\
import soundfile
from transformers import pipeline

transcribe = pipeline(
    "automatic-speech-recognition", model="{repo_id}", revision="{commit_sha}"
)
samples, rate = soundfile.read("clip.wav", dtype="float32")  # one channel, 16,000 per second
print(transcribe({"raw": samples, "sampling_rate": rate})["text"])
"""


@dataclass(frozen=True)
class SpeechRecognition:
    """The pipeline tag `automatic-speech-recognition`."""

    name: str = "automatic-speech-recognition"
    answer: Answer = load_answer("transcript")
    converses: None = None
    counts_tokens: None = None
    modality: str = "audio"
    unfit: ClassVar[Mapping[str, str]] = NOT_QUANTISED
    augmentations: frozenset[str] = OF_SPEECH

    @property
    def metrics(self) -> frozenset[str]:
        """Those of its answer."""
        return self.answer.metrics

    @property
    def columns(self) -> Mapping[str, Kind]:
        """`audio` (the encoded file) and `text`, what is said."""
        return {"audio": "audio", self.answer.column: "transcript"}

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        problems = offer_problems(self, recipe) + unused_problems(self, recipe, UNUSED_KEYS)
        problems += argument_problems(recipe.train)
        if recipe.train.method_facts.needs_weights:
            problems += base_model_problems(self, recipe)
        if base is None:
            if recipe.base_model is None:
                problems += unused_problems(self, recipe, SPEECH_KEYS)
            return problems
        found = base_problems(AutoModelForSpeechRecognition, recipe.train, base.model)
        return problems + (found or _language_problems(self, recipe, base.model))

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        audio, faults = row.get("audio"), []
        if not isinstance(audio, bytes) or not audio:
            faults.append("audio is empty")
        elif problem := _clip_problem(audio):
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
        """Fine-tune a recogniser that `pipeline()` loads."""
        train, primary, column = recipe.train, recipe.evaluate.primary, self.answer.column
        texts = [str(row[column]) for row in splits.train]
        learner = new_learner(base.model if base else None, texts, train)
        steps = recipe.prepare.augment
        data, notes = speech_data(learner, splits.train, splits.validation, column, steps)
        fit = SpeechFit(train, primary, run_digest(splits, recipe, self.answer), progress)
        tuned, report = fit_speech(learner, data, fit, out_dir=out_dir)
        save_speech(tuned, learner, out_dir / "model")
        return replace(report, notes=(*report.notes, *notes))

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> FitData:
        """Clips as the base's feature extractor makes them."""
        column = self.answer.column
        texts = [str(row[column]) for row in splits.train]
        learner = new_learner(base.model, texts, recipe.train, on_paper=True)
        return speech_data(learner, splits.train, splits.validation, column)[0]

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """What `pipeline("automatic-speech-recognition")` writes for each row."""
        del asked
        if not rows:
            return []
        return [Prediction(text) for text in transcribe(folders.model, rows)]

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions | None:
        """The base's own transcripts; None for one that has no letters yet."""
        del asked
        if base is None:
            return constant_answer(self, splits, rows)
        if not answers_as_it_is(base.model):
            return None
        return BasePredictions("the base model as it is", self.predict(base, rows))

    def as_users(self, folders: ModelFolders, rows: Sequence[Row], promised: Promised) -> AsUsers:
        """By a pipeline."""
        return as_users_by_pipeline(self, folders, rows, promised)

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """A clip to upload or to speak."""
        del examples
        clip = {"label": "Clip", "type": "filepath", "sources": ["upload", "microphone"]}
        to_row = partial(uploaded, MEDIA["audio"], problem=_clip_problem)
        return Widgets([("Audio", clip)], to_row, unread=unheard)

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="transformers",
            usage=USAGE,
            files=(
                "config.json",
                "model.safetensors",
                "preprocessor_config.json",
                "tokenizer_config.json",
            ),
            auto_class=SPEECH,
            tags=("automatic-speech-recognition",),
        )


def _clip_problem(content: bytes) -> str | None:
    return sound_problem(content, max_seconds=MAX_SECONDS)


def _language_problems(task: SpeechRecognition, recipe: Recipe, base_dir: Path) -> list[Problem]:
    """A model of many languages is told which; any other is not."""
    config = AutoConfig.from_pretrained(base_dir, trust_remote_code=False)
    speech = recipe.train.speech
    language = speech.language if speech else None
    if not (writes_words(config) and is_multilingual(base_dir, config)):
        return unused_problems(task, recipe, SPEECH_KEYS)
    if language is None:
        text = f"{LANGUAGE}: the base model knows many; name the one that is spoken, as in sw"
        return [Problem(LANGUAGE, text)]
    code = language_code(language)
    known = writing_tokenizer(base_dir, None).get_vocab()
    if code is None or f"<|{code}|>" not in known:
        text = f"{LANGUAGE}: {language!r} is none of the base model's; write its code, as in sw"
        return [Problem(LANGUAGE, text)]
    return []


TASK = SpeechRecognition()
