"""The serve stage: what is pushed is what runs, here and on the Hub."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
import yaml
from gradio_client import Client

from hub_trainer.answers import load_answer
from hub_trainer.errors import HubError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.inputs import INPUTS, load_input
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.recipe import Recipe
from hub_trainer.space.bundle import SERVER, _module_path, imported_modules, pinned_requirements
from hub_trainer.stages import serve
from hub_trainer.stages.serve import examples
from hub_trainer.tasks import TASKS
from tests.space.factory import QUIET
from tests.space.published import prepared_round, publish_model, table_recipe, table_rows

pytestmark = QUIET


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


@pytest.fixture(scope="module")
def pushed(hub: Hub, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> serve.PushedSpace:
    outputs = serve.run(recipe, tmp_path_factory.mktemp("round"), hub).outputs
    return serve.PushedSpace(outputs["repo_id"], outputs["commit_sha"], outputs["url"])


def _space(recipe: Recipe) -> Repo:
    assert recipe.serve is not None
    return Repo(recipe.serve.repo_id, "space")


def test_push_when_done_has_the_app_its_settings_and_pinned_requirements(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace
) -> None:
    space = _space(recipe)
    names = [file.path for file in hub.list_files(space, pushed.commit_sha)]
    assert {"README.md", "app.py", "requirements.txt", "space.json"} <= set(names)
    assert "hub_trainer/space/server.py" in names
    assert not [n for n in names if "local_hub" in n or "stages" in n or "test" in n]
    settings = json.loads(hub.read_file(space, "space.json", pushed.commit_sha) or b"")
    assert settings["commit_sha"] == hub.resolve(Repo(recipe.publish.repo_id))
    assert (settings["label_names"], settings["license"]) == (["light", "heavy"], "cc0-1.0")
    requirements = (hub.read_file(space, "requirements.txt", pushed.commit_sha) or b"").decode()
    assert all("==" in line and "+" not in line for line in requirements.splitlines())
    readme = (hub.read_file(space, "README.md", pushed.commit_sha) or b"").decode()
    front = yaml.safe_load(readme.split("---")[1])
    assert (front["sdk"], front["app_file"], front["hf_oauth"]) == ("gradio", "app.py", True)
    assert hub.card_problems(readme, "space") == []
    [token] = [line for line in readme.splitlines() if line.startswith("| `HF_TOKEN`")]
    assert "write to the ratings dataset" in token
    assert "read the model repo when that is private" in token


def test_push_when_nothing_has_changed_commits_nothing(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    round_dir = prepared_round(tmp_path)
    first = serve.run(recipe, round_dir, hub)
    (round_dir / "serve" / "manifest.json").unlink()
    assert serve.run(recipe, round_dir, hub).outputs == first.outputs
    before = hub.resolve(_space(recipe))
    assert serve.run(recipe, round_dir, hub).outputs["commit_sha"] == before
    assert hub.resolve(_space(recipe)) == before


def test_push_when_the_space_holds_old_modules_and_notes_deletes_only_the_modules(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    served = f"Serve {recipe.publish.repo_id} at 0123456"
    earlier: dict[str, bytes | Path] = {"hub_trainer/old.py": b"", "app.py": b"of an old version"}
    hub.commit(_space(recipe), Changes(earlier), message=served, run_id="earlier")
    readme = hub.read_file(_space(recipe), "README.md", "main") or b""
    extra: dict[str, bytes | Path] = {"NOTES.md": b"by hand", "README.md": readme + b"More.\n"}
    hub.commit(_space(recipe), Changes(extra), message="x", run_id="x")
    sha = serve.run(recipe, prepared_round(tmp_path), hub).outputs["commit_sha"]
    names = [file.path for file in hub.list_files(_space(recipe), sha)]
    assert "hub_trainer/old.py" not in names
    assert "NOTES.md" in names
    assert b"main()" in (hub.read_file(_space(recipe), "app.py", sha) or b"")
    assert (hub.read_file(_space(recipe), "README.md", sha) or b"").endswith(b"More.\n")


def test_push_when_the_ratings_card_was_edited_leaves_it(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    assert recipe.serve is not None
    ratings = Repo(recipe.serve.ratings_repo_id, "dataset")
    card = hub.read_file(ratings, "README.md", "main") or b""
    assert b"By rating you agree" in card
    hub.commit(ratings, Changes({"README.md": card + b"More.\n"}), message="x", run_id="more")
    serve.run(recipe, prepared_round(tmp_path), hub)
    assert (hub.read_file(ratings, "README.md", "main") or b"").endswith(b"More.\n")


def test_serve_when_no_round_is_published_says_so(
    hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    other = table_recipe(local.user, publish={"repo_id": f"{local.user}/nothing-yet"})
    with pytest.raises(HubError, match="No round of this model has been published"):
        serve.run(other, tmp_path, hub)


def test_serve_when_the_recipe_has_no_section_says_what_to_add(
    hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no serve section") as caught:
        serve.run(table_recipe(local.user, serve=None), tmp_path, hub)
    assert "ratings_repo_id" in str(caught.value)


def test_examples_when_of_a_table_hold_nobodys_row(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace
) -> None:
    shown = json.loads(hub.read_file(_space(recipe), "examples.json", pushed.commit_sha) or b"")
    real = {row["kilograms"]: row["colour"] for row in table_rows(80)}
    assert {row["kilograms"] for row in shown} == set(real)
    assert any(real[row["kilograms"]] != row["colour"] for row in shown)
    assert all(set(row) == {"kilograms", "colour"} for row in shown)


def test_examples_when_the_round_is_here_come_from_it(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    serve.run(recipe, prepared_round(tmp_path), hub)
    shown = json.loads(hub.read_file(_space(recipe), "examples.json", "main") or b"")
    assert len(shown) == 10


@pytest.mark.parametrize("task", TASKS)
def test_modules_when_imported_need_only_what_requirements_name(task: str) -> None:
    """What the pushed files import at their top is what the Space installs, or themselves."""
    imported = {
        name.partition(".")[0]
        for module in imported_modules((SERVER, TASKS[task], *INPUTS.values()))
        for node in ast.parse(_module_path(module).read_text()).body  # type: ignore[union-attr]
        for name in _imported(node)
    }
    allowed = _installed_by(pinned_requirements())
    assert {"gradio", "itsdangerous"} <= imported
    assert sorted(imported - allowed - set(sys.stdlib_module_names) - {"hub_trainer"}) == []


def test_modules_when_pushed_are_those_that_run(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    hub.download(_space(recipe), pushed.commit_sha, allow=["*"], into=tmp_path)
    program = "import importlib.util as u; print(u.find_spec('hub_trainer').origin)"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert Path(ran.stdout.strip()).is_relative_to(tmp_path), ran.stderr


def _imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


@cache
def _third_party() -> dict[str, list[str]]:
    from importlib.metadata import packages_distributions

    return dict(packages_distributions())


def _installed_by(requirements: str) -> set[str]:
    """Top-level modules of the requirements, of gradio[oauth], and of all that they depend on."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    waiting = [Requirement(line) for line in requirements.split()] + [Requirement("gradio[oauth]")]
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        key = f"{canonicalize_name(wanted.name)}{sorted(wanted.extras)}"
        if key in seen:
            continue
        seen.add(key)
        try:
            needs = distribution(wanted.name).requires or []
        except PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            extras = [*wanted.extras, ""]
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(need)
    names = {key.partition("[")[0] for key in seen}
    return {
        module
        for module, owners in _third_party().items()
        if any(canonicalize_name(owner) in names for owner in owners)
    }


def test_space_when_started_predicts_takes_ratings_and_sends_them_at_sigterm(
    hub: Hub, local: LocalHub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    """The pushed Space as a process: what the quickstart and the public Hub run."""
    variables = {"RATINGS_PER_HOUR": "2", "FLUSH_SECONDS": "600"}
    made = serve.run(recipe, tmp_path / "round", hub)
    running = serve.start(hub, made, folder=tmp_path, variables=variables)
    try:
        health = httpx.get(f"{running.url}/health").json()
        assert health["model"]["commit_sha"] == hub.resolve(Repo(recipe.publish.repo_id))
        token = local.add_user("rita")
        client = Client(running.url, headers={"Authorization": f"Bearer {token}"}, verbose=False)
        for kilograms in (2, 19):
            label, ticket = client.predict(kilograms, "red", api_name="/predict")
            assert label["label"] == ("light" if kilograms == 2 else "heavy")
            saved = client.predict(ticket, "right", "", api_name="/rate")
            assert saved["saved"] is True
        label, ticket = client.predict(3, "red", api_name="/predict")
        with pytest.raises(Exception, match="2 ratings within an hour"):
            client.predict(ticket, "right", "", api_name="/rate")
        client.close()
    finally:
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    log = (tmp_path / "space.log").read_text()
    assert "Traceback" not in log
    assert local.token not in log
    assert token not in log
    assert recipe.serve is not None
    ratings = Repo(recipe.serve.ratings_repo_id, "dataset")
    folder = hub.download(ratings, hub.resolve(ratings), allow=[SHARDS], into=tmp_path / "sent")
    sent = read_shards(folder)
    assert [(one["kind"], one["answer"]) for one in sent] == [
        ("right", "light"),
        ("right", "heavy"),
    ]
    assert [one["row"]["kilograms"] for one in sent] == [2, 19]
    assert {one["rater_tier"] for one in sent} == {"account"}


def test_start_when_the_port_is_taken_names_it(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    made = serve.run(recipe, prepared_round(tmp_path), hub)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} cannot be used") as caught:
            serve.start(hub, made, folder=tmp_path, port=port)
    assert "0 for a free one" in str(caught.value)


def test_start_when_the_app_fails_shows_its_last_words(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    made = serve.run(recipe, prepared_round(tmp_path), hub)
    with pytest.raises(UsageError, match="stopped while it was starting") as caught:
        serve.start(hub, made, folder=tmp_path, variables={"RATINGS_PER_HOUR": "many"})
    assert "ratings_per_hour takes a whole number, got 'many'" in str(caught.value)
    assert "RATINGS_PER_HOUR" in str(caught.value)


def test_start_when_a_file_was_changed_since_it_was_made_runs_nothing(
    hub: Hub, recipe: Recipe, pushed: serve.PushedSpace, tmp_path: Path
) -> None:
    made = serve.run(recipe, prepared_round(tmp_path), hub)
    (made.folder / "hub_trainer" / "errors.py").write_text("raise SystemExit('other code')")
    with pytest.raises(UsageError, match="not as the serve stage made it") as caught:
        serve.start(hub, made, folder=tmp_path)
    assert str(made.folder / "hub_trainer" / "errors.py") in str(caught.value)


def test_examples_when_the_space_is_open_and_the_rows_are_private_are_left_out(
    hub: Hub, recipe: Recipe, local: LocalHub
) -> None:
    assert not examples._may_show_rows(recipe, hub)
    assert recipe.serve is not None
    closed = {**recipe.serve.model_dump(), "private": True}
    assert examples._may_show_rows(table_recipe(local.user, serve=closed), hub)
    hub.create_repo(Repo(f"{local.user}/open", "dataset"), private=False)
    collect = {"datasets": [f"{local.user}/open"], "ratings": f"{local.user}/r"}
    assert examples._may_show_rows(table_recipe(local.user, collect=collect), hub)


def test_examples_when_of_texts_are_short_and_of_as_many_labels_as_fit() -> None:
    rows = [{"text": "x" * 400, "label": "a"}, {"text": "a", "label": "a", "_row_id": "1"}]
    rows += [{"text": f"{n}", "label": f"label {n % 9}"} for n in range(20)]
    shown = examples._one_of_each(rows, load_input("text"), load_answer("label"))
    assert shown == [{"text": "a"}, *({"text": f"{n}"} for n in range(5))]
