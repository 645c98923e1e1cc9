"""Settings that a search tries: which keys it may name, and the train section with values in them.

Whether a value will do is what the recipe's own schema says of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from pydantic import BaseModel, ValidationError

from hub_trainer.errors import Problem
from hub_trainer.recipe.arguments import nearest, training_argument_types
from hub_trainer.recipe.schema import Recipe, SearchRange, TrainSection, TuneSection
from hub_trainer.recipe.section import section_in
from hub_trainer.recipe.value_faults import faults_of
from hub_trainer.recipe.value_words import written

TRAIN = "train."
MAPS = ("train.arguments", "train.estimator_arguments")
"""Sections whose keys are those of a library."""
FIXED = {
    "train.seed": "a seed is no setting that can be better; the search would choose luck",
    "train.profile": "it changes nothing of the model",
    "train.language.train_on": "it says what is learned, and scores would not be comparable",
    "train.fuse.checkpoints": "it changes what is kept, and not how the model learns",
    "train.language.merge": "it changes nothing of what is learned",
    "train.language.loss_type": "losses of two kinds are not comparable",
    "train.speech.language": "it says what is learned, and scores would not be comparable",
}
"""Keys that are not searched, and why."""
MAX_PAIRS = 500


def search_problems(raw: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the keys and values of `tune.search`; all of it.

    Where a section cannot be read at all, that is told elsewhere.
    """
    try:
        train = TrainSection.model_validate(raw.get("train", {}))
        tune = TuneSection.model_validate(raw.get("tune", {}))
    except ValidationError:
        return []
    faults = [(key, fault) for key in tune.search if (fault := _key_fault(key))]
    known = {key: one for key, one in tune.search.items() if key not in dict(faults)}
    faults += _end_faults(train, known)
    return [Problem(f"tune.search.{key}", f"tune.search.{key}: {fault}") for key, fault in faults]


def end_problems(recipe: Recipe, judge: Callable[[Recipe], Sequence[Problem]]) -> list[Problem]:
    """What `judge`, which finds nothing in the recipe itself, says of it with each end of what is
    searched."""
    problems: dict[str, Problem] = {}
    for key, one in recipe.tune.search.items() if recipe.tune.is_on else ():
        path = f"tune.search.{key}"
        for value in one.ends:
            train = with_settings(recipe.train, {key: value})
            for fault in judge(recipe.model_copy(update={"train": train})):
                told = replace(
                    fault, key=path, message=f"{path}: with {written(value)}, {fault.message}"
                )
                problems.setdefault(f"{path} {fault.message}", told)
    return list(problems.values())


def with_settings(train: TrainSection, settings: Mapping[str, Any]) -> TrainSection:
    """The section with these values at their keys, which begin with `train.`.

    Raises pydantic's ValidationError for values that will not do.
    """
    content = train.model_dump(mode="json", exclude_unset=True)
    for key, value in settings.items():
        *path, last = key.split(".")[1:]
        section = content
        for name in path:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
        section[last] = value
    return TrainSection.model_validate(content)


def is_whole(key: str, searched: SearchRange) -> bool:
    """Whether only whole numbers are tried from `low` to `high`."""
    numbers = [one for one in (searched.low, searched.high, searched.step) if one is not None]
    return "float" not in _kind(key) and all(isinstance(one, int) for one in numbers)


def _kind(key: str) -> str:
    """The type of a setting as it is declared; empty where a library's own check is asked."""
    section, _, name = key.rpartition(".")
    if section == MAPS[0]:
        return training_argument_types().get(name, "")
    field = _fields().get(key)
    return str(field) if field is not None else ""


def _fields(model: type[BaseModel] = TrainSection, prefix: str = TRAIN) -> dict[str, Any]:
    """Key -> annotation of every setting of the train section that holds one value."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner = section_in(field.annotation)
        found |= _fields(inner, f"{prefix}{name}.") if inner else {}
        if inner is None and f"{prefix}{name}" not in MAPS:
            found[f"{prefix}{name}"] = field.annotation
    return found


def _key_fault(key: str) -> str | None:
    if key in FIXED:
        return f"is not searched: {FIXED[key]}"
    section, _, name = key.rpartition(".")
    if section in MAPS and name:
        return None  # the keys of a library are checked with their values
    if key in MAPS:
        return f"holds no single value; name one of its keys, as {key}.NAME"
    known = [one for one in _fields() if one not in FIXED]
    if key in known:
        return None
    top = key.partition(".")[0]
    if top in Recipe.model_fields and top != TRAIN[:-1]:
        return "cannot be searched: only settings of train are"
    known += [f"{MAPS[0]}.{name}" for name in training_argument_types()]
    return f"is not a setting.{nearest(key, known) or nearest(f'{TRAIN}{key}', known)}"


def _end_faults(
    train: TrainSection, search: Mapping[str, SearchRange]
) -> Iterator[tuple[str, str]]:
    """Values that will not do: each by itself, then those that will not do beside another."""
    good: list[tuple[str, Any]] = []
    told: set[tuple[str, str]] = set()
    for key, one in search.items():
        for value in one.ends:
            fault = _value_fault(train, {key: value})
            if fault is None:
                good.append((key, value))
            elif (key, fault) not in told:
                told.add((key, fault))
                yield key, f"{written(value)} will not do: {fault}"
    pairs = [(one, two) for one, two in combinations(good, 2) if one[0] != two[0]]
    for (key, value), (other, beside) in pairs[:MAX_PAIRS]:
        fault = _value_fault(train, {key: value, other: beside})
        if fault and (key, fault) not in told:
            told.add((key, fault))
            yield key, f"{written(value)} will not do beside {other} {written(beside)}: {fault}"


def _value_fault(train: TrainSection, settings: Mapping[str, Any]) -> str | None:
    try:
        with_settings(train, settings)
    except ValidationError as error:
        return faults_of(error, TrainSection)[0].what
    return None
