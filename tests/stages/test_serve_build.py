"""The Space's folder as the Hub builds it: its README's Python, its own requirements alone."""

import ast
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from gradio_client import Client
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.space.bundle import space_files
from hub_trainer.space.settings import SpaceSettings
from hub_trainer.stages import serve
from hub_trainer.stages.serve.preload import preloads
from hub_trainer.tasks import TASKS
from tests.space.factory import QUIET, settings_of
from tests.space.published import prepared_round, publish_model, table_recipe
from tests.space.writing import chat_settings

pytestmark = QUIET
HUB_DEFAULT = "3.10"
"""The Python of a Space whose README does not name one."""
ZEROGPU_PYTHONS = ("3.10.13", "3.12.12")
GONE_IN_312 = {"asynchat", "asyncore", "distutils", "imp", "smtpd"}


def _front(files: dict[str, bytes]) -> dict[str, Any]:
    metadata: dict[str, Any] = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    return metadata


def _settings(task: str) -> SpaceSettings:
    return chat_settings() if task == "text-generation" else settings_of(task=task)


def _files(task: str = "text-classification", hardware: str = "cpu-basic") -> dict[str, bytes]:
    return space_files(_settings(task), endpoint="https://huggingface.co", hardware=hardware)


def _python(front: dict[str, Any]) -> tuple[int, int]:
    """Major and minor version that the Hub builds with."""
    major, minor = str(front.get("python_version", HUB_DEFAULT)).split(".")[:2]
    return int(major), int(minor)


def test_readme_when_read_by_the_hub_says_how_the_space_is_built() -> None:
    front = _front(_files(hardware="t4-small"))
    assert front["python_version"] == "3.12"
    assert any(version.startswith("3.12.") for version in ZEROGPU_PYTHONS)
    assert front["sdk_version"] == distribution("gradio").version
    assert front["suggested_hardware"] == "t4-small"
    assert front["startup_duration_timeout"] == "1h"
    assert len(front["short_description"]) <= 60
    assert "preload_from_hub" not in front


def test_requirements_when_their_metadata_is_read_take_the_python_of_the_readme() -> None:
    files = _files()
    major, minor = _python(_front(files))
    pins = [Requirement(line) for line in files["requirements.txt"].decode().split()]
    assert len(pins) > 10
    refused = {}
    for name in [*(pin.name for pin in pins), "gradio"]:
        needs = distribution(name).metadata["Requires-Python"] or ""
        if f"{major}.{minor}.1" not in SpecifierSet(needs):
            refused[name] = needs
    assert refused == {}
    older = [p.name for p in pins if "3.10.13" not in SpecifierSet(_needs(p.name))]
    assert "numpy" in older  # why the README has to name a version


def _needs(name: str) -> str:
    return distribution(name).metadata["Requires-Python"] or ""


@pytest.mark.parametrize("task", TASKS)
def test_modules_when_compiled_for_the_python_of_the_readme_are_whole_and_import_what_is_there(
    task: str,
) -> None:
    files = _files(task)
    version = _python(_front(files))
    sources = {path: content for path, content in files.items() if path.endswith(".py")}
    imported = set()
    for content in sources.values():
        tree = ast.parse(content, feature_version=version)
        assert not [node for node in ast.walk(tree) if type(node).__name__ == "TypeAlias"]
        imported |= {name for node in ast.walk(tree) for name in _imported(node)}
    ours = {name for name in imported if name.split(".")[0] == "hub_trainer"}
    assert [name for name in ours if not _is_in(name, sources)] == []
    tops = {name.split(".")[0] for name in imported} - {"hub_trainer"}
    stdlib = set(sys.stdlib_module_names) - GONE_IN_312
    assert sorted(tops - stdlib - _installed(files)) == []


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def _is_in(name: str, sources: dict[str, bytes]) -> bool:
    place = name.replace(".", "/")
    return f"{place}.py" in sources or f"{place}/__init__.py" in sources


def _installed(files: dict[str, bytes]) -> set[str]:
    """Top-level modules of the requirements and of all that they need."""
    from importlib.metadata import packages_distributions

    waiting = [Requirement(line) for line in files["requirements.txt"].decode().split()]
    waiting.append(Requirement("gradio[oauth]"))
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        key = f"{wanted.name.lower().replace('_', '-')}{sorted(wanted.extras)}"
        if key in seen:
            continue
        seen.add(key)
        try:
            needs = distribution(wanted.name).requires or []
        except PackageNotFoundError:
            continue
        extras = [*wanted.extras, ""]
        waiting += [
            need
            for need in map(Requirement, needs)
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras)
        ]
    names = {key.partition("[")[0] for key in seen}
    found = packages_distributions().items()
    return {
        module
        for module, owners in found
        if any(owner.lower().replace("_", "-") in names for owner in owners)
    }


def test_space_when_on_zerogpu_requires_the_package_and_imports_it_first() -> None:
    files = _files(hardware="zero-a10g")
    assert files["requirements.txt"].decode().splitlines()[-1].startswith("spaces>=")
    imports = [node for node in ast.parse(files["app.py"]).body if isinstance(node, ast.Import)]
    assert [alias.name for alias in imports[0].names] == ["spaces"]
    first = next(line for line in files["app.py"].decode().splitlines() if "import" in line)
    assert first.startswith("import spaces")
    assert _front(files)["suggested_hardware"] == "zero-a10g"
    assert b"spaces" not in _files()["requirements.txt"]


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.token)


@pytest.fixture(scope="module")
def recipe(hub: Hub, local: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    recipe = table_recipe(local.user)
    publish_model(hub, recipe, tmp_path_factory.mktemp("fit"))
    return recipe


def test_preload_when_the_model_is_public_names_its_files_at_the_commit(
    hub: Hub, recipe: Recipe
) -> None:
    repo_id = recipe.publish.repo_id
    sha = hub.resolve(Repo(repo_id))
    settings = settings_of(model_repo_id=repo_id, commit_sha=sha)
    assert preloads(settings, hub) == []  # private: the Hub cannot preload it
    hub._api.update_repo_settings(repo_id, private=False)
    [entry] = preloads(settings, hub)
    name, files, commit = entry.split(" ")
    assert (name, commit) == (repo_id, sha)
    assert {"model.skops", "config.json"} <= set(files.split(","))


def _interpreter(version: str) -> str | None:
    """A Python of this version, on the path or where pyenv keeps them."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(kept[-1]) if kept else shutil.which(f"python{version}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_space_when_built_as_the_hub_does_answers(
    hub: Hub, local: LocalHub, recipe: Recipe, tmp_path: Path
) -> None:
    """An environment of its own, with the README's Python and nothing but the requirements."""
    made = serve.run(recipe, prepared_round(tmp_path / "round"), hub)
    folder = tmp_path / "repo"
    hub.download(
        Repo(made.outputs["repo_id"], "space"), made.outputs["commit_sha"], allow=["*"], into=folder
    )
    front = _front({"README.md": (folder / "README.md").read_bytes()})
    version = ".".join(map(str, _python(front)))
    python = _interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True)
    pip = [str(tmp_path / "env/bin/python"), "-m", "pip", "install", "--quiet"]
    sdk = f"gradio[oauth]=={front['sdk_version']}"
    subprocess.run([*pip, "-r", folder / "requirements.txt", sdk], check=True, cwd=folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    kept |= {**local.environment(), "RATINGS_DIR": str(tmp_path / "ratings")}
    kept |= {"GRADIO_SERVER_PORT": str(port), "HF_HOME": str(tmp_path / "hf")}
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [tmp_path / "env/bin/python", front["app_file"]],
        cwd=folder,
        env=kept,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        client = Client(f"http://127.0.0.1:{port}", verbose=False)
        label, _ = client.predict(19, "red", api_name="/predict")
        assert label["label"] == "heavy"
        client.close()
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(f"the Space stopped with status {process.returncode}")
