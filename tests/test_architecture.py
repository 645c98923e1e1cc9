"""The shape of the project, held by tests: sizes, names that belong together, light imports."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hub_trainer.loop import ROUND_STAGES
from hub_trainer.recipe import EarlyStopping, LanguageSection, Recipe, TrainSection, load_recipe
from hub_trainer.tasks import TASKS

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "hub_trainer").rglob("*.py"))
RECIPES = sorted((ROOT / "recipes").glob("*/*.yaml"))


def test_files_when_measured_then_none_is_over_600_lines() -> None:
    assert SOURCES
    long = {str(p): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 600}
    assert long == {}


def test_files_when_opened_then_each_says_what_it_owns() -> None:
    silent = [str(p) for p in SOURCES if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_stages_when_listed_then_module_command_and_recipe_section_agree() -> None:
    folder = ROOT / "hub_trainer" / "stages"
    modules = {path.stem for path in folder.glob("*.py")}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    stages = {*ROUND_STAGES, "serve", "curate", "review"}
    assert modules - {"__init__"} == stages
    assert stages <= set(Recipe.model_fields)
    listed = subprocess.run(
        [sys.executable, "-m", "hub_trainer", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [stage for stage in stages if stage not in listed] == []


def test_keys_of_train_when_listed_then_some_code_reads_each() -> None:
    trees = [ast.parse(path.read_text()) for path in SOURCES if path.parent.name != "recipe"]
    read = {n.attr for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    sections = (TrainSection, LanguageSection, EarlyStopping)
    assert {key for section in sections for key in section.model_fields} - read == set()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_task_when_in_the_table_then_has_file_recipe_test_and_docs(task: str) -> None:
    name = TASKS[task].rsplit(".", 1)[-1]
    assert (ROOT / "hub_trainer" / "tasks" / f"{name}.py").exists()
    assert (ROOT / "tests" / "tasks" / f"test_{name}.py").exists()
    assert list((ROOT / "recipes" / task).glob("*.yaml"))
    assert task in (ROOT / "README.md").read_text()
    assert task in (ROOT / "docs" / "recipe.md").read_text()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_when_shipped_then_it_is_whole_and_says_how_it_runs(path: Path) -> None:
    recipe = load_recipe(path).recipe
    assert recipe.task == path.parent.name
    header = path.read_text().split("task:")[0]
    assert "hub-trainer run recipes/" in header
    assert "yaml-language-server: $schema=../recipe.schema.json" in header
    assert recipe.publish.private


def test_cli_when_imported_then_no_heavy_library_comes_along() -> None:
    heavy = ["torch", "transformers", "datasets", "gradio", "sklearn", "huggingface_hub", "pyarrow"]
    code = f"import sys, hub_trainer.cli; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]"


def test_remote_code_when_searched_for_then_is_only_ever_refused() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                found.append((path.name, ast.unparse(node.value)))
    assert found
    assert {value for _, value in found} == {"False"}


ERRORS = {
    "UsageError",
    "DataError",
    "CellsRefused",
    "RowRefused",
    "HubError",
    "TrainingError",
    "Interrupted",
}


def test_errors_of_the_users_world_when_made_then_each_says_what_to_do() -> None:
    silent, made = [], 0
    for path in (ROOT / "hub_trainer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ERRORS:
                made += 1
                if not {"do", None} & {one.arg for one in node.keywords}:
                    silent.append(f"{path.name}:{node.lineno}")
    assert made > 300
    assert silent == []


def test_pickles_when_searched_for_then_only_own_checkpoints_load_them() -> None:
    loaders = ("torch.load", "pickle.load", "joblib.load")
    found = {path.name for path in SOURCES if any(name in path.read_text() for name in loaders)}
    assert found <= {"checkpoints.py", "trainer.py"}


def test_accelerate_configs_when_listed_then_hold_hardware_only() -> None:
    paths = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
    assert paths
    science = {"learning_rate", "num_train_epochs", "seed", "model", "dataset"}
    for path in paths:
        assert not science & set(yaml.safe_load(path.read_text())), path.name


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_when_shipped_then_a_run_vouches_or_it_says_that_none_does(
    path: Path,
) -> None:
    if "# Not run as it stands:" in path.read_text():
        assert not path.with_suffix(".expected.json").exists()
        return
    expected = json.loads(path.with_suffix(".expected.json").read_text())
    primary = expected["metrics"][load_recipe(path).recipe.evaluate.primary]
    assert primary["low"] <= primary["value"] <= primary["high"]
    assert {"data", "seed", "num_examples", "versions"} <= set(expected)
