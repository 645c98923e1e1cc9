"""New answers that are no labels, such as numbers, held against a judge's predictions.

A judge errs too. How far is measured on held-out rows, whose answers are taken as right, and always
among rows of which the judge says the like: it errs more on high numbers and on rare labels. Two
signs are looked for. A few errors that are huge: more new rows than held-out ones are beyond the
error that one in twenty of those exceeds (where an error has a largest value that more of the
held-out rows have, as spans of which none is right, that limit lies below it). Many errors that
are somewhat larger: the new errors' ranks among held-out ones lie above the middle, and how far
towards the ranks of answers that were exchanged among rows says for how many rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.answers import Prediction, RatedAnswer
from hub_trainer.checks.judgement import Judgement
from hub_trainer.checks.label_quality import CERTAIN, FloatArray, LabelQuality
from hub_trainer.checks.probe import MAX_BASE_ROWS, NUM_FOLDS, sample_rows
from hub_trainer.checks.published_model import PublishedModel
from hub_trainer.inputs import load_input
from hub_trainer.stats import wilson_interval

Row = Mapping[str, Any]

MAX_NEW_ROWS = 2_000
MAX_HELD_OUT_ROWS = 1_000
MIN_HELD_OUT_ROWS = 40
USUAL = 0.05
"""Share of held-out rows whose error is called large."""
MAX_USUAL = 0.95
PRIOR_ROWS = 20.0
"""Weight of the rate over all groups in that of one, in rows."""
STRENGTH = 1.0
MIN_GAIN = 2.0
"""Standard errors by which a judge must be better than one answer for every row."""
NUM_EXCHANGES = 5
LEFT_OUT = -2
"""Number of a group of rows that are not compared."""
MIN_STEP = 0.02
"""Least distance of wrong answers' mean rank from the middle for a judge to tell them."""
Z_OF_90 = 1.645
"""Half of a 90 % interval, in standard errors."""


def judge_errors(
    new: Sequence[Row],
    base: Sequence[Row],
    test: Sequence[Row],
    *,
    model: PublishedModel | None,
    modality: str,
    answer: RatedAnswer,
) -> Judgement | None:
    """How many new answers are further from a judge's than held-out rows' are.

    None with too few rows, and where no judge does better than one answer for every row.
    """
    rows = sample_rows(new, MAX_NEW_ROWS)
    numbers = [number for number, row in enumerate(new, start=1) if any(row is one for one in rows)]
    judge = "the published model"
    held_out = sample_rows(test, MAX_HELD_OUT_ROWS)
    said = _by_model(rows, held_out, model, answer) if model else None
    if said is None or not _can_judge(held_out, said, answer):
        judge = "a probe of the dataset"
        held_out = sample_rows(base, MAX_BASE_ROWS)
        said = _by_probe(rows, held_out, modality, answer)
    if said is None or not _can_judge(held_out, said, answer):
        return None
    values = [row[answer.column] for row in (*held_out, *rows)]
    errors = -answer.scores(values, said)
    groups = answer.strata([one.value for one in said])
    num = len(held_out)
    exchanged = _exchanged(values[:num], said[:num], answer)
    ranks = compare_ranks(errors[:num], exchanged, errors[num:], groups, numbers)
    quality = joined(compare_errors(errors[:num], errors[num:], groups, numbers), ranks)
    told = (
        f"{judge} gives other answers: its error is {quality.disagreement:.2f}, on held-out rows "
        f"{quality.reference_disagreement:.2f}"
    )
    return Judgement(judge, quality, told=told)


def _can_judge(held_out: Sequence[Row], said: Sequence[Prediction], answer: RatedAnswer) -> bool:
    """Whether a judge of the held-out rows, whose predictions come first, beats one answer for all.

    Errors of one that does not are those of the answers alone, and rows of other answers would look
    wrong to it.
    """
    values = [row[answer.column] for row in held_out]
    _, constant = answer.constant(values, answer.usual_metrics[0])
    gains = answer.scores(values, said[: len(values)]) - answer.scores(
        values, [constant] * len(values)
    )
    return bool(gains.mean() > MIN_GAIN * gains.std(ddof=1) / np.sqrt(len(gains)))


def compare_errors(
    held_out: FloatArray, new: FloatArray, groups: Sequence[str], numbers: Sequence[int]
) -> LabelQuality:
    """How many of the (N,) new errors are larger than those of (H,) held-out rows explain.

    `groups` say what the judge has answered: H names, then N. `numbers` are those of the new rows.
    """
    from scipy.stats import fisher_exact

    limit = _limit(held_out)
    beyond = new > limit
    usual, worth = _usual(held_out > limit, groups)
    count, total = int(beyond.sum()), len(new)
    interval = wilson_interval(count, total, 0.9)
    large = round(usual * worth)
    counts = [[count, total - count], [large, round(worth) - large]]
    low, share, high = (
        max(0.0, (one - usual) / (1 - usual))
        for one in (interval.low, count / total, interval.high)
    )
    worst = np.argsort(-new, kind="stable")[: round(share * total)]
    return LabelQuality(
        wrong_fraction=share,
        low=low,
        high=high,
        p_value=float(fisher_exact(counts, alternative="greater").pvalue),
        disagreement=float(new.mean()),
        reference_disagreement=float(held_out.mean()),
        num_rows=total,
        doubtful=tuple(int(numbers[place]) for place in worst),
    )


def compare_ranks(
    held_out: FloatArray,
    exchanged: FloatArray,
    new: FloatArray,
    groups: Sequence[str],
    numbers: Sequence[int],
) -> LabelQuality | None:
    """The share of the (N,) new errors that are as those of (E, H) exchanged answers.

    Ranks are taken among the (H,) held-out errors of the same group: their mean is a half for right
    answers, more for wrong ones, and in between for a mixture. Huge errors are left out on all
    sides: beside a weak judge one of them would stand for many. None where a judge's errors do not
    tell right answers from wrong ones.
    """
    from scipy.stats import norm

    limit, codes = _limit(held_out), _large_groups(groups, len(held_out))
    known, asked = codes[: len(held_out)], codes[len(held_out) :]
    numbers = [number for number, error in zip(numbers, new, strict=True) if error <= limit]
    known, asked = np.where(held_out <= limit, known, LEFT_OUT), asked[new <= limit]
    new = new[new <= limit]
    if not len(new):
        return None
    ranks, wrong = np.empty(len(new)), 0.0
    variance = 0.0
    for code in np.unique(asked):
        usual, mine = np.sort(held_out[known == code]), new[asked == code]
        share = len(mine) / len(new)
        ranks[asked == code] = _ranks(mine, usual)
        others = exchanged[:, known == code].ravel()
        others = others[others <= limit]
        wrong += share * float(_ranks(others, usual).mean()) if len(others) else share
        # How the held-out rows' own luck moves the mean: DeLong et al. 1988.
        variance += share**2 * float(_ranks(usual, np.sort(mine)).var()) / len(usual)
    step = wrong - 0.5
    if step < MIN_STEP:
        return None
    error = float(np.sqrt(ranks.var() / len(new) + variance + 1e-12))
    above = float(ranks.mean()) - 0.5
    low, share, high = (
        min(1.0, max(0.0, (above + z * error) / step)) for z in (-Z_OF_90, 0.0, Z_OF_90)
    )
    worst = np.argsort(-new, kind="stable")[: round(share * len(new))]
    return LabelQuality(
        wrong_fraction=share,
        low=low,
        high=high,
        p_value=float(norm.sf(above / error)),
        disagreement=float(new.mean()),
        reference_disagreement=float(held_out.mean()),
        num_rows=len(new),
        doubtful=tuple(int(numbers[place]) for place in worst),
    )


def joined(tail: LabelQuality, ranks: LabelQuality | None) -> LabelQuality:
    """One finding of two, with Simes' chance of both.

    Huge errors are only some of the wrong answers, so where ranks show it too, they say how many.
    """
    if ranks is None:
        return tail
    less, more = sorted((tail.p_value, ranks.p_value))
    chance = min(2 * less, more)
    found = ranks if ranks.p_value <= max(CERTAIN, tail.p_value) else tail
    named = tail if tail.p_value <= CERTAIN else found
    return replace(found, p_value=chance, doubtful=named.doubtful)


def _exchanged(
    values: Sequence[Any], said: Sequence[Prediction], answer: RatedAnswer
) -> FloatArray:
    """(E, H) errors of held-out predictions beside the answers of other rows."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(values)) for _ in range(NUM_EXCHANGES)]
    return np.stack([-answer.scores([values[n] for n in order], said) for order in orders])


def _large_groups(groups: Sequence[str], num_held_out: int) -> NDArray[np.int64]:
    """A number per row, the groups with few held-out rows being one."""
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    rows = np.bincount(codes[:num_held_out], minlength=int(codes.max()) + 1)
    few = rows < PRIOR_ROWS
    if rows[few].sum() < PRIOR_ROWS:  # not enough of them for ranks of their own
        few |= rows == rows[~few].min(initial=num_held_out)
    joined = np.where(few[codes], -1, codes)
    return joined.astype(np.int64)


def _ranks(errors: FloatArray, usual: FloatArray) -> FloatArray:
    """Share of the sorted usual errors that are smaller, and half of those that are equal."""
    below, upto = (np.searchsorted(usual, errors, side=side) for side in ("left", "right"))
    ranks: FloatArray = (below + upto) / (2 * len(usual))
    return ranks


def _limit(held_out: FloatArray) -> float:
    """The error that few held-out rows exceed; below the largest, which many of them may have."""
    limit, largest = float(np.quantile(held_out, 1 - USUAL)), float(held_out.max())
    below = held_out[held_out < largest]
    return limit if limit < largest or not len(below) else float(below.max())


def _usual(large: NDArray[np.bool_], groups: Sequence[str]) -> tuple[float, float]:
    """Share of large errors in held-out rows of the groups of the new ones, and the number of rows
    that it is worth. Rates of a group are drawn to that of all. `large`: (H,)
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    known, asked = codes[: len(large)], codes[len(large) :]
    rows = np.bincount(known, minlength=len(names))
    found = np.bincount(known, weights=large, minlength=len(names))
    rates = (found + PRIOR_ROWS * large.mean()) / (rows + PRIOR_ROWS)
    weights = np.bincount(asked, minlength=len(names)) / len(asked)
    worth = 1 / float(np.sum(weights**2 / (rows + PRIOR_ROWS)))
    return float(min(weights @ rates, MAX_USUAL)), min(worth, float(len(large)))


def _by_model(
    rows: Sequence[Row], held_out: Sequence[Row], model: PublishedModel, answer: RatedAnswer
) -> list[Prediction] | None:
    """What the published model says of held-out rows, then of new ones."""
    from hub_trainer.tasks import load_task

    if len(held_out) < MIN_HELD_OUT_ROWS or not rows:
        return None
    task = load_task(model.task, answer.name)
    return list(task.predict(model.folders, [*held_out, *rows]))


def _by_probe(
    rows: Sequence[Row], base: Sequence[Row], modality: str, answer: RatedAnswer
) -> list[Prediction] | None:
    """What a linear model of the dataset's rows says of them, then of new ones; each row is asked
    of a model that has not seen it."""
    if len(base) < MIN_HELD_OUT_ROWS or not rows:
        return None
    if answer.is_of_words:
        known, asked = (np.array([row["text"] for row in side], object) for side in (base, rows))
    else:
        known, asked = load_input(modality).features(base, rows, is_linear=True)
    folds = np.random.default_rng(0).permutation(len(base)) % NUM_FOLDS
    mine = np.arange(len(rows)) % NUM_FOLDS
    held_out: list[Any] = [None] * len(base)
    new: list[Any] = [None] * len(rows)
    for fold in range(NUM_FOLDS):
        train = np.flatnonzero(folds != fold)
        values = [base[int(place)][answer.column] for place in train]
        for places, features, found in (
            (np.flatnonzero(folds == fold), known, held_out),
            (np.flatnonzero(mine == fold), asked, new),
        ):
            if len(places):
                said = answer.fit_linear(
                    known[train], values, features[places], strength=STRENGTH, seed=0
                )
                for place, one in zip(places, said, strict=True):
                    found[place] = one
    return [*held_out, *new]
