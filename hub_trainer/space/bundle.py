"""The files of a Space's repo: app, settings, and the modules of hub_trainer that it imports."""

import ast
import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hub_trainer
from hub_trainer.answers import ANSWERS
from hub_trainer.inputs import INPUTS
from hub_trainer.space import zerogpu
from hub_trainer.space.readme import space_readme
from hub_trainer.space.settings import SETTINGS_FILE, SpaceSettings
from hub_trainer.space.shown_rows import ShownRows, encode_shown
from hub_trainer.tasks import TASKS, outline

PACKAGE = Path(hub_trainer.__file__).parent
TEMPLATE = Path(__file__).parent / "rate"
SERVER = "hub_trainer.space.server"
ZEROGPU_REQUIREMENT = "spaces>=0.50,<1"
"""ZeroGPU brings the package itself, at a version of its own choice."""
NOTHING_SHOWN = ShownRows()


def space_files(
    settings: SpaceSettings,
    *,
    endpoint: str,
    shown: ShownRows = NOTHING_SHOWN,
    hardware: str = "cpu-basic",
    preload: Sequence[str] = (),
) -> dict[str, bytes]:
    """Path -> content of everything that the Space is made of; the same for the same inputs."""
    readme = space_readme(settings, endpoint=endpoint, hardware=hardware, preload=preload)
    content: dict[str, Any] = settings.model_dump(mode="json")
    files = {
        "README.md": readme.encode(),
        "app.py": _app(hardware),
        "requirements.txt": pinned_requirements(hardware).encode(),
        SETTINGS_FILE: (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    known = outline(settings.task)
    roots = [SERVER, TASKS[settings.task], INPUTS[known.modality]]
    roots.append(ANSWERS[settings.answer or known.answer])
    for name in imported_modules(tuple(roots)):
        path = _module_path(name)
        assert path is not None
        files[f"hub_trainer/{path.relative_to(PACKAGE).as_posix()}"] = path.read_bytes()
    return {**files, **encode_shown(shown)}


def pinned_requirements(hardware: str = "cpu-basic") -> str:
    """requirements.txt of the Space, each package at the version that runs here."""
    names = (TEMPLATE / "requirements.txt").read_text().split()
    pins = [f"{name}=={version(name).partition('+')[0]}" for name in names]
    pins += [ZEROGPU_REQUIREMENT] if hardware.startswith(zerogpu.HARDWARE) else []
    return "".join(f"{pin}\n" for pin in pins)


def _app(hardware: str) -> bytes:
    """app.py; on ZeroGPU its first import is the package that must come before torch."""
    content = (TEMPLATE / "app.py").read_text(encoding="utf-8")
    if hardware.startswith(zerogpu.HARDWARE):
        first = "from hub_trainer"
        content = content.replace(first, f"import {zerogpu.PACKAGE}  # noqa: F401\n\n{first}", 1)
    return content.encode()


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
