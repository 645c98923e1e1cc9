"""Inputs: what a model can be shown, one file each; stages ask an input and never which it is.

A task is an input, an answer and a way to fit; its `modality` is the name of its input. Adding one
is a file here and a row of `INPUTS`.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from hub_trainer.inputs.media import Medium
from hub_trainer.inputs.perturbed import Perturbation

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Row = Mapping[str, Any]
Values = Mapping[str, Sequence[Any]]
SignsOf = Callable[[Row], Iterable[tuple[str, Hashable]]]
"""The signs in a row: what each is, and what it says."""

INPUTS: Mapping[str, str] = {
    "text": "hub_trainer.inputs.text",
    "image": "hub_trainer.inputs.image",
    "table": "hub_trainer.inputs.table",
    "audio": "hub_trainer.inputs.audio",
    "prompt": "hub_trainer.inputs.prompt",
}
"""Name of an input -> module that holds its `INPUT`."""


@dataclass(frozen=True)
class Column:
    """A dataset's column as it was read."""

    values: "pa.ChunkedArray"
    class_names: Sequence[str] | None = None
    """Names of the numbers, of a column of classes."""
    written: "pa.ChunkedArray | None" = None
    """The texts of a file without types, such as CSV, where the values are more than those."""
    gap_words: frozenset[str] = frozenset()
    """Words that stand for a gap, in a file without types."""
    words: Sequence[Sequence[Any] | None] | None = None
    """The words that the values are about, where the task's rows are made of words."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of how the column was read; `read` adds to it."""


@dataclass(frozen=True)
class Measure:
    """How a figure of a row is told to people."""

    unit: str = ""
    """What follows a figure; none where only the dataset's owner knows it."""
    is_writing: bool = False
    """Whether it differs from one honest writer to the next."""
    is_log: bool = False
    """Whether it is a mean log probability: told is how many times rarer one is than another."""

    def told(self, *values: float) -> str:
        """A figure, or from which to which, with the unit."""
        figures = " to ".join(
            f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}" for value in values
        )
        return f"{figures} {self.unit}".rstrip()


@dataclass(frozen=True)
class PlainFeatures:
    """Rows as (rows, D) plain numbers, for the linear model that a first model must beat."""

    told: str
    """What they are, in words."""
    known: Any
    """Those of training rows."""
    asked: Any
    strength: float
    """1 / L2 of the linear model."""


class Near(Protocol):
    """A module: contents that are equal once normalised, or similar from the threshold on."""

    def normal(self, content: Any, /) -> bytes:
        """The same for contents that are equal once normalised."""

    def within(self, contents: Sequence[Any], near: float, /) -> list[tuple[int, int, float]]:
        """(place, leader, similarity) of each that is near an earlier one that leads a group."""

    def between(
        self, contents: Sequence[Any], references: Sequence[Any], near: float, /
    ) -> list[tuple[int, int, float]]:
        """(place, most similar reference, similarity) of each that is near a reference."""


class References(Protocol):
    """References of altered copies, by their contents."""

    own: "np.ndarray"
    """Distance of each from the nearest other one."""

    def nearest(self, contents: Sequence[Any]) -> tuple["np.ndarray", "np.ndarray"]:
        """Per content the nearest reference, and its distance."""


class Altered(Protocol):
    """A module: copies that somebody may have disguised."""

    REACH: float
    """How far away a copy may be at the usual `near`."""

    def References(self, contents: Sequence[Any], /) -> References:  # noqa: N802 - a class there
        """References, made ready to be compared with many."""


class Dialogue(Protocol):
    """What is asked in rows that hold answers too, and what is answered."""

    def asked(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that ask for something; a text without a prompt does not."""

    def questions(self, rows: Sequence[Row]) -> list[Row]:
        """The rows as what they ask alone; one that asks for nothing stays whole."""

    def parts(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """Rows that ask, as their questions alone and as their answers alone."""

    def answers(self, rows: Sequence[Row]) -> list[str]:
        """What each row says after its question."""

    def crossed(self, asking: Row, answering: Row) -> Row:
        """One row's question with another's first answer, for a task to weigh the answer."""

    def both_ways(self, row: Row) -> tuple[Row, Row] | None:
        """A preference and its contrary, to be compared with others; None where none is told."""


class Identified(Protocol):
    """What collect, prepare, curate and review ask to tell rows apart."""

    name: str
    identity: str
    """What is hashed beside a row's content into its id: rows of inputs that share it are one row
    where their contents are equal."""
    near: str
    """Dotted name of its `Near`; by name, as its libraries are none that a Space needs."""
    altered: str
    """Dotted name of its `Altered`."""
    repeats_by_chance: bool
    """Whether honest rows may be equal, so that similar ones are no repeats."""

    @property
    def dialogue(self) -> Dialogue | None:
        """What of a row is question and what is answer; None where rows hold only what is shown."""

    def content(self, row: Row) -> bytes:
        """What a model sees of a row, as bytes: the row's identity."""

    def compared(self, row: Row) -> Any:
        """What `near` and `altered` compare of a row."""


class OfRows(Protocol):
    """What collect, contribute and review ask of a dataset's columns."""

    has_features: bool
    """Whether all of the dataset's columns are shown but the answer's."""
    has_formats: bool
    """Whether a dataset's rows are read as a whole, in whichever format its columns tell."""

    def read(self, column: Column, where: str) -> "pa.ChunkedArray":
        """Canonical values; null for a gap. Raises DataError for a column that cannot hold any."""

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        """Why a value cannot be used; None for a good one."""


class Measured(Protocol):
    """What prepare and evaluate ask."""

    @property
    def perturbation(self) -> Perturbation | None:
        """How the sealed rows are read once more; None where nothing is known to go wrong."""

    def clean(self, row: Row) -> dict[str, Any]:
        """The row with its texts made alike."""

    def sizes(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        """Measures of the rows whose spread is worth telling."""

    def told(self, row: Row) -> dict[str, str]:
        """A row in words, by what they are of it."""

    def plain_features(self, known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures | None:
        """Both by what `known` holds; None where that gives nothing to learn from."""


class Reviewed(Protocol):
    """What review asks of new rows and the dataset's."""

    signs_are_rare: bool
    """Whether most signs are seen a few times only, and then by chance in new rows alone."""

    measures: Mapping[str, Measure]
    """What is known of the figures in `columns`, by name."""

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf | None:
        """What says the signs in a row, which may be triggers; None where those are patches."""

    def columns(self, new: Sequence[Row], base: Sequence[Row]) -> tuple[Values, Values]:
        """What of both may lie elsewhere, by name: numbers or categories."""

    def features(
        self, base: Sequence[Row], new: Sequence[Row], *, is_linear: bool
    ) -> tuple[Any, Any]:
        """Both as (rows, D) for `judge`, or for a linear model, by what `base` holds."""

    def judge(self) -> Any:
        """An unfitted classifier of scikit-learn: a cheap probe of labels."""


class Shown(Protocol):
    """What publish, serve, the Space and curate ask."""

    noun: str
    """What one is called: `a text`."""
    plural: str

    @property
    def medium(self) -> Medium | None:
        """The kind of file that a cell is, which only parquet holds; None for values."""

    def for_pipeline(self, row: Row, *, sampling_rate: int | None = None) -> Any:
        """What a pipeline of transformers is given of a row.

        `sampling_rate` is that of a model that hears, as it resamples only with torchaudio.
        """

    def for_people(self, row: Row) -> dict[str, Any]:
        """A row without its answer, as a Space may show it."""

    def length(self, row: Row) -> int:
        """Characters that a visitor has to read before an answer; 0 where none are counted."""


class Rated(Protocol):
    """What shards of ratings ask."""

    rated_column: str
    """The column of what was rated, by which a shard is known."""
    rated_type: "pa.DataType"
    rated_feature: Mapping[str, Any]
    """What `datasets` reads that column as."""

    def rated_cell(self, row: Row) -> Any:
        """A rated row as that column's value."""

    def rated_row(self, cell: Any) -> dict[str, Any] | None:
        """The row from that value; None where that holds none."""


class Input(Identified, OfRows, Measured, Reviewed, Shown, Rated, Protocol):
    """One kind of input, as all of the house sees it."""


@cache
def load_input(name: str) -> Input:
    """The input of a name."""
    found: Input = import_module(INPUTS[name]).INPUT
    return found
