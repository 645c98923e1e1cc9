"""A model folder from the Hub is data: what must be in it, and what must not, before it is loaded.

Nothing here is heavy: `check` and the stages look before anything is imported. Only files of
allowed suffixes are fetched, so that no code of a repo is ever on the disk; what could still make
a loader ask for some are keys in its JSON files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub_trainer.errors import TrainingError
from hub_trainer.hub import MODEL_FILES, Hub, Repo
from hub_trainer.recipe.schema import REPO_ID

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
CODE_KEYS = ("auto_map", "custom_pipelines")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises TrainingError when it is missing or broken."""
    return _settings(folder, CONFIG)


def _settings(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(
            f"The model has no {name}.",
            where=str(folder),
            do="name a model repo of the transformers library in base_model",
        ) from None
    except (ValueError, OSError) as error:
        raise TrainingError(
            f"The model's {name} cannot be read.", where=str(path), got=str(error)
        ) from None
    if not isinstance(content, dict):
        raise TrainingError(f"The model's {name} holds no settings.", where=str(path))
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


def download_folders(
    hub: Hub, repo_id: str, commit_sha: str, *, with_weights: bool = True
) -> tuple[Path, Path | None]:
    """As `download_model`, and beside an adapter the base model that it belongs to."""
    folder = download_model(hub, repo_id, commit_sha, with_weights=with_weights)
    base = adapter_base(hub, folder)
    if base is None:
        return folder, None
    base_dir = download_model(hub, *base, with_weights=with_weights)
    if is_adapter(base_dir):
        raise TrainingError(
            "The base of this adapter is an adapter itself.",
            where=f"{repo_id}@{commit_sha}",
            got=f"{base[0]}@{base[1]}",
            do="merge that one into its base, and train the adapter on the merged model",
        )
    return folder, base_dir


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter, which needs its base model beside it."""
    return (folder / ADAPTER_CONFIG).exists()


def adapter_base(hub: Hub, folder: Path) -> tuple[str, str] | None:
    """Repo id and commit of the model that an adapter belongs to; None for a whole model.

    An adapter of this project names the commit; for any other, main is taken as it is now.
    """
    if not is_adapter(folder):
        return None
    config = _settings(folder, ADAPTER_CONFIG)
    repo_id, revision = str(config.get("base_model_name_or_path")), config.get("revision")
    if config.get("peft_type") != "LORA":
        raise TrainingError(
            "Only LoRA adapters can be used.",
            where=str(folder / ADAPTER_CONFIG),
            got=f"peft_type {config.get('peft_type')}",
            do="name a model repo with a LoRA adapter, or with whole weights",
        )
    if not REPO_ID.match(repo_id):
        raise TrainingError(
            "The adapter does not say which model on the Hub it belongs to.",
            where=f"{folder / ADAPTER_CONFIG}: base_model_name_or_path",
            got=repo_id,
            do="write the repo id of its base model there, and in revision the commit",
        )
    return repo_id, hub.resolve(Repo(repo_id), str(revision or "main"))


def stamp_adapter(folder: Path, repo_id: str, commit_sha: str) -> None:
    """Write into a saved adapter which model it belongs to, by its commit."""
    path = folder / ADAPTER_CONFIG
    config: Mapping[str, Any] = _settings(folder, ADAPTER_CONFIG)
    stamped = {**config, "base_model_name_or_path": repo_id, "revision": commit_sha}
    path.write_text(json.dumps(stamped, indent=2, sort_keys=True) + "\n", encoding="utf-8")


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
