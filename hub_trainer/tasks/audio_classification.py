"""Audio classification: a sound in, one of the label names out, by a speech or sound model."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from transformers import AutoModelForAudioClassification, WhisperConfig, WhisperFeatureExtractor

from hub_trainer.finetune.classifier import set_outputs
from hub_trainer.finetune.label_scores import Batches
from hub_trainer.finetune.sound_augment import AUGMENTATIONS, augment
from hub_trainer.finetune.sound_batches import extracted, load_extractor, sound_batches, unheard
from hub_trainer.sounds import decode, inspect
from hub_trainer.tasks import Row, Splits
from hub_trainer.tasks.media_classification import MediaClassification

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


@dataclass(frozen=True)
class SoundModels:
    """How models of transformers hear sounds."""

    drops_out: ClassVar[bool] = True

    def processor(self, folder: Path) -> Any:
        """The feature extractor of a folder."""
        return load_extractor(folder)

    def new(self, splits: Splits, names: Sequence[str]) -> tuple[Any, Any]:
        """A Whisper encoder of 0.3 million parameters, and the extractor that goes with it.

        It hears whole seconds, as many as it takes, and nothing of what comes later. Two
        convolutions over the spectrogram come before its blocks, so that a few hundred rows teach
        it something.
        """
        seconds = np.quantile([inspect(row["audio"]).seconds for row in splits.train], HEARD)
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

    def examples(
        self,
        rows: Sequence[Row],
        labels: tuple[Sequence[int], Sequence[float]],
        augmentations: Sequence[str],
        processor: Any,
    ) -> Sounds:
        """Samples at the rate that the model hears."""
        return Sounds(rows, *labels, augmentations, processor.sampling_rate)

    def collate(self, processor: Any, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Waves or spectrograms, with a mask where the model hears one."""
        return extracted(processor, [one["sound"] for one in examples])

    def batches(self, processor: Any, rows: Sequence[Row]) -> Batches:
        """Sounds of similar length."""
        return sound_batches(processor, rows)

    def unread(self, folder: Path, row: Row) -> list[str]:
        """What comes later than some models hear."""
        return unheard(folder, row)

    def body(self, model: Any) -> Any:
        """The part that hears: of a model that also writes, its encoder."""
        return getattr(model, "encoder", model) if model.config.is_encoder_decoder else model


TASK = MediaClassification(
    name="audio-classification",
    modality="audio",
    kind="audio",
    auto_class=AutoModelForAudioClassification,
    models=SoundModels(),
    augmentations=frozenset(AUGMENTATIONS),
    widget=("Audio", {"label": "Sound", "sources": ["microphone", "upload"]}),
    usage=USAGE,
)
