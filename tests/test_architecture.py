"""The shape of the project, held by tests: sizes, names that belong together, light imports."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from hub_trainer.inputs import INPUTS, Input, load_input
from hub_trainer.loop import ROUND_STAGES
from hub_trainer.recipe import EarlyStopping, LanguageSection, Recipe, TrainSection, load_recipe
from hub_trainer.recipe.method_table import METHODS
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


ANSWER_WORDS = {"label", "labels", "spans", "tags", "transcript", "completion"}
ANSWER_PLACES = {"answers", "tasks", "finetune", "local_hub", "metrics"}
ONE_LABEL = {
    "checks/probe.py": "a judge of labels by their shares",
    "contribute/creation.py": "language data: a thumb",
    "contribute/media_files.py": "a folder's name is a label",
    "quickstart/simulated_crowd.py": "one story, of labels",
    "quickstart/seed.py": "one story, of labels",
    "rows/examples.py": "language data: the kind of example",
    "space/components.py": "what Gradio calls it",
    "stages/curate/answers.py": "language data: the kind of example",
}
"""Files in which a row has one label by their nature, and why."""


def _knows_an_answer(tree: ast.AST) -> list[str]:
    """Where code asks which answer it has before it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            values = [one.value for one in node.comparators if isinstance(one, ast.Constant)]
            compares = any(value in ANSWER_WORDS for value in values)
            is_membership = any(isinstance(one, ast.In | ast.NotIn) for one in node.ops)
            found += [f"{node.lineno}: compares"] if compares and not is_membership else []
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            found += [f"{node.lineno}: [label]"] if node.slice.value == "label" else []
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            names = {getattr(one, "id", "") for one in ast.walk(node.args[1])}
            kinds = names & {"Label", "Labels", "Number", "Spans", "Transcript", "Completion"}
            found += [f"{node.lineno}: isinstance"] if kinds else []
    return found


def test_answers_when_searched_for_then_no_other_module_asks_which_it_is() -> None:
    package = ROOT / "hub_trainer"
    paths = [
        p for p in package.rglob("*.py") if p.relative_to(package).parts[0] not in ANSWER_PLACES
    ]
    assert len(paths) > 100
    names = {path.relative_to(package).as_posix(): path for path in paths}
    found = {name: _knows_an_answer(ast.parse(path.read_text())) for name, path in names.items()}
    assert {name: lines for name, lines in found.items() if lines and name not in ONE_LABEL} == {}
    assert [name for name in ONE_LABEL if not found[name]] == []


@pytest.mark.parametrize(
    "line",
    [
        'x = row["label"]',
        'if answer.name == "labels": pass',
        'if kind == "spans": pass',
        "isinstance(one, Number)",
    ],
)
def test_search_for_answers_when_a_line_is_planted_then_it_is_found(line: str) -> None:
    assert _knows_an_answer(ast.parse(line))


INPUT_PLACES = {"inputs", "tasks", "finetune", "local_hub"}
INPUT_WORDS = {
    "rows/turns.py": "parts of a message, as chat formats call them",
    "rows/columns.py": "names of a dataset's columns",
    "rows/examples.py": "names of the columns of language data",
    "space/chat/service.py": "names of the columns of a rated dialogue",
}
"""Files in which the name of an input is something else, and what."""


def _knows_an_input(tree: ast.AST) -> list[str]:
    """Where code asks which input it has before it, or keeps something for each of them."""
    found = []
    for node in ast.walk(tree):
        sides: list[ast.AST | None] = []
        most = 0
        if isinstance(node, ast.Compare):
            is_membership = any(isinstance(one, ast.In | ast.NotIn) for one in node.ops)
            sides = [*node.comparators, *([] if is_membership else [node.left])]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        elif isinstance(node, ast.Dict):
            sides, most = [*node.keys], 1
        sides += [inner for one in sides for inner in getattr(one, "elts", ())]
        names = {one.value for one in sides if isinstance(one, ast.Constant)} & INPUTS.keys()
        found += [f"{node.lineno}: {ast.unparse(node)}"] if len(names) > most else []  # type: ignore[attr-defined]
    return found


def test_inputs_when_searched_for_then_no_other_module_asks_which_it_is() -> None:
    package = ROOT / "hub_trainer"
    names = {path.relative_to(package).as_posix(): path for path in SOURCES}
    found = {
        name: _knows_an_input(ast.parse(path.read_text()))
        for name, path in names.items()
        if name.split("/")[0] not in INPUT_PLACES
    }
    assert len(found) > 100
    assert {name: lines for name, lines in found.items() if lines and name not in INPUT_WORDS} == {}
    assert [name for name in INPUT_WORDS if not found[name]] == []


@pytest.mark.parametrize(
    "line",
    [
        'if task.modality == "image": pass',
        'is_read = modality in ("text", "image")',
        'fit = {"text": of_texts, "image": of_pictures}[modality]',
        'match modality:\n    case "table": pass',
    ],
)
def test_search_for_inputs_when_a_line_is_planted_then_it_is_found(line: str) -> None:
    assert _knows_an_input(ast.parse(line))


@pytest.mark.parametrize("name", INPUTS)
def test_input_when_in_the_table_then_it_says_its_name_and_answers_all_that_is_asked(
    name: str,
) -> None:
    found = load_input(name)
    asked = {one for part in Input.__mro__ for one in vars(part).get("__annotations__", {})}
    asked |= {one for part in Input.__mro__ for one in vars(part) if not one.startswith("_")}
    assert found.name == name
    assert [one for one in asked if not hasattr(found, one)] == []


METHOD_PLACES = {
    "recipe/method_table.py": "the table itself",
    "local_hub/views.py": "a parameter of the Hub's protocol",
}
"""Files in which names of methods may stand side by side or be compared, and why."""


def _knows_a_method(tree: ast.AST) -> list[str]:
    """Where code asks which method it has, or lists some of them beside what a task offers."""
    nodes = [*ast.walk(tree)]
    fields = [node for node in nodes if isinstance(node, ast.AnnAssign)]
    offers = [node.value for node in fields if ast.unparse(node.target) == "methods"]
    offered = {inner for value in offers if value for inner in ast.walk(value)}
    found = []
    for node in [one for one in nodes if one not in offered]:
        parts: Iterable[ast.AST | None] = ()
        if isinstance(node, ast.Compare | ast.MatchValue):
            parts, most = ast.walk(node), 0
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts, most = node.elts, 1
        elif isinstance(node, ast.Dict):
            parts, most = node.keys, 1
        names = [p for p in parts if isinstance(p, ast.Constant) and p.value in METHODS]
        found += [f"{node.lineno}: {ast.unparse(node)}"] if names and len(names) > most else []
    return found


def test_methods_when_searched_for_then_no_other_module_asks_which_it_is() -> None:
    names = {path.relative_to(ROOT / "hub_trainer").as_posix(): path for path in SOURCES}
    found = {name: _knows_a_method(ast.parse(path.read_text())) for name, path in names.items()}
    assert {k: lines for k, lines in found.items() if lines and k not in METHOD_PLACES} == {}
    assert [name for name in METHOD_PLACES if not found[name]] == []


@pytest.mark.parametrize(
    "line",
    [
        'if recipe.train.method == "scratch": pass',
        'learns = train.method in ("lora", "qlora")',
        'ADAPTERS = ["lora", "qlora"]',
        'told = {"full": "all learned", "head": "the head learned"}[method]',
        'match method:\n    case "lora" | "qlora": pass',
        'is_plain = train.method_facts is METHODS["full"]',
    ],
)
def test_search_for_methods_when_a_line_is_planted_then_it_is_found(line: str) -> None:
    assert _knows_a_method(ast.parse(line))


def test_search_for_methods_when_a_task_says_what_it_offers_then_that_is_let_through() -> None:
    assert not _knows_a_method(ast.parse('methods: Names = frozenset({"full", "scratch"})'))
