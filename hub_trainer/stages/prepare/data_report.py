"""The data report: what came in and went out at each step, and what the rows look like."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub_trainer.answers import Answer
from hub_trainer.inputs import load_input
from hub_trainer.privacy import find_personal_data
from hub_trainer.rows.left_out import Losses, source_name
from hub_trainer.rows.row_files import ROW_NUMBER, SOURCE

Row = Mapping[str, Any]
MAX_LABELS_SHOWN = 50


@dataclass
class Ledger:
    """What each step did to each split, in order."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    sources: dict[str, Losses] = field(default_factory=dict)
    """What each source of rows has lost."""
    names: Collection[str] = ()
    """What collect calls the sources."""

    def named(self, source: str) -> str:
        """What people read of a row's source."""
        return source_name(source, self.names)

    def begin(self, rows: Sequence[Row]) -> None:
        """Take in rows as they were collected."""
        for row in rows:
            self.sources.setdefault(row[SOURCE], Losses()).rows += 1

    def note(self, split: str, step: str, rows_in: int, rows_out: int) -> None:
        """Write down a step that moves rows, or leaves them as they are."""
        self.steps.append({"split": split, "step": step, "rows_in": rows_in, "rows_out": rows_out})

    def drop(
        self, split: str, step: str, rows: Sequence[Row], dropped: Sequence[tuple[Row, str]]
    ) -> None:
        """Write down a step that drops some of its rows, each with the reason."""
        self.note(split, step, len(rows), len(rows) - len(dropped))
        for row, reason in dropped:
            self.dropped[reason] += 1
            losses = self.sources.setdefault(row[SOURCE], Losses())
            losses.add(row.get(ROW_NUMBER), reason)

    def warnings(self) -> list[str]:
        """A line for each source that has lost many of its rows."""
        told = (losses.warning(self.named(source)) for source, losses in self.sources.items())
        return [line for line in told if line]

    def first_dropped(self) -> dict[str, list[tuple[int | None, str]]]:
        """The first rows that each source has lost."""
        return {
            self.named(source): losses.first
            for source, losses in self.sources.items()
            if losses.first
        }


def describe(splits: Mapping[str, Sequence[Row]], modality: str, answer: Answer) -> dict[str, Any]:
    """Answers, lengths and traces of persons, per split."""
    shown = load_input(modality)
    values = {name: [row[answer.column] for row in rows] for name, rows in splits.items()}
    personal = {name: find_personal_data(rows) for name, rows in splits.items()}
    return {
        "rows": {name: len(rows) for name, rows in splits.items()},
        "counts": {name: answer.counts(found) for name, found in values.items()},
        "lengths": {
            name: {
                what: _spread(sizes)
                for what, sizes in (shown.sizes(rows) | answer.sizes(values[name])).items()
                if sizes
            }
            for name, rows in splits.items()
        },
        "personal_data": {name: dict(found.counts) for name, found in personal.items()},
    }


def to_json(report: Mapping[str, Any]) -> bytes:
    """The report for programs."""
    return json.dumps(report, indent=1, ensure_ascii=False).encode()


def to_markdown(report: Mapping[str, Any]) -> bytes:
    """The report for people: plain tables whose columns line up."""
    parts = ["# Data report", *_steps_part(report), *_labels_part(report), *_lengths_part(report)]
    parts += _personal_part(report)
    parts += (
        ["## Notes", *(f"- {note}" for note in report["warnings"])] if report["warnings"] else []
    )
    joined: list[str] = []
    for part in parts:
        if part.startswith("- ") and joined and joined[-1].startswith("- "):
            joined[-1] += f"\n{part}"
        else:
            joined.append(part)
    return ("\n\n".join(joined) + "\n").encode()


def aligned_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table padded so that it reads as plain text too; numbers to the right."""
    texts = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    widths = [
        max(3, len(name), *(len(row[i]) for row in texts)) if texts else max(3, len(name))
        for i, name in enumerate(header)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in zip(widths, numeric, strict=True)
    ]
    return "\n".join([line(header), line(rule), *(line(row) for row in texts)])


def _steps_part(report: Mapping[str, Any]) -> list[str]:
    rows = [
        tuple(step[key] for key in ("split", "step", "rows_in", "rows_out"))
        for step in report["steps"]
    ]
    parts = ["## Steps", aligned_table(["split", "step", "rows in", "rows out"], rows)]
    reasons = [
        (stage, reason, count)
        for stage, counts in report["left_out"].items()
        for reason, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
    if reasons:
        parts.append(aligned_table(["left out by", "because", "rows"], reasons))
    first = [
        (source, "" if number is None else number, reason)
        for source, rows in report["first_left_out"].items()
        for number, reason in rows
    ]
    if first:
        parts += ["The first rows left out of each source:"]
        parts.append(aligned_table(["source", "row", "because"], first))
    return parts


def _labels_part(report: Mapping[str, Any]) -> list[str]:
    counts = report["counts"]
    names = report["label_names"]
    rows = [(name, *(count.get(name, 0) for count in counts.values())) for name in names]
    if not names:
        return []
    parts = ["## Labels", aligned_table(["label", *counts], rows[:MAX_LABELS_SHOWN])]
    more = len(rows) - MAX_LABELS_SHOWN
    return [*parts, f"... and {more} more labels, in report.json"] if more > 0 else parts


def _lengths_part(report: Mapping[str, Any]) -> list[str]:
    rows = [
        (split, what, *(values[key] for key in ("min", "median", "p95", "max")))
        for split, lengths in report["lengths"].items()
        for what, values in lengths.items()
    ]
    return ["## Sizes", aligned_table(["split", "what", "min", "median", "95 %", "max"], rows)]


def _personal_part(report: Mapping[str, Any]) -> list[str]:
    found = report["personal_data"]
    kinds = sorted({kind for counts in found.values() for kind in counts})
    if not kinds:
        return ["## Personal data", "No patterns of personal data or secrets were found."]
    rows = [(kind, *(counts.get(kind, 0) for counts in found.values())) for kind in kinds]
    return ["## Personal data", aligned_table(["rows with", *found], rows)]


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "min": ordered[0],
        "median": ordered[last // 2],
        "p95": ordered[round(last * 0.95)],
        "max": ordered[last],
    }


def _cell(value: Any) -> str:
    if _is_number(value):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
