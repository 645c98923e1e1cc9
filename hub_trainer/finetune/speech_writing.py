"""Models that write a transcript word by word, as Whisper: how they learn, and how they are asked.

Of a model of many languages the language is written before the text, in training and when it is
asked; a model of English alone knows no such sign.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.models.whisper.modeling_whisper import shift_tokens_right
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from hub_trainer.answers.transcript import one_line
from hub_trainer.finetune.batches import TOKENS
from hub_trainer.finetune.classifier import quiet_transformers
from hub_trainer.finetune.plan import Batch
from hub_trainer.finetune.speech_ctc import padded

KNOWN_TYPE = "whisper"
FIRST_MULTILINGUAL_SIZE = 51_865
"""Entries of the vocabulary from which one of OpenAI's models knows many languages."""
TRANSCRIBE = "transcribe"


def is_multilingual(folder: Path, config: Any) -> bool:
    """Whether the model must be told the language, by its settings or else by its vocabulary."""
    path = folder / "generation_config.json"
    said = json.loads(path.read_bytes()) if path.exists() else {}
    known = said.get("is_multilingual") if isinstance(said, dict) else None
    return bool(config.vocab_size >= FIRST_MULTILINGUAL_SIZE if known is None else known)


def language_code(language: str) -> str | None:
    """Whisper's code of a language, given by code or by English name; None for an unknown one."""
    name = language.lower()
    return name if name in LANGUAGES else TO_LANGUAGE_CODE.get(name)


def writing_tokenizer(folder: Path, language: str | None) -> Any:
    """The folder's tokenizer, which begins each text with the signs of a transcript."""
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.set_prefix_tokens(
        language=language, task=TRANSCRIBE if language else None, predict_timestamps=False
    )
    return tokenizer


def written_ids(tokenizer: Any, model: Any, texts: Sequence[str]) -> list[list[int]]:
    """What is to be written for each transcript, without the sign that starts every text."""
    start = model.config.decoder_start_token_id
    found = []
    for ids in tokenizer(list(texts)).input_ids if texts else []:
        found.append(list(ids[1:]) if ids and ids[0] == start else list(ids))
    return found


def settle_generation(model: Any, language: str | None) -> None:
    """How the published model writes: greedily, without times, in the language that it learned."""
    settings = model.generation_config
    settings.forced_decoder_ids = None
    settings.num_beams, settings.return_timestamps = 1, False
    settings.max_new_tokens, settings.max_length = None, model.config.max_target_positions
    if language is not None:
        settings.language, settings.task = language, TRANSCRIBE


def writing_collate(extractor: Any) -> Callable[[list[dict[str, Any]]], Batch]:
    """Rows of samples and tokens to a batch; only what is behind the end of a text is ignored."""

    def collate(rows: list[dict[str, Any]]) -> Batch:
        made = extractor(
            [row["samples"] for row in rows],
            sampling_rate=extractor.sampling_rate,
            return_tensors="pt",
        )
        return {
            "input_features": made["input_features"],
            "labels": padded([row["labels"] for row in rows]),
            TOKENS: 0,
        }

    return collate


def decoder_inputs(model: Any, labels: torch.Tensor) -> torch.Tensor:
    """(B, S) what the decoder has read before each label."""
    config = model.config
    made: torch.Tensor = shift_tokens_right(
        labels, config.pad_token_id, config.decoder_start_token_id
    )
    return made


@torch.inference_mode()
def write_batch(model: Any, extractor: Any, tokenizer: Any, samples: Sequence[Any]) -> list[str]:
    """The transcripts of sounds, the likeliest token at a time."""
    inputs = extractor(
        list(samples),
        sampling_rate=extractor.sampling_rate,
        return_attention_mask=True,
        return_tensors="pt",
    )
    where = next(model.parameters()).device
    with quiet_transformers():
        ids = model.generate(
            **{key: value.to(where) for key, value in inputs.items()},
            num_beams=1,
            return_timestamps=False,
        )
    return [one_line(text) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
