"""Personal data of new rows beside the dataset's own: what its nature does not explain."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hub_trainer.privacy import SECRET_KINDS, find_personal_data

CHANCE = 0.01
MAX_NUMBERS = 100
"""Of rows that are named of a kind."""


@dataclass(frozen=True)
class Traces:
    """Rows with personal data, by groups of rows whose answers are alike.

    A dataset of messages has its telephone numbers in the advertisements: more of those bring more
    numbers, and that is no reason to stop them.
    """

    rows: Mapping[str, int]
    """Group -> its rows."""
    found: Mapping[str, Mapping[str, int]]
    """Kind -> group -> its rows that hold such."""
    numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Kind -> numbers of the first such rows, from 1."""

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> rows that hold such."""
        return {kind: sum(groups.values()) for kind, groups in sorted(self.found.items())}

    @property
    def secrets(self) -> dict[str, int]:
        """The same of secrets alone."""
        return {kind: count for kind, count in self.counts.items() if kind in SECRET_KINDS}

    def rows_of(self, kinds: Iterable[str]) -> tuple[int, ...]:
        """Numbers of rows that hold one of these, from 1."""
        return tuple(sorted({row for kind in kinds for row in self.numbers.get(kind, ())}))

    def beyond(self, base: "Traces") -> dict[str, int]:
        """Kinds, secrets apart, that more rows hold than the dataset explains, with their rows."""
        return {
            kind: count
            for kind, count in self.counts.items()
            if kind not in SECRET_KINDS and count and self._is_beyond(kind, base)
        }

    def _is_beyond(self, kind: str, base: "Traces") -> bool:
        """Whether chance seldom gives so many rows; any are too many where the dataset has none.

        Fisher's test of each group, and of the groups' counts added up; either may show it. A group
        that the dataset lacks is compared with all of it.
        """
        import numpy as np
        from scipy.stats import hypergeom

        known = base.found.get(kind, {})
        if not any(known.values()):
            return True
        every_row, every_found = sum(base.rows.values()), sum(known.values())
        chances, count, rarest = np.ones(1), 0, 1.0
        for group, rows in self.rows.items():
            here = self.found[kind].get(group, 0)
            there, there_found = base.rows.get(group, 0), known.get(group, 0)
            if not there:
                there, there_found = every_row, every_found
            seen = here + there_found
            of_group = hypergeom.pmf(np.arange(min(rows, seen) + 1), rows + there, seen, rows)
            chances, count = np.convolve(chances, of_group), count + here
            rarest = min(rarest, float(of_group[here:].sum()))
        both = min(float(chances[count:].sum()), rarest * len(self.rows))
        return both < CHANCE / 2


NO_TRACES = Traces({}, {})


def find_traces(rows: Sequence[Mapping[str, Any]], groups: Iterable[str]) -> Traces:
    """Personal data of rows, `groups` being one per row."""
    of_row = list(groups)
    found = find_personal_data(rows).rows
    places = {
        kind: Counter(of_row[number] for number in of_kind) for kind, of_kind in found.items()
    }
    return Traces(
        dict(Counter(of_row)),
        {kind: dict(groups) for kind, groups in places.items()},
        {kind: [place + 1 for place in of_kind[:MAX_NUMBERS]] for kind, of_kind in found.items()},
    )
