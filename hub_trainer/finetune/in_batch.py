"""Texts that belong together, learned against all others of a batch (multiple negatives ranking).

Legend: B pairs of a draw, C candidates: their second texts, and texts known not to belong.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hub_trainer.errors import DataError
from hub_trainer.finetune.batches import padding_collate
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.plan import Batch, FitData
from hub_trainer.finetune.sentence_pairs import RIGHT
from hub_trainer.finetune.tokenizers import encode
from hub_trainer.metrics.retrieval import apart, together

Row = Mapping[str, Any]
SCALE = 20.0
"""How sharply a nearer wrong text counts; that of sentence-transformers."""
FIRST, SECOND, WRONG = "first", "second", "wrong"


@dataclass(frozen=True)
class InBatchObjective:
    """Of all candidates of a draw, the second text of a pair is to be the nearest to its first.

    Cross-entropy of scaled cosines (Henderson et al. 2017; sentence-transformers calls it
    MultipleNegativesRankingLoss). A draw is what a process sees at once, so its size decides how
    many candidates there are.
    """

    scale: float = SCALE

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) one choice each."""
        return torch.ones(len(batch["labels"]), device=batch["labels"].device)

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """(B,) of (B, C) cosines, in which what is right besides is far below all others."""
        cosines = outputs.logits.float()
        own = torch.arange(len(cosines), device=cosines.device)
        return functional.cross_entropy(cosines * self.scale, own, reduction="none")


@dataclass(frozen=True)
class Match:
    """Two texts that belong together, and one that is known not to belong to the first."""

    row: Row
    first: str
    second: str
    wrong: str | None


def matches_of(rows: Sequence[Row], column: str) -> list[Match]:
    """Pairs that belong together by their number, each with a text that does not, where rows of
    the same first text say one: the first of them to the first pair, and so on in turn."""
    numbers = [float(row[column]) for row in rows]
    wrong: dict[str, list[str]] = defaultdict(list)
    for row in (rows[place] for place in np.flatnonzero(apart(numbers)).tolist()):
        wrong[str(row["text"])].append(str(row["text_pair"]))
    found, taken = [], dict.fromkeys(wrong, 0)
    for row in (rows[place] for place in np.flatnonzero(together(numbers)).tolist()):
        first, second = str(row["text"]), str(row["text_pair"])
        others = [text for text in wrong.get(first, ()) if text != second]
        place = taken.get(first, 0)
        found.append(Match(row, first, second, others[place % len(others)] if others else None))
        taken[first] = place + 1
    return found


def match_data(
    tokenizer: Any, train: Sequence[Row], validation: Sequence[Row], column: str
) -> FitData:
    """Pairs that belong together in tokens, both texts and a wrong one in one batch.

    Raises DataError where no pair belongs together.
    """
    learned, watched = matches_of(train, column), matches_of(validation, column)
    if not learned:
        raise DataError(
            "No pair belongs together.",
            where="collect.datasets",
            got=f"{len(train):,} training rows",
            do="Name pairs that do in columns, or learn their numbers by another train.loss.",
        )
    right = _right([*learned, *watched])
    known, held = _encoded(tokenizer, learned), _encoded(tokenizer, watched)
    weights = example_weights([one.row for one in learned], class_weights=False)
    for row, weight in zip(known, weights, strict=True):
        row["weight"] = weight
    pad = padding_collate(tokenizer, on_accelerator=torch.accelerator.is_available())

    def collate(rows: list[dict[str, Any]]) -> Batch:
        matches = [row["match"] for row in rows]
        tokens = [row[FIRST] for row in rows] + [row[SECOND] for row in rows]
        batch = pad(tokens + [row[WRONG] for row in rows if row[WRONG] is not None])
        return {**batch, RIGHT: right_besides(matches, right), "labels": torch.ones(len(rows))}

    return FitData(
        train=known,
        validation=held or None,
        collate=collate,
        lengths=[_length(row) for row in known],
        validation_lengths=[_length(row) for row in held],
    )


def right_besides(matches: Sequence[Match], right: Mapping[str, set[str]]) -> torch.Tensor:
    """(B, C) which candidates are no wrong answers: the text itself, its twin, and others that
    are known to belong to it, all but the one that is asked for."""
    candidates = [one.second for one in matches] + [one.wrong for one in matches if one.wrong]
    found = torch.tensor(
        [
            [text == one.first or text in right.get(one.first, ()) for text in candidates]
            for one in matches
        ]
    )
    return found & ~torch.eye(len(matches), len(candidates), dtype=torch.bool)


def _right(matches: Sequence[Match]) -> dict[str, set[str]]:
    """Text -> the texts that belong to it, on whichever side it stands."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in matches:
        found[one.first].add(one.second)
        found[one.second].add(one.first)
    return found


def _encoded(tokenizer: Any, matches: Sequence[Match]) -> list[dict[str, Any]]:
    texts = list(dict.fromkeys(t for m in matches for t in (m.first, m.second, m.wrong) if t))
    if not texts:
        return []
    columns = encode(tokenizer, texts, truncation=True)
    tokens = {
        text: {name: columns[name][place] for name in columns} for place, text in enumerate(texts)
    }
    return [
        {
            FIRST: tokens[one.first],
            SECOND: tokens[one.second],
            WRONG: tokens[one.wrong] if one.wrong else None,
            "match": one,
        }
        for one in matches
    ]


def _length(row: Mapping[str, Any]) -> int:
    sides = (row[name] for name in (FIRST, SECOND, WRONG))
    return sum(len(side["input_ids"]) for side in sides if side is not None)
