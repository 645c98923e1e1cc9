"""A model folder from the Hub is data: what must be in it, and what must not, before it is loaded.

Nothing here is heavy: `check` and the stages look before anything is imported. Only files of
allowed suffixes are fetched, so that no code of a repo is ever on the disk; what could still make
a loader ask for some are keys in its JSON files.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hub_trainer.errors import TrainingError
from hub_trainer.hub import MODEL_FILES, Hub, Repo, RepoFile
from hub_trainer.recipe.schema import REPO_ID

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
CODE_KEYS = ("auto_map", "custom_pipelines")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
PROCESSORS: Mapping[str, str] = {
    "AutoModelForImageClassification": "AutoImageProcessor",
    "AutoModelForAudioClassification": "AutoFeatureExtractor",
}
"""Class of a model that reads no texts -> the class that makes its inputs."""
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".gguf", ".onnx")
MAX_SETTINGS_BYTES = 20_000_000
"""Largest JSON, text or template file; the largest index of weights has some 10 MB."""
MAX_TOKENIZER_BYTES = 100_000_000
"""Largest file of a tokenizer; the largest in use have 35 MB."""
MAX_HEADER_BYTES = 25_000_000
MAX_TENSORS = 100_000
TOKENIZER_DATA = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "*.model")

OTHER_MODEL = "name a model repo of the transformers library in base_model"


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
            do=OTHER_MODEL,
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise TrainingError(
            f"The model's {name} cannot be read.",
            where=str(path),
            got=str(error),
            do=OTHER_MODEL,
        ) from None
    if not isinstance(content, dict):
        told = f"The model's {name} holds no settings."
        raise TrainingError(told, where=str(path), got=type(content).__name__, do=OTHER_MODEL)
    return content


def download_model(hub: Hub, repo_id: str, commit_sha: str, *, with_weights: bool = True) -> Path:
    """The files of a model commit that can be loaded without running code of the repo.

    Raises TrainingError when it cannot be loaded so.
    """
    allow = [p for p in MODEL_FILES if with_weights or not is_weights(p)]
    too_large = size_faults(hub.list_files(Repo(repo_id), commit_sha))
    if too_large:
        raise TrainingError(
            "The model has files that no model of its kind needs.",
            where=f"{repo_id}@{commit_sha}",
            got="; ".join(too_large),
            do="name another model, or ask its authors",
        )
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


def is_weights(name: str) -> bool:
    """Whether a file, or all files of a pattern, hold weights."""
    return name.endswith((".safetensors", ".skops"))


def size_faults(files: Iterable[RepoFile]) -> list[str]:
    """Files that are read whole and too large for what they are."""
    faults = []
    for file in files:
        if is_weights(file.path) or not any(fnmatch(file.path, p) for p in MODEL_FILES):
            continue
        is_tokenizer = any(fnmatch(file.path, pattern) for pattern in TOKENIZER_DATA)
        most = MAX_TOKENIZER_BYTES if is_tokenizer else MAX_SETTINGS_BYTES
        if file.size_bytes > most:
            size = f"{file.size_bytes / 1e6:,.0f} MB"
            faults.append(f"{file.path} has {size}, at most {most / 1e6:,.0f} MB are read")
    return faults


def weights_faults(files: Sequence[RepoFile], repo_id: str, auto_class: str) -> list[str]:
    """What is wrong with the weights, judged by the names of the files."""
    names = [file.path for file in files]
    if any(name.endswith(".safetensors") for name in names):
        return []
    others = [name for name in names if name.endswith(OTHER_WEIGHTS)]
    if not others:
        return ["has no weights as safetensors; name a model with *.safetensors"]
    shown = ", ".join(others[:3])
    convert = (
        f'python -c "from transformers import {auto_class} as M, AutoTokenizer as T;'
        f" M.from_pretrained('{repo_id}').save_pretrained('converted');"
        f" T.from_pretrained('{repo_id}').save_pretrained('converted')\""
    )
    convert = convert.replace("AutoTokenizer", PROCESSORS.get(auto_class, "AutoTokenizer"))
    if auto_class == "AutoModelForSpeechRecognition":
        convert = (
            'python -c "from transformers import pipeline;'
            f" pipeline('automatic-speech-recognition', '{repo_id}').save_pretrained('converted')\""
        )
    upload = f"hf upload YOU/{repo_id.rpartition('/')[2]} converted"
    return [
        f"has its weights as {shown} and not as safetensors; such files can run code and are never"
        f" loaded. Where you trust them, convert them: {convert} && {upload}"
    ]


def index_faults(folder: Path, names: Collection[str]) -> list[str]:
    """Files that the index of the weights names and the repo has not."""
    path = folder / WEIGHTS_INDEX
    if not path.exists():
        return []
    try:
        named = set(map(str, json.loads(path.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [f"{WEIGHTS_INDEX} is no index of weights"]
    missing = sorted(named - set(names))
    if not missing:
        return []
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return [f"{WEIGHTS_INDEX} names {', '.join(missing[:3])}{more}, which the repo does not have"]


def fetch_headers(
    hub: Hub, repo_id: str, commit_sha: str, names: Iterable[str], into: Path
) -> list[Path]:
    """The headers of these safetensors files, each in a file that ends after it.

    A header that is too long is left out of its file, so that its reader says so.
    """
    into.mkdir(parents=True, exist_ok=True)
    made = []
    for name in names:
        content = hub.read_beginning(Repo(repo_id), name, commit_sha, FIRST_BYTES)
        try:
            size = 8 + header_size(content[:8])
        except ValueError:
            size = 8
        if size > len(content):
            content = hub.read_beginning(Repo(repo_id), name, commit_sha, size)
        made.append(into / name.replace("/", "_"))
        made[-1].write_bytes(content[:size])
    return made


FIRST_BYTES = 100_000
"""Bytes fetched of a safetensors file first: nearly every header is shorter."""


def header_size(beginning: bytes) -> int:
    """Bytes of a safetensors header by its first eight. Raises ValueError."""
    size = int.from_bytes(beginning, "little")
    if len(beginning) < 8 or not 2 <= size <= MAX_HEADER_BYTES:
        most = f"at most {MAX_HEADER_BYTES:,} are read"
        raise ValueError(f"its header should have {size:,} bytes; {most}")
    return size


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> dtype and shape of each tensor of a safetensors file. Raises ValueError."""
    with path.open("rb") as file:
        size = header_size(file.read(8))
        content = file.read(size)
    if len(content) < size:
        raise ValueError("its header is cut off")
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"its header is no JSON: {error}") from None
    tensors = {k: v for k, v in found.items() if k != "__metadata__"} if _is_map(found) else None
    if tensors is None or not all(_is_tensor(value) for value in tensors.values()):
        raise ValueError("its header does not describe tensors")
    if len(tensors) > MAX_TENSORS:
        raise ValueError(f"it names {len(tensors):,} tensors; no model has over {MAX_TENSORS:,}")
    return tensors


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _is_tensor(value: Any) -> bool:
    sides = value.get("shape") if _is_map(value) else None
    return isinstance(sides, list) and all(isinstance(s, int) for s in sides) and "dtype" in value


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
        if path.name not in TOKENIZER_DATA
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
    except (ValueError, OSError, RecursionError):
        return set()
    return {key for key in CODE_KEYS if content.get(key)} if isinstance(content, dict) else set()
