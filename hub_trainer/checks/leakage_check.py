"""Rows of a pull request that come near to sealed test rows: by chance, or as copies."""

from bisect import bisect_right
from dataclasses import dataclass

from hub_trainer.checks.verdict import Check

CHANCE = 0.001
"""Probability below which as many near rows are no chance."""
MAX_USUAL_SHARE = 0.5
"""Share of the dataset's own rows up to which nearness to sealed rows can prove anything."""


@dataclass(frozen=True)
class Leakage:
    """What comparing a pull request's rows with sealed rows has found; no row's content."""

    rows: int
    test_rows: int
    exact: int
    """Rows that repeat a sealed row once normalised."""
    near: int
    """Rows that are altered copies of a sealed row, as far as one row tells."""
    remoteness: tuple[float, ...]
    """Remoteness of the rows that come near a sealed one; 0 is equal, from 1 on may be chance."""
    base_rows: int
    """Rows of the dataset itself that were compared likewise."""
    base_remoteness: tuple[float, ...]

    @property
    def beyond_chance(self) -> bool:
        """Whether more rows come near to sealed ones than the dataset's own rows do.

        Asked at every remoteness that occurs: many rows that are each a little too near are as
        telling as a few that are equal. Chance may be half as frequent again as in the dataset.
        """
        from scipy.stats import binom

        usual = sorted(self.base_remoteness)
        for count, remoteness in enumerate(sorted(self.remoteness), start=1):
            share = (1.5 * bisect_right(usual, remoteness) + 1) / (self.base_rows + 1)
            if share < MAX_USUAL_SHARE and binom.sf(count - 1, self.rows, share) < CHANCE:
                return True
        return False


def check_leakage(found: Leakage) -> Check:
    """Copies of sealed rows: refused, or left out of what is merged; says how many, never which.

    Datasets repeat themselves, short texts and small tables most. What the dataset's own rows
    repeat as often is chance, and without those rows the others can be merged.
    """
    name = "test leakage"
    if not found.test_rows:
        return Check(name, True, "there is no sealed test split to compare with")
    detail = f"{found.exact} exact and {found.near} near repeats of sealed test rows"
    if found.beyond_chance:
        return Check(name, False, f"{detail}, more than the dataset's own rows bring by chance")
    left_out = found.exact + found.near
    if not left_out:
        return Check(name, True, detail)
    if left_out == found.rows:
        return Check(name, False, f"{detail}; no row would be left")
    return Check(name, True, f"{detail}, no more than is usual; left out of what is merged")
