"""Classes of transformers by name, and those that transformers does not have."""

from collections.abc import Mapping
from typing import Any

import transformers
from transformers import AutoConfig, AutoModelForCTC, AutoModelForSpeechSeq2Seq
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CTC_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)

from hub_trainer.finetune.sentence_pairs import SENTENCES, AutoModelForSentenceSimilarity

SPEECH = "AutoModelForSpeechRecognition"
"""Name of the class for speech, which transformers does not have."""


class AutoModelForSpeechRecognition:
    """A model that writes a transcript word by word, or one that names a letter per frame (CTC).

    The pipeline `automatic-speech-recognition` chooses between the two in the same way.
    """

    @staticmethod
    def from_pretrained(folder: Any, **options: Any) -> Any:
        """The model of a folder, by its config or the one in `options`."""
        config = options.get("config")
        if config is None:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        return speech_class(config).from_pretrained(folder, **options)

    @staticmethod
    def from_config(config: Any, **options: Any) -> Any:
        """A model of this shape."""
        return speech_class(config).from_config(config, **options)


def speech_class(config: Any) -> Any:
    """The class of transformers for a config. Raises ValueError for one that hears nothing."""
    if writes_words(config):
        return AutoModelForSpeechSeq2Seq
    if config.model_type in MODEL_FOR_CTC_MAPPING_NAMES:
        return AutoModelForCTC
    raise ValueError(f"it describes a {config.model_type}, which does not write down speech")


def writes_words(config: Any) -> bool:
    """Whether the model writes word by word, as Whisper, and not a letter per frame."""
    return config.model_type in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES


_OWN: Mapping[str, Any] = {
    SPEECH: AutoModelForSpeechRecognition,
    SENTENCES: AutoModelForSentenceSimilarity,
}


def auto_class(name: str) -> Any:
    """The class of a name."""
    return _OWN.get(name) or getattr(transformers, name)
