"""Models of CTC: a letter or a blank per frame of the sound, and how they learn and are read.

Legend: B clips, T frames, S letters of a transcript, C letters of the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    EvalPrediction,
    PretrainedConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
)

from hub_trainer.finetune.batches import TOKENS
from hub_trainer.finetune.classifier_objective import IGNORED
from hub_trainer.finetune.evaluation import model_inputs
from hub_trainer.finetune.model_folder import read_header
from hub_trainer.finetune.plan import Batch, DrawByDraw
from hub_trainer.finetune.speech_text import read_letters
from hub_trainer.metrics.transcripts import TRANSCRIPT_METRICS, transcript_statistics
from hub_trainer.stats import measure

HEAD = "lm_head"
LENGTHS = "sound_lengths"
"""Key of a batch: how much of each row is sound, in the model's own input steps."""
ACCURACY = "accuracy"
"""What chooses a checkpoint: the primary metric, or 1 minus an error rate."""

Frames = Callable[[torch.Tensor], torch.Tensor]
"""(B,) input steps -> (B,) frames that the model makes of them."""


@dataclass(frozen=True)
class CtcObjective(DrawByDraw):
    """Connectionist temporal classification: minus the log-probability of all ways to a text."""

    frames: Frames
    blank: int

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) letters of each transcript."""
        labels: torch.Tensor = batch["labels"]
        return (labels != IGNORED).sum(dim=1).float()

    def outputs(self, model: nn.Module, part: Batch) -> Any:
        """The model's outputs, without its own loss."""
        inputs = model_inputs(part, with_labels=False)
        return model(**{key: value for key, value in inputs.items() if key != LENGTHS})

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """(B,) summed over the letters of each transcript."""
        labels: torch.Tensor = batch["labels"]
        log_probs = outputs.logits.float().log_softmax(dim=-1).transpose(0, 1)  # (T, B, C)
        losses: torch.Tensor = functional.ctc_loss(
            log_probs,
            labels.clamp_min(0),
            self._num_frames(batch).clamp_max(log_probs.shape[0]),
            (labels != IGNORED).sum(dim=1),
            blank=self.blank,
            reduction="none",
            zero_infinity=True,
        )
        return losses

    def evaluated(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) losses and the (B, T) likeliest letter of each frame, ignored behind the sound."""
        outputs = self.outputs(model, batch)
        letters = outputs.logits.argmax(dim=-1)
        places = torch.arange(letters.shape[1], device=letters.device)
        heard = places[None, :] < self._num_frames(batch)[:, None]
        return self.losses(outputs, batch), letters.where(heard, torch.full_like(letters, IGNORED))

    def _num_frames(self, batch: Batch) -> torch.Tensor:
        labels: torch.Tensor = batch["labels"]
        return self.frames(torch.tensor(batch[LENGTHS], device=labels.device)).long()


def frames_of(model: Any) -> Frames:
    """How many frames a model makes of its inputs."""

    def frames(lengths: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.as_tensor(model._get_feat_extract_output_lengths(lengths))
        return made

    return frames


def heard(extractor: Any, samples: Sequence[Any]) -> dict[str, Any]:
    """Sounds as the model takes them, padded to the longest, and their lengths.

    Each is made ready alone, as a pipeline does, so that what is read off it is the same.
    """
    alone = [
        extractor(
            one,
            sampling_rate=extractor.sampling_rate,
            return_attention_mask=True,
            return_tensors="pt",
        )
        for one in samples
    ]
    name = extractor.model_input_names[0]
    batch: dict[str, Any] = {LENGTHS: [made[name].shape[1] for made in alone]}
    # A model that was trained on silence in place of a mask gets none.
    for key in (name, *(["attention_mask"] if may_pad(extractor) else [])):
        batch[key] = nn.utils.rnn.pad_sequence([made[key][0] for made in alone], batch_first=True)
    return batch


def ctc_collate(extractor: Any) -> Callable[[list[dict[str, Any]]], Batch]:
    """Rows of samples and letters to a batch."""

    def collate(rows: list[dict[str, Any]]) -> Batch:
        batch: Batch = heard(extractor, [row["samples"] for row in rows])
        return batch | {"labels": padded([row["labels"] for row in rows]), TOKENS: 0}

    return collate


def padded(labels: Sequence[Sequence[int]]) -> torch.Tensor:
    """(B, S) with the label that is ignored at the ends."""
    longest = max(map(len, labels))
    return torch.tensor([[*row, *[IGNORED] * (longest - len(row))] for row in labels])


def is_too_short(num_frames: int, labels: Sequence[int]) -> bool:
    """Whether frames cannot hold the letters: each needs one, and a blank between two alike."""
    twins = sum(one == other for one, other in zip(labels, labels[1:], strict=False))
    return num_frames < len(labels) + twins


def ctc_metrics(tokenizer: Any, primary: str) -> Callable[[EvalPrediction], dict[str, float]]:
    """The primary metric of what is read off the frames, and its accuracy."""
    metric = TRANSCRIPT_METRICS[primary]

    def compute(predicted: EvalPrediction) -> dict[str, float]:
        truth = [
            read_letters(tokenizer, row[row != IGNORED], per_frame=False)
            for row in np.asarray(predicted.label_ids)
        ]
        given = [
            read_letters(tokenizer, row[row != IGNORED])
            for row in np.asarray(predicted.predictions)
        ]
        value = measure(metric, transcript_statistics(primary, truth, given))
        return {primary: value, ACCURACY: 1 - value if metric.lower_is_better else value}

    return compute


@torch.inference_mode()
def read_batch(model: Any, extractor: Any, tokenizer: Any, samples: Sequence[Any]) -> list[str]:
    """The transcripts of sounds, from the likeliest letter of each frame."""
    inputs = heard(extractor, samples)
    lengths = torch.tensor(inputs.pop(LENGTHS))
    where = next(model.parameters()).device
    logits = model(**{key: value.to(where) for key, value in inputs.items()}).logits
    frames = frames_of(model)(lengths).tolist()
    letters = logits.argmax(dim=-1).cpu().tolist()
    return [read_letters(tokenizer, row[:n]) for row, n in zip(letters, frames, strict=True)]


def may_pad(extractor: Any) -> bool:
    """Whether sounds of several lengths answer together as they do alone."""
    return bool(extractor.return_attention_mask)


def has_letters(folder: Path) -> bool:
    """Whether the weights of a folder have a layer for letters, and not only a body."""
    return any(
        name.startswith(f"{HEAD}.")
        for path in folder.glob("*.safetensors")
        for name in read_header(path)
    )


def spelling_config(config: PretrainedConfig, tokenizer: Any) -> PretrainedConfig:
    """The config for this tokenizer's letters."""
    config.vocab_size = len(tokenizer)
    config.pad_token_id = tokenizer.pad_token_id
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.ctc_loss_reduction, config.ctc_zero_infinity = "mean", True
    return config


def without_long_masks(config: PretrainedConfig, fewest_frames: int) -> bool:
    """Turn masks in training off where a clip is no longer than one; whether that was needed."""
    longest = getattr(config, "mask_time_length", 0)
    if not getattr(config, "apply_spec_augment", False) or fewest_frames > longest:
        return False
    config.apply_spec_augment = False
    return True


def new_architecture() -> tuple[PretrainedConfig, Any]:
    """A small model of convolutions over mel frequencies, and what makes those of a sound.

    Its attention knows no positions: with few clips it would learn the order of their words.
    """
    config = Wav2Vec2BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        feature_projection_input_dim=160,
        conv_depthwise_kernel_size=15,
        position_embeddings_type=None,
        add_adapter=False,
        layerdrop=0.0,
        hidden_dropout=0.2,
        activation_dropout=0.2,
        conformer_conv_dropout=0.2,
        attention_dropout=0.1,
        feat_proj_dropout=0.1,
        final_dropout=0.1,
        mask_time_prob=0.2,
        mask_feature_prob=0.2,
        mask_feature_length=8,
    )
    return config, SeamlessM4TFeatureExtractor()
