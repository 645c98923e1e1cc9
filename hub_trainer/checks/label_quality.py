"""The share of wrong labels in new rows, read from what a model thinks of them.

A model errs too, so disagreement alone says little. What a right label looks like to this model is
measured on held-out rows under their own label; what a wrong one looks like, on the same rows under
every other label. The new rows are a mixture of both, and the share of the second is estimated by
maximum likelihood, label by label, so that rows of a label the model is weak at are not taken for
wrong ones.

Shapes: N new rows, H held-out rows, K labels. Scores are (N, K) or (H, K), rows that add up to 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NUM_BINS = 8
PRIOR_ROWS = 20.0
"""Weight of the histogram over all labels in that of one label, in rows."""
CERTAIN = 0.01
"""How improbable rows must be without a wrong label before anybody is troubled."""
MIN_LEAD = 2.0
"""Standard errors by which a judge must do better than one that always answers alike."""
FEW_ROWS = 20
"""Under so many a person decides: a judge errs on one of ten rows, and honest ones bring few."""
NUM_CHANCE_TRIALS = 199
MAX_CHANCE_ROWS = 4_000
_GRID = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True)
class Scored:
    """Rows as a model sees them: a score per label, and the index of the label they carry."""

    scores: FloatArray
    labels: IntArray
    numbers: tuple[int, ...] = ()
    """Numbers of the rows, where they are to be named."""

    @property
    def disagreement(self) -> float:
        """Share of rows whose label is not the model's first choice."""
        return float(np.mean(self.scores.argmax(axis=1) != self.labels)) if len(self.labels) else 0


@dataclass(frozen=True)
class Judged:
    """What a judge says of rows whose labels are taken as right, and of new ones."""

    held_out: Scored
    new: Scored
    names: tuple[str, ...]
    """Label names, in the order of the scores."""

    @property
    def can_judge(self) -> bool:
        """Whether the judge's recall on held-out rows, averaged over labels, beats a constant's."""
        labels = self.held_out.labels
        right = self.held_out.scores.argmax(axis=1) == labels
        rows = np.bincount(labels, minlength=len(self.names))
        known = rows > 0
        recall = np.bincount(labels, weights=right, minlength=len(self.names))[known] / rows[known]
        # Each share is drawn to one half, so that a label of one row is not held for certain.
        smoothed = (recall * rows[known] + 1) / (rows[known] + 2)
        error = np.sqrt(np.mean(smoothed * (1 - smoothed) / rows[known]) / known.sum())
        return bool(recall.mean() - MIN_LEAD * error > 1 / len(self.names))


@dataclass(frozen=True)
class LabelQuality:
    """What a model says of the labels of new rows; fractions are shares of those rows."""

    wrong_fraction: float
    low: float
    high: float
    """Ends of the 90 % likelihood interval: one-sided 95 % each."""
    p_value: float
    """Chance of such rows if no label were wrong."""
    disagreement: float
    reference_disagreement: float
    """The model's own error on held-out rows."""
    num_rows: int
    doubtful: tuple[int, ...] = ()
    """Numbers of the rows that look wrong, the worst first: as many as the estimate says."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "LabelQuality":
        """From the worker's answer."""
        return cls(**{**content, "doubtful": tuple(content["doubtful"])})

    def to_json(self) -> dict[str, Any]:
        """As the worker answers."""
        return {**vars(self), "doubtful": list(self.doubtful)}

    def blocks(self, max_wrong_fraction: float) -> Literal["refuse", "human"] | None:
        """refuse, human or None.

        Refused: even the lower end of the interval is over the limit, of rows that nobody reads in
        a minute. A person decides when at least one label is wrong for certain and the limit may be
        exceeded.
        """
        is_chance = self.p_value > CERTAIN or self.low * self.num_rows < 0.5
        if is_chance or self.high <= max_wrong_fraction:
            return None
        is_surely_over = self.low > max_wrong_fraction and self.num_rows >= FEW_ROWS
        return "refuse" if is_surely_over else "human"


def judge_labels(held_out: Scored, new: Scored, *, seed: int = 0) -> LabelQuality:
    """Estimate the share of wrong labels among `new` rows; `held_out` rows are taken as right."""
    held_out_margins = _margins(held_out.scores)
    own = np.zeros_like(held_out_margins, dtype=bool)
    own[np.arange(len(own)), held_out.labels] = True
    edges = _edges(held_out_margins[own], held_out_margins[~own])
    bins = np.digitize(held_out_margins, edges)
    rows = np.arange(len(new.labels))
    new_margins = _margins(new.scores)[rows, new.labels]
    new_bins = np.digitize(new_margins, edges)
    likelihood = _likelihood(bins, held_out.labels, new_bins, new.labels)
    best = int(likelihood.argmax())
    chance = _chance_gains(bins, held_out.labels, new.labels, np.random.default_rng(seed))
    inside = _GRID[likelihood >= likelihood[best] - 1.353]  # half of chi2(1) at 0.90
    return LabelQuality(
        wrong_fraction=float(_GRID[best]),
        low=float(inside.min()),
        high=float(inside.max()),
        p_value=float((1 + np.sum(chance >= likelihood[best] - likelihood[0])) / (1 + len(chance))),
        disagreement=new.disagreement,
        reference_disagreement=held_out.disagreement,
        num_rows=len(rows),
        doubtful=_doubtful(new, new_margins, round(float(_GRID[best]) * len(rows))),
    )


def _doubtful(new: Scored, margins: FloatArray, count: int) -> tuple[int, ...]:
    if not new.numbers:
        return ()
    return tuple(new.numbers[place] for place in np.argsort(margins, kind="stable")[:count])


def _chance_gains(
    bins: IntArray, labels: IntArray, new_labels: IntArray, rng: np.random.Generator
) -> FloatArray:
    """How far the likelihood rises by chance alone when no label is wrong. (NUM_CHANCE_TRIALS,)

    Some of the held-out rows play the new ones, label for label, against the others, so that the
    noise of few held-out rows, of a weak model and of hard labels counts as chance.
    """
    wanted = np.bincount(new_labels, minlength=bins.shape[1])
    gains = np.zeros(NUM_CHANCE_TRIALS)
    for trial in range(NUM_CHANCE_TRIALS):
        known, drawn = _divide(labels, wanted, rng)
        likelihood = _likelihood(
            bins[known], labels[known], bins[drawn, labels[drawn]], labels[drawn]
        )
        gains[trial] = likelihood.max() - likelihood[0]
    return gains


def _divide(
    labels: IntArray, wanted: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Held-out rows to know, and rows drawn from the others, `wanted[k]` with label k.

    At most half of a label's rows are given away; where that is too few, they are drawn repeatedly.
    """
    order = rng.permutation(len(labels))[:MAX_CHANCE_ROWS]
    order = order[np.argsort(labels[order], kind="stable")]
    ends = np.cumsum(np.bincount(labels[order], minlength=len(wanted)))
    known, drawn = [], []
    for rows, count in zip(np.split(order, ends[:-1]), wanted, strict=True):
        pool, rest = np.split(rows, [min(count, len(rows) // 2)])
        known.append(rest)
        if len(pool):
            drawn.append(pool if len(pool) == count else rng.choice(pool, count))
    return np.concatenate(known), np.concatenate(drawn or [order])


def _likelihood(
    bins: IntArray, labels: IntArray, new_bins: IntArray, new_labels: IntArray
) -> FloatArray:
    """Log likelihood of each share of wrong labels in _GRID. bins: (H, K), new_bins: (N,)"""
    own = np.zeros(bins.shape, dtype=bool)
    own[np.arange(len(own)), labels] = True
    num_bins = int(bins.max(initial=new_bins.max(initial=0))) + 1
    right = _histograms(bins, own, num_bins)[new_labels, new_bins]
    wrong = _histograms(bins, ~own, num_bins)[new_labels, new_bins]
    mixed = np.outer(1 - _GRID, right) + np.outer(_GRID, wrong)
    return np.log(mixed).sum(axis=1)  # type: ignore[no-any-return]


def _margins(scores: FloatArray) -> FloatArray:
    """log score of each label minus the best log score among the others. (rows, K)"""
    logs = np.log(np.clip(scores, 1e-6, 1.0))
    order = np.sort(logs, axis=1)
    best, second = order[:, -1:], order[:, -2:-1]
    margins: FloatArray = np.where(logs == best, logs - second, logs - best)
    return margins


def _edges(right: FloatArray, wrong: FloatArray) -> FloatArray:
    """Inner bin edges: quantiles of right margins, and of wrong ones, so both tails have bins."""
    shares = np.linspace(0, 1, NUM_BINS // 2 + 1)[1:-1]
    low_tail = [0.02, 0.05, 0.1]
    found = [*np.quantile(right, [*low_tail, *shares]), *np.quantile(wrong, shares), 0.0]
    return np.unique(np.round(found, 6))


def _histograms(bins: IntArray, mask: NDArray[np.bool_], num_bins: int) -> FloatArray:
    """P(bin | label) over the cells that `mask` picks, drawn to the histogram of all. (K, bins)"""
    num_labels = bins.shape[1]
    cells = (bins + num_bins * np.arange(num_labels))[mask]
    counts = np.bincount(cells, minlength=num_labels * num_bins).reshape(num_labels, num_bins)
    overall = (counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * num_bins)
    smoothed = counts + PRIOR_ROWS * overall
    return smoothed / (counts.sum(axis=1, keepdims=True) + PRIOR_ROWS)  # type: ignore[no-any-return]
