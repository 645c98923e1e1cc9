"""Checkpoints that are whole or absent: staged, hashed, fsynced, renamed, verified, rotated.

A reader trusts the manifest and never the name: every file in it must have its size and sha256.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_trainer.errors import TrainingError

MANIFEST = "MANIFEST.json"
STAGING = ".staging-"
PREFIX = "checkpoint-"
KEPT = 2
SLACK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose files have been verified against its manifest."""

    path: Path
    step: int
    run_digest: str
    environment: Mapping[str, Any]
    needs_step: int | None
    """The step of the best checkpoint so far, which the end of the run will load."""


def newest_valid_checkpoint(folder: Path, *, run_digest: str | None = None) -> Checkpoint | None:
    """The latest checkpoint whose every file is as it was written, of this run if one is named."""
    for path in sorted(_checkpoints(folder), key=_step_of, reverse=True):
        checkpoint = verified(path)
        if checkpoint is None or run_digest not in (None, checkpoint.run_digest):
            continue
        if _fault_of_best(checkpoint) is None:
            return checkpoint
    return None


def verified(path: Path) -> Checkpoint | None:
    """The checkpoint, or None if anything in it is missing, changed or beyond its manifest."""
    found = _read(path)
    return found if isinstance(found, Checkpoint) else None


def clear_for(folder: Path, run_digest: str) -> list[str]:
    """Sweep abandoned stagings, checkpoints of any other run, and those that do not read back,
    from the newest to the one that does; a note for each that went."""
    folder.mkdir(parents=True, exist_ok=True)
    for staging in folder.glob(f"{STAGING}*"):
        shutil.rmtree(staging)
    others = [path for path in _checkpoints(folder) if _claims_another_run(path, run_digest)]
    for path in others:
        _remove(path)
    notes = [f"{len(others)} checkpoints of another run were removed"] if others else []
    for path in sorted(_checkpoints(folder), key=_step_of, reverse=True):
        fault = _fault(path)
        if fault is None:
            break
        _remove(path)
        notes.append(f"{path.name} was passed over and removed: {fault}")
    return notes


def write_checkpoint(
    folder: Path,
    step: int,
    write: Callable[[Path], None],
    *,
    seal: Mapping[str, Any],
    barrier: Callable[[], None],
    is_writer: bool,
) -> Path:
    """Stage what `write` writes on every process, then let the writer make it a checkpoint.

    Only one process renames, between barriers: racing renames broke this upstream twice.
    """
    staging, final = folder / f"{STAGING}{step}", folder / f"{PREFIX}{step}"
    if is_writer:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    barrier()
    write(staging)
    barrier()
    if is_writer:
        _seal(staging, step, seal)
        if final.exists():
            # Left by an earlier life of this run and not valid, or it would have been resumed.
            _remove(final)
        staging.rename(final)
        _sync(final.parent)
    barrier()
    return final


def rotate(folder: Path, *, keep: int, spare: Path | None) -> None:
    """Delete the oldest beyond `keep`, never `spare`, and only once the newest is verified."""
    paths = sorted(_checkpoints(folder), key=_step_of)
    if verified(paths[-1]) is None:
        raise TrainingError(
            "A checkpoint does not read back as it was written.",
            where=str(paths[-1]),
            do="check the disk; the older checkpoints are kept and will be resumed from",
        )
    for path in paths[: -max(keep, KEPT)]:
        if path != spare:
            _remove(path)


def check_free_space(folder: Path, expected_bytes: int) -> None:
    """Stop before writing what would not fit: twice the last checkpoint and a little slack."""
    needed = 2 * expected_bytes + SLACK_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            "There is not enough disk space for a checkpoint.",
            where=str(folder),
            got=f"{_megabytes(free)} free, {_megabytes(needed)} needed",
            do="free some space and run the same command again: it goes on from the last one",
        )


def save_failed(folder: Path, step: int, error: Exception) -> TrainingError:
    """What to tell when a checkpoint could not be written; nothing half-written is left."""
    for staging in folder.glob(f"{STAGING}*"):
        shutil.rmtree(staging, ignore_errors=True)
    last = newest_valid_checkpoint(folder)
    return TrainingError(
        f"The checkpoint of step {step} could not be written.",
        where=str(folder),
        got=f"{error} ({_megabytes(shutil.disk_usage(folder).free)} free)",
        do="free some space and run the same command again: it goes on from "
        + (f"step {last.step}" if last else "the start"),
    )


def size_bytes(path: Path) -> int:
    """Bytes of all files in a checkpoint."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _fault(path: Path) -> str | None:
    """Why training cannot go on from it."""
    found = _read(path)
    return found if isinstance(found, str) else _fault_of_best(found)


def _fault_of_best(checkpoint: Checkpoint) -> str | None:
    """Why the end of the run could not load the best one so far."""
    best = checkpoint.path.with_name(f"{PREFIX}{checkpoint.needs_step}")
    if checkpoint.needs_step is None or best == checkpoint.path:
        return None
    found = _read(best)
    return f"of {best.name}, the best so far, {found}" if isinstance(found, str) else None


def _read(path: Path) -> Checkpoint | str:
    """The checkpoint, or what is wrong with it first."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        if manifest["digest"] != _digest(manifest):
            return f"{MANIFEST} is not as it was written"
        if manifest["step"] != _step_of(path):
            return f"{MANIFEST} is of step {manifest['step']}"
        found = set(_files(path))
        for name in sorted({*files, *found}):
            if name not in found:
                return f"{name} is missing"
            if name not in files:
                return f"{name} is not in its {MANIFEST}"
            if files[name] != _hashed(path / name):
                return f"{name} is not as it was written"
        fields = ("step", "run_digest", "environment", "needs_step")
        return Checkpoint(path, **{field: manifest[field] for field in fields})
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"{Path(error.filename).name} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Whatever a broken manifest looks like, the answer is the same: not a checkpoint.
        return f"{MANIFEST} is not one ({type(error).__name__})"


def _remove(path: Path) -> None:
    """By a rename first: killed on the way, it leaves a staging and no half checkpoint."""
    doomed = path.with_name(f"{STAGING}{path.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _seal(staging: Path, step: int, seal: Mapping[str, Any]) -> None:
    files = {name: _hashed(staging / name) for name in _files(staging)}
    manifest: dict[str, Any] = {"step": step, **seal, "files": files}
    manifest["digest"] = _digest(manifest)
    text = json.dumps(manifest, indent=1, sort_keys=True)
    (staging / MANIFEST).write_text(text, encoding="utf-8")
    for path in [*staging.rglob("*"), staging]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(manifest: Mapping[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hashed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}


def _files(path: Path) -> list[str]:
    found = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    return sorted(name for name in found if name != MANIFEST)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdigit()]


def _step_of(path: Path) -> int:
    return int(path.name[len(PREFIX) :])


def _claims_another_run(path: Path, run_digest: str) -> bool:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return bool(
            manifest["digest"] == _digest(manifest) and manifest["run_digest"] != run_digest
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # of no run that can be told


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"
