"""Words of texts as a tokenizer cuts them: the first piece of each word, and windows of long texts.

A text is always encoded as it stands, with blanks between its words, and pieces are matched to
words by their places in it. So the model sees in training just what a pipeline gives it later.
Legend: T positions, C outputs, W words.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hub_trainer.answers.word_lists import words_of
from hub_trainer.finetune.batches import padding_collate
from hub_trainer.finetune.classifier_objective import IGNORED
from hub_trainer.finetune.label_scores import batches_by_length

FloatArray = NDArray[np.float32]
OVERLAP = 4
"""A window shares a fourth of its words with the one before it."""
SPARE = 2
"""Pieces that a window is kept short of the limit: its first word may be cut otherwise there."""


@dataclass(frozen=True)
class Window:
    """A stretch of the words of a text that the model takes at once."""

    row: int
    """Number of the text."""
    first: int
    """Number of its first word."""
    words: Sequence[str]
    own: range
    """Numbers of the words that are counted here, and not in a neighbour that sees more of them."""

    @property
    def text(self) -> str:
        """What is encoded."""
        return " ".join(self.words)


def windows_of(tokenizer: Any, texts: Sequence[str]) -> list[Window]:
    """One window for most texts; for each that is too long overlapping ones, in their order."""
    limit, found = _limit(tokenizer), []
    for row, text in enumerate(texts):
        words = words_of(text)
        pieces = _pieces(tokenizer, words) if limit is not None else []
        if limit is None or sum(pieces) <= limit:
            found.append(Window(row, 0, words, range(len(words))))
        else:
            found += _cut(row, words, pieces, max(1, limit - SPARE))
    return found


def encoded(tokenizer: Any, windows: Sequence[Window]) -> list[dict[str, Any]]:
    """The model's inputs of each window, and under `first_pieces` the place of each word's first.

    A word of which the tokenizer makes nothing, or that is cut off, has the place -1.
    """
    if not windows:
        return []
    texts = [one.text for one in windows]
    columns = tokenizer(texts, truncation=True, return_offsets_mapping=True)
    offsets = columns.pop("offset_mapping")
    return [
        {
            **{name: columns[name][number] for name in columns},
            "first_pieces": first_pieces(offsets[number], one.words, one.text),
        }
        for number, one in enumerate(windows)
    ]


def first_pieces(offsets: Sequence[tuple[int, int]], words: Sequence[str], text: str) -> list[int]:
    """The place of the first piece of each word, -1 for none; offsets are those in the text."""
    word_at: dict[int, int] = {}
    place = 0
    for number, word in enumerate(words):
        word_at |= dict.fromkeys(range(place, place + len(word)), number)
        place += len(word) + 1
    found = [-1] * len(words)
    for position, (start, stop) in enumerate(offsets):
        # Some tokenizers count the blank before a word to its first piece.
        start += len(text[start:stop]) - len(text[start:stop].lstrip())
        holder = word_at.get(start) if start < stop else None
        if holder is not None and found[holder] < 0:
            found[holder] = position
    return found


def tag_labels(row: Mapping[str, Any], tags: Sequence[int], own: range, first: int) -> list[int]:
    """(T,) the tag at the first piece of each of a window's own words; the others are ignored."""
    labels = [IGNORED] * len(row["input_ids"])
    for number, position in enumerate(row["first_pieces"]):
        if position >= 0 and first + number in own:
            labels[position] = tags[first + number]
    return labels


def word_scores(model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> list[FloatArray]:
    """Per text the (W, C) probabilities of its words; all 0 for a word without a piece."""

    return _of_words(
        model, tokenizer, texts, lambda outputs: outputs.logits.float().softmax(dim=-1)
    )


def word_features(body: nn.Module, tokenizer: Any, texts: Sequence[str]) -> list[FloatArray]:
    """Per text what a model without a head says of its words, (W, D)."""
    return _of_words(body, tokenizer, texts, lambda outputs: outputs.last_hidden_state.float())


def _of_words(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    wanted: Callable[[Any], torch.Tensor],
) -> list[FloatArray]:
    windows = windows_of(tokenizer, texts)
    parts: dict[int, list[tuple[range, FloatArray]]] = {}
    for window, values in _values(model, tokenizer, windows, wanted):
        start = window.own.start - window.first
        own = values[start : start + len(window.own)]
        parts.setdefault(window.row, []).append((window.own, own))
    return [
        np.concatenate([own for _, own in sorted(parts[row], key=lambda one: one[0].start)])
        for row in range(len(texts))
    ]


def _values(
    model: nn.Module,
    tokenizer: Any,
    windows: Sequence[Window],
    wanted: Callable[[Any], torch.Tensor],
) -> Iterator[tuple[Window, FloatArray]]:
    """Each window with the values of its words; 0 for a word without a piece."""
    rows = encoded(tokenizer, windows)
    collate = padding_collate(tokenizer, on_accelerator=torch.accelerator.is_available())
    model.eval()
    where = next(model.parameters()).device
    for chosen in batches_by_length([len(row["input_ids"]) for row in rows]):
        places = [rows[index].pop("first_pieces") for index in chosen]
        batch = collate([rows[index] for index in chosen])
        with torch.inference_mode():
            outputs = model(**{key: value.to(where) for key, value in batch.items()})
            values = wanted(outputs).cpu().numpy()  # (B, T, C)
        for index, pieces, one in zip(chosen, places, values, strict=True):
            of_words = one[pieces] * (np.array(pieces)[:, None] >= 0)
            yield windows[index], of_words.astype(np.float32)


def _limit(tokenizer: Any) -> int | None:
    """Pieces of a text that the model takes, without the signs around it."""
    longest = int(tokenizer.model_max_length)
    return None if longest > 1_000_000 else longest - tokenizer.num_special_tokens_to_add()


def _pieces(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """How many pieces each word of a text is cut into."""
    text = " ".join(words)
    options = {"add_special_tokens": False, "truncation": False, "verbose": False}
    offsets = tokenizer(text, return_offsets_mapping=True, **options)["offset_mapping"]
    first = [position for position in first_pieces(offsets, words, text) if position >= 0]
    counts = iter(np.diff([*first, len(offsets)]).tolist())
    found = first_pieces(offsets, words, text)
    return [next(counts) if position >= 0 else 0 for position in found]


def _cut(row: int, words: Sequence[str], pieces: Sequence[int], limit: int) -> list[Window]:
    """Windows of as many words as fit, a word longer than that by itself."""
    bounds, start = [], 0
    while True:
        stop, held = start, 0
        while stop < len(words) and (stop == start or held + pieces[stop] <= limit):
            held += pieces[stop]
            stop += 1
        bounds.append((start, stop))
        if stop == len(words):
            break
        start = max(start + 1, stop - (stop - start) // OVERLAP)
    # A shared word belongs to the window in whose inside it is: they part in the middle.
    edges = [0]
    edges += [
        (stop + after) // 2 for (_, stop), (after, _) in zip(bounds, bounds[1:], strict=False)
    ]
    edges.append(len(words))
    return [
        Window(row, first, words[first:stop], range(edges[number], edges[number + 1]))
        for number, (first, stop) in enumerate(bounds)
    ]
