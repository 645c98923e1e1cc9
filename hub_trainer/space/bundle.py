"""The files of a Space's repo: app, settings, and the modules of hub_trainer that it imports."""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hub_trainer
from hub_trainer.space.examples import EXAMPLES_FILE, encode_examples
from hub_trainer.space.settings import SETTINGS_FILE, SpaceSettings
from hub_trainer.tasks import TASKS, Row

PACKAGE = Path(hub_trainer.__file__).parent
TEMPLATE = Path(__file__).parent / "rate"
SERVER = "hub_trainer.space.server"


def space_files(
    settings: SpaceSettings, *, endpoint: str, examples: Sequence[Row] = ()
) -> dict[str, bytes]:
    """Path -> content of everything that the Space is made of; the same for the same inputs."""
    files = {
        "README.md": _readme(settings, endpoint).encode(),
        "app.py": (TEMPLATE / "app.py").read_bytes(),
        "requirements.txt": pinned_requirements().encode(),
        SETTINGS_FILE: _settings_json(settings).encode(),
    }
    for name in imported_modules((SERVER, TASKS[settings.task])):
        path = _module_path(name)
        assert path is not None
        files[f"hub_trainer/{path.relative_to(PACKAGE).as_posix()}"] = path.read_bytes()
    if examples:
        files[EXAMPLES_FILE] = encode_examples(examples)
    return files


def pinned_requirements() -> str:
    """requirements.txt of the Space, each package at the version that runs here."""
    names = (TEMPLATE / "requirements.txt").read_text().split()
    return "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in names)


@cache
def imported_modules(roots: tuple[str, ...]) -> tuple[str, ...]:
    """The modules of hub_trainer that `roots` import, directly or not, with their packages."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _module_path(name)
        if path is None or name in found:
            continue
        found.add(name)
        parent = name.rpartition(".")[0]
        waiting += ([parent] if parent else []) + _imports(path)
    return tuple(sorted(found))


def _imports(path: Path) -> list[str]:
    """Dotted names that a file imports from hub_trainer, at its top or inside a function."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == PACKAGE.name]


def _module_path(name: str) -> Path | None:
    """The file of a module of hub_trainer, None when the name is none."""
    place = PACKAGE.joinpath(*name.split(".")[1:])
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _readme(settings: SpaceSettings, endpoint: str) -> str:
    wording = _wording(settings)
    shown = [(settings.model_repo_id, settings.commit_sha)]
    shown += [(settings.rival.repo_id, settings.rival.commit_sha)] if settings.rival else []
    links = [f"[{name}]({endpoint}/{name}) at commit `{sha}`" for name, sha in shown]
    return (
        (TEMPLATE / "README.md")
        .read_text(encoding="utf-8")
        .format(
            title=wording.title,
            short_description=wording.short,
            what=wording.what.format(" and ".join(links)),
            gradio_version=version("gradio"),
            models="\n".join(f"- {name}" for name in dict.fromkeys(name for name, _ in shown)),
            ratings_repo_id=settings.ratings_repo_id,
            endpoint=endpoint,
        )
    )


@dataclass(frozen=True)
class _Wording:
    """What a Space says of itself; `{}` in `what` is for the models."""

    title: str
    short: str
    what: str


def _wording(settings: SpaceSettings) -> _Wording:
    name = settings.model_repo_id.split("/")[-1]
    if settings.generation is None:
        return _Wording(
            f"Is {name} right?",
            "Try the model and say whether it is right",
            "Try {}, and say whether its answer is right.",
        )
    if settings.rival is None:
        return _Wording(
            f"Chat with {name}",
            "Chat with the model and rate its answers",
            "Chat with {}, say how good its answers are, or write better ones.",
        )
    return _Wording(
        "Which answer is better?",
        "Two models answer; say which answer is better",
        "Compare {} without knowing which of them is which, and say which answer is better.",
    )


def _settings_json(settings: SpaceSettings) -> str:
    content: dict[str, Any] = settings.model_dump(mode="json")
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
