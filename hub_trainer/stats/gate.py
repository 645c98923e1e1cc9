"""The gate: whether a new model replaces the published one, on the same sealed examples.

Promotion at alpha each round would promote a model that is no better with probability 0.40 over ten
rounds. So every look at the sealed examples spends a share of one alpha: look k may spend
2 / ((k + 1)(k + 2)) of it, shares that sum to 1 over any number of looks, plus all that an unbroken
row of promotions before it had not lost. Then the probability that any round ever promotes a model
that is not better stays under alpha: a false promotion at look k uses only the shares since the
last look whose model was no better, and these runs of shares do not overlap, so that they sum to at
most alpha however the rounds depend on each other (the online fallback procedure, Tian and
Ramdas 2021). Halving alpha each look would fall below 0.0001 at the tenth; these shares
are 0.0008 at the tenth. Simulated with 1540 examples of which the models differ on 5 %: 2 to 3 % of
ten-round histories without any better model promote one, and a model better by 2 points is promoted
with probability 0.90 at the first look, 0.94 after a promotion, 0.83 after two holds, 0.60 after
nine. What no arithmetic repairs is training on what the gate has said about single examples: the
examples must stay sealed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from hub_trainer.stats.intervals import FloatArray, IntArray, Interval, readable
from hub_trainer.stats.paired import Comparison, compare_scores, paired_p_values
from hub_trainer.stats.power import (
    minimum_detectable_effect,
    required_for_spread,
    required_num_examples,
)

Verdict = Literal["promote", "hold", "reject"]
Against = Literal["published", "baseline", "base", "probe"]
OTHERS: Mapping[Against, str] = {
    "published": "the published model",
    "baseline": "a constant answer",
    "base": "the base model as it is",
    "probe": "a cheap probe",
}
"""What a new model is compared with, in words."""

WAYS: Mapping[Against, str] = {
    "published": "",
    "baseline": "",
    "base": "use the base model without any training, or ",
    "probe": "try a simpler method (docs/recipe.md#methods), or ",
}
"""What else can be done where a first model is below one of those."""

_SLICE_ALPHA = 0.05


@dataclass(frozen=True)
class GateRule:
    """How sure the gate must be, and what it has spent already."""

    alpha: float = 0.05
    """Bound on the probability of ever promoting a model that is not better, over all rounds."""
    min_slice_change: float = -0.03
    """A slice whose mean score changes by less (and surely, p < 0.05) makes the gate reject."""
    num_looks: int = 0
    """Earlier gates of this model, whatever they said."""
    num_promoted_in_a_row: int = 0
    """How many of the latest of them promoted, without another verdict between."""
    power: float = 0.8
    """For the number of examples and the smallest effect that the decision reports."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not 0 < self.power < 1:
            raise ValueError(f"alpha and power must lie in (0, 1): {self.alpha}, {self.power}")
        if not 0 <= self.num_promoted_in_a_row <= self.num_looks:
            raise ValueError(
                f"{self.num_promoted_in_a_row} promotions in a row but only {self.num_looks} looks"
            )

    @property
    def alpha_spent(self) -> float:
        """What this look may spend: its own share and those of the promotions just before it."""
        look = self.num_looks + 1
        first = look - self.num_promoted_in_a_row
        return self.alpha * 2 * (1 / (first + 1) - 1 / (look + 2))


def count_looks(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """`num_looks` and `num_promoted_in_a_row` of a rule, from all earlier verdicts in order."""
    in_a_row = 0
    for verdict in reversed(verdicts):
        if verdict != "promote":
            break
        in_a_row += 1
    return len(verdicts), in_a_row


@dataclass(frozen=True)
class SliceChange:
    """The mean score of one group of examples under both models."""

    column: str
    value: str
    num_examples: int
    baseline_score: float
    score: float
    change: float
    p_value_worse: float
    """One-sided, Holm-adjusted for the number of slices."""
    regressed: bool


@dataclass(frozen=True)
class Floor:
    """A baseline that a first model may not be below, on the same sealed examples."""

    against: Against
    comparison: Comparison


@dataclass(frozen=True)
class FloorResult:
    """What the gate found of one floor, in the metric's own units."""

    against: Against
    baseline_value: float
    difference: float
    interval: Interval
    p_value_worse: float
    """One-sided, Holm-adjusted for the number of floors."""
    is_below: bool
    """The model's figure is the worse one."""
    is_surely_below: bool


@dataclass(frozen=True)
class GateDecision:
    """A verdict with all that it rests on; the same inputs give the same decision."""

    verdict: Verdict
    against: Against
    metric: str
    lower_is_better: bool
    """The metric's sense; values, differences and slices here are in its own units."""
    value: float
    baseline_value: float
    difference: float
    interval: Interval
    p_value: float
    p_value_worse: float
    alpha_spent: float
    num_examples: int
    discordance: float
    required_num_examples: int | None
    """To show the observed difference at this alpha and power; `None` if it is not above 0."""
    minimum_detectable_effect: float
    """The smallest true difference that these examples would show at this alpha and power."""
    method: str
    seed: int | None
    num_permutations: int | None
    slices: tuple[SliceChange, ...]
    reasons: tuple[str, ...]
    floors: tuple[FloorResult, ...] = ()
    """For a first model, the other baselines that it was compared with."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `round.json`."""
        return asdict(self)


def decide(
    scores: ArrayLike,
    published_scores: ArrayLike,
    *,
    rule: GateRule,
    slices: Mapping[str, Sequence[object]] | None = None,
    comparison: Comparison | None = None,
    seed: int = 0,
) -> GateDecision:
    """The new model against the published one on the same sealed examples.

    scores, published_scores: (num_examples,), higher is better, 0 and 1 for wrong and right.
    slices: a column to its value per example; the label is worth one.
    comparison: of the primary metric when that is not the mean score, such as macro F1.
    """
    compared = comparison or compare_scores(scores, published_scores, seed=seed)
    changes = compare_slices(
        scores, published_scores, slices or {}, min_slice_change=rule.min_slice_change, seed=seed
    )
    return _decision(compared, rule, "published", changes)


def decide_first(  # noqa: PLR0913 - each says another thing
    scores: ArrayLike,
    baseline_scores: ArrayLike,
    *,
    rule: GateRule,
    against: Against = "baseline",
    comparison: Comparison | None = None,
    floors: Sequence[Floor] = (),
    seed: int = 0,
) -> GateDecision:
    """A first model against a constant answer, or against its base, there being none published.

    It must be shown better than that one, and stand nowhere below the floors: what the base model
    and a cheap probe reach without this round's training. Surely below one (p at most alpha,
    Holm-adjusted over the floors) rejects, below by its figure alone holds. Floors can only take a
    promotion away, so they spend no alpha. There are no slices: a constant answer is perfect on
    its own class. It counts as a look, and as it is nearly always passed, its alpha goes on to the
    second round.
    """
    compared = comparison or compare_scores(scores, baseline_scores, seed=seed)
    return _decision(compared, rule, against, (), _floor_results(floors, rule))


def _floor_results(floors: Sequence[Floor], rule: GateRule) -> tuple[FloorResult, ...]:
    p_values = _holm([floor.comparison.p_value_worse for floor in floors])
    return tuple(
        FloorResult(
            against=floor.against,
            baseline_value=floor.comparison.baseline_value,
            difference=floor.comparison.difference,
            interval=floor.comparison.interval,
            p_value_worse=p_value,
            is_below=floor.comparison.improvement < -1e-12,
            is_surely_below=p_value <= rule.alpha,
        )
        for floor, p_value in zip(floors, p_values, strict=True)
    )


def compare_slices(
    scores: ArrayLike,
    published_scores: ArrayLike,
    slices: Mapping[str, Sequence[object]],
    *,
    min_slice_change: float,
    seed: int = 0,
) -> tuple[SliceChange, ...]:
    """Every slice of every column, those that changed for the worse first."""
    new, old = np.asarray(scores, dtype=np.float64), np.asarray(published_scores, dtype=np.float64)
    found = [
        (column, str(value), new[chosen], old[chosen])
        for column, values in slices.items()
        for value, chosen in _groups(column, values, len(new))
    ]
    p_values = _holm([paired_p_values(mine, theirs, seed)[1] for _, _, mine, theirs in found])
    changes = [
        _slice_change(*one, p_value, min_slice_change)
        for one, p_value in zip(found, p_values, strict=True)
    ]
    return tuple(sorted(changes, key=lambda change: (change.change, change.column, change.value)))


def _groups(
    column: str, values: Sequence[object], num_examples: int
) -> list[tuple[object, IntArray]]:
    if len(values) != num_examples:
        raise ValueError(f"slice column {column}: {len(values)} values, {num_examples} examples")
    rows: dict[object, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(value, []).append(row)
    return [(value, np.array(chosen, dtype=np.int64)) for value, chosen in rows.items()]


def _slice_change(
    column: str,
    value: str,
    new: FloatArray,
    old: FloatArray,
    p_value: float,
    min_slice_change: float,
) -> SliceChange:
    change = float(np.mean(new - old))
    regressed = change < min_slice_change - 1e-12 and p_value < _SLICE_ALPHA
    score, baseline = float(new.mean()), float(old.mean())
    return SliceChange(column, value, len(new), baseline, score, change, p_value, regressed)


def _negated(change: SliceChange) -> SliceChange:
    """A slice of scores that are minus a metric, in the metric's own units."""
    return replace(
        change,
        baseline_score=0.0 - change.baseline_score,
        score=0.0 - change.score,
        change=0.0 - change.change,
    )


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: compare each with 0.05 and the chance of any false one stays below it."""
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _decision(
    compared: Comparison,
    rule: GateRule,
    against: Against,
    slices: tuple[SliceChange, ...],
    floors: tuple[FloorResult, ...] = (),
) -> GateDecision:
    alpha, power = rule.alpha_spent, rule.power
    shown = tuple(map(_negated, slices)) if compared.lower_is_better else slices
    decision = GateDecision(
        verdict=_verdict(compared, rule, slices, floors),
        against=against,
        metric=compared.metric,
        lower_is_better=compared.lower_is_better,
        value=compared.value,
        baseline_value=compared.baseline_value,
        difference=compared.difference,
        interval=compared.interval,
        p_value=compared.p_value,
        p_value_worse=compared.p_value_worse,
        alpha_spent=alpha,
        num_examples=compared.num_examples,
        discordance=compared.discordance,
        required_num_examples=_required_num_examples(compared, rule),
        minimum_detectable_effect=minimum_detectable_effect(
            compared.standard_error, alpha=alpha, power=power
        ),
        method=compared.method,
        seed=compared.seed,
        num_permutations=compared.num_permutations,
        slices=shown,
        reasons=(),
        floors=floors,
    )
    return replace(decision, reasons=_reasons(decision, rule))


def _required_num_examples(compared: Comparison, rule: GateRule) -> int | None:
    if compared.improvement <= 0:
        return None
    if compared.method == "mcnemar":
        return required_num_examples(
            compared.improvement, compared.discordance, alpha=rule.alpha_spent, power=rule.power
        )
    return required_for_spread(
        compared.improvement,
        compared.standard_error,
        compared.num_examples,
        alpha=rule.alpha_spent,
        power=rule.power,
    )


def _verdict(
    compared: Comparison,
    rule: GateRule,
    slices: Sequence[SliceChange],
    floors: Sequence[FloorResult],
) -> Verdict:
    surely_worse = compared.p_value_worse <= rule.alpha
    if surely_worse or any(change.regressed for change in slices):
        return "reject"
    if any(floor.is_surely_below for floor in floors):
        return "reject"
    shown_better = compared.p_value <= rule.alpha_spent
    return "promote" if shown_better and not any(floor.is_below for floor in floors) else "hold"


def _reasons(decision: GateDecision, rule: GateRule) -> tuple[str, ...]:
    """The verdict in words, for the card and the pull request."""
    sense = " (lower is better)" if decision.lower_is_better else ""
    facts = (
        f"{decision.metric} {readable(decision.value)} against "
        f"{readable(decision.baseline_value)} of "
        f"{OTHERS[decision.against]}{sense} on the same {decision.num_examples} examples: "
        f"{_difference(decision)}"
    )
    floors = tuple(
        f"against {readable(floor.baseline_value)} of {OTHERS[floor.against]}{sense}: "
        f"{_difference(floor)}"
        for floor in decision.floors
    )
    judged = _judgement(decision, rule)
    return facts, *floors, *_regressions(decision, rule), judged, *_floor_judgements(decision, rule)


def _difference(found: GateDecision | FloorResult) -> str:
    interval = found.interval
    return (
        f"{readable(found.difference, '+')} ({interval.confidence:.0%} interval "
        f"{readable(interval.low, '+')} to {readable(interval.high, '+')})"
    )


def _floor_judgements(decision: GateDecision, rule: GateRule) -> tuple[str, ...]:
    told = []
    for floor in (one for one in decision.floors if one.is_below):
        where = f"below {OTHERS[floor.against]}, which a first model may not be"
        if floor.is_surely_below:
            p_value = _p_value(floor.p_value_worse)
            where = (
                f"worse than {OTHERS[floor.against]}: one-sided {p_value}, alpha {rule.alpha:.2g}"
            )
        ways = f"{WAYS[floor.against]}train on more or other rows, or with other settings"
        told.append(f"{where}; {ways}")
    return tuple(told)


def _judgement(decision: GateDecision, rule: GateRule) -> str:
    other = "" if decision.against == "published" else f" than {OTHERS[decision.against]}"
    alpha = f"alpha {decision.alpha_spent:.2g} at look {rule.num_looks + 1}"
    if decision.p_value_worse <= rule.alpha:
        return f"worse{other}: one-sided {_p_value(decision.p_value_worse)}, alpha {rule.alpha:.2g}"
    if decision.p_value <= decision.alpha_spent:
        return f"better{other}: one-sided {_p_value(decision.p_value)}, {alpha}"
    needed = decision.required_num_examples
    if decision.num_permutations and decision.alpha_spent * (decision.num_permutations + 1) < 1:
        advice = f"{decision.num_permutations} permutations cannot show less than this alpha"
    elif needed is None:
        advice = "no number of examples shows a difference that is not above 0"
    else:
        advice = f"a difference of this size needs about {needed} examples"
    return (
        f"not shown better{other}: one-sided {_p_value(decision.p_value)}, {alpha}; {advice}; "
        f"{decision.num_examples} show {readable(decision.minimum_detectable_effect)} or more"
    )


def _p_value(p_value: float) -> str:
    return f"p = {p_value:.2g}" if p_value >= 1e-16 else "p < 1e-16"


def _regressions(decision: GateDecision, rule: GateRule) -> tuple[str, ...]:
    least = rule.min_slice_change
    bound = (
        f"above {readable(-least, '+')}"
        if decision.lower_is_better
        else f"below {readable(least, '+')}"
    )
    return tuple(
        f"{change.column} = {change.value}: {readable(change.baseline_score)} to "
        f"{readable(change.score)} on "
        f"{change.num_examples} examples ({readable(change.change, '+')}, Holm-adjusted "
        f"{_p_value(change.p_value_worse)}), {bound}"
        for change in decision.slices
        if change.regressed
    )
