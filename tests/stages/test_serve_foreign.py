"""Code that others commit to the Space's repo: refused by path, commit and author, never run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_trainer.errors import HubError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.space import process
from hub_trainer.stages import serve
from hub_trainer.stages.serve.foreign import is_code
from tests.space.factory import QUIET
from tests.space.published import prepared_round, publish_model, table_recipe

pytestmark = QUIET
ORG = "team"
EVIL = b"raise SystemExit('foreign code has run')\n"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.token)


@pytest.fixture(scope="module")
def mallory(local: LocalHub) -> Hub:
    """Another member of the organisation, who may write to its Space."""
    token = local.add_user("mallory")
    local.add_org(ORG, {local.user: "admin", "mallory": "write"})
    return Hub(local.url, token)


@pytest.fixture(scope="module")
def recipe(hub: Hub, mallory: Hub, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    recipe = table_recipe(ORG)
    publish_model(hub, recipe, tmp_path_factory.mktemp("fit"))
    return recipe


@pytest.fixture
def served(hub: Hub, recipe: Recipe, tmp_path: Path) -> Iterator[str]:
    """The head after a push; what a test plants is gone afterwards."""
    sha = serve.run(recipe, prepared_round(tmp_path / "first"), hub).outputs["commit_sha"]
    yield sha
    space, head = _space(recipe), hub.resolve(_space(recipe))
    planted = {f.path: f.blob_id for f in hub.list_files(space, head)}
    pushed = {f.path: f.blob_id for f in hub.list_files(space, sha)}
    wrong = [path for path, blob in planted.items() if pushed.get(path) != blob]
    if wrong:
        changes = Changes(deletions=wrong)
        hub.commit(space, changes, message="Clean", run_id=f"clean {head}", parent_commit=head)


def _space(recipe: Recipe) -> Repo:
    assert recipe.serve is not None
    return Repo(recipe.serve.repo_id, "space")


PLANTED = {
    "yaml.py": EVIL,
    "sitecustomize.py": EVIL,
    "torch/__init__.py": EVIL,
    "hub_trainer/extra.py": EVIL,
    "hub_trainer/space/server.py": EVIL,
    "app.py": EVIL,
    "requirements.txt": b"torch\nevil-package\n",
    "packages.txt": b"netcat\n",
    "space.json": b'{"model_repo_id": "mallory/model"}',
    "numpy.cpython-312-x86_64-linux-gnu.so": b"\x7fELF",
    "Dockerfile": b"FROM scratch\n",
    "evil.pth": b"import os\n",
}


@pytest.mark.parametrize("path", PLANTED)
def test_serve_when_another_member_planted_code_is_refused_with_path_commit_and_author(
    hub: Hub, mallory: Hub, recipe: Recipe, served: str, tmp_path: Path, path: str
) -> None:
    space = _space(recipe)
    planted = mallory.commit(
        space, Changes({path: PLANTED[path]}), message="Improve", run_id=f"plant {path} {served}"
    )
    for folder in ("first", "clean"):  # what was made before helps as little as a new folder
        with pytest.raises(HubError, match="code that hub-trainer did not put there") as caught:
            serve.run(recipe, prepared_round(tmp_path / folder), hub)
        told = str(caught.value)
        assert f"{path}: commit {planted.commit_sha[:7]} by mallory" in told
        assert "delete the files on the Space's page, then serve again" in told
        assert caught.value.exit_code == 4
    assert hub.resolve(space) == planted.commit_sha
    assert not (tmp_path / "clean" / "serve").exists()


def test_serve_when_the_planted_files_are_deleted_serves_its_own_again(
    hub: Hub, mallory: Hub, recipe: Recipe, served: str, tmp_path: Path
) -> None:
    space = _space(recipe)
    mallory.commit(space, Changes({"app.py": EVIL}), message="Bad", run_id=f"bad {served}")
    hub.commit(space, Changes(deletions=["app.py"]), message="Clean", run_id=f"good {served}")
    sha = serve.run(recipe, prepared_round(tmp_path / "again"), hub).outputs["commit_sha"]
    assert b"main()" in (hub.read_file(space, "app.py", sha) or b"")


def test_serve_when_texts_and_pictures_were_added_leaves_them(
    hub: Hub, mallory: Hub, recipe: Recipe, served: str, tmp_path: Path
) -> None:
    space = _space(recipe)
    readme = hub.read_file(space, "README.md", served) or b""
    added: dict[str, bytes | Path] = {"docs/picture.png": b"\x89PNG", "NOTES.txt": b"Hello"}
    added["README.md"] = readme + b"\nWritten by a member.\n"
    mallory.commit(space, Changes(added), message="Describe", run_id=f"text {served}")
    sha = serve.run(recipe, prepared_round(tmp_path / "again"), hub).outputs["commit_sha"]
    names = [file.path for file in hub.list_files(space, sha)]
    assert {"docs/picture.png", "NOTES.txt"} <= set(names)
    assert b"Written by a member." in (hub.read_file(space, "README.md", sha) or b"")


def test_serve_when_the_space_was_never_ours_refuses_an_app_that_is_there(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    assert recipe.serve is not None
    other = {**recipe.serve.model_dump(), "repo_id": f"{ORG}/elsewhere"}
    space = Repo(f"{ORG}/elsewhere", "space")
    hub.create_repo(space, space_sdk="gradio")
    hub.commit(space, Changes({"app.py": b"print('an app')"}), message="App", run_id="app")
    with pytest.raises(HubError, match="did not put there") as caught:
        serve.run(table_recipe(ORG, serve=other), prepared_round(tmp_path), hub)
    assert "app.py: commit" in str(caught.value)


@pytest.mark.parametrize("path", [*PLANTED, "a/b.PY", "lib.so.1", "x/setup.py", "run.sh"])
def test_path_when_python_or_a_build_would_run_it_is_code(path: str) -> None:
    assert is_code(path) or path in ("space.json",)


@pytest.mark.parametrize("path", ["LICENSE", "a.md", "b.png", "data.csv", "x.json", ".gitignore"])
def test_path_when_nothing_runs_it_is_no_code(path: str) -> None:
    assert not is_code(path)


def test_child_when_started_imports_its_own_files_and_knows_no_secret_by_environment(
    hub: Hub,
    local: LocalHub,
    recipe: Recipe,
    served: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted beside the command, in PYTHONPATH and where the Space runs: nothing of it is run."""
    for folder in (tmp_path, tmp_path / "path", tmp_path / "space", tmp_path / "space" / "app"):
        folder.mkdir(exist_ok=True)
        for name in ("yaml.py", "sitecustomize.py", "usercustomize.py", "json.py"):
            (folder / name).write_bytes(EVIL)
    made = serve.run(recipe, prepared_round(tmp_path / "round"), hub)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("HF_TOKEN", local.token)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for the Space")
    running = serve.start(hub, made, folder=tmp_path / "space")
    try:
        place = Path(f"/proc/{running.process.pid}")
        environment, arguments = (place / "environ").read_bytes(), (place / "cmdline").read_bytes()
        assert b"HF_ENDPOINT" in environment
        for secret in (local.token.encode(), b"HF_TOKEN=", b"AWS_SECRET", b"PYTHONPATH"):
            assert secret not in environment + arguments
        files = {p.relative_to(tmp_path / "space" / "app") for p in _files(tmp_path / "space/app")}
        assert files == {Path(name) for name in made.manifest["files"]}
    finally:
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_modules_when_run_come_from_the_space_and_from_installed_packages(
    hub: Hub, recipe: Recipe, served: str, tmp_path: Path
) -> None:
    made = serve.run(recipe, prepared_round(tmp_path / "round"), hub)
    app = process._lay_out(made, tmp_path / "app")
    program = (
        "import json,sys; sys.path[:]=json.load(sys.stdin); import hub_trainer.space.server;"
        "import yaml; print(json.dumps([hub_trainer.__file__, yaml.__file__, *sys.path]))"
    )
    (tmp_path / "yaml.py").write_bytes(EVIL)
    ran = subprocess.run(
        [sys.executable, "-I", "-B", "-c", program],
        input=json.dumps([str(app), *process._library_path()]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    ours, library, *paths = json.loads(ran.stdout)
    assert Path(ours).is_relative_to(app)
    assert "site-packages" in library
    assert os.getcwd() not in paths
