"""Two models on the same examples: how much better, how sure, and how sure that it is not worse.

The test follows from the scores. Right or wrong per example: McNemar's test, exact, and the
Bonett-Price interval, no randomness. Graded scores: a permutation test that swaps the two models'
scores example by example. A metric of all examples at once (macro F1): the same permutation on the
predictions, with a BCa interval from the paired bootstrap. The permutation test, not the bootstrap,
gives the p-value there: the gate spends alphas of one in a thousand, where bootstrap tails are not
to be trusted.
"""

from collections.abc import Callable, Sequence
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
    Statistic,
    bca_interval,
    group_examples,
    in_chunks,
    normal_quantile,
    resample,
)

WeightedMetric = Callable[[IntArray, IntArray, FloatArray], FloatArray]
"""references (num_cells,), predictions (num_cells,), weights (num_resamples, num_cells) -> values
(num_resamples,): the metric of examples that occur as often as the weights say."""

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
class BootstrapDifference:
    """A difference of two metrics on resampled examples."""

    difference: float
    interval: Interval
    p_value: float
    """One-sided, from resamples shifted to a difference of 0."""
    standard_error: float


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
    """Share of examples on which the two models score, or answer, differently."""
    num_examples: int
    method: str
    """`mcnemar`, `permutation of scores` or `permutation of predictions`."""
    metric: str = "score"
    lower_is_better: bool = False
    """Of the metric, in whose units all values here are."""
    seed: int | None = None
    """Of the permutations and resamples; `None` where nothing was drawn."""
    num_permutations: int | None = None

    @property
    def improvement(self) -> float:
        """The difference, above 0 when the new model is better."""
        return -self.difference if self.lower_is_better else self.difference


def mcnemar(correct: ArrayLike, baseline_correct: ArrayLike) -> McNemar:
    """McNemar's exact test on (num_examples,) truth values: a coin toss per discordant example."""
    new, old = _paired(correct, baseline_correct, dtype=np.bool_)
    won, lost = int(np.sum(new & ~old)), int(np.sum(old & ~new))
    better, worse = _tail(won, lost), _tail(lost, won)
    return McNemar(won, lost, better, worse, min(1.0, 2 * min(better, worse)))


def _tail(num_heads: int, num_tails: int) -> float:
    """P(at least `num_heads` heads in all these tosses of a fair coin)."""
    from scipy.special import betainc

    return float(betainc(num_heads, num_tails + 1, 0.5)) if num_heads else 1.0


def paired_bootstrap(
    references: ArrayLike,
    predictions: ArrayLike,
    baseline_predictions: ArrayLike,
    *,
    metric: WeightedMetric,
    confidence: float = 0.95,
    seed: int,
) -> BootstrapDifference:
    """The difference in a metric over resampled examples, both models on the same ones."""
    cells, counts = _prediction_cells(references, predictions, baseline_predictions)
    statistic = _difference_statistic(metric, *cells)
    difference = float(statistic(counts[None, :].astype(np.float64))[0])
    rng = np.random.default_rng(seed)
    resampled = resample(statistic, counts, num_resamples=NUM_RESAMPLES, rng=rng)
    p_value = _monte_carlo_p(int(np.sum(resampled - difference >= difference)), NUM_RESAMPLES)
    interval = bca_interval(statistic, counts, resampled, confidence)
    return BootstrapDifference(difference, interval, p_value, float(np.std(resampled, ddof=1)))


def compare_predictions(
    references: ArrayLike,
    predictions: ArrayLike,
    baseline_predictions: ArrayLike,
    *,
    metric: WeightedMetric,
    confidence: float = 0.95,
    seed: int,
) -> Comparison:
    """Compare by a metric that is no mean over examples, such as macro F1.

    The inputs are (num_examples,) label ids.
    """
    cells, counts = _prediction_cells(references, predictions, baseline_predictions)
    truth, new, old = cells
    weights = counts[None, :].astype(np.float64)
    bootstrap = paired_bootstrap(
        references,
        predictions,
        baseline_predictions,
        metric=metric,
        confidence=confidence,
        seed=seed,
    )
    null = _permuted_differences(metric, cells, counts, np.random.default_rng([seed, 1]))
    return Comparison(
        value=float(metric(truth, new, weights)[0]),
        baseline_value=float(metric(truth, old, weights)[0]),
        difference=bootstrap.difference,
        interval=bootstrap.interval,
        p_value=_exceedance(null, bootstrap.difference),
        p_value_worse=_exceedance(-null, -bootstrap.difference),
        standard_error=bootstrap.standard_error,
        discordance=float(counts[new != old].sum() / counts.sum()),
        num_examples=int(counts.sum()),
        method="permutation of predictions",
        seed=seed,
        num_permutations=NUM_PERMUTATIONS,
    )


def compare_scores(
    scores: ArrayLike, baseline_scores: ArrayLike, *, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    """Compare by the mean of (num_examples,) per-example scores, higher being better.

    Scores of 0 and 1 take the exact test and need no seed.
    """
    new, old = _paired(scores, baseline_scores, dtype=np.float64)
    if is_binary(new, old):
        return _compare_correct(new > 0, old > 0, confidence)
    return _compare_graded(new, old, confidence, seed)


def paired_scores(scores: ArrayLike, baseline_scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both models' (num_examples,) scores; raises DataError when there are none."""
    new, old = _paired(scores, baseline_scores, dtype=np.float64)
    return new, old


def paired_p_values(
    scores: FloatArray, baseline_scores: FloatArray, seed: int
) -> tuple[float, float]:
    """One-sided p-values (better, worse) by the test that suits the scores."""
    if is_binary(scores, baseline_scores):
        test = mcnemar(scores > 0, baseline_scores > 0)
        return test.p_value, test.p_value_worse
    difference = scores - baseline_scores
    null = _sign_flipped_means(difference, np.random.default_rng([seed, 1]))
    mean = float(difference.mean())
    return _exceedance(null, mean), _exceedance(-null, -mean)


def is_binary(*scores: FloatArray) -> bool:
    """Whether every score says right (1) or wrong (0) and nothing between."""
    return all(bool(np.all((values == 0) | (values == 1))) for values in scores)


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


def _compare_graded(new: FloatArray, old: FloatArray, confidence: float, seed: int) -> Comparison:
    difference = new - old
    (values,), counts = group_examples(difference)

    def mean(weights: FloatArray) -> FloatArray:
        result: FloatArray = weights @ values / weights.sum(axis=1)
        return result

    rng = np.random.default_rng(seed)
    resampled = resample(mean, counts, num_resamples=NUM_RESAMPLES, rng=rng)
    better, worse = paired_p_values(new, old, seed)
    return Comparison(
        value=float(new.mean()),
        baseline_value=float(old.mean()),
        difference=float(difference.mean()),
        interval=bca_interval(mean, counts, resampled, confidence),
        p_value=better,
        p_value_worse=worse,
        standard_error=float(difference.std(ddof=1) / len(difference) ** 0.5),
        discordance=float(np.mean(difference != 0)),
        num_examples=len(difference),
        method="permutation of scores",
        seed=seed,
        num_permutations=NUM_PERMUTATIONS,
    )


def _sign_flipped_means(difference: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Means under the null that either model could have had either score of an example."""
    (sizes,), counts = group_examples(np.abs(difference[difference != 0]))

    def draw(size: int) -> FloatArray:
        flipped = rng.binomial(counts, 0.5, size=(size, len(counts)))
        result: FloatArray = (counts - 2 * flipped) @ sizes / len(difference)
        return result

    return in_chunks(draw, NUM_PERMUTATIONS, len(counts))


def _prediction_cells(*columns: ArrayLike) -> tuple[list[IntArray], IntArray]:
    return group_examples(*_paired(*columns, dtype=np.int64))


def _difference_statistic(
    metric: WeightedMetric, references: IntArray, new: IntArray, old: IntArray
) -> Statistic:
    def difference(weights: FloatArray) -> FloatArray:
        return metric(references, new, weights) - metric(references, old, weights)

    return difference


def _permuted_differences(
    metric: WeightedMetric, cells: Sequence[IntArray], counts: IntArray, rng: np.random.Generator
) -> FloatArray:
    """Differences under the null that either model could have given either prediction."""
    truth, new, old = cells
    truths, answers = np.concatenate([truth, truth]), np.concatenate([new, old])

    def draw(size: int) -> FloatArray:
        swapped = rng.binomial(counts, 0.5, size=(size, len(counts))).astype(np.float64)
        kept = counts - swapped
        first = metric(truths, answers, np.concatenate([kept, swapped], axis=1))
        return first - metric(truths, answers, np.concatenate([swapped, kept], axis=1))

    return in_chunks(draw, NUM_PERMUTATIONS, 2 * len(counts))


def _exceedance(null: FloatArray, observed: float) -> float:
    """Share of the null at least as large, the observed one included; rounding is no difference."""
    return _monte_carlo_p(int(np.sum(null >= observed - 1e-12)), len(null))


def _monte_carlo_p(num_exceeding: int, num_draws: int) -> float:
    return (num_exceeding + 1) / (num_draws + 1)


def _paired(*columns: ArrayLike, dtype: Any) -> list[NDArray[Any]]:
    arrays = [np.asarray(column, dtype=dtype) for column in columns]
    lengths = {array.shape for array in arrays}
    if len(lengths) > 1 or arrays[0].ndim != 1:
        raise ValueError(f"paired arrays must share one length, got shapes {sorted(lengths)}")
    if not len(arrays[0]):
        raise DataError("two models cannot be compared on no examples", do="give a test split rows")
    return arrays
