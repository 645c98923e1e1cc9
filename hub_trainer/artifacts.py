"""Artifacts of stages: a folder each, whole once its manifest is there, keyed by its inputs."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
PACKAGES: tuple[str, ...] = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "scikit-learn",
    "skops",
)
PACKAGES += ("huggingface-hub", "numpy", "hub-trainer")


@dataclass(frozen=True)
class Artifact:
    """A finished stage: its folder and what its manifest says."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def outputs(self) -> dict[str, Any]:
        """What the stage says of its result."""
        return dict(self.manifest["outputs"])

    @property
    def digest(self) -> str:
        """Digest of everything that went in."""
        return str(self.manifest["digest"])


@dataclass
class Draft:
    """A stage at work: write files under `folder`, and what to say of them into `outputs`."""

    folder: Path
    inputs: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict)
    artifact: Artifact | None = None


def digest_of(value: Any) -> str:
    """sha256 of a JSON value, the same for equal values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def stage_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's inputs with the package versions that it ran with."""
    return {**inputs, "versions": package_versions()}


def find_artifact(folder: Path, inputs: Mapping[str, Any] | None = None) -> Artifact | None:
    """The finished stage in `folder`, if it is whole and was made from the same inputs."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    if inputs is not None and manifest["digest"] != digest_of(stage_inputs(inputs)):
        return None
    if not all(_same_size(folder / path, entry) for path, entry in manifest["files"].items()):
        return None
    return Artifact(folder, manifest)


def make_artifact(
    folder: Path, inputs: Mapping[str, Any], make: Callable[[Draft], None]
) -> Artifact:
    """The artifact in `folder` when it is of the same inputs, else one that `make` fills."""
    done = find_artifact(folder, inputs)
    if done:
        return done
    with write_artifact(folder, inputs) as draft:
        make(draft)
    assert draft.artifact is not None
    return draft.artifact


def draft_folder(folder: Path, inputs: Mapping[str, Any]) -> Path:
    """Where a stage with these inputs works until it is done; the same for every process."""
    return folder.with_name(f".{folder.name}.{digest_of(stage_inputs(inputs))[:12]}")


@contextmanager
def write_artifact(
    folder: Path, inputs: Mapping[str, Any], *, keep_draft: bool = False
) -> Iterator[Draft]:
    """Work in a hidden folder that takes `folder`'s place once everything is written.

    `keep_draft` leaves what an earlier attempt with the same inputs wrote, for a stage that
    resumes. Drafts of other inputs are removed. When the body raises, nothing shows in `folder`.
    """
    work = draft_folder(folder, inputs)
    for other in folder.parent.glob(f".{folder.name}.*"):
        if other != work or not keep_draft:
            shutil.rmtree(other)
    work.mkdir(parents=True, exist_ok=True)
    draft = Draft(work, stage_inputs(inputs))
    yield draft
    manifest = _manifest(draft)
    write_durably(work / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    _replace(work, folder)
    draft.artifact = Artifact(folder, manifest)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is there whole or not at all."""
    staging = path.with_name(f".{path.name}.part")
    with staging.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(draft: Draft) -> dict[str, Any]:
    files = sorted(path for path in draft.folder.rglob("*") if path.is_file())
    entries = {}
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        name = path.relative_to(draft.folder).as_posix()
        entries[name] = {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
    return {
        "digest": digest_of(draft.inputs),
        "inputs": draft.inputs,
        "outputs": draft.outputs,
        "files": entries,
    }


def _replace(work: Path, folder: Path) -> None:
    """Put `work` in the place of `folder`; a crash in between leaves one of the two whole."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _same_size(path: Path, entry: Mapping[str, Any]) -> bool:
    try:
        return path.stat().st_size == int(entry["size_bytes"])
    except FileNotFoundError:
        return False
