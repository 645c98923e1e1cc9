"""Answers that a model writes, held against their prompts: whether each answers its own.

How likely an answer is says little: every new subject is unlikely. So the logarithm of an answer's
probability after its own prompt is held against those of the same answer after other prompts of the
same rows. The difference, its gain, is what the prompt tells of the answer (pointwise mutual
information, as far as those prompts go), and about nothing where answers were exchanged. Which
gains right answers have is read off sealed rows, and which exchanged ones have off the same rows,
after prompts that are not their own.

Of texts of another kind than the sealed ones nothing is said: there a model may not see what a
prompt tells, and right answers would look exchanged. What tells the kind, how likely answers are
after other prompts, is the same whether they were exchanged or not.

Legend: N rows, K other prompts of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.checks.answer_errors import (
    MIN_HELD_OUT_ROWS,
    compare_errors,
    compare_ranks,
    joined,
)
from hub_trainer.checks.judgement import Judgement
from hub_trainer.checks.label_quality import FloatArray
from hub_trainer.checks.probe import NUMBER, sample_rows
from hub_trainer.checks.published_model import PublishedModel
from hub_trainer.inputs import Dialogue

Row = Mapping[str, Any]

NUM_OTHERS = 8
"""Other prompts after which each answer is weighed."""
MAX_ROWS = 400
"""New rows that a model is asked about, and sealed ones; of more, a sample stands for all."""
MAX_WORK = 5e13
"""Multiplications and additions for all rows together: some ten minutes of two cores."""
WORK_PER_BYTE = 1.0
"""Of a weight per token and byte that the weight takes, of which it has two at least."""
CHARACTERS_PER_TOKEN = 3.0
MIN_NEW_ROWS = 5
NUM_SWEEPS = 10
KNOWN_RANGE = (0.02, 0.98)
"""Quantiles of sealed answers, by how likely they are; beyond them a judge is not at home."""
MAX_UNKNOWN = 0.3
"""Share of new answers beyond that range above which all of them are of another kind."""


@dataclass(frozen=True)
class Weighed:
    """Answers under a model, those alone that it takes whole after each prompt."""

    log_probs: FloatArray
    """(N, 1 + K) logarithm of each answer's probability: after its own prompt, then others."""
    num_tokens: NDArray[np.int64]
    """(N,) of each answer."""
    prompts: NDArray[np.int64]
    """(N, 1 + K) places of those prompts among the rows that were asked about."""

    @property
    def places(self) -> NDArray[np.int64]:
        """(N,) of the rows."""
        return self.prompts[:, 0]

    @property
    def usual(self) -> FloatArray:
        """(N,) nats per token of each answer after other prompts."""
        usual: FloatArray = self.log_probs[:, 1:].mean(axis=1) / self.num_tokens
        return usual

    @property
    def gains(self) -> FloatArray:
        """(1 + K, N) by how much an answer is likelier after a prompt than after the others, in
        standard deviations over those: first its own, then each other in its place.
        """
        per_token = self._per_token()
        every = range(1, per_token.shape[1])
        gains = []
        for place in range(per_token.shape[1]):
            # As many others for its own prompt as for each of them, or their spread would differ.
            others = per_token[:, [one for one in every if one != (place or every[-1])]]
            spread = others.std(axis=1, ddof=1) + 1e-9
            gains.append((per_token[:, place] - others.mean(axis=1)) / spread)
        return np.stack(gains)

    def _per_token(self) -> FloatArray:
        """(N, 1 + K) nats per token, without what each prompt adds to any answer."""
        per_token = self.log_probs / self.num_tokens[:, None]
        others, usual = per_token[:, 1:], per_token[:, 1:].mean(axis=1, keepdims=True)
        size = int(self.prompts.max()) + 1
        places = self.prompts[:, 1:].ravel()
        times = np.maximum(np.bincount(places, minlength=size), 1)
        added = np.zeros(size)
        for _ in range(NUM_SWEEPS):
            of_answers = usual - added[self.prompts[:, 1:]].mean(axis=1, keepdims=True)
            sums = np.bincount(places, weights=(others - of_answers).ravel(), minlength=size)
            added = sums / times
        corrected: FloatArray = per_token - added[self.prompts]
        return corrected


def judge_prompted(
    new: Sequence[Row], test: Sequence[Row], *, model: PublishedModel, dialogue: Dialogue
) -> Judgement | None:
    """Whether new answers look like those of other prompts.

    None with too few rows that ask for something, with a model too large to be asked about enough
    of them, with answers of another kind than the sealed ones, and where a model does not tell an
    answer to a prompt from one to another.
    """
    numbered = [{**row, NUMBER: number} for number, row in enumerate(new, start=1)]
    rows, held_out = dialogue.asked(numbered), dialogue.asked(test)
    most = affordable_rows([*rows, *held_out], model.num_bytes or 0)
    rows, held_out = sample_rows(rows, most), sample_rows(held_out, most)
    if len(held_out) < MIN_HELD_OUT_ROWS or len(rows) < MIN_NEW_ROWS:
        return None
    known, asked = (weigh(part, model, dialogue) for part in (held_out, rows))
    numbers = [int(rows[place][NUMBER]) for place in asked.places]
    return compare_weighed(known, asked, numbers)


def compare_weighed(known: Weighed, asked: Weighed, numbers: Sequence[int]) -> Judgement | None:
    """The finding of `judge_prompted` on sealed answers and new ones, whose rows have numbers."""
    if len(known.places) < MIN_HELD_OUT_ROWS or len(asked.places) < MIN_NEW_ROWS:
        return None
    low, high = np.quantile(known.usual, KNOWN_RANGE)
    is_known = (asked.usual >= low) & (asked.usual <= high)
    if is_known.mean() < 1 - MAX_UNKNOWN:
        return None
    right, *exchanged = known.gains
    new = asked.gains[0][is_known]
    numbers = [number for number, one in zip(numbers, is_known, strict=True) if one]
    groups = [""] * (len(right) + len(new))
    ranks = compare_ranks(-right, -np.stack(exchanged), -new, groups, numbers)
    if ranks is None:
        return None
    quality = joined(compare_errors(-right, -new, groups, numbers), ranks)
    told = (
        "the published model finds answers likelier after their own prompts than after others by "
        f"{new.mean():.2f} standard deviations, held-out ones by {right.mean():.2f}"
    )
    return Judgement("the published model", quality, told=told)


def affordable_rows(rows: Sequence[Row], num_bytes: int) -> int:
    """How many rows like these, of new ones and of sealed ones each, a model of so many bytes of
    weights is asked about."""
    if not rows:
        return 0
    tokens = sum(len(row["text"]) for row in rows) / len(rows) / CHARACTERS_PER_TOKEN
    per_row = max(tokens, 1.0) * (1 + NUM_OTHERS) * WORK_PER_BYTE * max(num_bytes, 1)
    return min(MAX_ROWS, int(MAX_WORK / per_row / 2))


def weigh(rows: Sequence[Row], model: PublishedModel, dialogue: Dialogue) -> Weighed:
    """Each answer after its own prompt, and after those of rows that follow it by chance, so that
    each prompt is asked as often."""
    from hub_trainer.tasks import Asked, load_task

    order = np.random.default_rng(0).permutation(len(rows))
    steps = np.arange(1 + min(NUM_OTHERS, len(rows) - 1))
    prompts = order[(np.argsort(order)[:, None] + steps) % len(rows)]
    crossed = [
        dialogue.crossed(rows[place], row)
        for row, places in zip(rows, prompts, strict=True)
        for place in places
    ]
    asked = Asked(answered=(), weighed=range(len(crossed)))
    found = load_task(model.task).predict(model.folders, crossed, asked)
    weighed = [one.likelihood for one in found if one.likelihood is not None]
    counts = np.array([one.num_tokens for one in weighed]).reshape(prompts.shape)
    log_probs = np.array([one.log_prob for one in weighed], np.float64).reshape(prompts.shape)
    # A long prompt leaves less room, and the rest of an answer would be likelier than all of it.
    whole = (counts == counts[:, :1]).all(axis=1) & (counts[:, 0] > 0)
    return Weighed(log_probs[whole], counts[whole, 0], prompts[whole])
