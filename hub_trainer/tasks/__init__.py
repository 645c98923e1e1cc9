"""The tasks: what a row, an example, a model and a prediction are for each pipeline tag."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.errors import Problem, RecipeError, RowRefused
from hub_trainer.metrics.positive import POSITIVE_METRICS
from hub_trainer.metrics.probabilities import NEVER_PRIMARY
from hub_trainer.recipe import GenerationSection, Recipe
from hub_trainer.recipe.arguments import nearest
from hub_trainer.recipe.columns import COLUMN_OF, OPTIONAL_INPUTS
from hub_trainer.recipe.method_table import METHODS
from hub_trainer.recipe.task_table import TASKS as TASKS
from hub_trainer.recipe.task_table import task_fault
from hub_trainer.reports import FitReport
from hub_trainer.tasks.outlines import (
    OUTLINES,
    Kind,
    Outline,
    answer_of,
    beside_of,
    not_learned,
    pairs_alone,
)

if TYPE_CHECKING:
    from hub_trainer.finetune.reloading import AsUsers, Promised

Row = Mapping[str, Any]
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Splits:
    """The examples of a round as lists of rows, and the names in the model's order."""

    train: Sequence[Row]
    validation: Sequence[Row]
    label_names: Sequence[str]


@dataclass(frozen=True)
class BasePredictions:
    """The base model as a baseline: how it was made to answer, and one prediction per row."""

    description: str
    predictions: Sequence[Prediction]


NOT_QUANTISED: Mapping[str, str] = {
    "qlora": "only weights of a language model are loaded in few bits",
}
NO_HEAD: Mapping[str, str] = {
    "head": "a language model ends in what belongs to its base, and gets no head",
}
NO_BASE: Mapping[str, str] = {
    name: "an estimator is fitted from the start, without a base model"
    for name, method in METHODS.items()
    if method.divides
}
"""Methods that a task does not offer, and why."""


def offered_beside(unfit: Mapping[str, str]) -> frozenset[str]:
    """The methods that are left."""
    return frozenset(METHODS).difference(unfit)


@dataclass(frozen=True)
class Widgets:
    """The task's inputs in the Space, as names of Gradio components and arguments.

    `inputs` is a list of (component name, keyword arguments); `to_row` turns the values of the
    inputs into a row, and raises DataError when they cannot be one.
    """

    inputs: Sequence[tuple[str, dict[str, Any]]]
    to_row: Callable[[Sequence[Any]], dict[str, Any]]
    unread: Callable[[Path, Row], list[str]] | None = None
    """What of a row the model in a folder does not read, in sentences for the visitor."""
    columns: Sequence[str] = ()
    """The canonical column that each input fills, where several have to be told apart."""

    def labelled(self, names: Mapping[str, str]) -> "Widgets":
        """The same with what the dataset calls those columns as their labels."""
        labels = [names.get(column) for column in self.columns] or [None] * len(self.inputs)
        inputs = [
            (component, {**options, "label": label} if label else options)
            for (component, options), label in zip(self.inputs, labels, strict=True)
        ]
        return replace(self, inputs=inputs)


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
    learns_in_own_dtype: bool = False
    """Whether frozen weights are held in the processor's dtype while a model learns."""
    draw_rows: Callable[[Mapping[str, Sequence[Row]]], bytes] | None = None
    """Draws a few rows of each label as a PNG; None for rows that are nothing to look at."""


@dataclass(frozen=True)
class ModelFolders:
    """A model as it is published, and the base that it needs beside it when it is an adapter."""

    model: Path
    base: Path | None = None


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
class Asked:
    """What is wanted of a model for some rows, where a prediction is more than its answer."""

    sampling: GenerationSection = GenerationSection()
    """How it writes."""
    seed: int = 0
    answered: Sequence[int] | None = None
    """Places of the rows to be answered; None is all."""
    weighed: Sequence[int] = ()
    """Places of the rows whose own answer's likelihood is wanted."""
    paired: Sequence[int] = ()
    """Places of the rows of two answers, of which it is wanted how likely both are."""
    chat_template: str | None = None
    """How a model is given dialogues that has no template of its own."""


PLAIN = Asked()


class Converses(Protocol):
    """What a task has besides whose model people talk with; its rows are those of `rows.examples`.

    `base` holds small files of the base model, no weights.
    """

    def preview(self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders) -> Preview:
        """These training rows as the base model would read them.

        Raises DataError or TrainingError for rows that could teach it nothing.
        """
        ...

    def refusals(
        self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders
    ) -> Sequence[RowRefused | None]:
        """Per row why the base model cannot be given it."""
        ...

    def unwritten(
        self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders
    ) -> Mapping[str, int]:
        """Keys of turns that the base model is never shown -> turns that have them, most first."""
        ...

    def stream(
        self, folders: ModelFolders, row: Row, sampling: GenerationSection, *, seed: int
    ) -> Generator[str, None, bool]:
        """Pieces of the answer to a row's prompt as they come; joined, the text of `predict`.

        Returns whether the answer came to its own end.
        """
        ...

    def prompt_row(self, folders: ModelFolders, turns: Sequence[Mapping[str, str]]) -> Row:
        """The row whose prompt is a dialogue of {"role", "content"} turns, the last a person's.

        Raises DataError for an empty prompt, or one that leaves no room for an answer. A model
        without a chat template is asked the last turn as plain text.
        """
        ...


@dataclass(frozen=True)
class TokenCounts:
    """How long rows are to a model."""

    counts: Sequence[int]
    """Tokens of each row as training would read it; of several answers, with the longest."""
    longest: int | None
    """Tokens that training takes of a row; None when nothing says."""


class CountsTokens(Protocol):
    """What a task has besides whose rows may be longer than its model reads.

    `base` holds small files of the base model, no weights.
    """

    def token_counts(self, rows: Sequence[Row], recipe: Recipe, base: ModelFolders) -> TokenCounts:
        """Of rows that the base model can be given."""
        ...


class Task(Protocol):
    """One pipeline tag. Rows are canonical: the columns below, labels as names, files as bytes."""

    @property
    def name(self) -> str:
        """The pipeline tag."""
        ...

    @property
    def modality(self) -> str:
        """The name of its input, one of `INPUTS`."""
        ...

    @property
    def answer(self) -> Answer:
        """What it predicts, one of `ANSWERS`."""
        ...

    @property
    def converses(self) -> Converses | None:
        """What it has besides where people talk with its model; None where they fill in a form."""
        ...

    @property
    def counts_tokens(self) -> CountsTokens | None:
        """What it has besides where `prepare.too_long` changes something; None elsewhere."""
        ...

    @property
    def columns(self) -> Mapping[str, Kind]:
        """Columns that a dataset must have; a tabular task has further columns of kind feature.

        Canonical rows have the same, but that words become the column `text`.
        """
        ...

    @property
    def unfit(self) -> Mapping[str, str]:
        """Values of `train.method` that it does not offer, and why; it offers all others."""
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

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; `base` holds small files, no weights."""
        ...

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base: ModelFolders | None,
        progress: Progress,
    ) -> FitReport:
        """Fine-tune; `out_dir/model` then holds what `predict` loads, and nothing else.

        An adapter is left without its base's name.
        """
        ...

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> Any:
        """The rows as `fit` gives them to the engine, a `FitData`, for a dry run of a few steps.

        None where they are not given to it row by row.
        """
        ...

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """One prediction per row, whatever the others are, from folders in the published shape."""
        ...

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions | None:
        """What can be said without this round's training, by the base model if there is one.

        None for a base that cannot answer at all before it has learned to.
        """
        ...

    def as_users(
        self, folders: ModelFolders, rows: Sequence[Row], promised: "Promised"
    ) -> "AsUsers":
        """What users get of a published folder without us: the proof that it loads.

        Raises ReloadFailure naming the step that failed.
        """
        ...

    def widgets(self, examples: Sequence[Row]) -> Widgets | None:
        """What a person fills in, in the Space; None where they talk with the model."""
        ...

    def card(self) -> ModelCard:
        """What the model's card says of how to use it, and what the published folder is."""
        ...


def rated_example(task: Task, row: Row, value: Any) -> dict[str, Any] | None:
    """The example that a rated row becomes with its agreed answer; None when it is of no use."""
    example = {name: cell for name, cell in row.items() if not name.startswith("_")}
    example[task.answer.column] = value
    return None if task.problems(example) else example


def as_users_by_pipeline(
    task: Task, folders: ModelFolders, rows: Sequence[Row], promised: "Promised"
) -> "AsUsers":
    """As `Task.as_users`, of a model of transformers that a pipeline is made of."""
    from hub_trainer.finetune.reloading import PipelineModel, by_pipeline

    card = task.card()
    made = PipelineModel(
        task=task.name,
        answer=task.answer.name,
        modality=task.modality,
        auto_class=str(card.auto_class),
        has_tokenizer=any(name.startswith("tokenizer") for name in card.files),
    )
    return by_pipeline(made, folders.model, rows, promised)


def constant_answer(task: Task, splits: Splits, rows: Sequence[Row]) -> BasePredictions:
    """The baseline where there is no base model: what is commonest in training, for every row."""
    answer = task.answer
    values = [row[answer.column] for row in splits.train]
    counts = answer.counts(values)
    names = splits.label_names
    told, constant = answer.constant(values, "")
    shares = {name: counts.get(name, 0) / max(len(values), 1) for name in names}
    found = [Prediction(constant.value, shares)] * len(rows)
    return BasePredictions(told.replace("test rows", "training rows"), found)


def offer_problems(task: Task, recipe: Recipe) -> list[Problem]:
    """Names in the recipe that the task does not offer, and settings that do not suit it."""
    wanted: dict[str, tuple[Sequence[str], frozenset[str]]] = {
        "train.method": ([recipe.train.method], offered_beside(task.unfit)),
        "prepare.augment": (recipe.prepare.augment, task.augmentations),
        "evaluate.metrics": (recipe.evaluate.metrics, task.metrics),
    }
    found = [
        Problem(
            key,
            f"{key}: {task.name} does not offer {name!r}{_why(task, key, name)}; "
            f"{_offered(offered)}.{nearest(name, offered)}",
        )
        for key, (names, offered) in wanted.items()
        for name in names
        if name not in offered
    ]
    if "transcript" not in task.columns.values():
        found += unused_problems(task, recipe, SPEECH_KEYS)
    return found + _metric_problems(recipe, task.answer.positive_metrics)


def _why(task: Task, key: str, name: str) -> str:
    return f", as {task.unfit[name]}" if key == "train.method" and name in task.unfit else ""


def _metric_problems(recipe: Recipe, positive_metrics: frozenset[str]) -> list[Problem]:
    """What `evaluate` lacks for its metrics, or has in vain; some are of one label."""
    metrics, primary = recipe.evaluate.metrics, recipe.evaluate.primary
    key, found = "evaluate.positive", []
    of_one = sorted(positive_metrics.intersection(metrics))
    if recipe.evaluate.positive is None:
        asking = [name for name in of_one if name in POSITIVE_METRICS]
        if asking:
            text = f"{key}: {' and '.join(asking)} are" if asking[1:] else f"{key}: {asking[0]} is"
            text += " of the label that is looked for; name it here, as the disease and not its"
            found.append(Problem(key, f"{text} absence"))
    elif not of_one and recipe.evaluate.threshold is None:
        names = ", ".join(sorted(positive_metrics))
        why = f"only {names} go by it" if names else f"no metric of {recipe.task} goes by it"
        found.append(Problem(key, f"{key}: changes nothing, {why}; remove it"))
    found += _threshold_problems(recipe, positive_metrics)
    if primary in NEVER_PRIMARY:
        text = f"evaluate.primary: by {primary} no model can be chosen, as one that says the same "
        text += "of every row may have none; take another, and leave it among the metrics"
        found.append(Problem("evaluate.primary", text))
    return found


def _threshold_problems(recipe: Recipe, positive_metrics: frozenset[str]) -> list[Problem]:
    """What a threshold lacks: an answer that is one label, and which of them is looked for."""
    key = "evaluate.threshold"
    if recipe.evaluate.threshold is None:
        return []
    if not positive_metrics:
        text = f"{key}: the answer of {recipe.task} here is not one label, so that none is decided "
        return [Problem(key, f"{text}by a threshold; remove it")]
    if recipe.evaluate.positive is None:
        text = f"{key}: is of the label that is looked for; name it too: evaluate.positive"
        return [Problem(key, text)]
    return []


def unused_problems(task: Task, recipe: Recipe, keys: Sequence[str]) -> list[Problem]:
    """A problem for each of these keys that is set: in this task it changes nothing."""
    problems = []
    for key in keys:
        value: Any = recipe
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
        if value not in (None, {}, [], False):
            text = f"{key}: changes nothing in {task.name}; remove it"
            problems.append(Problem(key, text))
    return problems


def base_model_problems(task: Task, recipe: Recipe) -> list[Problem]:
    """A problem when the method starts from a base model and none is named."""
    if recipe.base_model is not None:
        return []
    text = f"base_model: method {recipe.train.method} of {task.name} needs one"
    return [Problem("base_model", text)]


LANGUAGE_KEYS = (
    "train.language",
    "evaluate.generation",
    "evaluate.json_schema",
    "serve.generation",
    "serve.rival",
)
"""Keys of the recipe that change nothing but where answers are written."""
ESTIMATOR_KEYS = ("train.estimator", "train.estimator_arguments", "train.fuse.estimators")
"""Keys that change nothing but where an estimator of scikit-learn is fitted."""
TORCH_KEYS = ("train.layer_decay", "train.l1", "train.loss", "train.dropout", "train.mixup")
"""Keys that change nothing but in the training of a torch model with a head."""
SPEECH_KEYS = ("train.speech",)
"""Keys of the recipe that change nothing but where speech is written down."""


def outline(name: str, answer: str | None = None, beside: Sequence[str] = ()) -> Outline:
    """The outline of a task by its name, with one of its answers or the usual one.

    `beside` are the optional columns that its rows have. Raises RecipeError for a task, or an
    answer of it, that there is none of.
    """
    fault = task_fault(name, TASKS)
    if fault is not None:
        raise RecipeError([Problem("task", fault)], source="recipe")
    if name not in OUTLINES:
        return outline_of(load_task(name))
    sketch = OUTLINES[name]
    if answer is not None and answer not in sketch.answers:
        raise RecipeError([Problem("collect.datasets", not_learned(name, answer))], source="recipe")
    columns: dict[str, Kind] = dict(sketch.inputs)
    columns |= {column: OPTIONAL_INPUTS[column] for column in beside}  # type: ignore[misc]
    chosen = answer or sketch.answers[0]
    columns[COLUMN_OF[chosen]] = chosen  # type: ignore[assignment]
    return Outline(sketch.modality, columns, sketch.takes_adapters, sketch.auto_class)


def outline_of(task: "Task") -> Outline:
    """What a loaded task says of itself."""
    card = task.card()
    takes_adapters = card.adapter_usage is not None
    return Outline(task.modality, dict(task.columns), takes_adapters, card.auto_class)


def task_of(recipe: Recipe) -> Task:
    """The task of a recipe, with the answer and the inputs that its columns name."""
    positive = recipe.evaluate.positive
    task = load_task(recipe.task, answer_of(recipe), positive, beside=beside_of(recipe))
    if not pairs_alone(recipe):
        return task
    return replace(task, answer=replace(task.answer, may_be_alike=True))  # type: ignore[type-var]


def outline_for(recipe: Recipe) -> Outline:
    """The outline of a recipe's task, with the answer and the inputs that its columns name."""
    return outline(recipe.task, answer_of(recipe), beside_of(recipe))


@cache
def load_task(
    name: str,
    answer: str | None = None,
    positive: str | None = None,
    *,
    beside: tuple[str, ...] = (),
) -> Task:
    """The task of a pipeline tag; only then are its libraries imported.

    `answer` is one of those it can learn, by its name; None is the usual one. `positive` is the
    label that metrics look for. `beside` are the optional columns that its rows have.
    """
    if name not in TASKS or name in OUTLINES:
        outline(name, answer)
    task: Task = import_module(TASKS[name]).TASK
    if name not in OUTLINES:
        return task
    wanted = load_answer(answer or OUTLINES[name].answers[0], positive)
    chosen = {"beside": beside} if beside else {}
    if not beside and (task.name, task.answer) == (name, wanted):
        return task
    return replace(task, name=name, answer=wanted, **chosen)  # type: ignore[type-var]


def _offered(names: frozenset[str]) -> str:
    return f"it offers {', '.join(sorted(names))}" if names else "it offers none"
