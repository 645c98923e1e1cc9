"""Notes on how an input was read: texts that were cut, and unusual values."""

import html
from collections.abc import Mapping, Sequence
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
            told += cut_notes(self._loaded.folders.model, shown.for_pipeline(row))
        return "".join(f'<p class="note">{html.escape(note)}</p>' for note in told)


def cut_notes(model_dir: Path, content: str | Mapping[str, str]) -> Sequence[str]:
    """Whether the model has read only the beginning of a text, or of one of a pair."""
    from hub_trainer.finetune.tokenizers import encode

    if not has_any(model_dir, TOKENIZER_FILES):
        return []
    tokenizer = _tokenizer(model_dir)
    longest = tokenizer.model_max_length
    if longest > UNLIMITED:
        return []
    [tokens] = encode(tokenizer, [content], truncation=False, verbose=False)["input_ids"]
    if len(tokens) <= longest:
        return []
    if isinstance(content, str):
        read = f"Only the first {longest:,} of {len(tokens):,} tokens were read"
    else:
        read = (
            f"Only {longest:,} of {len(tokens):,} tokens were read, the longer text not to its end"
        )
    return [f"{read}: the model takes no more."]


@lru_cache(maxsize=2)
def _tokenizer(model_dir: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir, trust_remote_code=False)
