"""Language models: data and chat templates, SFT, DPO and KTO on packed rows, and generation."""

from hub_trainer.finetune.language.chat import TrainOn
from hub_trainer.finetune.language.encode import Encoded, encode
from hub_trainer.finetune.language.formats import Example, Format, detect_format, read_examples
from hub_trainer.finetune.language.preview import preview
from hub_trainer.finetune.language.tune import LanguagePlan, fine_tune_language_model

__all__ = [
    "Encoded",
    "Example",
    "Format",
    "LanguagePlan",
    "TrainOn",
    "detect_format",
    "encode",
    "fine_tune_language_model",
    "preview",
    "read_examples",
]
