"""Base models of recipes: fetched at a commit, and inspected in a child before anything loads them.

The child has no token, no network and limits (`INSPECTION`), because a config, a template or a
header of a stranger's repo can ask for more than any machine has.
"""

import atexit
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hub_trainer.errors import DataError, Problem, RecipeError
from hub_trainer.finetune.model_folder import (
    ADAPTER_CONFIG,
    CONFIG,
    download_folders,
    download_model,
    fetch_headers,
    index_faults,
    is_weights,
    size_faults,
    weights_faults,
)
from hub_trainer.hub import Hub, Repo, cache_folder
from hub_trainer.lineage import PinnedRepo
from hub_trainer.recipe import Recipe
from hub_trainer.sandbox import Sandbox, SandboxLimits
from hub_trainer.tasks import ModelFolders, outline, outline_for

SUBJECT = "the base model"
INSPECTION = SandboxLimits(
    memory_bytes=2_000_000_000, cpu_seconds=6, wall_seconds=120, after_warm_up=True
)
"""CPU rather than wall time, so that a busy machine refuses no honest model."""
MAX_SHARDS = 8
"""Files of weights whose headers are fetched to look at a model that is not downloaded."""
PASSED = "hub-trainer/inspected"
"""Folder in the client's cache with a file for each base model that has passed."""


@dataclass(frozen=True)
class FetchedBase:
    """A base model's small files, and the headers of its weights."""

    folders: ModelFolders
    headers: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As arguments of a call into a child."""
        folders = self.folders
        return {
            "model": str(folders.model),
            "base": str(folders.base) if folders.base else None,
            "headers": [str(path) for path in self.headers],
        }


def base_folders(recipe: Recipe, base: PinnedRepo, hub: Hub, *, with_weights: bool) -> ModelFolders:
    """Its folder, and that of the model below it when it is an adapter and the task takes one."""
    at = (hub, base.repo_id, base.commit_sha)
    if outline_for(recipe).takes_adapters:
        return ModelFolders(*download_folders(*at, with_weights=with_weights))
    return ModelFolders(download_model(*at, with_weights=with_weights))


def fetch_base(recipe: Recipe, base: PinnedRepo, hub: Hub, scratch: Path) -> FetchedBase:
    """What `check` looks at. Raises RecipeError with all that the list of files shows already."""
    repo, found = Repo(base.repo_id), outline_for(recipe)
    files = hub.list_files(repo, base.commit_sha)
    names = [file.path for file in files]
    faults = size_faults(files)
    if ADAPTER_CONFIG in names and CONFIG not in names and not found.takes_adapters:
        faults.append(
            f"is an adapter, and {recipe.task} starts from a whole model; merge it into its base"
            " (merge_and_unload of peft) and name the result"
        )
    needs_weights = recipe.train.method_facts.needs_weights
    if needs_weights and not faults:
        faults += weights_faults(files, base.repo_id, found.auto_class or "AutoModel")
    if not faults:
        folders = base_folders(recipe, base, hub, with_weights=False)
        faults += index_faults(folders.model, names) if needs_weights else []
    if faults:
        raise RecipeError(problems_of(faults), source="base_model")
    # An adapter's tensors are no part of the model that its base's config describes.
    weights = [name for name in names if is_weights(name) and "/" not in name]
    weights = [] if folders.base or not needs_weights else weights[:MAX_SHARDS]
    at = (hub, base.repo_id, base.commit_sha)
    return FetchedBase(folders, tuple(fetch_headers(*at, weights, scratch / "headers")))


def problems_of(faults: Sequence[str]) -> list[Problem]:
    """Faults of a base model as problems, each once."""
    return [Problem("base_model", f"base_model: {fault}") for fault in dict.fromkeys(faults)]


# In training


def assert_sound(recipe: Recipe, base: PinnedRepo, folders: ModelFolders) -> None:
    """Inspect a downloaded base model before it is loaded, once for the same files.

    Raises RecipeError with what is wrong with it.
    """
    headers = tuple(sorted((folders.base or folders.model).glob("*.safetensors")))
    fetched = FetchedBase(folders, headers)
    stamp = _stamp(recipe.task, fetched)
    source = f"{base.repo_id}@{base.commit_sha[:7]}"
    with _passing_once(stamp) as look_again:
        if look_again and (faults := _ask("look", {"task": recipe.task, **fetched.to_json()})):
            raise RecipeError(problems_of(faults), source=source)
    template = _template_of(recipe)
    if template is None:
        return
    with _passing_once(sha256(f"{stamp} {template}".encode()).hexdigest()) as look_again:
        if look_again and (faults := _ask("look_at_template", {**template, **_paths(folders)})):
            raise RecipeError(_template_problems(faults), source=source)


@contextmanager
def _passing_once(stamp: str) -> Iterator[bool]:
    """Whether what the stamp stands for is to be looked at; not again once it has passed."""
    passed = cache_folder() / PASSED / stamp
    is_known = passed.exists()
    yield not is_known
    if not is_known:
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()


def _ask(function: str, arguments: dict[str, Any]) -> list[str]:
    """What a function of this module finds in a child."""
    inspector = open_inspector(f"{__name__}:import_looking")
    with tempfile.TemporaryDirectory(prefix="hub-trainer-inspect-") as scratch:
        try:
            found: list[str] = inspector.call(
                f"{__name__}:{function}", arguments, folder=Path(scratch)
            )
        except DataError as error:
            return [f"{error.where}: {error.what}"]
    return found


def _template_of(recipe: Recipe) -> dict[str, Any] | None:
    """The chat template that the recipe names, and what is learned by it."""
    language = recipe.train.language
    if language is None or language.chat_template is None:
        return None
    return {"template": language.chat_template, "train_on": language.train_on}


def _paths(folders: ModelFolders) -> dict[str, Any]:
    return {"model": str(folders.model), "base": str(folders.base) if folders.base else None}


def _template_problems(faults: Sequence[str]) -> list[Problem]:
    key = "train.language.chat_template"
    return [Problem(key, f"{key}: {fault}") for fault in faults]


_inspectors: dict[str, Sandbox] = {}


def open_inspector(warm_up: str, **arguments: str) -> Sandbox:
    """A process that inspects base models; the same one as before, where it still lives."""
    key = json.dumps([warm_up, arguments])
    known = _inspectors.get(key)
    if known is None or not known.alive:
        made = Sandbox(INSPECTION, warm_up=(warm_up, arguments), subject=SUBJECT)
        atexit.register(made.close)
        _inspectors[key] = made
    return _inspectors[key]


def _stamp(task: str, fetched: FetchedBase) -> str:
    """Changes with the small files, the headers, and the libraries that read them."""
    folders = [folder for folder in (fetched.folders.model, fetched.folders.base) if folder]
    small = [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.is_file() and not is_weights(path.name)
    ]
    stamp = sha256(f"{task} {version('transformers')} {version('tokenizers')}".encode())
    for path in small:
        stamp.update(f"{path.name} {sha256(path.read_bytes()).hexdigest()}".encode())
    for path in fetched.headers:
        with path.open("rb") as file:
            beginning = file.read(8)
            header = file.read(min(int.from_bytes(beginning, "little"), INSPECTION.memory_bytes))
        stamp.update(f"{path.name} {sha256(beginning + header).hexdigest()}".encode())
    return stamp.hexdigest()


# The child's side


def import_looking() -> None:
    """What `look` needs, before its limits are set."""
    import hub_trainer.finetune.base_look  # noqa: F401


def look(task: str, model: str, base: str | None, headers: Sequence[str]) -> list[str]:
    """Every fault of a base model's files for a task's class of model."""
    from hub_trainer.finetune.base_look import look_at_base, weight_faults

    found = look_at_base(_auto_class(task), Path(model), Path(base) if base else None)
    faults = list(found.faults)
    if found.model is not None:
        faults += weight_faults([Path(path) for path in headers], found.model)
    return faults


def template_problems(recipe: Recipe, folders: ModelFolders) -> list[Problem]:
    """What is wrong with the chat template that the recipe names, for this base model."""
    template = _template_of(recipe)
    return _template_problems(look_at_template(**template, **_paths(folders))) if template else []


def look_at_template(
    template: str, train_on: str | None, model: str, base: str | None
) -> list[str]:
    """Every fault of a chat template for a base model's tokenizer."""
    from hub_trainer.finetune.language import template_look
    from hub_trainer.finetune.language.serving import load_tokenizer

    tokenizer = load_tokenizer(Path(model), Path(base) if base else None)
    return template_look.look_at_template(tokenizer, template, train_on)  # type: ignore[arg-type]


def look_at_weights(
    task: str, model: str, base: str | None, headers: Sequence[str]
) -> list[Problem]:
    """What the headers of the weights say against a model that can be built."""
    from hub_trainer.finetune.base_look import meta_model, weight_faults

    built = meta_model(_auto_class(task), Path(base or model))
    return problems_of(weight_faults([Path(path) for path in headers], built))


def _auto_class(task: str) -> Any:
    from hub_trainer.finetune.auto_classes import auto_class

    return auto_class(str(outline(task).auto_class))
