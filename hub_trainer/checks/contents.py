"""Checks over what the worker counted: rows, duplicates, personal data, hidden text."""

from collections.abc import Mapping

from hub_trainer.checks.labels import LabelQuality
from hub_trainer.checks.verdict import Check
from hub_trainer.privacy import SECRET_KINDS

CHANCE = 0.01


def check_rows(rows: int, dropped: Mapping[str, int], *, max_rows: int) -> list[Check]:
    """There are rows, not too many, and none that is broken."""
    broken = sum(dropped.values())
    reasons = ", ".join(f"{count} with {reason}" for reason, count in sorted(dropped.items()))
    return [
        Check("rows", 0 < rows <= max_rows, f"{rows:,} of at most {max_rows:,}"),
        Check("whole rows", not broken, reasons or "none is empty or broken"),
    ]


def check_duplicates(counts: Mapping[str, int], *, max_fraction: float) -> list[Check]:
    """Rows that bring nothing new, exactly or nearly, and labels that contradict the dataset's."""
    exact = counts["within_exact"] + counts["base_exact"]
    near = counts["within_near"] + counts["base_near"]
    share = (exact + near) / max(1, counts["rows"])
    detail = (
        f"{counts['within_exact']} exact and {counts['within_near']} near repeats within, "
        f"{counts['base_exact']} exact and {counts['base_near']} near repeats of the dataset: "
        f"{share:.1%} of the rows, at most {max_fraction:.0%}"
    )
    conflicts = counts["conflicting"]
    return [
        Check("duplicates", share <= max_fraction, detail),
        Check(
            "contradictions",
            conflicts <= max(1, counts["rows"] // 100),
            f"{conflicts} rows repeat a row of the dataset under another label",
            "human",
        ),
    ]


def check_personal_data(
    new: Mapping[str, int], base: Mapping[str, int], *, num_rows: int, num_base_rows: int
) -> list[Check]:
    """Secrets never come in; personal data not beyond what the dataset holds of its nature."""
    found = {kind: count for kind, count in sorted(new.items()) if count}
    secrets = {kind: count for kind, count in found.items() if kind in SECRET_KINDS}
    more = {
        kind: count
        for kind, count in found.items()
        if kind not in SECRET_KINDS and _beyond(count, num_rows, base.get(kind, 0), num_base_rows)
    }
    detail = _counted(found) or "none found"
    return [
        Check("secrets", not secrets, _counted(secrets) or "none found"),
        Check("personal data", not more, detail, "human"),
    ]


def check_text(flags: Mapping[str, int]) -> Check:
    """Signs that hide or turn text around, and HTML that acts; formulas are only noted."""
    names = {
        "bidi": "text direction overrides",
        "hidden": "hidden characters",
        "html": "active HTML",
        "formula": "spreadsheet formulas",
    }
    found = {names[flag]: count for flag, count in flags.items() if count}
    passed = not any(flags[flag] for flag in ("bidi", "hidden", "html"))
    return Check("hidden text", passed, _counted(found) or "none found", "human")


def check_label_quality(
    quality: LabelQuality | None, *, judge: str, max_wrong_fraction: float
) -> Check:
    """What a model, the judge, thinks of the labels."""
    if quality is None:
        return Check("label quality", True, "too few rows for any model to judge them")
    blocks = quality.blocks(max_wrong_fraction)
    detail = (
        f"{judge} disagrees with {quality.disagreement:.0%} of the labels (it errs on "
        f"{quality.reference_disagreement:.0%} of held-out rows); "
        f"{quality.wrong_fraction:.0%} look wrong ({quality.low:.0%} to {quality.high:.0%}), "
        f"at most {max_wrong_fraction:.0%}"
    )
    return Check("label quality", blocks is None, detail, blocks or "refuse")


def _beyond(count: int, num_rows: int, base_count: int, num_base_rows: int) -> bool:
    """Whether so many rows of a kind are more than the dataset's own share explains."""
    from scipy.stats import binom

    share = base_count / max(1, num_base_rows)
    return bool(binom.sf(count - 1, num_rows, share) < CHANCE)


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} in {count} rows" for name, count in found.items())
