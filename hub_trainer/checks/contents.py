"""Checks over what the worker counted: rows, duplicates, personal data, hidden text."""

from collections.abc import Mapping, Sequence

from hub_trainer.checks.comparison import Repeats
from hub_trainer.checks.judgement import Judgement
from hub_trainer.checks.label_groups import LabelGroup
from hub_trainer.checks.personal import Traces
from hub_trainer.checks.shifts import Shift
from hub_trainer.checks.triggers import Trigger
from hub_trainer.checks.verdict import Blocks, Check
from hub_trainer.stats.intervals import wilson_interval

MAX_WRONG_OF_A_LABEL = 0.5
"""Share of one label's rows that must be wrong for certain before they are refused."""
MAX_NAMED = 3


def check_rows(
    rows: int, dropped: Mapping[str, int], *, max_rows: int, first_dropped: Sequence[int] = ()
) -> list[Check]:
    """There are rows, not too many, and none is broken; the first of those, from 1, are named."""
    broken = sum(dropped.values())
    reasons = ", ".join(f"{count} with {reason}" for reason, count in sorted(dropped.items()))
    if broken and first_dropped:
        named = ", ".join(map(str, first_dropped))
        reasons += f"; the first: row{'s' if len(first_dropped) > 1 else ''} {named}"
    return [
        Check("rows", 0 < rows <= max_rows, f"{rows:,} of at most {max_rows:,}"),
        Check("whole rows", not broken, reasons or "none is empty or broken"),
    ]


def check_duplicates(found: Repeats, *, max_fraction: float) -> list[Check]:
    """Rows that bring nothing new, exactly or nearly, and labels that contradict the dataset's.

    Among few rows some repeat by chance: they are refused when the share is over the limit for
    certain, and otherwise shown to a person.
    """
    exact = found.within_exact + found.base_exact
    near = found.within_near + found.base_near
    share = (exact + near) / max(1, found.rows)
    detail = (
        f"{found.within_exact} exact and {found.within_near} near repeats within, "
        f"{found.base_exact} exact and {found.base_near} near repeats of the dataset: "
        f"{share:.1%} of the rows, at most {max_fraction:.0%}"
    )
    surely = wilson_interval(exact + near, max(1, found.rows)).low > max_fraction
    blocks: Blocks = "refuse" if surely else "human"
    conflicts = found.conflicting
    return [
        Check("duplicates", share <= max_fraction, detail, blocks, found.numbers),
        Check(
            "contradictions",
            conflicts <= max(1, found.rows // 100),
            f"{conflicts} {'row repeats' if conflicts == 1 else 'rows repeat'} a row of the "
            "dataset with another answer",
            "human",
            found.conflicting_numbers,
        ),
    ]


def check_personal_data(new: Traces, base: Traces) -> list[Check]:
    """Secrets never come in; personal data not beyond what the dataset holds of its nature."""
    beyond = new.beyond(base)
    return [
        Check(
            "secrets",
            not new.secrets,
            _counted(new.secrets) or "none found",
            rows=new.rows_of(new.secrets),
        ),
        Check(
            "personal data",
            not beyond,
            _counted(new.counts) or "none found",
            "human",
            new.rows_of(beyond),
        ),
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


def check_label_quality(judgement: Judgement | None, max_wrong_fraction: float) -> Check:
    """What a judge thinks of the labels; None where nobody can judge them."""
    if judgement is None:
        return Check("label quality", True, "no model knows the labels well enough to judge them")
    quality = judgement.quality
    blocks = quality.blocks(max_wrong_fraction)
    told = judgement.told or (
        f"{judgement.judge} disagrees with {quality.disagreement:.0%} of the labels (it errs on "
        f"{quality.reference_disagreement:.0%} of held-out rows)"
    )
    detail = (
        f"{told}; {quality.wrong_fraction:.0%} look wrong ({quality.low:.0%} to "
        f"{quality.high:.0%}), at most {max_wrong_fraction:.0%}"
    )
    rows = tuple(sorted(quality.doubtful)) if blocks else ()
    return Check("label quality", blocks is None, detail, blocks or "refuse", rows)


def check_label_groups(groups: Sequence[LabelGroup], *, max_wrong_fraction: float) -> Check:
    """No single label may be wrong throughout, however few its rows are among all."""
    over = [one for one in groups if one.low > max_wrong_fraction]
    said = {
        "claimed": "of {n} rows labelled {label!r}, {k} look like another label",
        "judged": "of {n} rows that look like {label!r}, {k} have another label",
    }
    detail = "; ".join(
        said[one.by].format(n=one.num_rows, k=one.wrong, label=one.label)
        + f", at least {one.low:.0%} of them wrongly"
        for one in over[:MAX_NAMED]
    )
    numbers = tuple(sorted({number for one in over for number in one.numbers}))
    worst = max((one.low for one in over), default=0.0)
    blocks: Blocks = "refuse" if worst > MAX_WRONG_OF_A_LABEL else "human"
    return Check("labels one by one", not over, detail or "none stands out", blocks, numbers)


def check_triggers(triggers: Sequence[Trigger]) -> Check:
    """No sign that the dataset hardly knows goes with one label."""
    detail = "; ".join(
        f"{one.kind} is in {len(one.rows)} rows, {one.pure} of them to one answer, "
        f"and in {one.num_base} rows of the dataset"
        for one in triggers
    )
    rows = tuple(sorted({row for one in triggers for row in one.rows}))
    return Check("triggers", not triggers, detail or "no sign goes with one label", "human", rows)


def check_shifts(shifts: Sequence[Shift], columns: Mapping[str, str] | None = None) -> Check:
    """Values lie where those of the dataset do; `columns` says what it calls ours."""
    theirs = columns or {}
    detail = "; ".join(
        f"{theirs.get(one.column, one.column)}: {one.what}" for one in shifts[:MAX_NAMED]
    )
    rows = tuple(sorted({row for one in shifts for row in one.rows}))
    return Check("ranges", not shifts, detail or "as those of the dataset", "human", rows)


def check_left_out(rows: Sequence[int]) -> Check:
    """Rows, by their places from 0, that a merge leaves out, as they are there already."""
    detail = f"{len(rows)} rows that are there already are left out of a merge"
    numbers = tuple(row + 1 for row in rows)
    return Check("left out", True, detail if rows else "every row is new", rows=numbers)


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{name} in {count} row{'' if count == 1 else 's'}" for name, count in found.items()
    )
