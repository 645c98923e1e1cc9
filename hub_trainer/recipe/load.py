"""A recipe file and its overrides become a checked Recipe, or every fault at once with its line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from hub_trainer.errors import Problem, RecipeError, UsageError
from hub_trainer.recipe.arguments import nearest, training_argument_types
from hub_trainer.recipe.chat_templates import beside
from hub_trainer.recipe.schema import REPO_ID, Recipe
from hub_trainer.recipe.search import search_problems
from hub_trainer.recipe.section import section_in
from hub_trainer.recipe.task_table import task_fault
from hub_trainer.recipe.value_faults import faults_of
from hub_trainer.recipe.value_words import cut

MAX_RECIPE_BYTES = 1_000_000
CHAT_TEMPLATE = "train.language.chat_template"
MAX_NAMED = 5
INDEX = re.compile(r"\[(\d+)\]")
"""`datasets[0]` is `datasets.0`."""


@dataclass(frozen=True)
class Places:
    """Where each key was set: in the file, or on the command line."""

    lines: dict[str, int]
    """Dotted key -> line, counted from 1; keys set by an override have none."""
    overrides: dict[str, str]
    """Dotted key -> the override that set it, as written."""

    def set(self, key: str, override: str) -> None:
        """Note that an override has set a key, and what stood below it."""
        for places in (self.lines, self.overrides):
            for known in [name for name in places if name == key or name.startswith(f"{key}.")]:
                del places[known]
        self.overrides[key] = cut(override)

    def problem(self, key: str, message: str) -> Problem:
        """A problem at the nearest enclosing key that was set somewhere."""
        return self.located(Problem(key, message))

    def located(self, problem: Problem) -> Problem:
        """The same problem with the line or the override of its key.

        What is wrong with a section as a whole may come from the overrides within it.
        """
        key = problem.key
        within = [told for name, told in self.overrides.items() if name.startswith(f"{key}.")]
        while key and key not in self.lines and key not in self.overrides:
            key = key.rpartition(".")[0]
        told = self.overrides.get(key) or " ".join(within) or None
        return replace(problem, line=self.lines.get(key), override=told)


@dataclass(frozen=True)
class RecipeFile:
    """A checked recipe, and where each of its keys was set."""

    path: Path
    recipe: Recipe
    places: Places

    @property
    def name(self) -> str:
        """The file's name without its suffix: the name of the rounds' folder."""
        return self.path.stem

    def problem(self, key: str, message: str) -> Problem:
        """A problem at `key`, with the place of the nearest enclosing key that has one."""
        return self.places.problem(key, f"{key}: {message}")


@dataclass(frozen=True)
class ReadRecipe:
    """A recipe file as far as it can be read: its faults, and what it holds beside them."""

    path: Path
    raw: dict[str, Any]
    """Keys and values as written, of which the last counts where one stands twice."""
    places: Places
    problems: list[Problem]
    recipe: Recipe | None
    """None where a value is at fault; a key that stands twice or a task that there is none of
    leaves one to go on looking with."""


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> RecipeFile:
    """Read and check a recipe. Raises RecipeError with every fault, UsageError without a file."""
    read = read_recipe(path, overrides)
    if read.problems or read.recipe is None:
        raise RecipeError(read.problems, source=str(path))
    return RecipeFile(read.path, read.recipe, read.places)


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> ReadRecipe:
    """Read a recipe with all its faults.

    Raises RecipeError for what is no mapping at all, UsageError without a file.
    """
    path = Path(path)
    raw, lines, problems = _read_yaml(path)
    places, recipe = Places(lines, {}), None
    problems += _apply_overrides(raw, places, overrides)
    problems += _read_chat_template(raw, places, path.parent)
    unknown = task_fault(raw["task"]) if isinstance(raw.get("task"), str) else None
    problems += [places.problem("task", unknown)] if unknown else []
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as invalid:
        problems += _problems(invalid, places)
    problems += [places.located(one) for one in search_problems(raw)]
    problems.sort(key=lambda problem: problem.line or 0)
    return ReadRecipe(path, raw, places, problems, recipe)


def json_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors."""
    schema = Recipe.model_json_schema()
    for name in ("RepoRef", "DatasetSource"):
        definition = schema["$defs"][name]
        schema["$defs"][name] = {
            "description": definition.get("description", ""),
            "anyOf": [definition, {"type": "string", "pattern": r"^[^/@\s]+/[^/@\s]+(@.+)?$"}],
        }
    arguments = schema["$defs"]["TrainSection"]["properties"]["arguments"]
    arguments["properties"] = {name: {} for name in sorted(training_argument_types())}
    return schema


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int], list[Problem]]:
    """Keys and values, the line of each key, and the keys that stand twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError("There is no such recipe.", where=str(path), do=_instead(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    if len(text) > MAX_RECIPE_BYTES:
        do = "Name the YAML file of a recipe; rows stand in a dataset on the Hub, and not in it."
        problem = Problem("", "The recipe is over 1 MB; a recipe is a page.", do=do)
        raise RecipeError([problem], source=str(path))
    lines: dict[str, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        twice = _walk(root, "", lines) if root is not None else []
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError([_yaml_problem(error)], source=str(path)) from None
    except RecursionError:
        deep = "The recipe is nested too deeply, or a part of it holds itself."
        do = "Write out what `*NAME` stands for."
        raise RecipeError([Problem("", deep, do=do)], source=str(path)) from None
    if not isinstance(raw, dict):
        told = "The recipe is not a mapping of keys to values."
        do = "Write keys as in `task: text-classification`; hub-trainer init writes a whole recipe."
        raise RecipeError([Problem("", told, 1, do=do)], source=str(path))
    return raw, lines, twice


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> UsageError:
    if path.is_dir():
        found = sorted(one.name for one in path.iterdir() if one.suffix in (".yaml", ".yml"))
        named = f", as {path / found[0]}" if found else "; hub-trainer init writes one"
        return UsageError(
            "A recipe is a file, and this is a folder.",
            where=str(path),
            got=f"a folder with {', '.join(found[:MAX_NAMED]) or 'no YAML file'}",
            do=f"Name a YAML file{named}.",
        )
    is_text = not isinstance(error, UnicodeDecodeError)
    return UsageError(
        "The recipe cannot be read.",
        where=str(path),
        got=(error.strerror if isinstance(error, OSError) else None) or str(error),
        do="Make the file readable for this user, or name another."
        if is_text
        else "Name a recipe, which is a YAML file: text in UTF-8.",
    )


def _instead(path: Path) -> str:
    """What was probably meant by a path where no file is."""
    if "=" in str(path):
        return "Name the recipe first, and settings after it."
    if REPO_ID.match(str(path)) and path.suffix not in (".yaml", ".yml"):
        return (
            "Name a YAML file of this machine; repos of the Hub stand in it, as base_model and"
            " under collect.datasets. See recipes/ for those shipped."
        )
    return (
        "Check the path, and the folder in which the command is given; or have one written:"
        " hub-trainer init."
    )


def _walk(node: yaml.Node, prefix: str, lines: dict[str, int]) -> list[Problem]:
    """Note the line of each key, and give those that stand twice."""
    twice = []
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = f"{prefix}.{key.value}" if prefix else str(key.value)
            line = key.start_mark.line + 1
            if name in seen:
                told, got = f"{name} stands twice", f"lines {seen[name]} and {line}"
                twice.append(Problem(name, told, line, got=got, do="Remove one of them."))
            seen[name] = lines[name] = line
            twice += _walk(value, name, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[f"{prefix}.{index}"] = value.start_mark.line + 1
            twice += _walk(value, f"{prefix}.{index}", lines)
    return twice


def _yaml_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    message = getattr(error, "problem", None) or str(error)
    told = f"The recipe is not valid YAML: {message}"
    do = "Write `key: value`, what belongs to a key two blanks deeper, and close what is opened."
    return Problem("", told, mark.line + 1 if mark else None, do=do)


def _apply_overrides(
    raw: dict[str, Any], places: Places, overrides: Sequence[str]
) -> list[Problem]:
    problems = []
    for override in overrides:
        key, equals, text = override.partition("=")
        key = INDEX.sub(r".\1", key)
        if not equals or not key or key.startswith("-"):
            told = f"override {override!r}: {_way_to_write(override)}"
            problems.append(Problem(override, told, override=cut(override)))
            continue
        try:
            _set(raw, key.split("."), yaml.safe_load(text))
        except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
            told = f"override {key}: cannot be set ({getattr(error, 'problem', None) or error})"
            problems.append(Problem(key, told, override=cut(override)))
            continue
        places.set(key, override)
    return problems


def _read_chat_template(raw: dict[str, Any], places: Places, folder: Path) -> list[Problem]:
    """Put the template itself in the place of its file's name."""
    held: Any = raw
    for part in CHAT_TEMPLATE.split(".")[:-1]:
        held = held.get(part) if isinstance(held, dict) else None
    name = CHAT_TEMPLATE.rpartition(".")[2]
    if not isinstance(held, dict) or not isinstance(held.get(name), str):
        return []
    try:
        held[name] = beside(held[name], folder)
    except ValueError as error:
        del held[name]
        return [places.problem(CHAT_TEMPLATE, f"{CHAT_TEMPLATE}: {error}")]
    return []


def _way_to_write(override: str) -> str:
    plain = override.lstrip("-")
    if plain == override or not plain:
        return "write key.path=value"
    key, _, value = plain.partition("=")
    if "." in key or key in Recipe.model_fields:
        choices = "" if value else _choices(key)
        return f"write {key}={value or 'VALUE'}, without the dashes{choices}"
    return "is no option of this command; --help lists them, and a setting is key.path=value"


def _choices(key: str) -> str:
    """The values that a setting can have, where they are few and known by name."""
    *sections, name = key.split(".")
    model: type[BaseModel] | None = Recipe
    for part in sections:
        field = model.model_fields.get(part) if model else None
        model = section_in(field.annotation) if field else None
    field = model.model_fields.get(name) if model else None
    if field is None or get_origin(field.annotation) is not Literal:
        return ""
    return f"; VALUE is one of {', '.join(map(str, get_args(field.annotation)))}"


def _set(container: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        if isinstance(container, list):
            container = container[int(part)]
            continue
        if not isinstance(container.get(part), dict | list):
            container[part] = _from_plain_string(container.get(part))
        container = container[part]
    if isinstance(container, list):
        container[int(path[-1])] = value
    else:
        container[path[-1]] = value


def _from_plain_string(value: Any) -> dict[str, Any]:
    """`org/name@revision` as a mapping, so that an override can reach into it."""
    if not isinstance(value, str):
        return {}
    repo_id, _, revision = value.partition("@")
    return {"repo_id": repo_id, "revision": revision or "main"}


def _problems(error: ValidationError, places: Places) -> list[Problem]:
    problems = []
    for fault in faults_of(error, Recipe):
        if fault.key == "train.arguments" and not fault.of_kind:
            problems.append(_argument_problem(fault.what, places))
            continue
        nearest_key = _suggestion(fault.path) if fault.is_unknown else ""
        told = replace(places.problem(fault.key, f"{fault.sentence}{nearest_key}"), got=fault.got)
        problems.append(replace(told, do=fault.do))
    return sorted(problems, key=lambda problem: problem.line or 0)


def _argument_problem(fault: str, places: Places) -> Problem:
    name, _, message = fault.partition(": ")
    key = f"train.arguments.{name}"
    return places.problem(key, f"{key} {message}")


def _suggestion(path: tuple[str, ...]) -> str:
    siblings, key = _fields_at(path[:-1]), path[-1]
    close = nearest(key, siblings)
    if close:
        return close
    elsewhere = [name for name in _all_keys() if name.rsplit(".", 1)[-1] == key]
    return f" Did you mean {elsewhere[0]}?" if elsewhere else f" Known here: {', '.join(siblings)}."


def _fields_at(path: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in path:
        field = model.model_fields.get(part)  # none for the keys of a map, or of a list
        model = (section_in(field.annotation) if field else None) or model
    return list(model.model_fields)


def _all_keys(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        keys.append(key)
        section = section_in(field.annotation)
        keys += _all_keys(section, f"{key}.") if section else []
    return keys + [f"train.arguments.{name}" for name in training_argument_types() if not prefix]
