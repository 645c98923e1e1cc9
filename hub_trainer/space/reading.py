"""Notes on how an input was read: texts that were cut, and unusual values."""

import html
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hub_trainer.errors import HubTrainerError
from hub_trainer.finetune.model_folder import TOKENIZER_FILES, has_any
from hub_trainer.inputs import load_input
from hub_trainer.space.ranges import Ranges, unusual_values
from hub_trainer.space.service import SpaceService

UNLIMITED = 1_000_000
"""Tokenizers say a larger number than this when they know of no limit."""


class Reading:
    """Notes on an input, beside the answer to it."""

    def __init__(self, service: SpaceService, ranges: Ranges) -> None:
        self._loaded, self._ranges = service.loaded, ranges

    def notes(self, *values: Any) -> str:
        """The notes as HTML; empty when there is nothing unusual."""
        try:
            row = self._loaded.widgets.to_row(values)
        except HubTrainerError:
            return ""
        told = unusual_values(row, self._ranges)
        shown = load_input(self._loaded.task.modality)
        if shown.is_tokenized and not self._loaded.widgets.reads_all:
            told += cut_notes(self._loaded.model_dir, shown.for_pipeline(row))
        return "".join(f'<p class="note">{html.escape(note)}</p>' for note in told)


def cut_notes(model_dir: Path, text: str) -> Sequence[str]:
    """Whether the model has read only the beginning of a text."""
    if not has_any(model_dir, TOKENIZER_FILES):
        return []
    tokenizer = _tokenizer(model_dir)
    longest = tokenizer.model_max_length
    if longest > UNLIMITED:
        return []
    count = len(tokenizer(text, truncation=False, verbose=False)["input_ids"])
    if count <= longest:
        return []
    return [f"Only the first {longest:,} of {count:,} tokens were read: the model takes no more."]


@lru_cache(maxsize=2)
def _tokenizer(model_dir: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir, trust_remote_code=False)
