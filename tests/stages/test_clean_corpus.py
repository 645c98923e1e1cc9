"""The corpus of clean pull requests: next to none of them is refused or troubles a person."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hub_trainer.checks import inspection
from hub_trainer.checks.inspection import ReviewContext
from hub_trainer.checks.reading import Reading
from hub_trainer.checks.schema_changes import Schema
from hub_trainer.checks.verdict import Check, decide
from hub_trainer.recipe import ReviewSection
from hub_trainer.rows import write_rows
from tests.stages.clean_corpus import FORMS, Row, Set, clean_set, names
from tests.stages.review_hub import call_here

NUM_SEEDS = 3
MAX_STOPPED = 0.03


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "run_sandboxed", call_here)


def _reading(path: Path, s: Set, rows: Sequence[Row]) -> Reading:
    write_rows(path, pa.Table.from_pylist(list(rows)))
    values = [row[s.column] for row in rows]
    schema = Schema(len(rows), {}, {}, {})
    return Reading(path, schema, s.spec, len(rows), s.spec.answer.counts(values), dropped={})


def _checks(s: Set, rows: Sequence[Row]) -> list[Check]:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        base, test = (
            _reading(folder / f"{name}.parquet", s, part)
            for name, part in (("base", s.base), ("test", s.sealed))
        )
        context = ReviewContext(folder, base, test, 0.85, ReviewSection())
        return inspection._check_contents(_reading(folder / "new.parquet", s, rows), context)[0]


def _requests(name: str, num_seeds: int) -> Iterator[tuple[str, list[Row]]]:
    s = clean_set(name)
    for form, make in FORMS.items():
        for seed in range(num_seeds):
            rows = make(s, np.random.default_rng([seed, len(form)]))
            if rows:
                yield form, rows


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_clean_pull_requests_when_reviewed_then_almost_none_is_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: Counter[str] = Counter()
    by_check: Counter[str] = Counter()
    for name in names():
        for form, rows in _requests(name, NUM_SEEDS):
            checks = _checks(clean_set(name), rows)
            verdict = decide(checks)
            given[verdict] += 1
            failed = [check for check in checks if not check.passed]
            by_check.update(check.name for check in failed)
            with capsys.disabled():
                for check in failed:
                    print(f"{name:<22} {form:<20} {check.outcome:<7} {check.name}: {check.detail}")
    total = sum(given.values())
    with capsys.disabled():
        print(f"{total} clean pull requests: {dict(given)}; by check: {dict(by_check)}")
    assert total >= 200
    assert given["refuse"] + given["human"] <= MAX_STOPPED * total
