"""A number with the interval around it: Wilson for shares, BCa bootstrap for everything else.

Which is used when. A share of examples (accuracy, the recall or precision of one class) has a
closed form that holds its coverage near 0 and 1 and for a dozen examples: Wilson. A metric that is
no share (F1, an average over classes, a mean of graded scores) is resampled: BCa, the bootstrap
corrected for bias and skew, which macro averages over rare classes need. Where every resample says
the same (no error was made) a bootstrap has nothing to say, and Wilson over the number of examples
stands in for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Statistic = Callable[[FloatArray], FloatArray]
"""weights (num_resamples, num_cells) -> values (num_resamples,); a cell is a group of examples that
the statistic cannot tell apart, and its weight the number of them in the resample."""

NUM_RESAMPLES = 2000
_MAX_CHUNK_CELLS = 4_000_000


def readable(value: float, sign: str = "", *, digits: int = 4) -> str:
    """So many decimals; so many digits where that would show nothing, or endless ones.

    A price is in millions, and a concentration in millionths. `sign` is `+` to show it always.
    """
    shows_nothing = 0 < abs(value) < 0.5 * 10**-digits
    is_endless = math.isfinite(value) and abs(value) >= 1e6
    return f"{value:{sign}.{digits}{'g' if shows_nothing or is_endless else 'f'}}"


@dataclass(frozen=True)
class Interval:
    """Where the true value lies with the stated confidence; both ends included."""

    low: float
    high: float
    confidence: float = 0.95

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval, how that was made and from how many examples."""

    value: float
    interval: Interval
    method: str
    """`wilson`, `bca`, `percentile` or `length`."""
    num_examples: int

    def as_dict(self) -> dict[str, Any]:
        """The flat form of `--json`, cards and `round.json`."""
        return {
            "value": self.value,
            "low": self.interval.low,
            "high": self.interval.high,
            "confidence": self.interval.confidence,
            "method": self.method,
            "num_examples": self.num_examples,
        }


def normal_quantile(fraction: float) -> float:
    """The z below which `fraction` of a standard normal lies."""
    return NormalDist().inv_cdf(fraction)


def wilson_interval(num_hits: float, num_examples: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share; (0, 1) when there is no example to judge by."""
    if not 0 <= num_hits <= num_examples:
        raise ValueError(f"num_hits must lie in [0, {num_examples}], got {num_hits}")
    if num_examples == 0:
        return Interval(0.0, 1.0, confidence)
    z2 = normal_quantile((1 + confidence) / 2) ** 2
    share = num_hits / num_examples
    centre = (share + z2 / (2 * num_examples)) / (1 + z2 / num_examples)
    spread = share * (1 - share) / num_examples + z2 / (4 * num_examples**2)
    half = z2**0.5 * spread**0.5 / (1 + z2 / num_examples)
    low = 0.0 if num_hits == 0 else max(0.0, centre - half)
    high = 1.0 if num_hits == num_examples else min(1.0, centre + half)
    return Interval(low, high, confidence)


def wilson_estimate(num_hits: int, num_examples: int, confidence: float = 0.95) -> Estimate:
    """A share and its Wilson interval; 0 of 0 counts as 0, as in the metrics."""
    value = num_hits / num_examples if num_examples else 0.0
    interval = wilson_interval(num_hits, num_examples, confidence)
    return Estimate(value, interval, "wilson", num_examples)


def group_examples(*columns: NDArray[Any]) -> tuple[list[NDArray[Any]], IntArray]:
    """Examples with the same values become one cell: its values, and how many examples it holds.

    Resampling examples is drawing cell sizes from a multinomial, which costs as much as there are
    cells: a few hundred pairs of labels rather than every example.
    """
    codes = np.stack([np.unique(column, return_inverse=True)[1] for column in columns])
    _, first, counts = np.unique(codes, axis=1, return_index=True, return_counts=True)
    return [column[first] for column in columns], counts.astype(np.int64)


def resample(
    statistic: Statistic, counts: IntArray, *, num_resamples: int, rng: np.random.Generator
) -> FloatArray:
    """The statistic on `num_resamples` bootstrap resamples of the examples behind the cells."""
    num_examples = int(counts.sum())
    fractions = counts / num_examples

    def draw(size: int) -> FloatArray:
        return rng.multinomial(num_examples, fractions, size=size).astype(np.float64)

    return in_chunks(lambda size: statistic(draw(size)), num_resamples, len(counts))


def in_chunks(make: Callable[[int], FloatArray], num_resamples: int, num_cells: int) -> FloatArray:
    """`make(size)` for sizes that add up to `num_resamples` and keep memory under ~100 MB."""
    size = max(1, _MAX_CHUNK_CELLS // max(1, num_cells))
    sizes = [min(size, num_resamples - start) for start in range(0, num_resamples, size)]
    return np.concatenate([make(chunk) for chunk in sizes])


def percentile_interval(resampled: FloatArray, confidence: float = 0.95) -> Interval:
    """The middle `confidence` of the resampled values."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), confidence)


def bca_interval(
    statistic: Statistic, counts: IntArray, resampled: FloatArray, confidence: float = 0.95
) -> Interval:
    """The bias-corrected and accelerated interval (Efron 1987) from resampled values."""
    value = float(statistic(counts[None, :].astype(np.float64))[0])
    below = np.mean(resampled < value) + 0.5 * np.mean(resampled == value)
    if np.ptp(resampled) == 0 or not 0 < below < 1:
        return percentile_interval(resampled, confidence)
    bias = normal_quantile(float(below))
    acceleration = _acceleration(statistic, counts)
    ends = []
    for fraction in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + normal_quantile(fraction)
        ends.append(NormalDist().cdf(bias + z / max(1e-6, 1 - acceleration * z)))
    low, high = np.quantile(resampled, ends)
    return Interval(float(low), float(high), confidence)


def _acceleration(statistic: Statistic, counts: IntArray) -> float:
    """Skew of the jackknife: the statistic without one example of each cell in turn."""
    cells = np.flatnonzero(counts)
    starts = iter(range(0, len(cells)))

    def leave_one_out(size: int) -> FloatArray:
        chosen = cells[[next(starts) for _ in range(size)]]
        weights = np.repeat(counts[None, :].astype(np.float64), size, axis=0)
        weights[np.arange(size), chosen] -= 1
        return statistic(weights)

    values = in_chunks(leave_one_out, len(cells), len(counts))
    share = counts[cells]
    deviations = np.average(values, weights=share) - values
    scale = float(np.sum(share * deviations**2))
    return float(np.sum(share * deviations**3)) / (6 * scale**1.5) if scale > 0 else 0.0


def bootstrap_estimate(
    statistic: Statistic,
    counts: IntArray,
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    rng: np.random.Generator,
) -> Estimate:
    """The statistic of all examples with its BCa interval; Wilson if no resample differs.

    The stand-in only makes sense for a metric in [0, 1], which those without spread are.
    """
    num_examples = int(counts.sum())
    value = float(statistic(counts[None, :].astype(np.float64))[0])
    resampled = resample(statistic, counts, num_resamples=num_resamples, rng=rng)
    if np.ptp(resampled) == 0 and 0 <= value <= 1:
        interval = wilson_interval(value * num_examples, num_examples, confidence)
        return Estimate(value, interval, "wilson", num_examples)
    interval = bca_interval(statistic, counts, resampled, confidence)
    return Estimate(value, interval, "bca", num_examples)
