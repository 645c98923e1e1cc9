"""Spread of new rows' labels beside that of the dataset, beyond chance."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hub_trainer.answers.label_names import in_order, nearest_label
from hub_trainer.checks.quoting import listed, quoted
from hub_trainer.checks.verdict import Check

NUM_DRAWS = 500
CHANCE = 0.99
MAX_NAMED, MAX_KNOWN = 3, 12
"""Labels that are named: those that the dataset does not have, and its own."""
MAX_MOVE = 0.1
"""Share of the limit by which a merge may move the dataset's own labels: few rows may be alike."""


def check_label_spread(
    base: Mapping[str, int], new: Mapping[str, int], *, max_shift: float
) -> Check:
    """Total variation distance of the labels: the share of the new rows that would need another
    label for the shares to be the dataset's. A small sample may differ by chance and does not.
    """
    if not base and not new:
        return Check("label spread", True, "the answers have no labels")
    distance = total_variation(base, new)
    allowed = max(max_shift, _chance_distance(base, sum(new.values())))
    detail = (
        f"{distance:.1%} of the rows would need another label for the labels to be spread as in "
        f"the dataset, at most {allowed:.1%} may"
    )
    moved = total_variation(base, Counter(base) + Counter(new))
    if distance > allowed and moved <= MAX_MOVE * max_shift:
        detail += f"; so few rows that the dataset's own spread moves by {moved:.1%}"
        return Check("label spread", True, detail)
    return Check("label spread", distance <= allowed, detail, "human")


def check_known_labels(
    base: Mapping[str, int], new: Mapping[str, int], rows: Mapping[str, Sequence[int]]
) -> Check:
    """Labels that no row of the dataset has: a new class is for its owner to open.

    `rows` says where each of them stands, from 1.
    """
    unknown = sorted(new.keys() - base.keys(), key=lambda name: (-new[name], name))
    if not unknown:
        return Check("known labels", True, "all known", "human")
    named = [
        f"{quoted(name)} in {new[name]:,} {'row' if new[name] == 1 else 'rows'}"
        f"{_nearest(name, base)}"
        for name in unknown[:MAX_NAMED]
    ]
    more = len(unknown) - MAX_NAMED
    named += [f"and {more:,} more"] if more > 0 else []
    has = listed(in_order(base), MAX_KNOWN)
    detail = f"the dataset does not have {'; '.join(named)}; it has {has}"
    numbers = tuple(sorted({number for name in unknown for number in rows.get(name, ())}))
    return Check("known labels", False, detail, "human", numbers)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = nearest_label(name, known)
    return f", nearest to {quoted(close)}" if close else ""


def total_variation(base: Mapping[str, int], new: Mapping[str, int]) -> float:
    """Half the sum of differences of shares, in [0, 1]."""
    num_base, num_new = max(1, sum(base.values())), max(1, sum(new.values()))
    names = base.keys() | new.keys()
    return 0.5 * sum(abs(base.get(n, 0) / num_base - new.get(n, 0) / num_new) for n in names)


def _chance_distance(base: Mapping[str, int], num_rows: int) -> float:
    """The distance that a fair sample of this size stays under in 99 of 100 cases."""
    shares = np.array([base[name] for name in sorted(base)], dtype=np.float64)
    shares /= shares.sum()
    draws = np.random.default_rng(0).multinomial(num_rows, shares, size=NUM_DRAWS) / num_rows
    return float(np.quantile(0.5 * np.abs(draws - shares).sum(axis=1), CHANCE))
