"""Limits per label: a rare label that is turned into another one is few rows over all.

Each label is looked at twice. Of the rows that claim it, how many does the judge place elsewhere?
Of the rows that the judge places there, how many claim another, beyond what it confuses on held-out
rows with the same claims? Both are compared with held-out rows, so that neither a label the judge
is weak at nor a pull request of one label only is taken for wrong.

Shapes: N new rows, H held-out rows, K labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hub_trainer.checks.label_quality import FloatArray, Scored

CHANCE = 0.01
"""How improbable a finding must be by chance, over all labels together."""
MIN_WRONG_ROWS = 3.0


@dataclass(frozen=True)
class LabelGroup:
    """Rows of one label that look wrong: at least `low`, a share of the group, in [0, 1]."""

    label: str
    by: Literal["claimed", "judged"]
    low: float
    wrong: int
    num_rows: int
    numbers: tuple[int, ...]
    """Numbers of the wrong rows."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "LabelGroup":
        """From the worker's answer."""
        return cls(**{**content, "numbers": tuple(content["numbers"])})

    def to_json(self) -> dict[str, Any]:
        """As the worker answers."""
        return {**vars(self), "numbers": list(self.numbers)}


def judge_groups(held_out: Scored, new: Scored, names: Sequence[str]) -> list[LabelGroup]:
    """The labels of which more rows look wrong than chance explains, the worst first."""
    found = []
    judged, usual = new.scores.argmax(axis=1), held_out.scores.argmax(axis=1)
    confused = _confusion(held_out.labels, usual, len(names))
    rows_of = np.bincount(held_out.labels, minlength=len(names))
    for label, name in enumerate(names):
        claimed = new.labels == label
        wrong = claimed & (judged != label)
        low = _excess(int(wrong.sum()), int(claimed.sum()), 1 - confused[label, label],
                      rows_of[label], num_tests=2 * len(names))  # fmt: skip
        found.append(_group(name, "claimed", low, wrong, claimed, new))
        low, wrong = _hidden(new.labels, judged, label, confused, rows_of)
        found.append(_group(name, "judged", low, wrong, judged == label, new))
    return sorted((one for one in found if one), key=lambda one: -one.low)


def _confusion(labels: Any, judged: Any, num_labels: int) -> FloatArray:
    """P(judged | label), drawn a little to what the judge says over all. (K, K)"""
    counts = np.zeros((num_labels, num_labels))
    np.add.at(counts, (labels, judged), 1)
    overall = (counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * num_labels)
    smoothed: FloatArray = (counts + overall) / (counts.sum(axis=1, keepdims=True) + 1)
    return smoothed


def _hidden(
    labels: Any, judged: Any, label: int, confused: FloatArray, rows_of: Any
) -> tuple[float, Any]:
    """Share of the rows judged to be of `label` that are so beyond what confusion explains."""
    others = labels != label
    wrong = others & (judged == label)
    num_others = int(others.sum())
    if not wrong.any():
        return 0.0, wrong
    weights = np.bincount(labels[others], minlength=len(confused)) / num_others
    usual = confused[:, label]
    # Held-out rows that a mean over labels in these shares is worth.
    worth = 1 / np.sum(weights**2 / np.maximum(rows_of, 1))
    low = _excess(int(wrong.sum()), num_others, float(weights @ usual), worth,
                  num_tests=2 * len(confused))  # fmt: skip
    return low * num_others / int((judged == label).sum()), wrong


def _excess(count: int, num_rows: int, usual: float, num_usual: float, *, num_tests: int) -> float:
    """Lower end of the difference of two shares, by the method of Newcombe on Jeffreys limits."""
    from scipy.stats import beta

    if not num_rows:
        return 0.0
    tail = CHANCE / num_tests
    share = count / num_rows
    low = float(beta.ppf(tail, count + 0.5, num_rows - count + 0.5)) if count else 0.0
    wrong = usual * num_usual
    high = float(beta.ppf(1 - tail, wrong + 0.5, max(0.0, num_usual - wrong) + 0.5))
    return max(0.0, share - usual - float(np.hypot(share - low, high - usual)))


def _group(
    name: str, by: Literal["claimed", "judged"], low: float, wrong: Any, group: Any, new: Scored
) -> LabelGroup | None:
    if low * int(group.sum()) < MIN_WRONG_ROWS:
        return None
    numbers = tuple(new.numbers[place] for place in np.flatnonzero(wrong)) if new.numbers else ()
    return LabelGroup(name, by, low, int(wrong.sum()), int(group.sum()), numbers)
