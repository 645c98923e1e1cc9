"""The corpus of seeded pull requests: every defect is stopped, clean ones are merged."""

from collections import Counter
from collections.abc import Iterator

import pytest

from hub_trainer.checks import inspection
from tests.alterations import ALTERATIONS
from tests.stages.review_corpus import DEFECTS, altered_leak, kinds, kinds_for, make_case
from tests.stages.review_hub import ReviewHub, bench, call_here

CERTAIN = (
    "card: absolute path", "card: hf address", "card: https chain",
    "card: parent folder, with rows", "script", "pickle", "npy", "notebook", "hidden settings",
    "hidden file", "link", "picture by address", "picture by path", "bomb", "leak, exact",
    "leak, one row", "secret",
)  # fmt: skip
"""Defects of which none may ever pass."""


@pytest.fixture(scope="module")
def shop() -> Iterator[ReviewHub]:
    with bench() as made:
        yield made


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "run_sandboxed", call_here)


@pytest.mark.parametrize("defect", list(DEFECTS))
def test_pull_request_when_of_the_corpus_then_the_verdict_is_right(
    shop: ReviewHub, defect: str
) -> None:
    known = kinds_for(defect)
    kind = "requests" if "requests" in known else known[0]
    case = make_case(defect, kind, 0)
    verdict = shop.review(case)
    assert shop.is_right(case, verdict), verdict.reasons


@pytest.mark.parametrize(
    ("kind", "alteration"),
    [
        ("digits", "shifted, negative"),
        ("requests", "filler between"),
        ("tumours", "one number by 3"),
    ],
)
def test_leak_when_altered_then_refused(shop: ReviewHub, kind: str, alteration: str) -> None:
    verdict = shop.review(altered_leak(alteration, kind, 0))
    failed = {check.name: check.detail for check in verdict.checks if not check.passed}
    assert verdict.verdict == "refuse"
    assert "more than the dataset's own rows bring by chance" in failed["test leakage"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_corpus_when_reviewed_as_a_whole_then_recall_and_false_blocks_hold(
    shop: ReviewHub, capsys: pytest.CaptureFixture[str]
) -> None:
    right: dict[str, list[bool]] = {defect: [] for defect in (*DEFECTS, "leak, altered")}
    given: dict[str, Counter[str]] = {defect: Counter() for defect in (*DEFECTS, "leak, altered")}
    for seed in range(30):
        wanted = DEFECTS if seed < 4 else ("clean", "flip 10 %") if seed < 12 else ("clean",)
        for defect in wanted:
            for kind in kinds_for(defect):
                case = make_case(defect, kind, seed)
                verdict = shop.review(case, seed % 3)
                right[defect].append(shop.is_right(case, verdict))
                given[defect][verdict.verdict] += 1
    for seed in range(40, 42):
        for kind, made in kinds().items():
            for alteration in ALTERATIONS[made.modality]:
                case = altered_leak(alteration, kind, seed)
                verdict = shop.review(case, seed % 3)
                right["leak, altered"].append(shop.is_right(case, verdict))
                given["leak, altered"][verdict.verdict] += 1
    total = sum(len(answers) for answers in right.values())
    with capsys.disabled():
        print(f"\n{total} pull requests\n{'defect':<32} right  verdicts")
        for defect, answers in right.items():
            print(f"{defect:<32} {sum(answers):>2}/{len(answers):<3} {dict(given[defect])}")
        leaks, clean = right["leak, altered"], right["clean"]
        seen, stopped = sum(leaks) / len(leaks), 1 - sum(clean) / len(clean)
        print(f"altered leaks: {seen:.1%} seen; clean pull requests: {stopped:.1%} stopped")
    assert total >= 300
    assert all(all(right[defect]) for defect in CERTAIN)
    for defect in ("leak, near", "leak, altered", "flip 10 %"):
        assert sum(right[defect]) >= 0.95 * len(right[defect])
    assert sum(right["flip 20 %"]) >= 0.95 * len(right["flip 20 %"])
    blocked = len(right["clean"]) - sum(right["clean"])
    assert blocked <= max(1, 0.03 * len(right["clean"]))
