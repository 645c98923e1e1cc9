"""Comparison of two models on the same examples: how much better, and how sure that is.

The test follows from the metric. A share of the examples: McNemar's exact test and the Bonett-Price
interval, no randomness. Any other: a permutation test that swaps the two models' rows of
statistics example by example, with a BCa interval from the paired bootstrap. The permutation test,
not the bootstrap, gives the p-value there: the gate spends alphas of one in a thousand, where
bootstrap tails are not to be trusted.

N = examples, M = pairs of rows that occur, S = statistics of an example, B = resamples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hub_trainer.errors import DataError
from hub_trainer.stats.intervals import (
    NUM_RESAMPLES,
    FloatArray,
    IntArray,
    Interval,
    bca_interval,
    in_chunks,
    normal_quantile,
    resample,
)
from hub_trainer.stats.metric import MEAN, SHARE, Metric, Statistics

NUM_PERMUTATIONS = 20_000


@dataclass(frozen=True)
class McNemar:
    """What two models' right and wrong answers on the same examples say."""

    num_won: int
    """Examples that only the new model has right."""
    num_lost: int
    """Examples that only the baseline has right."""
    p_value: float
    """One-sided: the chance of so many won if neither model were better."""
    p_value_worse: float
    """The other side: the chance of so many lost."""
    p_value_two_sided: float


@dataclass(frozen=True)
class Comparison:
    """The new model against a baseline on the same examples, in one metric."""

    value: float
    baseline_value: float
    difference: float
    interval: Interval
    p_value: float
    """One-sided: small when the new model is better."""
    p_value_worse: float
    """One-sided: small when the new model is worse."""
    standard_error: float
    discordance: float
    """Share of examples on which the two models' statistics differ."""
    num_examples: int
    method: str
    """`mcnemar` or `permutation`."""
    metric: str = "score"
    lower_is_better: bool = False
    """The metric's sense; all values here are in its units."""
    seed: int | None = None
    """Seed of the permutations and resamples; `None` where nothing was drawn."""
    num_permutations: int | None = None

    @property
    def improvement(self) -> float:
        """The difference, above 0 when the new model is better."""
        return -self.difference if self.lower_is_better else self.difference


def compare(
    metric: Metric,
    new: Statistics,
    baseline: Statistics,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Two models' statistics of the same N examples, in one metric."""
    if metric.is_share:
        right, was_right = (one.rows[one.row_of, 0] > 0 for one in (new, baseline))
        return _compare_correct(right, was_right, confidence)
    pairs = _Pairs.of(new, baseline)

    def difference(weights: FloatArray) -> FloatArray:
        values = (metric.scale(metric.measure(rows, weights)) for rows in (pairs.new, pairs.old))
        result: FloatArray = next(values) - next(values)
        return result

    whole = pairs.counts[None, :].astype(np.float64)
    rng = np.random.default_rng(seed)
    resampled = resample(difference, pairs.counts, num_resamples=NUM_RESAMPLES, rng=rng)
    better, worse = _permutation_p_values(metric, pairs, seed)
    return Comparison(
        value=float(metric.scale(metric.measure(pairs.new, whole))[0]),
        baseline_value=float(metric.scale(metric.measure(pairs.old, whole))[0]),
        difference=float(difference(whole)[0]),
        interval=bca_interval(difference, pairs.counts, resampled, confidence),
        p_value=better,
        p_value_worse=worse,
        standard_error=float(np.std(resampled, ddof=1)),
        discordance=float(pairs.counts[pairs.differ].sum() / pairs.counts.sum()),
        num_examples=int(pairs.counts.sum()),
        method="permutation",
        lower_is_better=metric.lower_is_better,
        seed=seed,
        num_permutations=NUM_PERMUTATIONS,
    )


def compare_scores(
    scores: ArrayLike, baseline_scores: ArrayLike, *, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    """Compare by the mean of (N,) per-example scores, higher being better.

    Scores of 0 and 1 take the exact test and need no seed.
    """
    metric, new, old = _of_scores(scores, baseline_scores)
    return compare(metric, new, old, confidence=confidence, seed=seed)


def paired_p_values(
    scores: ArrayLike, baseline_scores: ArrayLike, seed: int
) -> tuple[float, float]:
    """One-sided p-values (better, worse) of the mean score: the test without the interval."""
    metric, new, old = _of_scores(scores, baseline_scores)
    if metric.is_share:
        test = mcnemar(new.rows[new.row_of, 0] > 0, old.rows[old.row_of, 0] > 0)
        return test.p_value, test.p_value_worse
    return _permutation_p_values(metric, _Pairs.of(new, old), seed)


def paired_scores(scores: ArrayLike, baseline_scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both models' (N,) scores; raises DataError when there are none."""
    new, old = _paired(scores, baseline_scores, dtype=np.float64)
    return new, old


def _of_scores(
    scores: ArrayLike, baseline_scores: ArrayLike
) -> tuple[Metric, Statistics, Statistics]:
    new, old = paired_scores(scores, baseline_scores)
    binary = all(bool(np.all((one == 0) | (one == 1))) for one in (new, old))
    metric = SHARE if binary else MEAN
    return metric, Statistics.of_scores(new), Statistics.of_scores(old)


def mcnemar(correct: ArrayLike, baseline_correct: ArrayLike) -> McNemar:
    """McNemar's exact test on (N,) truth values: a coin toss per discordant example."""
    new, old = _paired(correct, baseline_correct, dtype=np.bool_)
    won, lost = int(np.sum(new & ~old)), int(np.sum(old & ~new))
    better, worse = _tail(won, lost), _tail(lost, won)
    return McNemar(won, lost, better, worse, min(1.0, 2 * min(better, worse)))


def _tail(num_heads: int, num_tails: int) -> float:
    """P(at least `num_heads` heads in all these tosses of a fair coin)."""
    from scipy.special import betainc

    return float(betainc(num_heads, num_tails + 1, 0.5)) if num_heads else 1.0


def _compare_correct(
    new: NDArray[np.bool_], old: NDArray[np.bool_], confidence: float
) -> Comparison:
    test, num_examples = mcnemar(new, old), len(new)
    interval, standard_error = _bonett_price(test.num_won, test.num_lost, num_examples, confidence)
    return Comparison(
        value=float(new.mean()),
        baseline_value=float(old.mean()),
        difference=(test.num_won - test.num_lost) / num_examples,
        interval=interval,
        p_value=test.p_value,
        p_value_worse=test.p_value_worse,
        standard_error=standard_error,
        discordance=(test.num_won + test.num_lost) / num_examples,
        num_examples=num_examples,
        method="mcnemar",
    )


def _bonett_price(
    num_won: int, num_lost: int, num_examples: int, confidence: float
) -> tuple[Interval, float]:
    """Interval and standard error of a difference of paired shares (Bonett and Price 2012).

    One example is added to either side, so that no discordance does not mean no doubt.
    """
    won, lost = (num_won + 1) / (num_examples + 2), (num_lost + 1) / (num_examples + 2)
    standard_error = ((won + lost - (won - lost) ** 2) / (num_examples + 2)) ** 0.5
    half = normal_quantile((1 + confidence) / 2) * standard_error
    low, high = max(-1.0, won - lost - half), min(1.0, won - lost + half)
    return Interval(low, high, confidence), standard_error


@dataclass(frozen=True)
class _Pairs:
    """Examples grouped by the two rows that they have."""

    new: FloatArray
    """(M, S)"""
    old: FloatArray
    """(M, S)"""
    counts: IntArray
    """(M,) examples that have these two rows."""

    @classmethod
    def of(cls, new: Statistics, old: Statistics) -> "_Pairs":
        _assert_paired(new.row_of, old.row_of)
        code = new.row_of * len(old.rows) + old.row_of
        _, first, counts = np.unique(code, return_index=True, return_counts=True)
        return cls(new.rows[new.row_of[first]], old.rows[old.row_of[first]], counts)

    @property
    def differ(self) -> NDArray[np.bool_]:
        """(M,) where a swap would change anything."""
        result: NDArray[np.bool_] = np.any(self.new != self.old, axis=1)
        return result


def _permutation_p_values(metric: Metric, pairs: _Pairs, seed: int) -> tuple[float, float]:
    """One-sided (better, worse): either model could have had either row of an example."""
    drawn = np.flatnonzero(pairs.differ)
    if not len(drawn):
        return 1.0, 1.0
    rng = np.random.default_rng([seed, 1])

    def draw(size: int) -> FloatArray:
        swapped = rng.binomial(pairs.counts[drawn], 0.5, size=(size, len(drawn)))
        return _difference_after(metric, pairs, drawn, swapped.astype(np.float64))

    null = in_chunks(draw, NUM_PERMUTATIONS, 2 * len(drawn))
    observed = float(_difference_after(metric, pairs, drawn, np.zeros((1, len(drawn))))[0])
    return _exceedance(null, observed), _exceedance(-null, -observed)


def _difference_after(
    metric: Metric, pairs: _Pairs, drawn: IntArray, swapped: FloatArray
) -> FloatArray:
    """(B,) by how much the new model is better once it has swapped rows with the old one.

    drawn: (D,) the pairs that differ; swapped: (B, D) examples of each that are swapped.
    """
    if metric.of_sums is not None:
        # The swaps move the same amount from one model's sum to the other's: one product for both.
        moved = swapped @ (pairs.old - pairs.new)[drawn]
        sums = pairs.counts @ pairs.new + moved, pairs.counts @ pairs.old - moved
        first, second = (metric.scale(metric.of_sums(one)) for one in sums)
    else:
        rows = np.concatenate([pairs.new, pairs.old])
        of_old = np.zeros((len(swapped), len(pairs.counts)))
        of_old[:, drawn] = swapped
        weights = np.concatenate([pairs.counts - of_old, of_old], axis=1)
        other = np.concatenate([of_old, pairs.counts - of_old], axis=1)
        first, second = (metric.scale(metric.measure(rows, one)) for one in (weights, other))
    difference: FloatArray = first - second
    return -difference if metric.lower_is_better else difference


def _exceedance(null: FloatArray, observed: float) -> float:
    """Share of the null at least as large, the observed one included; rounding is no difference."""
    return (int(np.sum(null >= observed - 1e-12)) + 1) / (len(null) + 1)


def _paired(*columns: ArrayLike, dtype: Any) -> list[NDArray[Any]]:
    arrays = [np.asarray(column, dtype=dtype) for column in columns]
    _assert_paired(*arrays)
    return arrays


def _assert_paired(*arrays: NDArray[Any]) -> None:
    lengths = {array.shape for array in arrays}
    if len(lengths) > 1 or arrays[0].ndim != 1:
        raise ValueError(f"paired arrays must share one length, got shapes {sorted(lengths)}")
    if not len(arrays[0]):
        raise DataError("two models cannot be compared on no examples", do="give a test split rows")
