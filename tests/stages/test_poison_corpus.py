"""The corpus of poisoned rows: recall by kind and false alarms, judged by the checks on rows."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from hub_trainer.checks import poison, review_child
from hub_trainer.checks.contents import check_shifts, check_triggers
from hub_trainer.checks.inspection import _judged
from hub_trainer.checks.verdict import Check
from hub_trainer.rows import write_rows
from tests.stages.poison_corpus import poisonings, rows_of

NAMES = ("requests", "reviews", "digits", "people", "tumours")
CLEAN_SEEDS = 20


def _failed(name: str, what: str | None, seed: int, count: int) -> list[Check]:
    s, rows = rows_of(name, what, seed, count=count)
    with tempfile.TemporaryDirectory() as folder:
        new, base = Path(folder) / "new", Path(folder) / "base"
        write_rows(new, pa.Table.from_pylist(rows))
        write_rows(base, pa.Table.from_pylist(s.base))
        paths, modality = (str(new), str(base)), s.modality
        signs = poison.find_poison(*paths, modality=modality, answer="label")
        labels = review_child.score_labels(*paths, None, model=None, modality=modality)
    checks = [
        check_triggers(signs.triggers),
        check_shifts(signs.shifts),
    ]
    return [check for check in (*checks, *_judged(labels, 0.1)) if not check.passed]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_poison_when_looked_for_then_found_and_clean_rows_pass(
    capsys: pytest.CaptureFixture[str],
) -> None:
    missed, alarms, total = [], [], 0
    for name in NAMES:
        for what in poisonings(name):
            seen = [bool(_failed(name, what, seed, 600)) for seed in range(3)]
            missed += [what] * seen.count(False)
            total += 3
            with capsys.disabled():
                print(f"{name:<9} {what:<30} {sum(seen)}/3")
        for count in (120, 600):
            stopped = [_failed(name, None, seed, count) for seed in range(CLEAN_SEEDS)]
            alarms += [bool(one) for one in stopped]
            with capsys.disabled():
                print(f"{name:<9} {f'clean, {count} rows':<30} {sum(map(bool, stopped))} stopped")
    assert len(missed) <= 0.05 * total, missed
    assert sum(alarms) <= 0.03 * len(alarms)
