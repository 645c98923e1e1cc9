"""Reading in a process of its own: jobs go in as JSON, canonical parquet files come out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hub_trainer.rows.canonical import RowSpec, canonical_rows
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.read import read_split
from hub_trainer.rows.row_files import write_rows
from hub_trainer.sandbox import Sandbox, SandboxLimits, run_sandboxed


@dataclass(frozen=True)
class ReadJob:
    """One split to read: from which folder, as what, and into which parquet file."""

    folder: Path
    out: Path
    spec: RowSpec
    source: str
    """Written into each row as `_source`."""
    config: str | None = None
    split: str = "train"
    where: str | None = None
    limits: Limits = Limits()


@dataclass(frozen=True)
class ReadResult:
    """What came of a job."""

    rows: int
    config: str
    label_names: tuple[str, ...] | None
    features: Mapping[str, str]
    dropped: Mapping[str, int]
    first_dropped: Sequence[tuple[int, str]] = ()
    notes: tuple[str, ...] = ()
    """What a person should know of the rows."""


def open_reader() -> Sandbox:
    """A process that imports what reading needs once; each read is a child of its own."""
    return Sandbox(SandboxLimits(), warm_up=("hub_trainer.rows.reading_child:import_readers", {}))


def import_readers() -> None:
    """The libraries of every reader, before a child of this process is forked."""
    import datasets  # noqa: F401
    import pandas  # noqa: F401


def read_sandboxed(
    jobs: Sequence[ReadJob],
    *,
    folder: Path,
    limits: SandboxLimits | None = None,
    reader: Sandbox | None = None,
) -> list[ReadResult]:
    """Carry out jobs in one child without token and network; `folder` holds what it writes.

    The child is forked from `reader` where one is given that still lives.
    """
    arguments = {"jobs": [_to_json(job) for job in jobs]}
    function = "hub_trainer.rows.reading_child:read_jobs"
    if reader is not None and reader.alive:
        results = reader.call(function, arguments, folder=folder)
    else:
        results = run_sandboxed(function, arguments, folder=folder, limits=limits)
    return [
        ReadResult(
            rows=int(result["rows"]),
            config=str(result["config"]),
            label_names=tuple(result["label_names"]) if result["label_names"] else None,
            features=result["features"],
            dropped=result["dropped"],
            first_dropped=tuple((int(row), str(why)) for row, why in result["first_dropped"]),
            notes=tuple(result["notes"]),
        )
        for result in results
    ]


def read_jobs(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The child's side of `read_sandboxed`."""
    return [_carry_out(_from_json(job)) for job in jobs]


def _carry_out(job: ReadJob) -> dict[str, Any]:
    raw = read_split(
        job.folder,
        config=job.config,
        split=job.split,
        where=job.where,
        limits=job.limits,
        as_written=job.spec.input.has_formats,
    )
    rows = canonical_rows(raw, job.spec, source=job.source, where=job.where)
    write_rows(job.out, rows.table)
    result = ReadResult(
        rows.table.num_rows,
        raw.config,
        rows.label_names,
        rows.features,
        rows.dropped,
        rows.first_dropped,
        rows.notes,
    )
    return asdict(result)


def _to_json(job: ReadJob) -> dict[str, Any]:
    return {
        **asdict(job),
        "folder": str(job.folder.resolve()),
        "out": str(job.out.resolve()),
        "spec": job.spec.to_json(),
    }


def _from_json(job: Mapping[str, Any]) -> ReadJob:
    return ReadJob(
        folder=Path(job["folder"]),
        out=Path(job["out"]),
        spec=RowSpec.from_json(job["spec"]),
        source=job["source"],
        config=job["config"],
        split=job["split"],
        where=job["where"],
        limits=Limits(**job["limits"]),
    )
