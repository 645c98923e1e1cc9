"""Rows of tokens laid end to end by best fit, without padding; a prompt is read once.

A draw is one micro-batch. It is packed into parts of at most a budget of tokens, and each part is
one forward and one backward pass, so memory depends on the budget and not on the batch.

Legend: T tokens of a part, N learned tokens, R rows of a part, B rows of a draw, K answers per row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from hub_trainer.finetune.batches import TOKENS
from hub_trainer.finetune.language.encode import num_tokens
from hub_trainer.finetune.language.sequence_layout import Layout, Segment

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Packing:
    """How rows become parts."""

    budget: int
    """Tokens per part; a row that is longer has a part of its own."""
    dense: bool = True
    """Laid end to end, with shared prompts. If not: one answer per line, padded at the end, for
    models that cannot tell sequences on one line apart."""


@dataclass(frozen=True)
class Part:
    """Some rows of a draw, ready for the model, and where the learned tokens are in it."""

    input_ids: torch.Tensor
    """(1, T), or (lines, longest) where it is padded."""
    position_ids: torch.Tensor | None
    attention_mask: torch.Tensor | None
    layout: Layout | None
    sources: torch.Tensor
    """(N,) positions, counted over all lines, that predict a learned token."""
    targets: torch.Tensor
    """(N,) the learned tokens."""
    places: torch.Tensor
    """(N,) row of the part * K + answer."""
    members: torch.Tensor
    """(R,) rows of the draw."""
    num_answers: int

    def to(self, device: Any, non_blocking: bool = False) -> "Part":
        """On a device."""
        moved = {
            name: tensor.to(device, non_blocking=non_blocking)
            for name, tensor in vars(self).items()
            if isinstance(tensor, torch.Tensor)
        }
        return replace(self, **moved)

    def model_inputs(self) -> dict[str, Any]:
        """What the model's forward takes."""
        if self.layout is None:
            return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "layout": self.layout,
        }


@dataclass(frozen=True)
class _Answer:
    ids: Sequence[int]
    trained: Sequence[bool]
    row: int
    """Its number in the draw."""
    index: int
    """Which answer of that row."""


@dataclass
class _Tree:
    """A prompt and the answers that follow it, of one row or of several with the same prompt."""

    prompt: Sequence[int]
    answers: list[_Answer]

    @property
    def size(self) -> int:
        return len(self.prompt) + sum(len(answer.ids) for answer in self.answers)

    @property
    def rows(self) -> list[int]:
        return sorted({answer.row for answer in self.answers})


@dataclass(frozen=True)
class PackingCollate:
    """Rows of a draw to its parts, and what the loss needs of each row."""

    packing: Packing

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """One draw."""
        learned = [num_learned(row) for row in rows]
        batch: dict[str, Any] = {
            "parts": pack(rows, self.packing),
            "labels": torch.tensor([row.get("desirable", True) for row in rows]),
            "num_learned": torch.tensor(learned, dtype=torch.float32),
            TOKENS: sum(num_tokens(dict(row)) for row in rows),
        }
        for name in ("reference", "mismatched_reference"):
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        if "mismatched" in rows[0]:
            batch["mismatched"] = pack([mismatched(row) for row in rows], self.packing)
        return batch


def mismatched(row: Row) -> Row:
    """The row's prompt with the answer to another prompt, as a row of its own."""
    ids = row["mismatched"]
    return {"prompt": row["prompt"], "answers": [ids], "trained": [[True] * len(ids)]}


def pack(rows: Sequence[Row], packing: Packing) -> list[Part]:
    """All rows in as few parts as best fit finds."""
    if not packing.dense:
        return _padded_parts(rows, packing.budget)
    trees = _trees(rows, packing.budget)
    bins = best_fit([tree.size for tree in trees], packing.budget)
    return [_dense([trees[i] for i in chosen], len(rows[0]["answers"])) for chosen in bins]


def best_fit(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in bins: longest first, each into the fullest bin that it still fits."""
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fitting = [b for b, left in enumerate(room) if left >= sizes[index]]
        if fitting:
            chosen = min(fitting, key=room.__getitem__)
            bins[chosen].append(index)
            room[chosen] -= sizes[index]
        else:
            bins.append([index])
            room.append(budget - sizes[index])
    return bins


def num_learned(row: Row) -> int:
    """Learned tokens that something comes before; nothing predicts the first token of all."""
    first = 0 if row["prompt"] else 1
    return sum(sum(mask[first:]) for mask in row["trained"])


def _trees(rows: Sequence[Row], budget: int) -> list[_Tree]:
    trees: list[_Tree] = []
    open_trees: dict[tuple[int, ...], _Tree] = {}
    for index, row in enumerate(rows):
        answers = _answers_of(row, index)
        prompt = tuple(row["prompt"])
        tree = open_trees.get(prompt) if prompt else None
        if tree is None or tree.size + sum(len(a.ids) for a in answers) > budget:
            tree = _Tree(prompt, [])
            trees.append(tree)
            open_trees[prompt] = tree
        tree.answers += answers
    return trees


def _answers_of(row: Row, index: int) -> list[_Answer]:
    pairs = zip(row["answers"], row["trained"], strict=True)
    return [_Answer(ids, mask, index, k) for k, (ids, mask) in enumerate(pairs)]


class _Lines:
    """Collects a part's tokens and where its learned ones are."""

    def __init__(self, members: list[int], num_answers: int) -> None:
        self.members, self.num_answers = members, num_answers
        self.local = {row: i for i, row in enumerate(members)}
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.places: list[int] = []

    def learn(self, answer: _Answer, start: int, before: int | None) -> None:
        """The learned tokens of an answer that starts there, `before` being the prompt's end."""
        place = self.local[answer.row] * self.num_answers + answer.index
        for t, (token, learned) in enumerate(zip(answer.ids, answer.trained, strict=True)):
            source = start + t - 1 if t else before
            if learned and source is not None:
                self.sources.append(source)
                self.targets.append(token)
                self.places.append(place)

    def part(self, **inputs: Any) -> Part:
        """The part, once all answers are in."""
        return Part(
            **inputs,
            sources=torch.tensor(self.sources),
            targets=torch.tensor(self.targets),
            places=torch.tensor(self.places),
            members=torch.tensor(self.members),
            num_answers=self.num_answers,
        )


def _dense(trees: Sequence[_Tree], num_answers: int) -> Part:
    lines = _Lines(sorted(row for tree in trees for row in tree.rows), num_answers)
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    for tree in trees:
        start, size = len(ids), len(tree.prompt)
        ids += tree.prompt
        positions += range(size)
        for k, answer in enumerate(tree.answers):
            here, length = len(ids), len(answer.ids)
            ids += answer.ids
            positions += range(size, size + length)
            lines.learn(answer, here, start + size - 1 if size else None)
            # The first answer is in one run with the prompt, and needs no prefix.
            first = Segment(start, here + length)
            segments.append(first if k == 0 else Segment(here, here + length, start, start + size))
    return lines.part(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        attention_mask=None,
        layout=Layout(tuple(segments)),
    )


def _padded_parts(rows: Sequence[Row], budget: int) -> list[Part]:
    """Rows of similar length together, so that little is padded; all answers of a row stay so."""
    order = sorted(range(len(rows)), key=lambda i: -_longest(rows[i]))
    num_answers = len(rows[0]["answers"])
    parts: list[list[int]] = []
    for index in order:
        width = _longest(rows[parts[-1][0]]) if parts else 0
        if not parts or (len(parts[-1]) + 1) * num_answers * width > budget:
            parts.append([])
        parts[-1].append(index)
    return [_padded(rows, sorted(members), num_answers) for members in parts]


def _padded(rows: Sequence[Row], members: list[int], num_answers: int) -> Part:
    lines, width = _Lines(members, num_answers), max(_longest(rows[i]) for i in members)
    texts: list[list[int]] = []
    for index in members:
        prompt = list(rows[index]["prompt"])
        for answer in _answers_of(rows[index], index):
            start = len(texts) * width + len(prompt)
            lines.learn(answer, start, start - 1 if prompt else None)
            texts.append([*prompt, *answer.ids])
    # What is padded with does not matter: it is behind everything that looks back.
    ids = [text + [0] * (width - len(text)) for text in texts]
    mask = [[1] * len(text) + [0] * (width - len(text)) for text in texts]
    return lines.part(
        input_ids=torch.tensor(ids),
        position_ids=None,
        attention_mask=torch.tensor(mask),
        layout=None,
    )


def _longest(row: Row) -> int:
    return len(row["prompt"]) + max(map(len, row["answers"]))
