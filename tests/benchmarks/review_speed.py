"""CPU seconds of the review of a clean and of a spoiled pull request, for each kind of rows.

Run it in two checkouts in turns: `python -m tests.benchmarks.review_speed`.
"""

import os
import resource
from collections.abc import Iterator, Sequence

os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # read when the client is imported

from hub_trainer.stages.review import settle
from tests.stages.review_corpus import kinds, make_case
from tests.stages.review_hub import ReviewHub, bench


def cpu_seconds_of_children() -> float:
    """Of those that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(shop: ReviewHub, kind: str, defects: Sequence[str]) -> Iterator[str]:
    """A line for each pull request; all are open before the first is merged."""
    requests = [shop.open(make_case(defect, kind, 0)) for defect in defects]
    for defect, (repo, number) in zip(defects, requests, strict=True):
        before = cpu_seconds_of_children()
        verdict = settle(shop.owner, repo.repo_id, number, shop.policy(repo)).verdict
        used = cpu_seconds_of_children() - before
        yield f"{kind:<10} {defect:<10} {verdict:<8} {used:6.1f} CPU s"


if __name__ == "__main__":
    with bench() as shop:
        for kind in kinds():
            for line in measure(shop, kind, ("clean", "flip 30 %")):
                print(line, flush=True)
