"""The plan as people read it: a table by which a maintainer decides."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hub_trainer.rows.left_out import reasons_text

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


def render_plan(planned: Mapping[str, Any]) -> RenderableType:
    """What would be learned from, how, with what it needs, and what would be written."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, what in _lines(planned):
        table.add_row(name, what)
    return Group(
        table,
        _memory(planned),
        _writes(planned),
        Text("Nothing was trained, nothing was written."),
    )


def _lines(planned: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    recipe, labels = planned["recipe"], planned["labels"]
    yield "round", str(planned["round"])
    yield "task", recipe["task"] + (f", {labels} labels" if labels is not None else "")
    for pinned in planned["pins"]["datasets"]:
        yield "data", f"{pinned['repo_id']} at {pinned['commit_sha'][:7]}"
    base = planned["pins"]["base_model"]
    yield "base model", f"{base['repo_id']} at {base['commit_sha'][:7]}" if base else "none"
    yield "rows", ", ".join(f"{name} {n:,}" for name, n in planned["rows"].items())
    if planned["left_out"]:
        yield "left out", reasons_text(planned["left_out"])
    yield from _inputs(planned["inputs"])
    yield from _tokens(planned["tokens"])
    yield "method", _method(recipe["train"], planned)
    if planned["steps"] is not None:
        yield "steps", f"{planned['steps']:,} in {_epochs(planned['epochs'])}, {_batch(planned)}"
    if planned["parameters"]:
        counts = planned["parameters"]
        share = counts["trainable"] / max(counts["total"], 1)
        told = f"{counts['total']:,}, of which {counts['trainable']:,} learn ({share:.1%})"
        yield "parameters", told
    if planned["tune"]:
        yield "search", _search(planned["tune"])
    yield "training", f"{duration(planned['seconds'])} ({planned['time_basis']})"


def _search(tune: Mapping[str, Any]) -> str:
    limits = [f"{tune['trials']:,} trials"] if tune["trials"] else []
    limits += [f"{tune['minutes']:g} minutes"] if tune["minutes"] else []
    side = f", {tune['workers']} side by side" if tune["workers"] > 1 else ""
    told = f"{duration(tune['seconds'])} (trials as long as the training)"
    return f"{told}: {' or '.join(limits)}{side}, over {', '.join(tune['keys'])}"


def _inputs(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "tokens" in inputs:
        yield "tokens", f"{inputs['tokens']:,} per epoch, {inputs['longest']:,} in the longest row"
    if "pixels" in inputs:
        yield "pictures", " x ".join(map(str, inputs["pixels"])) + " as the model takes them"
    if "heard" in inputs:
        told = " x ".join(f"{side:,}" for side in inputs["heard"])
        waves = "samples at most" if len(inputs["heard"]) == 1 else "as a spectrogram"
        yield "sounds", f"{told} {waves}"


def _tokens(tokens: Mapping[str, int] | None) -> Iterator[tuple[str, str]]:
    if tokens:
        cut = f"{tokens['truncated_rows']:,} rows cut at their end"
        left_out = f"{tokens['dropped_rows']:,} with nothing left to learn"
        yield "tokens", f"{tokens['train']:,} per epoch, {tokens['longest']:,} at most in an answer"
        yield "", f"{cut}, {left_out}"


def _method(train: Mapping[str, Any], planned: Mapping[str, Any]) -> str:
    if planned["steps"] is None:
        return train["estimator"] or "the task's usual estimator"
    return str(train["method"])


def _batch(planned: Mapping[str, Any]) -> str:
    processes = planned["processes"]
    told = f"{planned['batch']:,} rows a step"
    if processes == 1:
        return told
    split = planned["sharding"]
    if split is None:
        return f"{told} over {processes} processes, each with the whole model"
    copies = f", {split['replicas']} times" if split["replicas"] > 1 else ""
    return f"{told} over {processes} processes, the model split over {split['shards']}{copies}"


def _memory(planned: Mapping[str, Any]) -> RenderableType:
    memory = planned["memory_mb"]
    if memory is None:
        return Text(f"memory      {planned['memory_basis']}")
    where = "memory of each process" if planned["processes"] > 1 else "memory"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column(where, no_wrap=True)
    table.add_column("MiB", justify="right")
    for kind, value in memory.items():
        style = "bold" if kind == "sum" else ""
        table.add_row(KINDS[kind], f"{value:,.0f}" if value >= 10 else f"{value:.1f}", style=style)
    return Group(Text(), table, Text(planned["memory_basis"], style="dim"), Text())


def _writes(planned: Mapping[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("files of the model", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    lines = []
    for write in planned["writes"]:
        lines.append(f"{write['repo_type']} {write['repo_id']}: {write['what']}")
        for name in write["files"]:
            size = write["sizes"].get(name)
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
