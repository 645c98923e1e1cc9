"""Power of a paired comparison: the examples it needs, and what those at hand can show."""

from math import ceil

from hub_trainer.stats.intervals import normal_quantile


def required_num_examples(
    difference: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Examples at which a one-sided paired test shows `difference` with probability `power`.

    discordance: share of examples on which exactly one of the two models is right.
    """
    if not 0 < abs(difference) <= discordance <= 1:
        raise ValueError(
            f"difference {difference} must not be 0 nor exceed the discordance {discordance}"
        )
    return _num_examples(difference, discordance - difference**2, alpha=alpha, power=power)


def required_for_spread(
    difference: float, standard_error: float, num_examples: int, *, alpha: float, power: float
) -> int:
    """The same for any metric, from the standard error that `num_examples` examples gave."""
    return _num_examples(difference, standard_error**2 * num_examples, alpha=alpha, power=power)


def minimum_detectable_effect(
    standard_error: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest true difference that these examples would show with probability `power`."""
    return (normal_quantile(1 - alpha) + normal_quantile(power)) * standard_error


def _num_examples(difference: float, variance: float, *, alpha: float, power: float) -> int:
    z = normal_quantile(1 - alpha) + normal_quantile(power)
    return max(1, ceil(z**2 * variance / difference**2))
