"""Cap on the rows of one contributor: nobody's rows shall outweigh everybody else's."""

import re
from collections.abc import Iterable

from hub_trainer.checks.verdict import Check

SMALL = 1_000
"""Rows that anybody may bring, however small the dataset is."""
MAX_FRACTION = 0.5
MERGED = "Add {rows} rows of pull request {number} by {author}"
_MERGED = re.compile(r"^Add (\d+) rows of pull request \d+ by (\S+)$")


def merged_rows(titles: Iterable[str], author: str) -> int:
    """Rows of an author's that earlier reviews have merged, by the titles of main's commits."""
    found = (_MERGED.match(title) for title in titles)
    return sum(int(one[1]) for one in found if one and one[2].lower() == author.lower())


def check_contributor(new_rows: int, merged: int, base_rows: int, *, max_rows: int | None) -> Check:
    """The rows of one contributor, merged and new, against the limit: half of the dataset."""
    limit = max(SMALL, int(MAX_FRACTION * base_rows)) if max_rows is None else max_rows
    total = new_rows + merged
    detail = f"{total:,} rows of this contributor, {merged:,} of them merged, of at most {limit:,}"
    return Check("contributor", total <= limit, detail, "human")
