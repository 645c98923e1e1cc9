"""Outlines of the tasks: what is known of each before its libraries, and what a recipe asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hub_trainer.answers import ANSWERS
from hub_trainer.errors import Problem, RecipeError
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.columns import ANSWER_COLUMNS, COLUMN_OF, OPTIONAL_INPUTS

Kind = Literal[
    "text",
    "words",
    "image",
    "audio",
    "label",
    "labels",
    "number",
    "spans",
    "transcript",
    "completion",
    "feature",
]
"""What a column holds; those of answers have the answer's name."""


@dataclass(frozen=True)
class Outline:
    """What is known of a task without its libraries, so that `check` need not import them."""

    modality: str
    columns: Mapping[str, Kind]
    takes_adapters: bool
    """Whether a base model may be an adapter of another."""
    auto_class: str | None

    @property
    def answer(self) -> str:
        """Name of what it predicts."""
        return next(kind for kind in self.columns.values() if kind in ANSWERS)


@dataclass(frozen=True)
class Sketch:
    """An outline for whichever of its answers."""

    modality: str
    inputs: Mapping[str, Kind]
    answers: tuple[str, ...]
    """Names of the answers that it can learn, the usual one first."""
    auto_class: str | None
    optional: tuple[str, ...] = ()
    """Columns of `OPTIONAL_INPUTS` that rows may have too, where a recipe names them."""
    takes_adapters: bool = False
    has_formats: bool = False
    """Whether a recipe's columns are those of a format of language data, and name no answer."""


OUTLINES: Mapping[str, Sketch] = {
    "text-classification": Sketch(
        "text",
        {"text": "text"},
        ("label", "labels", "number"),
        "AutoModelForSequenceClassification",
        optional=("text_pair",),
    ),
    "token-classification": Sketch(
        "text", {"tokens": "words"}, ("spans",), "AutoModelForTokenClassification"
    ),
    "image-classification": Sketch(
        "image", {"image": "image"}, ("label",), "AutoModelForImageClassification"
    ),
    "audio-classification": Sketch(
        "audio", {"audio": "audio"}, ("label",), "AutoModelForAudioClassification"
    ),
    "automatic-speech-recognition": Sketch(
        "audio", {"audio": "audio"}, ("transcript",), "AutoModelForSpeechRecognition"
    ),
    "tabular-classification": Sketch("table", {}, ("label",), None),
    "tabular-regression": Sketch("table", {}, ("number",), None),
    "text-generation": Sketch(
        "prompt",
        {},
        ("completion",),
        "AutoModelForCausalLM",
        takes_adapters=True,
        has_formats=True,
    ),
    "sentence-similarity": Sketch(
        "text",
        {"text": "text", "text_pair": "text"},
        ("number",),
        "AutoModelForSentenceSimilarity",
        optional=("text_pair",),
    ),
}
"""What is known of a task before it is loaded; one without a row here is loaded for it."""
NO_ANSWERS = Sketch("text", {}, (), None)
"""The outline of a task that is not known here."""


def answer_of(recipe: Recipe) -> str | None:
    """The answer that a recipe's columns name; None for the task's usual one."""
    sketch = OUTLINES.get(recipe.task, NO_ANSWERS)
    if sketch.has_formats:
        return None
    learned = sketch.answers
    answers = {**ANSWER_COLUMNS, **{COLUMN_OF[answer]: answer for answer in learned}}
    named = {column for source in recipe.collect.datasets for column in source.columns}
    found = sorted(answers[column] for column in named if column in answers)
    if len(found) > 1:
        message = f"columns: {' and '.join(sorted(named & answers.keys()))} are two answers; a "
        message += "model learns one of them, so take the other out or name it otherwise"
        raise RecipeError([Problem("collect.datasets", message)], source="recipe")
    return found[0] if found and learned else None


def pairs_alone(recipe: Recipe) -> bool:
    """Whether rows may be pairs without a number: it is learned which texts belong together."""
    sketch, loss = OUTLINES.get(recipe.task, NO_ANSWERS), recipe.train.loss
    return loss is not None and loss.learns_matches and "text_pair" in sketch.inputs


def beside_of(recipe: Recipe) -> tuple[str, ...]:
    """The optional columns that a recipe's splits name.

    Raises RecipeError for a slice that would be taken for one.
    """
    sketch = OUTLINES.get(recipe.task, NO_ANSWERS)
    sealed = recipe.prepare.test_split, recipe.prepare.validation_split
    sources = [source for source in (*recipe.collect.datasets, *sealed) if source is not None]
    named = {column for source in sources for column in source.columns}
    found = tuple(column for column in sketch.optional if column in named)
    for name in recipe.evaluate.slices:
        if OPTIONAL_INPUTS.get(name) == sketch.modality and name not in found:
            message = (
                f"evaluate.slices: {name} is what a second input is called, and this recipe reads "
                f"none; give the slice another name: columns: {{other: {name}}}, slices: [other]"
            )
            raise RecipeError([Problem("evaluate.slices", message)], source="recipe")
    return found


def not_learned(name: str, answer: str) -> str:
    """What is said of an answer that a task does not learn, or another one does."""
    column = COLUMN_OF[answer]
    sketch = OUTLINES[name]
    offered = [COLUMN_OF[one] for one in sketch.answers]
    learned = "examples of language" if sketch.has_formats else " or ".join(offered)
    others = [task for task, sketch in OUTLINES.items() if answer in sketch.answers]
    return f"columns: {column} is what {' and '.join(others)} learn; {name} learns {learned}"
