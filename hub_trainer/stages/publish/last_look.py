"""The last look at a folder before it is published: only known files, nothing that must not leave.

Every fault is found before one is reported, so that one run names them all.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.model_folder import ADAPTER_CONFIG
from hub_trainer.recipe.schema import REPO_ID

SUFFIXES = frozenset(
    {".safetensors", ".json", ".txt", ".model", ".jinja", ".skops", ".md", ".yaml", ".png"}
)
HIDDEN_FOLDERS = (".eval_results",)
VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "added_tokens.json"})
COMMIT_SHA = re.compile("[0-9a-f]{40}")
CHUNK_BYTES = 8_000_000
OVERLAP_BYTES = 4_096
SECRETS: dict[str, re.Pattern[bytes]] = {
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a GitHub token": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    "an AWS access key": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
}


def assert_publishable(
    folder: Path, *, holds_token: Callable[[bytes], bool], round_dir: Path
) -> None:
    """Raise TrainingError with everything that forbids to publish `folder`."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    machine = machine_folders(round_dir)
    faults = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        found = list(_kind_faults(path, name)) or [
            *_secret_faults(path, holds_token),
            *_path_faults(path, machine),
            *_tensor_faults(path),
            *_adapter_faults(path),
        ]
        faults += [f"{name} {fault}" for fault in found]
    if faults:
        raise TrainingError(
            "The model's folder may not be published.",
            where=str(folder),
            got="; ".join(faults[:20]),
            do="Nothing was sent. Remove what is named, or train again, then publish again.",
        )


def machine_folders(round_dir: Path) -> tuple[str, ...]:
    """Folders of this machine that no published file may name."""
    folders = {round_dir.resolve(), Path.cwd(), Path(sys.prefix), Path.home()}
    return tuple(sorted(str(folder) for folder in folders if len(folder.parts) > 2))


def _kind_faults(path: Path, name: str) -> Iterator[str]:
    parts = Path(name).parts
    if path.is_symlink():
        yield "is a link"
    elif path.suffix not in SUFFIXES:
        yield f"is of no kind that is published ({', '.join(sorted(SUFFIXES))})"
    elif any(part.startswith(".") for part in parts) and parts[0] not in HIDDEN_FOLDERS:
        yield "is hidden"


def _secret_faults(path: Path, holds_token: Callable[[bytes], bool]) -> Iterator[str]:
    found = set()
    for chunk in _chunks(path):
        found |= {kind for kind, pattern in SECRETS.items() if pattern.search(chunk)}
        found |= {"the token in use"} if holds_token(chunk) else set()
    yield from (f"holds {kind}" for kind in sorted(found))


def _chunks(path: Path) -> Iterator[bytes]:
    """The file in pieces that overlap, so that nothing hides across an edge."""
    tail = b""
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield tail + piece
            tail = piece[-OVERLAP_BYTES:]


def _path_faults(path: Path, machine: Sequence[str]) -> Iterator[str]:
    if path.suffix == ".json" and path.name not in VOCABULARIES:
        values = _strings(_json(path))
        yield from (f"names {text} of this machine" for text in values if _is_local(text, machine))
    elif path.suffix in (".md", ".yaml"):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from (f"names {folder} of this machine" for folder in machine if folder in text)


def _is_local(text: str, machine: Sequence[str]) -> bool:
    if any(folder in text for folder in machine):
        return True
    if not text.startswith("/") or text.count("/") < 2 or len(text) > 1_000 or "\0" in text:
        return False
    return text.startswith(f"{tempfile.gettempdir()}/") or Path(text).exists()


def _adapter_faults(path: Path) -> Iterator[str]:
    """An adapter without the exact model that it belongs to is of no use, and may be misused."""
    if path.name != ADAPTER_CONFIG:
        return
    config = _json(path)
    repo_id, revision = (config.get(key) for key in ("base_model_name_or_path", "revision"))
    if not REPO_ID.match(str(repo_id)):
        yield f"names no repo of the Hub as its base model: {repo_id!r}"
    if not COMMIT_SHA.fullmatch(str(revision)):
        yield f"names no commit of its base model: revision {revision!r}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(
            f"{path.name} is not valid JSON.",
            where=str(path),
            got=str(error),
            do="Remove the round's folder train, and run the round again: it is made anew.",
        ) from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _tensor_faults(path: Path) -> Iterator[str]:
    """Tensors with values that are not finite; read one at a time."""
    if path.suffix != ".safetensors":
        return
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                tensor = tensors.get_tensor(key)
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
                    yield f"has values that are not finite in {key}"
    except SafetensorError as error:
        yield f"is no valid safetensors file ({error})"
