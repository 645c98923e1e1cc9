"""The generated parts of the documentation: tables of commands, recipe keys and what tasks offer.

`python -m hub_trainer.cli.document *.md docs/*.md` writes them anew between their markers.
"""

import ast
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hub_trainer.errors import UsageError
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.arguments import OWNED, RENAMED, SHORT, training_argument_types
from hub_trainer.recipe.method_table import METHODS

BLOCK = re.compile(r"<!-- generated: (?P<name>[a-z_ ]+) -->\n.*?<!-- end -->", re.DOTALL)
AVERAGES = {
    None: "",
    "macro": " Mean over the labels.",
    "micro": " Over all decisions at once.",
    "weighted": " Mean over the labels, weighted by their examples.",
}
BOUNDS = {
    "exclusiveMinimum": "over",
    "minimum": "from",
    "exclusiveMaximum": "below",
    "maximum": "up to",
}


def fill(text: str) -> str:
    """The page with each generated part as it must be now; the rest stays as it is."""
    makers = blocks()

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in makers:
            known = ", ".join(makers)
            raise UsageError("There is no such generated part.", got=name, do=f"Use one of {known}")
        return f"<!-- generated: {name} -->\n{makers[name]()}\n<!-- end -->"

    return BLOCK.sub(made, text)


def blocks() -> dict[str, Callable[[], str]]:
    """Name of each generated part -> what makes it."""

    def table_of(model: type[BaseModel]) -> Callable[[], str]:
        return lambda: section_table(model)

    return {
        "commands": commands_table,
        "layers": layers_table,
        "costs": costs_table,
        **{f"keys of {name}": table_of(model) for name, model in sections().items()},
        "renamed arguments": renamed_table,
        "owned arguments": owned_table,
        "methods": methods_table,
        "metrics": metrics_table,
        "augmentations": augmentations_table,
        "estimators": estimators_table,
        "estimator arguments": estimator_arguments_table,
    }


def commands_table() -> str:
    """Every command with its arguments, its options, and what it is for."""
    rows = [
        (f"`{' '.join(['hub-trainer', *words])}`", " ".join(options), help_text)
        for words, options, help_text in _commands()
    ]
    return markdown_table(("command", "options", "what it does"), rows)


def layers_table() -> str:
    """Every module by its layer in the import contract, highest first, with what it says it owns.

    Read from pyproject.toml of the source tree, which an installed package does not have.
    """
    package = Path(__file__).resolve().parents[1]
    contracts = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))
    layers = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    rows = [
        (str(height), f"`{name}`", _owned_by(package, name))
        for height, layer in zip(range(len(layers), 0, -1), layers, strict=True)
        for name in layer.split(" | ")
    ]
    return markdown_table(("layer", "module", "what it owns"), rows)


def costs_table() -> str:
    """The run that vouches for each shipped recipe: rows, time, and what the model reached."""
    folder = Path(__file__).resolve().parents[2] / "recipes"
    rows = []
    for path in sorted(folder.glob("*/*.expected.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        recipe = path.name.removesuffix(".expected.json")
        metric, value = next(iter(run["metrics"].items()))
        reached = f"{metric} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
        seconds = run["train"].get("seconds")
        rows.append(
            (
                f"[{recipe}](recipes/{path.parent.name}/{recipe}.yaml)",
                f"{run['train']['rows']:,}",
                f"{run['train']['epochs']:g}",
                "not timed" if seconds is None else f"{seconds:g} s",
                reached,
                run["hardware"],
            )
        )
    header = ("recipe", "rows learned", "epochs", "training", "on sealed rows", "hardware")
    return markdown_table(header, rows)


def _owned_by(package: Path, name: str) -> str:
    path = package / name / "__init__.py"
    source = path if path.exists() else package / f"{name}.py"
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    assert text
    return text.splitlines()[0]


def sections(model: type[BaseModel] = Recipe) -> dict[str, type[BaseModel]]:
    """Name -> model of a recipe and of every part of it, in the order in which they are read."""
    found = {_name(model): model}
    for field in model.model_fields.values():
        inner = _model_in(field.annotation)
        if inner:
            found |= sections(inner)
    return found


def section_table(model: type[BaseModel]) -> str:
    """Key, type, default and meaning of each key of a section."""
    schema = model.model_json_schema()
    rows = [
        (
            f"`{key}`",
            _kind(schema["properties"][key]),
            _default(field),
            " ".join((field.description or _first_line(_model_in(field.annotation))).split()),
        )
        for key, field in model.model_fields.items()
    ]
    return markdown_table(("key", "type", "default", "meaning"), rows)


def renamed_table() -> str:
    """Keys of older transformers and short names, and what to write instead."""
    gone = {key: do for key, do in RENAMED.items() if key not in training_argument_types()}
    return _advice(gone | {key: f"write {name}" for key, name in SHORT.items()})


def owned_table() -> str:
    """Keys of TrainingArguments that a recipe does not set there."""
    return _advice(OWNED)


def methods_table() -> str:
    """Task x answer x method; a cell that cannot be says by its number why, beneath the table."""
    from hub_trainer.tasks import load_task
    from hub_trainer.tasks.outlines import OUTLINES

    tasks = [load_task(name, answer) for name, one in OUTLINES.items() for answer in one.answers]
    unfit = [task.unfit[method] for task in tasks for method in METHODS if method in task.unfit]
    reasons = {why: number for number, why in enumerate(dict.fromkeys(unfit), start=1)}
    rows = [
        (
            task.name,
            task.answer.name,
            *(f"no ({reasons[task.unfit[m]]})" if m in task.unfit else "yes" for m in METHODS),
        )
        for task in tasks
    ]
    table = markdown_table(("task", "answer", *(f"`{method}`" for method in METHODS)), rows)
    told = [f"{number}. {why[0].upper()}{why[1:]}." for why, number in reasons.items()]
    return "\n".join([table, "", *told])


def metrics_table() -> str:
    """Every metric, what it is, and which answers it measures."""
    from hub_trainer.metrics import (
        METRICS,
        label_sets,
        numbers,
        positive,
        probabilities,
        retrieval,
        span_metrics,
        transcripts,
    )

    measured = {
        "labels": "a label",
        "answers": "a written answer",
        "likelihoods": "its likelihood",
        "preferences": "two answers' likelihoods",
    }
    rows = [
        (
            f"`{name}`",
            _metric_meaning(spec.module) + AVERAGES[spec.average],
            measured[spec.needs],
        )
        for name, spec in METRICS.items()
    ]
    rows += [(f"`{name}`", said, "a label") for name, said in positive.MEANINGS.items()]
    rows += [
        (f"`{name}`", said, "a label, labels") for name, said in probabilities.MEANINGS.items()
    ]
    rows += [(f"`{name}`", said, "labels") for name, said in label_sets.MEANINGS.items()]
    rows += [(f"`{name}`", said, "a number") for name, said in numbers.MEANINGS.items()]
    rows += [
        (f"`{name}`", said, "a number of two texts") for name, said in retrieval.MEANINGS.items()
    ]
    rows += [(f"`{name}`", said, "spans") for name, said in span_metrics.MEANINGS.items()]
    rows += [(f"`{name}`", said, "a transcript") for name, said in transcripts.MEANINGS.items()]
    return markdown_table(("metric", "meaning", "of"), rows)


def augmentations_table() -> str:
    """Every augmentation, what it does, and which tasks offer it."""
    from hub_trainer.finetune import augment, sound_augment

    rows = []
    for offered in (augment.AUGMENTATIONS, sound_augment.AUGMENTATIONS):
        tasks = [
            task for task in _tasks() if task.augmentations and task.augmentations <= offered.keys()
        ]
        rows += [
            (f"`{name}`", _first_line(function), _offering(tasks, "augmentations", name))
            for name, function in offered.items()
        ]
    return markdown_table(("augmentation", "what it does", "tasks"), rows)


def estimators_table() -> str:
    """Every estimator for tables, with the arguments that differ from scikit-learn's."""
    from hub_trainer.finetune.tables import DEFAULT_ARGUMENTS, DEFAULT_ESTIMATOR, ESTIMATORS

    rows = [
        (
            f"`{name}`{', the default' if name == DEFAULT_ESTIMATOR else ''}",
            ", ".join(
                f"`{_class_name(kind[name])}`" for kind in ESTIMATORS.values() if name in kind
            ),
            ", ".join(f"`{key}={value}`" for key, value in DEFAULT_ARGUMENTS[name].items()),
        )
        for name in dict.fromkeys(name for kind in ESTIMATORS.values() for name in kind)
    ]
    return markdown_table(("estimator", "classes", "our defaults"), rows)


def _class_name(found: Any) -> str:
    return found if isinstance(found, str) else str(found.__name__)


def estimator_arguments_table() -> str:
    """Arguments of an estimator that a recipe says elsewhere."""
    from hub_trainer.finetune.tables import OWNED_ARGUMENTS

    return _advice(OWNED_ARGUMENTS)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def main(paths: Sequence[str]) -> None:
    """Write the generated parts of these pages anew."""
    for path in map(Path, paths):
        before = path.read_text(encoding="utf-8")
        after = fill(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
        print(f"{path}: {'written' if after != before else 'is fresh'}")


def _commands() -> Iterator[tuple[list[str], list[str], str]]:
    """(names and arguments, options, help) of each command."""
    import typer

    from hub_trainer.cli import app

    program: Any = typer.main.get_command(app)
    found = [([name], command) for name, command in program.commands.items()]
    for names, command in found:
        if hasattr(command, "commands"):
            found += [([*names, name], inner) for name, inner in command.commands.items()]
            continue
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option"]
        shown = [_argument(one) for one in arguments]
        yield [*names, *shown], [f"`{one.opts[0]}`" for one in options], command.help


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()) if argument.required else "..."


def _name(model: type[BaseModel]) -> str:
    """`TrainSection` -> `train`, `RepoRef` -> `repo ref`."""
    words = re.findall(r"[A-Z][a-z]*", model.__name__.removesuffix("Section"))
    return " ".join(word.lower() for word in words)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)


def _kind(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "allOf" in schema:
        return _kind(schema["allOf"][0])
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        model = next(model for model in sections().values() if model.__name__ == name)
        return f"[{_name(model)}](#{_name(model).replace(' ', '-')})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        some = ", at least one" if schema.get("minItems") else ""
        return f"list of {_kind(schema['items'])}{some}"
    if schema["type"] == "object":
        values = schema["additionalProperties"]
        return "map" if values is True else f"map of string to {_kind(values)}"
    bounds = [f"{word} {schema[key]:g}" for key, word in BOUNDS.items() if key in schema]
    return ", ".join([str(schema["type"]), *bounds])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{json.dumps(value)}`"


def _first_line(documented: Any) -> str:
    text = inspect.getdoc(documented) if documented else None
    return text.splitlines()[0] if text else ""


def _advice(known: Mapping[str, str]) -> str:
    rows = [(f"`{key}`", known[key]) for key in sorted(known)]
    return markdown_table(("key", "what to do"), rows)


def _tasks() -> list[Any]:
    from hub_trainer.tasks import TASKS, load_task

    return [load_task(name) for name in TASKS]


def _offering(tasks: Sequence[Any], kind: str, name: str) -> str:
    names = [task.name for task in tasks if name in getattr(task, kind)]
    return "all" if len(names) == len(tasks) else ", ".join(names)


def _metric_meaning(module: str) -> str:
    """The first line of a metric's module, read without running it."""
    from hub_trainer import metrics

    source = Path(metrics.__file__).parent / module / f"{module}.py"
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    assert text
    return text.splitlines()[0]


if __name__ == "__main__":
    main(sys.argv[1:])
