"""Win rate of a model over another: on the same examples, and to people in blind pairs.

A tie is half a win. Between people the votes of one rater go together: raters are resampled, not
votes, so that a thousand votes of one person are the opinion of one person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hub_trainer.stats.intervals import (
    Estimate,
    FloatArray,
    Statistic,
    bootstrap_estimate,
    group_examples,
)
from hub_trainer.stats.paired import paired_scores


@dataclass(frozen=True)
class WinRate:
    """The share of examples, or of votes, that the first of two models wins."""

    estimate: Estimate
    wins: int
    ties: int
    losses: int


class PairVote(NamedTuple):
    """What one rater says of two answers to the same prompt."""

    rater: str
    pair: str
    preferred: str
    """The model whose answer is better; of a tie, either of the two."""
    other: str
    is_tie: bool


@dataclass(frozen=True)
class CrowdWinRate:
    """What raters say of two models."""

    model: str
    rival: str
    rate: WinRate
    """Of `model`."""
    num_pairs: int
    num_raters: int


def win_rate(scores: ArrayLike, baseline_scores: ArrayLike, *, seed: int = 0) -> WinRate:
    """The share of (num_examples,) on which the new model scores higher."""
    new, old = paired_scores(scores, baseline_scores)
    signs = np.sign(new - old)
    (values,), counts = group_examples((signs + 1) / 2)
    rng = np.random.default_rng(seed)
    estimate = bootstrap_estimate(_mean_of(values, np.ones_like(values)), counts, rng=rng)
    return _counted(estimate, signs)


def crowd_win_rates(votes: Iterable[PairVote], *, seed: int = 0) -> list[CrowdWinRate]:
    """For each two models that raters have compared; a rater's last vote on a pair counts.

    Votes are oldest first. Each entry's model is that of the two which wins more often.
    """
    latest = {(vote.rater, vote.pair): vote for vote in votes}
    between: dict[tuple[str, str], list[PairVote]] = {}
    for vote in latest.values():
        first, second = sorted((vote.preferred, vote.other))
        if first != second:
            between.setdefault((first, second), []).append(vote)
    return [_crowd(*models, between[models], seed) for models in sorted(between)]


def _crowd(first: str, second: str, votes: Sequence[PairVote], seed: int) -> CrowdWinRate:
    won = np.array([0 if v.is_tie else 1 if v.preferred == first else -1 for v in votes])
    model, rival = (first, second) if won.sum() >= 0 else (second, first)
    signs = won.astype(np.float64) * (1 if model == first else -1)
    raters = sorted({vote.rater for vote in votes})
    of_rater = np.array([raters.index(vote.rater) for vote in votes])
    size = np.bincount(of_rater).astype(np.float64)
    share = np.bincount(of_rater, weights=(signs + 1) / 2) / size
    (shares, sizes), counts = group_examples(share, size)
    rng = np.random.default_rng(seed)
    estimate = bootstrap_estimate(_mean_of(shares, sizes), counts, rng=rng)
    pairs = len({vote.pair for vote in votes})
    return CrowdWinRate(model, rival, _counted(estimate, signs), pairs, len(raters))


def _mean_of(values: FloatArray, sizes: FloatArray) -> Statistic:
    """The mean of cells' values, each cell as heavy as its size and its weight say."""

    def mean(weights: FloatArray) -> FloatArray:
        result: FloatArray = weights @ (values * sizes) / (weights @ sizes)
        return result

    return mean


def _counted(estimate: Estimate, signs: FloatArray) -> WinRate:
    wins, ties, losses = (int(np.sum(signs == sign)) for sign in (1, 0, -1))
    return WinRate(estimate, wins, ties, losses)
