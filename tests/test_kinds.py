"""Kinds stay in their homes: no other module asks which task, answer, input or method it has."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from hub_trainer.answers import ANSWERS, load_answer
from hub_trainer.inputs import INPUTS, Input, load_input
from hub_trainer.recipe.columns import ANSWER_COLUMNS
from hub_trainer.recipe.method_table import METHODS
from hub_trainer.tasks import TASKS

PACKAGE = Path(__file__).parents[1] / "hub_trainer"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TABLES = {"ANSWERS", "INPUTS", "TASKS", "METHODS", "STARTERS", "OUTLINES"}
"""Tables of all there is: to look a name up in one is not to ask which it is."""
READERS = {"get", "pop", "setdefault", "itemgetter", "getattr", "field", "column"}
"""Calls that take the name of a column."""
LOADERS = {"load_answer", "load_input", "load_task", "task_of"}
MIN_PREFIX = 4
"""Characters of a name by which a part of it can be known."""

Strings = Mapping[str, frozenset[str]]
"""Name of a constant -> the texts in it."""


@dataclass(frozen=True)
class Kind:
    """A table of kinds: their names, where those are known, and which lines elsewhere may."""

    names: frozenset[str]
    allowed: Mapping[str, tuple[str, ...]]
    """File -> its lines in which such a name is something else, and what."""
    columns: frozenset[str] = frozenset()
    """Columns that say which kind a row holds."""
    classes: frozenset[str] = frozenset()
    """What the objects themselves are made of."""


HOMES = frozenset({"answers", "inputs", "tasks", "finetune", "local_hub"})
"""Those of the kinds; the Local Hub has other words for other things, and imports nothing."""
KINDS = {
    "answers": Kind(
        frozenset(ANSWERS),
        {
            # A judge of labels by their shares.
            "checks/probe.py": ("row['label']",),
            # The classes of a folder of pictures, and what Gradio calls what it shows.
            "contribute/media_files.py": ("raw.table['label']", "raw.class_names['label']"),
            "space/components.py": ("value['label']",),
            "space/page.py": ("options.get('label')", "name == 'Number'"),
            # Thumbs, which stand in a column of this name in language data.
            "contribute/creation.py": ("name != 'label'",),
            "rows/language_rows.py": ("row['label']", "row.get('label')"),
            "rows/formats.py": ("row.get('label')",),
            "stages/curate/answers.py": ("rows[0]['label']",),
            "stages/curate/signals.py": (
                "{'prompt': prompt, 'completion': _said(prompt, row['prediction']), "
                "'label': one.value == 'up'}",
            ),
            # One story, of labels.
            "quickstart/seed.py": ("frame['label']", "frame.pop('target')"),
            "quickstart/simulated_crowd.py": ("prediction['label']",),
            # Keys of JSON, and what a feature of a table is.
            "cards/metadata.py": ("metadata['tags']",),
            "cards/notices.py": ("card.get('tags')",),
            "checks/reading.py": ("content['labels']",),
            "metrics/__init__.py": ("Literal['labels', 'answers', 'likelihoods', 'preferences']",),
            "rows/canonical.py": ("kind == 'number'",),
            # The table of columns, and what datasets call each.
            "recipe/columns.py": ("{'label': 'label', ",),
            "rows/column_guesses.py": ("{'label': LABEL_NAMES, ",),
        },
        columns=frozenset(ANSWER_COLUMNS),
        classes=frozenset(type(load_answer(name)).__name__ for name in ANSWERS),
    ),
    "inputs": Kind(
        frozenset(INPUTS),
        {
            # What is in a message, as chat formats call it.
            "rows/turns.py": ("{'image': 'an image', ", "kind in TEXT_PARTS", "key in UNSEEN"),
            # Names of a dataset's columns, and of those of language data.
            "recipe/columns.py": ("column not in SHOWN_COLUMNS",),
            "rows/column_guesses.py": (
                "{'label': LABEL_NAMES, ",
                "{'audio': ",
                "known.columns == {'text'}",
                "names == {'text'}",
                "medium.name == 'audio'",
            ),
            "rows/language_rows.py": ("{'text': prompt + gap",),
            "space/chat/chat_service.py": ("{'text': row['prompt'], 'prompt': asked}",),
            # A feature of a table, whatever else is in it; the language of a block of Markdown.
            "rows/own_schema.py": ("load_input('table')",),
            "cards/markdown.py": ("text: str, language: str='text'",),
            # Names of readers of files.
            "rows/layout.py": ("reader not in READERS",),
        },
    ),
    "tasks": Kind(
        frozenset(TASKS),
        {
            # The table of tasks itself.
            "recipe/task_table.py": ("{'text-classification': ",),
        },
    ),
}


def _texts(node: ast.AST | None, constants: Strings) -> frozenset[str]:
    """The texts that an expression is made of, constants resolved."""
    if isinstance(node, ast.Constant):
        return frozenset({node.value} if isinstance(node.value, str) else ())
    if isinstance(node, ast.Name):
        return constants.get(node.id, frozenset())
    inner: list[ast.expr | None] = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        inner = [*node.elts]
    elif isinstance(node, ast.Dict):
        inner = [*node.keys]
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("frozenset", "set", "tuple"):
        inner = [*node.args]
    return frozenset().union(*(_texts(one, constants) for one in inner))


def _constants(tree: ast.Module) -> dict[str, frozenset[str]]:
    """Name of a module's constant -> the texts in it."""
    found: dict[str, frozenset[str]] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names = [one.id for one in targets if isinstance(one, ast.Name)]
        texts = _texts(getattr(node, "value", None), found) if names else frozenset()
        found |= {name: texts for name in names if texts and name not in TABLES}
    return found


@cache
def _constants_of(module: str) -> Strings:
    parts = PACKAGE.parent.joinpath(*module.split("."))
    paths = (parts.with_suffix(".py"), parts / "__init__.py")
    return next((_constants(_tree(p)) for p in paths if p.exists()), {})


def _known_in(tree: ast.Module) -> Strings:
    """The constants that a module has or imports."""
    known: dict[str, frozenset[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hub_trainer"):
            theirs = _constants_of(node.module or "")
            known |= {
                one.asname or one.name: theirs[one.name] for one in node.names if one.name in theirs
            }
    return known | _constants(tree)


def _is_of_a_kind(node: ast.AST) -> bool:
    """Whether an expression is a task, an answer or an input, by its own name."""
    last = ast.unparse(node).rsplit(".", 1)[-1].strip("_")
    return last in ("task", "answer", "input", "shown", "modality")


def _is_a_kind(node: ast.AST, kind: Kind) -> bool:
    """Whether an expression is one of the kinds itself: its class, or the call that loads it."""
    name = getattr(node, "id", getattr(node, "attr", ""))
    return name in kind.classes or getattr(getattr(node, "func", None), "id", "") in LOADERS


def _compares(node: ast.Compare, kind: Kind, constants: Strings) -> bool:
    is_membership = any(isinstance(one, ast.In | ast.NotIn) for one in node.ops)
    sides = [*node.comparators, *([] if is_membership else [node.left])]
    if any(_is_a_kind(one, kind) for one in (node.left, *node.comparators)):
        return True
    return any(_texts(side, constants) & (kind.names | kind.classes) for side in sides)


def _calls(node: ast.Call, kind: Kind, constants: Strings) -> bool:
    """Whether a call asks for one of them, its column or class, a part of its name, or a member
    that not all have."""
    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
    told = node.args[1:2] if called == "getattr" else node.args[: 1 + (called == "itemgetter")]
    texts = frozenset().union(*(_texts(one, constants) for one in told))
    if called in READERS and texts & kind.columns:
        return True
    if called in LOADERS and texts & kind.names:
        return True
    if called in ("startswith", "endswith", "removeprefix", "removesuffix"):
        parts = [text for text in texts if len(text) >= MIN_PREFIX and "-" in text]
        return any(
            one.startswith(text) or one.endswith(text) for text in parts for one in kind.names
        )
    if called in ("isinstance", "issubclass"):
        named = {getattr(one, "id", getattr(one, "attr", "")) for one in ast.walk(node.args[1])}
        return bool(named & kind.classes)
    tries = called == "hasattr" or (called == "getattr" and len(node.args) == 3)
    return tries and _is_of_a_kind(node.args[0])


def asked(tree: ast.Module, kind: Kind) -> Iterator[ast.AST]:
    """Where code asks which of a kind it has before it, or keeps something for each of them."""
    constants = _known_in(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found = _compares(node, kind, constants)
        elif isinstance(node, ast.MatchValue):
            found = bool(_texts(node.value, constants) & kind.names)
        elif isinstance(node, ast.MatchClass):
            found = _is_a_kind(node.cls, kind)
        elif isinstance(node, ast.Dict):
            found = len(_texts(node, constants) & kind.names) > 1
        elif isinstance(node, ast.Subscript):
            found = bool(_texts(node.slice, constants) & kind.columns)
        elif isinstance(node, ast.Call):
            found = _calls(node, kind, constants)
        elif isinstance(node, ast.arguments):
            defaults = [*node.defaults, *node.kw_defaults]
            found = any(_texts(one, constants) & kind.names for one in defaults)
        else:
            continue
        if found:
            yield node


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _found(kind: Kind) -> dict[str, list[str]]:
    """File outside the homes -> what it asks, in the order of its lines."""
    found = {}
    for path in SOURCES:
        file = path.relative_to(PACKAGE).as_posix()
        if file.split("/")[0] not in HOMES:
            lines = asked(_tree(path), kind)
            found[file] = [ast.unparse(node) for node in lines]
    return found


@pytest.mark.parametrize("name", KINDS)
def test_kinds_when_searched_for_then_no_other_module_asks_which_it_is(name: str) -> None:
    found = _found(KINDS[name])
    allowed = KINDS[name].allowed
    assert len(found) > 100
    odd = {
        file: [line for line in lines if not line.startswith(allowed.get(file, ()))]
        for file, lines in found.items()
    }
    assert {file: lines for file, lines in odd.items() if lines} == {}
    unused = [
        (file, start)
        for file, starts in allowed.items()
        for start in starts
        if not any(line.startswith(start) for line in found[file])
    ]
    assert unused == []


PLANTED = {
    "answers": [
        'x = row["label"]',
        'x = row["target"]',
        'x = row.get("label")',
        'x = row.pop("tags", None)',
        'x = getattr(row, "label")',
        'x = [*map(itemgetter("label"), rows)]',
        'if answer.name == "labels": pass',
        'if "spans" == kind: pass',
        'if answer.name != "number": pass',
        'if answer.name in {"label", "labels"}: pass',
        'if answer.name not in ("completion",): pass',
        'if answer is load_answer("label"): pass',
        'LABEL = "label"\nx = row[LABEL]',
        'SETS: str = "labels"\nx = 1 if answer.name == SETS else 0',
        'NAMED = frozenset({"label", "labels"})\nx = answer.name in NAMED',
        "from hub_trainer.rows.media_folders import LABEL\nx = row[LABEL]",
        "from hub_trainer.rows.media_folders import LABEL as ours\nx = row[ours]",
        'match answer.name:\n    case "spans" | "number": pass',
        "match answer:\n    case Labels(): pass",
        'how = {"label": of_one, "labels": of_many}[answer.name]',
        "isinstance(one, Number)",
        "isinstance(one, number.Number)",
        "isinstance(one, (Label, Labels))",
        "issubclass(type(one), Spans)",
        "if type(one) is Labels: pass",
        'if type(one).__name__ == "Labels": pass',
        'if hasattr(task.answer, "confusion"): pass',
        'draw = getattr(answer, "confusion", None)',
        'LABEL = load_answer("label")',
        'def find(rows, answer="label"): pass',
    ],
    "inputs": [
        'if task.modality == "image": pass',
        'is_read = modality in ("text", "image")',
        'fit = {"text": of_texts, "image": of_pictures}[modality]',
        'match modality:\n    case "table": pass',
        'TABLE = "table"\nif modality == TABLE: pass',
        'if load_input(modality) is load_input("audio"): pass',
    ],
    "tasks": [
        'if task.name == "text-generation": pass',
        'if recipe.task.startswith("tabular-"): pass',
        'if recipe.task.endswith("-classification"): pass',
        'if recipe.task in ("text-generation", "sentence-similarity"): pass',
        'match recipe.task:\n    case "token-classification": pass',
        'if hasattr(task, "stream"): pass',
    ],
}


@pytest.mark.parametrize(
    ("name", "lines"), [(name, lines) for name, planted in PLANTED.items() for lines in planted]
)
def test_search_for_kinds_when_lines_are_planted_then_they_are_found(name: str, lines: str) -> None:
    assert [*asked(ast.parse(lines), KINDS[name])]


@pytest.mark.parametrize(
    "lines",
    [
        "x = answer.name",
        "x = row[answer.column]",
        "if task.answer.predicts_names: pass",
        'kept = {"label": name, "score": score}',
        "x = answer.name in ANSWERS",
    ],
)
def test_search_for_kinds_when_an_answer_is_asked_for_a_fact_then_that_is_let_through(
    lines: str,
) -> None:
    assert [*asked(ast.parse(lines), KINDS["answers"])] == []


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
    names = {path.relative_to(PACKAGE).as_posix(): path for path in SOURCES}
    found = {name: _knows_a_method(_tree(path)) for name, path in names.items()}
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
