"""Sounds as models of transformers take them: by their feature extractor, in padded batches."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    ASTFeatureExtractor,
    AutoFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from hub_trainer.finetune.classifier import quiet_transformers
from hub_trainer.finetune.label_scores import Batches, batches_by_length
from hub_trainer.sounds import decode, inspect

Samples = NDArray[np.float32]
Row = Mapping[str, Any]

MAX_BATCH_SECONDS = 120.0
"""Of one batch while a model answers, padding counted."""
BATCH_SIZE = 16
AST_FRAME_SECONDS = 0.01


def load_extractor(folder: Path) -> Any:
    """The feature extractor of a model's folder."""
    with quiet_transformers():
        return AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)


def extracted(extractor: Any, sounds: Sequence[Samples]) -> dict[str, torch.Tensor]:
    """What the model takes of sounds at the extractor's own rate, as a pipeline would give it.

    Waves are padded to the longest; spectrograms have a length of their own.
    """
    padding = {"padding": True} if isinstance(extractor, Wav2Vec2FeatureExtractor) else {}
    rate = extractor.sampling_rate
    made = extractor([*sounds], sampling_rate=rate, return_tensors="pt", **padding)
    return dict(made)


def unheard(model_dir: Path, row: Row) -> list[str]:
    """A sentence where a model hears only the beginning of a sound."""
    extractor = load_extractor(model_dir)
    heard, seconds = _heard_seconds(extractor), inspect(row["audio"]).seconds
    if heard is None or round(seconds, 1) <= heard:
        return []
    return [
        f"Only the first {heard:g} of {seconds:.1f} seconds were heard: the model takes no more."
    ]


def _heard_seconds(extractor: Any) -> float | None:
    """How much of a sound a model hears; None for all of it."""
    if isinstance(extractor, WhisperFeatureExtractor):
        return float(extractor.n_samples / extractor.sampling_rate)
    if isinstance(extractor, ASTFeatureExtractor):
        return float(extractor.max_length * AST_FRAME_SECONDS)
    return None


def needs_equal_lengths(extractor: Any) -> bool:
    """Whether padding would change what the model hears, as it is told of none.

    Models of waves with a group norm, as wav2vec2-base, were trained so, without a mask.
    """
    is_of_waves = isinstance(extractor, Wav2Vec2FeatureExtractor)
    return is_of_waves and not extractor.return_attention_mask


def sound_batches(extractor: Any, rows: Sequence[Row]) -> Batches:
    """Rows in batches for a model that answers, each row as it would be heard alone."""
    return _batches(extractor, rows)


def _batches(
    extractor: Any, rows: Sequence[Row]
) -> Iterator[tuple[Sequence[int], Mapping[str, torch.Tensor]]]:
    rate = extractor.sampling_rate
    sounds = [decode(row["audio"], rate) for row in rows]
    for chosen in batches_by_length([len(one) for one in sounds], BATCH_SIZE):
        for part in _parts(chosen, sounds, rate, equal=needs_equal_lengths(extractor)):
            yield part, extracted(extractor, [sounds[index] for index in part])


def _parts(
    chosen: Sequence[int], sounds: Sequence[Samples], rate: int, *, equal: bool
) -> Iterator[list[int]]:
    """A batch, which comes longest first, in parts of bounded length; of equal lengths if so."""
    part: list[int] = []
    for index in chosen:
        longest = len(sounds[part[0]]) if part else 0
        is_full = (len(part) + 1) * longest > MAX_BATCH_SECONDS * rate
        if part and (is_full or (equal and len(sounds[index]) != longest)):
            yield part
            part = []
        part.append(index)
    yield part
