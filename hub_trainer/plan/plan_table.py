"""The plan as people read it: a table by which a maintainer decides."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hub_trainer.plan.forecast import Search
from hub_trainer.plan.planned import Plan, PlannedWrite
from hub_trainer.rows.left_out import reasons_text
from hub_trainer.tasks import Preview

KINDS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer (Adam)",
    "activations": "activations",
    "exchange": "exchange of gradients",
    "gathered": "weights gathered to compute",
    "runtime": "Python and libraries",
    "sum": "sum",
}


def render_plan(plan: Plan) -> RenderableType:
    """What would be learned from, how, with what it needs, and what would be written."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, what in _lines(plan):
        table.add_row(name, what)
    return Group(
        table,
        _memory(plan),
        _writes(plan.writes),
        Text("Nothing was trained, nothing was written."),
    )


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    recipe, labels, base = plan.recipe, plan.num_labels, plan.pins.base_model
    yield "round", str(plan.pins.round)
    yield "task", recipe.task + (f", {labels} labels" if labels is not None else "")
    for pinned in plan.pins.datasets:
        yield "data", f"{pinned.repo_id} at {pinned.commit_sha[:7]}"
    yield "base model", f"{base.repo_id} at {base.commit_sha[:7]}" if base else "none"
    yield "rows", ", ".join(f"{name} {n:,}" for name, n in plan.rows.counts.items())
    if plan.rows.left_out:
        yield "left out", reasons_text(plan.rows.left_out)
    yield from _inputs(plan.forecast.inputs)
    if plan.preview:
        yield from _tokens(plan.preview)
    train, amount = recipe.train, plan.amount
    if plan.has_steps:
        yield "method", train.method
        yield "steps", f"{amount.steps:,} in {_epochs(amount.epochs)}, {_batch(plan)}"
    else:
        yield "method", train.estimator or "the task's usual estimator"
    if plan.parameters:
        counts = plan.parameters
        share = counts["trainable"] / max(counts["total"], 1)
        told = f"{counts['total']:,}, of which {counts['trainable']:,} learn ({share:.1%})"
        yield "parameters", told
    if plan.search:
        yield "search", _search(plan.search)
    yield "training", f"{duration(plan.forecast.seconds)} ({plan.forecast.time_basis})"


def _search(search: Search) -> str:
    limits = [f"{search.trials:,} trials"] if search.trials else []
    limits += [f"{search.minutes:g} minutes"] if search.minutes else []
    side = f", {search.workers} side by side" if search.workers > 1 else ""
    told = f"{duration(search.seconds)} (trials as long as the training)"
    return f"{told}: {' or '.join(limits)}{side}, over {', '.join(search.keys)}"


def _inputs(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "tokens" in inputs:
        yield "tokens", f"{inputs['tokens']:,} per epoch, {inputs['longest']:,} in the longest row"
    if "pixels" in inputs:
        yield "pictures", " x ".join(map(str, inputs["pixels"])) + " as the model takes them"
    if "heard" in inputs:
        told = " x ".join(f"{side:,}" for side in inputs["heard"])
        waves = "samples at most" if len(inputs["heard"]) == 1 else "as a spectrogram"
        yield "sounds", f"{told} {waves}"


def _tokens(preview: Preview) -> Iterator[tuple[str, str]]:
    cut = f"{preview.num_truncated:,} rows cut at their end"
    left_out = f"{preview.num_dropped:,} with nothing left to learn"
    yield "tokens", f"{preview.num_tokens:,} per epoch, {preview.longest:,} at most in an answer"
    yield "", f"{cut}, {left_out}"


def _batch(plan: Plan) -> str:
    processes, split = plan.amount.processes, plan.sharding
    told = f"{plan.amount.batch:,} rows a step"
    if processes == 1:
        return told
    if split is None:
        return f"{told} over {processes} processes, each with the whole model"
    copies = f", {split.replicas} times" if split.replicas > 1 else ""
    return f"{told} over {processes} processes, the model split over {split.shards}{copies}"


def _memory(plan: Plan) -> RenderableType:
    memory, basis = plan.forecast.memory_mb, plan.forecast.memory_basis
    if memory is None:
        return Text(f"memory      {basis}")
    where = "memory of each process" if plan.amount.processes > 1 else "memory"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column(where, no_wrap=True)
    table.add_column("MiB", justify="right")
    for kind, value in memory.items():
        style = "bold" if kind == "sum" else ""
        table.add_row(KINDS[kind], f"{value:,.0f}" if value >= 10 else f"{value:.1f}", style=style)
    return Group(Text(), table, Text(basis, style="dim"), Text())


def _writes(writes: Sequence[PlannedWrite]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("files of the model", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    lines = []
    for write in writes:
        lines.append(f"{write.repo_type} {write.repo_id}: {write.what}")
        for name in write.files:
            size = write.sizes.get(name)
            unknown = "unknown" if name.endswith((".safetensors", ".skops")) else "some kB"
            table.add_row(name, file_size(size) if size is not None else unknown)
    return Group(table, Text(), *(Text(line, overflow="fold") for line in lines))


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "no estimate"
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    minutes = seconds / 60
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.1f} h"


def _epochs(count: float) -> str:
    """Epochs as people say them."""
    return "1 epoch" if count == 1 else f"{count:g} epochs"


def file_size(num_bytes: int) -> str:
    """Bytes as people say them."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= of:
            return f"{num_bytes / of:.1f} {unit}"
    return f"{num_bytes} B"
