"""Suggestions as people read them: a table, what stands against the rest, and a line to paste."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hub_trainer.stats import readable
from hub_trainer.suggest import Suggestion

MAX_LANGUAGES = 3


def render_suggestions(found: Sequence[Suggestion]) -> RenderableType:
    """The models that can be used, best first; then those that cannot, with why."""
    good = [one for one in found if not one.problems]
    bad = [one for one in found if one.problems]
    parts: list[RenderableType] = [_table(good)] if good else []
    parts += [Text(line) for line in _told_of_probes(good)]
    if bad:
        parts.append(Text("\ncheck would refuse:", style="bold"))
        parts += [Text(f"  {one.repo_id}: {'; '.join(one.problems)}") for one in bad]
    if good:
        parts.append(Text(f"\nFor the recipe:\n\n{good[0].line}\n"))
    return Group(*parts)


def _table(found: Sequence[Suggestion]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("base model", overflow="fold")
    probes = [one.probe for one in found if one.probe]
    table.add_column(f"probe, {probes[0].metric}" if probes else "probe", justify="right")
    for name in ("weights", "downloads"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("licence", "language"):
        table.add_column(name)
    for one in found:
        size = f"{one.size_bytes / 1e6:,.0f} MB" if one.size_bytes is not None else "unknown"
        table.add_row(
            Text(one.repo_id),
            readable(one.probe.value) if one.probe else "none",
            size,
            f"{one.downloads:,}" if one.downloads is not None else "unknown",
            Text(one.licence or "not stated"),
            Text(_languages(one.language)),
        )
    return table


def _languages(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_LANGUAGES])
    more = len(names) - MAX_LANGUAGES
    return f"{shown} and {more} more" if more > 0 else shown or "not stated"


def _told_of_probes(found: Sequence[Suggestion]) -> list[str]:
    """What the scores are, and are not."""
    probes = [one.probe for one in found if one.probe]
    if not probes:
        return ["", "No probe: a base model of this task says nothing of a row before it learns."]
    rows = {(one.train_rows, one.validation_rows) for one in probes}
    most = max(rows)
    fewer = ", fewer for slow models" if len(rows) > 1 else ""
    return [
        "",
        f"Probe: a linear model on frozen features of {most[0]:,} training rows, scored on "
        f"{most[1]:,} validation rows{fewer}. Fine-tuning may turn the order: no measurement.",
    ]
