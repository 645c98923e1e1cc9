"""The tasks: what a row, an example, a model and a prediction are for each pipeline tag."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from typing_extensions import TypeIs

from hub_trainer.errors import Problem, RecipeError, RowRefused
from hub_trainer.finetune.report import FitReport
from hub_trainer.recipe import GenerationSection, Recipe
from hub_trainer.recipe.arguments import nearest

Kind = Literal["text", "image", "label", "feature", "example"]
Row = Mapping[str, Any]
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one row: a label, and a probability per label."""

    label: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Splits:
    """The examples of a round as lists of rows, and the label names in the model's order."""

    train: Sequence[Row]
    validation: Sequence[Row]
    label_names: Sequence[str]


@dataclass(frozen=True)
class BasePredictions:
    """The base model as a baseline: how it was made to answer, and one prediction per row."""

    description: str
    predictions: Sequence[Prediction]


@dataclass(frozen=True)
class Widgets:
    """The task's inputs and outputs in the Space, as names of Gradio components and arguments.

    `inputs` and `outputs` are lists of (component name, keyword arguments); `to_row` turns the
    values of the inputs into a row, and raises DataError when they cannot be one.
    """

    inputs: Sequence[tuple[str, dict[str, Any]]]
    outputs: Sequence[tuple[str, dict[str, Any]]]
    to_row: Callable[[Sequence[Any]], dict[str, Any]]


@dataclass(frozen=True)
class ModelCard:
    """What a task adds to a model's card, and what the model's folder is."""

    library_name: str
    usage: str
    """Python that loads the model and predicts; `{repo_id}` and `{commit_sha}` are filled in, and
    `{prompt}` where the task writes."""
    files: Sequence[str]
    """The files without which the folder does not load."""
    auto_class: str | None = None
    """The class of transformers that loads the weights; None for another library's model."""
    tags: Sequence[str] = field(default_factory=tuple)
    adapter_usage: str | None = None
    """As `usage`, of an adapter; None where no model is published as one."""


@dataclass(frozen=True)
class ModelFolders:
    """A model as it is published, and the base that it needs beside it when it is an adapter."""

    model: Path
    base: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What a model writes to the prompt of a row."""

    text: str
    num_tokens: int
    finished: bool
    """It ended by itself, and was not cut at the largest number of tokens."""


@dataclass(frozen=True)
class Segment:
    """A piece of a training example as text, and whether it is learned."""

    text: str
    learned: bool


@dataclass(frozen=True)
class Preview:
    """Training rows as the model reads them: the first one, and what becomes of all."""

    kind: str
    """What the first row is: demonstration, preference, desirable or undesirable."""
    answers: Sequence[Sequence[Segment]]
    """Each of its answers after the prompt; a preference has the chosen one first."""
    num_tokens: int
    """Tokens of all rows, with a prompt counted once for each answer."""
    num_truncated: int
    """Rows that were cut at their end."""
    num_dropped: int
    """Rows of which nothing was left to learn."""
    longest: int = 0
    """Tokens of the longest answer with its prompt."""
    middling: int = 0
    """Tokens of one in the middle."""


@dataclass(frozen=True)
class Likelihood:
    """How likely a row's own answer is to a model."""

    log_prob: float
    """Natural logarithm, summed over tokens."""
    num_tokens: int


class AnyTask(Protocol):
    """One pipeline tag. Rows are canonical: the columns below, labels as names, images as bytes."""

    @property
    def name(self) -> str:
        """The pipeline tag."""
        ...

    @property
    def modality(self) -> Literal["text", "image", "table"]:
        """What a row is made of."""
        ...

    @property
    def columns(self) -> Mapping[str, Kind]:
        """Columns that each row must have; a tabular task has further columns of kind feature."""
        ...

    @property
    def methods(self) -> frozenset[str]:
        """Values of `train.method`."""
        ...

    @property
    def augmentations(self) -> frozenset[str]:
        """Names in `prepare.augment`."""
        ...

    @property
    def metrics(self) -> frozenset[str]:
        """Names in `evaluate.metrics`."""
        ...

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row; nothing is a good row."""
        ...

    def card(self) -> ModelCard:
        """What the model's card says of how to use it, and what the published folder is."""
        ...


class ClassificationTask(AnyTask, Protocol):
    """A task whose answer is one of the label names."""

    @property
    def family(self) -> Literal["classification"]:
        """What its predictions are."""
        ...

    def recipe_problems(self, recipe: Recipe, base_dir: Path | None) -> list[Problem]:
        """What is wrong with the recipe for this task; `base_dir` holds the base's config files."""
        ...

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base_dir: Path | None,
        progress: Progress,
    ) -> FitReport:
        """Fine-tune; `out_dir/model` then holds what `predict` loads, and nothing else."""
        ...

    def fit_data(self, splits: Splits, recipe: Recipe, base_dir: Path) -> Any:
        """The rows as `fit` gives them to the engine, a `FitData`, for a dry run of a few steps."""
        ...

    def predict(self, model_dir: Path, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction per row, from a folder in the shape that is published."""
        ...

    def predict_base(
        self, splits: Splits, rows: Sequence[Row], base_dir: Path | None
    ) -> BasePredictions:
        """What can be said without this round's training, by the base model if there is one."""
        ...

    def score(self, row: Row, prediction: Prediction) -> float:
        """1.0 when the prediction is right for the row, 0.0 when not."""
        ...

    def widgets(self, label_names: Sequence[str], examples: Sequence[Row]) -> Widgets:
        """What a person sees in the Space."""
        ...

    def example_from_rating(self, row: Row, label: str) -> dict[str, Any] | None:
        """The example a rated row becomes under its agreed label; None when it is of no use."""
        ...


class GenerationTask(AnyTask, Protocol):
    """A task whose answer is a text that the model writes.

    Its rows are those of `rows.examples`: `text`, `prompt`, `label` and `example`.
    """

    @property
    def family(self) -> Literal["generation"]:
        """What its predictions are."""
        ...

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; `base` holds small files, no weights."""
        ...

    def preview(self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders) -> Preview:
        """These training rows as the base model would read them.

        Raises DataError or TrainingError for rows that could teach it nothing.
        """
        ...

    def refusals(
        self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders
    ) -> Sequence[RowRefused | None]:
        """Per row why the base model cannot be given it; `base` holds small files, no weights."""
        ...

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base: ModelFolders,
        progress: Progress,
    ) -> FitReport:
        """Fine-tune; `out_dir/model` is then a whole model, or an adapter without base's name."""
        ...

    def answers(
        self,
        folders: ModelFolders,
        rows: Sequence[Row],
        sampling: GenerationSection,
        *,
        seed: int,
    ) -> list[Answer]:
        """What the model writes to the prompt of each row, whatever the others are."""
        ...

    def likelihoods(self, folders: ModelFolders, rows: Sequence[Row]) -> list[Likelihood]:
        """How likely each row's first answer is; a preference's is the chosen one."""
        ...

    def stream(
        self, folders: ModelFolders, row: Row, sampling: GenerationSection, *, seed: int
    ) -> Generator[str, None, bool]:
        """Pieces of the answer to a row's prompt as they come; joined, the text of `answers`.

        Returns whether the answer came to its own end.
        """
        ...

    def prompt_row(self, folders: ModelFolders, turns: Sequence[Mapping[str, str]]) -> Row:
        """The row whose prompt is a dialogue of {"role", "content"} turns, the last a person's.

        Raises DataError for an empty prompt, or one that leaves no room for an answer. A model
        without a chat template is asked the last turn as plain text.
        """
        ...


Task = ClassificationTask | GenerationTask


def is_generation(task: Task) -> TypeIs[GenerationTask]:
    """Whether the task's answers are texts; all others choose a label."""
    return task.family == "generation"


def classification(task: Task) -> ClassificationTask:
    """The task as one that chooses labels; only for callers that know it does."""
    assert not is_generation(task)
    return task


def commonest_label(splits: Splits, rows: Sequence[Row]) -> BasePredictions:
    """The baseline where there is no base model: the labels' shares in training, for every row."""
    counts = Counter(row["label"] for row in splits.train)
    shares = [counts[name] / max(len(splits.train), 1) for name in splits.label_names]
    answers = predictions([shares] * len(rows), splits.label_names)
    return BasePredictions("always the commonest label of the training rows", answers)


def offer_problems(task: AnyTask, recipe: Recipe) -> list[Problem]:
    """Names in the recipe that the task does not offer."""
    wanted: dict[str, tuple[Sequence[str], frozenset[str]]] = {
        "train.method": ([recipe.train.method], task.methods),
        "prepare.augment": (recipe.prepare.augment, task.augmentations),
        "evaluate.metrics": (recipe.evaluate.metrics, task.metrics),
    }
    return [
        Problem(
            key,
            f"{key}: {task.name} does not offer {name!r}; {_offered(offered)}."
            + nearest(name, offered),
        )
        for key, (names, offered) in wanted.items()
        for name in names
        if name not in offered
    ]


def unused_problems(task: AnyTask, recipe: Recipe, keys: Sequence[str]) -> list[Problem]:
    """A problem for each of these keys that is set: in this task it changes nothing."""
    problems = []
    for key in keys:
        section, name = key.split(".")
        if getattr(getattr(recipe, section), name, None) not in (None, {}, [], False):
            text = f"{key}: changes nothing in {task.name}; remove it"
            problems.append(Problem(key, text))
    return problems


def base_model_problems(task: AnyTask, recipe: Recipe) -> list[Problem]:
    """A problem when the method starts from a base model and none is named."""
    if recipe.base_model is not None:
        return []
    text = f"base_model: method {recipe.train.method} of {task.name} needs one"
    return [Problem("base_model", text)]


def predictions(scores: Iterable[Iterable[float]], label_names: Sequence[str]) -> list[Prediction]:
    """(N, C) probabilities in the order of the label names, as one prediction per row."""
    rows = [dict(zip(label_names, (float(score) for score in row), strict=True)) for row in scores]
    return [Prediction(max(row, key=row.__getitem__), row) for row in rows]


LANGUAGE_KEYS = (
    "train.language",
    "evaluate.generation",
    "evaluate.json_schema",
    "serve.generation",
    "serve.rival",
)
"""Keys of the recipe that change nothing but where answers are written."""

TASKS: Mapping[str, str] = {
    "text-classification": "hub_trainer.tasks.text_classification",
    "image-classification": "hub_trainer.tasks.image_classification",
    "tabular-classification": "hub_trainer.tasks.tabular_classification",
    "text-generation": "hub_trainer.tasks.text_generation",
}
"""Pipeline tag -> module that holds its `TASK`."""


@dataclass(frozen=True)
class Outline:
    """What is known of a task without its libraries, so that `check` need not import them."""

    modality: Literal["text", "image", "table"]
    columns: Mapping[str, Kind]
    takes_adapters: bool
    """Whether a base model may be an adapter of another; of tasks that write, it may."""
    auto_class: str | None

    @property
    def writes(self) -> bool:
        """Whether its answers are texts; its rows are language data then."""
        return "example" in self.columns


OUTLINES: Mapping[str, Outline] = {
    "text-classification": Outline(
        "text", {"text": "text", "label": "label"}, False, "AutoModelForSequenceClassification"
    ),
    "image-classification": Outline(
        "image", {"image": "image", "label": "label"}, False, "AutoModelForImageClassification"
    ),
    "tabular-classification": Outline("table", {"label": "label"}, False, None),
    "text-generation": Outline("text", {"example": "example"}, True, "AutoModelForCausalLM"),
}
"""The outline of every task, as it gives it itself once it is loaded."""


def outline(name: str) -> Outline:
    """The outline of a task by its name."""
    return OUTLINES[name] if name in OUTLINES else outline_of(load_task(name))


def outline_of(task: "Task") -> Outline:
    """What a loaded task says of itself."""
    auto_class = task.card().auto_class
    return Outline(task.modality, dict(task.columns), is_generation(task), auto_class)


@cache
def load_task(name: str) -> Task:
    """The task of a pipeline tag; only then are its libraries imported."""
    if name not in TASKS:
        message = f"task: {name!r} is not a task. Known: {', '.join(TASKS)}."
        raise RecipeError([Problem("task", message)], source="recipe")
    task: Task = import_module(TASKS[name]).TASK
    return task


def _offered(names: frozenset[str]) -> str:
    return f"it offers {', '.join(sorted(names))}" if names else "it offers none"
