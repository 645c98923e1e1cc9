"""A model folder from the Hub is data: what must be in it, and what must not, before it is loaded.

Nothing here is heavy: `check` and the stages look before anything is imported. Only files of
allowed suffixes are fetched, so that no code of a repo is ever on the disk; what could still make
a loader ask for some are keys in its JSON files.
"""

import json
from pathlib import Path
from typing import Any

from hub_trainer.errors import TrainingError
from hub_trainer.hub import MODEL_FILES, Hub, Repo

CONFIG = "config.json"
CODE_KEYS = ("auto_map", "custom_pipelines")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises TrainingError when it is missing or broken."""
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(
            f"The model has no {CONFIG}.",
            where=str(folder),
            do="name a model repo of the transformers library in base_model",
        ) from None
    except (ValueError, OSError) as error:
        raise TrainingError(
            f"The model's {CONFIG} cannot be read.", where=str(path), got=str(error)
        ) from None
    if not isinstance(content, dict):
        raise TrainingError(f"The model's {CONFIG} holds no settings.", where=str(path))
    return content


def download_model(hub: Hub, repo_id: str, commit_sha: str, *, with_weights: bool = True) -> Path:
    """The files of a model commit that can be loaded without running code of the repo.

    Raises TrainingError when it cannot be loaded so.
    """
    allow = [p for p in MODEL_FILES if with_weights or "safetensors" not in p and "skops" not in p]
    folder = hub.download(Repo(repo_id), commit_sha, allow=allow)
    faults = code_faults(folder)
    if faults:
        raise TrainingError(
            "The model needs code of its repo, and such code is never run.",
            where=f"{repo_id}@{commit_sha}",
            got="; ".join(faults),
            do="name a model that transformers itself can load",
        )
    if with_weights:
        _assert_has_weights(folder, repo=f"{repo_id}@{commit_sha}")
    return folder


def code_faults(folder: Path) -> list[str]:
    """Which JSON files ask for code of the repo; nothing is a safe folder."""
    return [
        f"{path.name} names code of its repo in {key}"
        for path in sorted(folder.glob("*.json"))
        for key in sorted(_keys(path))
    ]


def has_any(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether one of the files is there."""
    return any((folder / name).exists() for name in names)


def file_stamp(folder: Path) -> str:
    """Changes when a file of the folder does."""
    stats = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    return ";".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats)


def _assert_has_weights(folder: Path, *, repo: str) -> None:
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.skops")):
        return
    raise TrainingError(
        "The model has no weights as safetensors.",
        where=repo,
        got=", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder",
        do="name a model with *.safetensors, or a revision that has them",
    )


def _keys(path: Path) -> set[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return set()
    return {key for key in CODE_KEYS if content.get(key)} if isinstance(content, dict) else set()
