"""The documentation is read as it stands: its commands parse, its recipes load, its links lead
somewhere, its tables are those of the code, and its marked examples run against a Local Hub.
"""

import ast
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from hub_trainer.cli import app
from hub_trainer.cli.document import blocks, fill, markdown_table
from hub_trainer.errors import ExitCode, UsageError
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import RatingStore
from hub_trainer.recipe import load_recipe
from hub_trainer.tasks import TASKS, load_task, offered_beside
from tests.ratings.factory import generation, keep_pair, rating

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
MARK = re.compile(r"^ *<!-- runnable(?P<slow>, slow)? -->$")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)$")
INLINE = re.compile(r"`(?P<command>hub-trainer [^`]+)`")
COMMAND = re.compile(r"(?:(?:^|[\s=/])hub-trainer|-m hub_trainer)\s+(?P<words>\S.*)$")
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, without its indentation."""

    page: Path
    line: int
    language: str
    text: str
    mark: re.Match[str] | None
    """The comment before it that has it run."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fenced(page: Path) -> list[Block]:
    found: list[Block] = []
    start, opened, before = 0, None, ""
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        if opened is None:
            opened, start = FENCE.match(line), number
            before = line if opened is None and line.strip() else before
        elif line.strip() == "```":
            text = textwrap.dedent("\n".join(lines[start : number - 1]))
            found.append(Block(page, start, opened["language"], text, MARK.match(before)))
            opened, before = None, ""
    assert opened is None, f"{page.name}: a fence is not closed"
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    text = page.read_text().replace("\\\n", " ")  # a command over several lines is one
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


def command_lines() -> list[tuple[str, str]]:
    """(page, words after `hub-trainer`) of each line of code that calls it."""
    found = []
    for page in PAGES:
        lines = [line for line in prose(page).splitlines() if line.startswith("    ")]
        for block in fenced(page):
            code = block.text.replace("\\\n", " ").splitlines()
            if block.language == "console":
                code = [line for line in code if line.startswith("$ ")]
            lines += code
        found += [(page.name, match["words"]) for line in lines if (match := COMMAND.search(line))]
        found += [(page.name, m["command"].split(" ", 1)[1]) for m in inline_calls(page)]
    return found


def inline_calls(page: Path) -> Iterator[re.Match[str]]:
    """Whole calls in running text: those that give the command what it works on."""
    for match in INLINE.finditer(prose(page)):
        if re.search(r" (RECIPE|[A-Z_]*DATASET[A-Z_]*|\S+\.yaml|--\w+)", match["command"]):
            yield match


def split_words(line: str) -> list[str]:
    """The words of a call up to a pipe, a redirection or a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("();<>|&"):
            break
        words.append(word)
    return words


def parse(words: list[str]) -> None:
    """Parse a call as the program would, without making it."""
    command: Any = typer.main.get_command(app)
    if words[0].startswith("-"):
        assert words[0] in {name for option in command.params for name in option.opts}
        return
    context = command.context_class(command)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.context_class(command, info_name=name, parent=context)
    made = command.make_context(name, words)
    # Where settings follow, an unknown option is refused by whoever reads them.
    assert not [word for word in made.params.get("overrides") or [] if word.startswith("-")]


def slug(heading: str) -> str:
    """The anchor that a heading gets on a page."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(found) for found in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)}


def links() -> list[tuple[Path, str]]:
    found = [(page, m["target"]) for page in PAGES for m in LINK.finditer(prose(page))]
    return [(page, target) for page, target in found if not re.match(r"[a-z]+:", target)]


RECIPES = [
    block
    for page in PAGES
    for block in fenced(page)
    if block.language == "yaml" and re.search(r"^task:", block.text, re.MULTILINE)
]
RUNNABLE = [
    pytest.param(block, id=str(block), marks=[pytest.mark.slow] if block.mark["slow"] else [])
    for page in PAGES
    for block in fenced(page)
    if block.mark
]


def test_pages_when_listed_then_the_tests_below_look_at_something() -> None:
    assert {"recipe.md", "add-a-task.md", "operations.md"} <= {page.name for page in PAGES}
    assert len(command_lines()) > 20
    assert len(links()) > 10
    assert RECIPES
    assert len(RUNNABLE) >= 3
    marks = sum(page.read_text().count("<!-- runnable") for page in PAGES)
    assert marks == len(RUNNABLE), "a mark stands before something that is not a block"


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_command_when_documented_then_it_parses(page: str, line: str) -> None:
    parse(split_words(line))


@pytest.mark.parametrize(
    "line", ["rnu recipe.yaml", "run", "run recipe.yaml --fast", "review a/b --pr first", "--fast"]
)
def test_command_when_wrong_then_this_test_would_see_it(line: str) -> None:
    with pytest.raises((Exception, AssertionError)) as caught:
        parse(split_words(line))
    assert type(caught.value).__name__ in {
        "AssertionError",
        "BadParameter",
        "MissingParameter",
        "NoSuchOption",
        "NoSuchCommand",
        "UsageError",
    }


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_recipe_when_shown_then_it_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(block.text)
    load_recipe(path)


def test_overrides_when_shown_then_they_fit_the_example(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(next(b.text for b in RECIPES if b.page.name == "recipe.md"))
    shown = [
        line for page, line in command_lines() if page == "recipe.md" and "recipe.yaml" in line
    ]
    good = [split_words(line)[2:] for line in shown if "exit code" not in line]
    assert len(good) >= 3
    for overrides in good:
        load_recipe(path, overrides)


@pytest.mark.parametrize(("page", "target"), links(), ids=str)
def test_link_when_relative_then_it_leads_somewhere(page: Path, target: str) -> None:
    place, _, anchor = target.partition("#")
    path = (page.parent / place).resolve() if place else page
    assert path.exists()
    if anchor:
        assert anchor in anchors(path)


def test_generated_parts_when_compared_with_the_code_then_they_are_fresh() -> None:
    parts = []
    for page in PAGES:
        text = page.read_text()
        assert fill(text) == text, "run: python -m hub_trainer.cli.document *.md docs/*.md"
        parts += re.findall(r"<!-- generated: ([a-z ]+) -->", text)
    assert sorted(parts) == sorted(blocks())


def test_generated_part_when_unknown_then_the_known_ones_are_named() -> None:
    with pytest.raises(UsageError, match="no such generated part") as caught:
        fill("<!-- generated: weather -->\n<!-- end -->")
    assert "methods" in str(caught.value)


def test_table_when_a_cell_holds_a_bar_then_it_stays_one_cell() -> None:
    assert markdown_table(("a",), [("x | y",)]).splitlines() == ["| a |", "| --- |", r"| x \| y |"]


def test_exit_codes_when_listed_then_the_table_has_them_all() -> None:
    section = (DOCS / "recipe.md").read_text().split("## Exit codes")[1]
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert codes == [int(code) for code in ExitCode]


def test_task_protocol_when_compared_with_its_page_then_every_member_is_named() -> None:
    tree = ast.parse((ROOT / "hub_trainer" / "tasks" / "__init__.py").read_text())
    names = ("Task", "Converses")
    found = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef) and n.name in names}
    bodies = [node for name in names for node in found[name].body]
    members = [node.name for node in bodies if isinstance(node, ast.FunctionDef)]
    page = (DOCS / "add-a-task.md").read_text()
    listed = re.findall(r"^\| `(\w+)[`(]", page, re.MULTILINE)
    assert listed == members


def test_task_page_when_it_names_a_file_of_the_project_then_that_exists() -> None:
    page = (DOCS / "add-a-task.md").read_text()
    named = set(re.findall(r"`((?:hub_trainer|tests|recipes|docs)/[\w/.-]+)`", page))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_task_names_when_searched_for_then_no_other_module_needs_a_row_for_a_new_task() -> None:
    package = ROOT / "hub_trainer"
    shared = [
        path
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0] not in ("tasks", "finetune", "quickstart")
        and path.name != "task_table.py"  # where the row of each task stands
    ]
    assert shared
    naming = {path.relative_to(ROOT).as_posix() for path in shared if _names_a_task(path)}
    assert naming == set()


def _names_a_task(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(isinstance(n, ast.Constant) and n.value in TASKS for n in ast.walk(tree))


def test_tasks_when_listed_then_the_recipe_page_names_their_columns() -> None:
    page = (DOCS / "recipe.md").read_text()
    assert [name for name in TASKS if f"| {name} | `" not in page] == []


@pytest.mark.parametrize("name", TASKS)
def test_methods_when_listed_in_the_readme_then_they_are_those_of_the_task(name: str) -> None:
    [row] = re.findall(rf"^\| `{name}` \|.*\| (.*) \|$", (ROOT / "README.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", row)) == offered_beside(load_task(name).unfit)


def test_accelerate_configs_when_listed_then_the_page_says_which_work() -> None:
    page = (DOCS / "operations.md").read_text()
    for path in sorted((ROOT / "accelerate_configs").glob("*.yaml")):
        [row] = re.findall(rf"^\| `accelerate_configs/{path.name}` \|.*\| (.*) \|$", page, re.M)
        refused = yaml.safe_load(path.read_text())["distributed_type"] == "DEEPSPEED"
        assert row.startswith("no: refused" if refused else "yes"), path.name


@pytest.mark.parametrize("block", RUNNABLE)
def test_example_when_run_against_a_local_hub_then_it_says_what_the_page_says(
    block: Block, tmp_path: Path
) -> None:
    shown = [b for b in RECIPES if b.page == block.page]
    if shown:
        (tmp_path / "recipe.yaml").write_text(shown[0].text)
    lines = block.text.splitlines()
    script = "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    with LocalHub() as hub:
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=tmp_path,
            env={**os.environ, **hub.environment(), **_shell(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    assert done.returncode == 0, done.stdout
    rest = iter(done.stdout.splitlines())
    expected = [line for line in lines if line and not line.startswith("$ ")]
    assert expected
    missing = [line for line in expected if not any(line in said for said in rest)]
    assert missing == [], done.stdout


def test_removal_when_done_as_the_page_says_then_only_that_rater_is_gone(tmp_path: Path) -> None:
    [block] = [b for b in fenced(DOCS / "operations.md") if b.language == "sql"]
    store = RatingStore(tmp_path)
    for number, rater in (("1", "the-pseudonym"), ("2", "somebody-else")):
        picture = {"image": b"picture of " + rater.encode()}
        store.add_generation(generation(number, rater=rater, row=picture)).result()
        store.add_rating(rating(number, rater=rater), max_per_hour=9).result()
        pair = keep_pair(store, f"pair-{number}", rater=rater)
        said = rating(pair.left_id, rater=rater, kind="tie", answer="", pair_id=pair.pair_id)
        store.add_rating(said, max_per_hour=9).result()
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(block.text)
    left = [
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        for table in ("rating", "generation", "media", "pair")
    ]
    assert left == [(2,), (3,), (1,), (1,)]
    assert set(connection.execute("SELECT rater FROM rating")) == {("somebody-else",)}
    connection.close()


def _shell(home: Path) -> dict[str, str]:
    binaries = Path(sys.executable).parent
    return {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "HF_HOME": str(home / "cache"),
        "COLUMNS": "300",
        "TERM": "dumb",
    }


def test_test_when_the_log_names_it_then_it_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)*test_\w+\.py)::(\w+)`", (DOCS / "log.md").read_text()))
    assert len(named) > 30
    missing = [
        f"{path}::{name}"
        for path, name in sorted(named)
        if not (ROOT / "tests" / path).exists()
        or f"def {name}(" not in (ROOT / "tests" / path).read_text()
    ]
    assert missing == []


def test_walk_of_a_row_when_it_names_files_then_they_exist_and_each_stands_once() -> None:
    page = (DOCS / "architecture.md").read_text()
    walk = page.split("## One row, from a dataset")[1].split("\n## ")[0]
    named = re.findall(r"`([\w/]+\.py)`", walk)
    assert len(named) > 40
    assert [name for name in named if not (ROOT / "hub_trainer" / name).exists()] == []
    assert len(named) == len(set(named))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_table_when_it_begins_then_it_has_a_head(page: Path) -> None:
    """Without a line of dashes under its first row a table is shown as bars and words."""
    lines = page.read_text(encoding="utf-8").splitlines()
    first = [
        number
        for number, line in enumerate(lines)
        if line.lstrip().startswith("|") and (number == 0 or "|" not in lines[number - 1])
    ]
    broken = [
        number + 1
        for number in first
        if not re.fullmatch(r"[\s|:-]+", lines[number + 1] if number + 1 < len(lines) else "x")
    ]
    assert broken == []


def test_commands_of_the_hub_client_when_named_then_it_has_them() -> None:
    """What a message or a page tells people to type: `hf repo delete` is gone from the client."""
    named = re.compile(r"\bhf ((?:auth|repos?) [a-z-]+)")
    sources = [*PAGES, *(ROOT / "hub_trainer").rglob("*.py")]
    found = {match for page in sources for match in named.findall(page.read_text("utf-8"))}
    assert {"repos delete", "auth login"} <= found
    for words in sorted(found):
        command = [str(Path(sys.executable).with_name("hf")), *words.split(), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"hf {words}: {done.stderr}"
