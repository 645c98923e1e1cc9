"""The rounds of a model as people see them: a table, a picture, and the result of one round."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hub_trainer.cards.rounds_plot import RoundPoint, plot_points
from hub_trainer.metrics.senses import with_sense
from hub_trainer.reports import RoundResult
from hub_trainer.stats import readable

BASELINES = {"constant": "constant answer", "base": "base model", "probe": "cheap probe"}
VERDICT_STYLES = {"promote": "green", "hold": "yellow", "reject": "red"}


class Round(Protocol):
    """What is shown of a round; `lineage.RoundRecord` has it all."""

    @property
    def round(self) -> int:
        """Index of the round, from 1."""
        ...

    @property
    def verdict(self) -> str:
        """promote, hold or reject."""
        ...

    @property
    def primary(self) -> str:
        """The metric that the gate compares."""
        ...

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Metric -> value, low and high."""
        ...

    @property
    def base(self) -> Mapping[str, Any] | None:
        """The base model's metrics."""
        ...

    @property
    def p_value(self) -> float | None:
        """P-value of the comparison with the published model."""
        ...

    @property
    def train(self) -> Mapping[str, Any]:
        """The training run in numbers."""
        ...

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe that made it."""
        ...

    @property
    def commit_sha(self) -> str | None:
        """The commit that holds the model."""
        ...

    @property
    def parent(self) -> str | None:
        """The published commit that it was compared with."""
        ...

    @property
    def pull_request(self) -> int | None:
        """Number of the pull request that holds it, when it was not promoted."""
        ...


def render_status(records: Sequence[Round], results: Sequence[RoundResult] = ()) -> RenderableType:
    """One line per round: verdict, metric with interval, p-value, commit and parent.

    After a last round that was not promoted stand the two ways on, from its entry in `results`.
    """
    table = Table(box=box.SIMPLE_HEAD, title=_title(records), title_justify="left")
    table.padding, table.pad_edge, table.collapse_padding = (0, 1, 0, 0), False, False
    measured = f"{with_sense(records[-1].primary)} [95 %]"
    for column in ("round", "verdict", measured, "p", "rows"):
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for column in ("model", "parent"):
        table.add_column(column)
    for record in records:
        table.add_row(
            str(record.round),
            _standing(record),
            Text(_estimate(record.metrics.get(record.primary), digits=3)),
            "" if record.p_value is None else f"{record.p_value:.2g}",
            f"{record.train['rows']:,}" if "rows" in record.train else "",
            Text(_place(record.commit_sha, record.pull_request)),
            (record.parent or "")[:7],
        )
    told = ways_on(results[-1]) if results else []
    return Group(table, *map(Text, told)) if told else table


def plot_rounds(records: Sequence[Round], path: Path) -> None:
    """A PNG of the rounds' primary metric; rounds that measured another metric are left out."""
    metric = records[-1].primary
    points = list(_points(records, metric))
    base = ((records[-1].base or {}).get("metrics") or {}).get(metric)
    plot_points(
        points,
        path,
        metric=with_sense(metric),
        title=_title(records),
        base=float(base["value"]) if base else None,
    )


def render_result(result: RoundResult) -> RenderableType:
    """What a round has come to."""
    parts: list[RenderableType] = [_headline(result)]
    if result.train:
        parts.append(Text(_training(result.train)))
    if result.metrics:
        parts.append(_metrics_table(result))
    if result.win_rate:
        parts.append(Text(f"  win rate over the published model {_estimate(result.win_rate)}"))
    parts += [Text(f"  {reason}") for reason in result.reasons]
    parts += map(Text, ways_on(result))
    return Group(*parts)


def ways_on(result: RoundResult) -> list[str]:
    """Where a model that was not promoted waits, and what can be done; nothing for any other."""
    model = result.model
    if result.verdict not in ("hold", "reject") or not model.pull_request:
        return []
    page = model.url or f"of {model.repo_id}"
    return [
        f"The model waits in pull request {model.pull_request}: {page}",
        "  Either merge it there by hand: then it is the published model, against the gate's word.",
        "  Or change what it learns from: merge data (hub-trainer review), turn ratings into rows "
        "(hub-trainer curate), change the base model or the train section; then hub-trainer run.",
    ]


def _title(records: Sequence[Round]) -> str:
    return f"Rounds of {records[-1].recipe['publish']['repo_id']}"


def _points(records: Sequence[Round], metric: str) -> Iterator[RoundPoint]:
    for record in records:
        found = record.metrics.get(metric)
        if found and math.isfinite(found["value"]):
            low, high = found.get("low", found["value"]), found.get("high", found["value"])
            verdict: Any = record.verdict
            yield RoundPoint(record.round, found["value"], low, high, verdict)


def _headline(result: RoundResult) -> Text:
    text = Text(f"Round {result.round}: ")
    text.append_text(_verdict(result.verdict or "not evaluated yet"))
    model = result.model
    if model.repo_id:
        request = f", pull request {model.pull_request}" if model.pull_request else ""
        text.append(f", {model.repo_id} at {_place(model.commit_sha, None)}{request}")
    if result.round_dir:  # null where the round was made elsewhere
        text.append(f"  ({result.round_dir})")
    return text


def _training(fit: Mapping[str, Any]) -> str:
    processes = "1 process" if fit["num_processes"] == 1 else f"{fit['num_processes']} processes"
    return (
        f"  trained {fit['rows']:,} rows, method {fit['method']}, {_epochs(fit['epochs'])} in "
        f"{fit['seconds']:,.1f} s ({fit['rows_per_second']:,.1f} rows/s, "
        f"{fit['peak_mb']:,.0f} MiB, {processes})"
    )


def _metrics_table(result: RoundResult) -> Table:
    published = result.published
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric")
    table.add_column(f"round {result.round} [95 %]", justify="right")
    if published:
        table.add_column("published before", justify="right")
    baselines = [] if published else result.baselines or []
    for one in baselines:
        table.add_column(BASELINES.get(one["name"], one["name"]), justify="right")
    for metric, value in (result.metrics or {}).items():
        row = [Text(_estimate(value), style="bold" if metric == result.primary else "")]
        row += [Text(_estimate(published.get(metric)))] if published else []
        row += [Text(_estimate(one["metrics"].get(metric), interval=False)) for one in baselines]
        table.add_row(with_sense(metric), *row)
    if result.p_value is not None:
        table.caption = f"p = {result.p_value:.2g} on {result.num_examples:,} test examples"
        table.caption_justify = "left"
    return table


def _standing(record: Round) -> Text:
    """The gate's verdict; and that somebody published it all the same, where it is on main."""
    told = _verdict(record.verdict)
    is_published = record.pull_request is None and record.commit_sha is not None
    return told.append(", merged by hand") if is_published and record.verdict != "promote" else told


def _verdict(verdict: str) -> Text:
    return Text(verdict, style=VERDICT_STYLES.get(verdict, ""))


def _estimate(value: Mapping[str, float] | None, digits: int = 4, *, interval: bool = True) -> str:
    if value is None:
        return ""
    shown = readable(value["value"], digits=digits)
    if not interval or value.get("low") is None or value.get("high") is None:
        return shown
    low, high = (readable(value[end], digits=digits) for end in ("low", "high"))
    return f"{shown} [{low}, {high}]"


def _place(commit_sha: str | None, pull_request: int | None) -> str:
    number = f" #{pull_request}" if pull_request else ""
    return f"{(commit_sha or '')[:7]}{number}"


def _epochs(count: float) -> str:
    return "1 epoch" if count == 1 else f"{count:g} epochs"
