"""What a job needs, in one private repo at one commit: this program, the recipe, what was kept."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import yaml

from hub_trainer.errors import UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.recipe import RecipeFile

PACKAGE = Path(__file__).parents[1]
CODE, ROUND, KEPT = "code", "round", "kept"
REQUIREMENTS = f"{CODE}/requirements.txt"
CONFIG_NAME = "accelerate.yaml"
EXIT_MARK = "hub-trainer ended with exit code"
"""The last line of a job, by which the one who follows its log learns how the round ended."""


@dataclass(frozen=True)
class Parcel:
    """Where a job finds it all, and the arguments of `run` there."""

    repo: Repo
    commit_sha: str
    arguments: tuple[str, ...]


def round_digest(
    recipe_file: RecipeFile, overrides: Sequence[str], accelerate_config: Path | None
) -> str:
    """The mark of a command: the same recipe, overrides and config have the same one."""
    config = accelerate_config.read_text(encoding="utf-8") if accelerate_config else None
    told = [recipe_file.recipe.model_dump(mode="json"), list(overrides), config]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def send_parcel(
    hub: Hub,
    namespace: str,
    recipe_file: RecipeFile,
    overrides: Sequence[str],
    accelerate_config: Path | None = None,
) -> Parcel:
    """Commit it to the model's private jobs repo; what is there already is not sent again."""
    model = recipe_file.recipe.publish.repo_id.rpartition("/")[2]
    repo = Repo(f"{namespace}/{model[:80]}-jobs", "dataset")
    files = program_files() | _recipe_files(recipe_file, overrides)
    arguments = [recipe_file.path.name, *overrides]
    if accelerate_config is not None:
        files[f"{ROUND}/{CONFIG_NAME}"] = accelerate_config.read_bytes()
        arguments += ["--accelerate-config", CONFIG_NAME]
    hub.create_repo(repo, private=True)
    if not hub.is_private(repo):
        raise UsageError(
            "The repo that hands a round to its job is not private.",
            where=f"{hub.url}/datasets/{repo.repo_id}",
            do="Make it private, or rename it.",
        )
    there = {file.path for file in hub.list_files(repo, "main")}
    gone = [
        path for path in sorted(there - set(files)) if path.startswith((f"{CODE}/", f"{ROUND}/"))
    ]
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    sent = hub.commit(
        repo,
        Changes(files=files, deletions=gone),
        message="Program and recipe of a round",
        run_id=f"parcel-{digest.hexdigest()[:16]}",
    )
    return Parcel(repo, sent.commit_sha, tuple(arguments))


def program_files() -> dict[str, bytes]:
    """This package as it is here, and the versions of what it needs."""
    files = {
        f"{CODE}/{PACKAGE.name}/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes()
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files[REQUIREMENTS] = "".join(f"{one}\n" for one in pinned_requirements()).encode()
    return files


def pinned_requirements() -> list[str]:
    """What the package needs, at the versions that are installed here."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    try:
        wanted = [Requirement(text) for text in requires("hub-trainer") or ()]
    except PackageNotFoundError:
        raise UsageError(
            "hub_trainer is not installed, so nobody knows what a job would need.",
            do="Install it with pip install -e . where its pyproject.toml lies.",
        ) from None
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    pinned = []
    for one in needed:
        extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
        # 2.13.0+cpu is this machine's build of 2.13.0; the job's machine takes its own.
        pinned.append(f"{one.name}{extras}=={Version(version(one.name)).public}")
    return sorted(pinned)


def _recipe_files(recipe_file: RecipeFile, overrides: Sequence[str]) -> dict[str, bytes]:
    """The recipe, and the chat template that it or an override names beside it."""
    folder = recipe_file.path.parent
    files = {f"{ROUND}/{recipe_file.path.name}": recipe_file.path.read_bytes()}
    raw = yaml.safe_load(recipe_file.path.read_text(encoding="utf-8")) or {}
    language = (raw.get("train") or {}).get("language") or {}
    named = [str(language.get("chat_template") or "")]
    key = "train.language.chat_template="
    named += [text.removeprefix(key) for text in overrides if text.startswith(key)]
    for name in named:
        if name and (folder / name).is_file():
            files[f"{ROUND}/{name}"] = (folder / name).read_bytes()
    return files
