"""Inputs: what a model can be shown, one file each; stages ask an input and never which it is.

A task is an input, an answer and a way to fit; its `modality` is the name of its input. Adding one
is a file here and a row of `INPUTS`.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

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


class Near(Protocol):
    """Contents that are similar as they are, from the threshold `near` on."""

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
    """Copies that somebody may have disguised."""

    REACH: float
    """How far away a copy may be at the usual `near`."""

    def References(self, contents: Sequence[Any], /) -> References:  # noqa: N802 - a class there
        """References, made ready to be compared with many."""


class Identified(Protocol):
    """What collect, prepare, curate and review ask to tell rows apart."""

    name: str
    near: Near
    altered: Altered
    repeats_by_chance: bool
    """Whether honest rows may be equal, so that similar ones are no repeats."""

    def content(self, row: Row) -> bytes:
        """What a model sees of a row, as bytes: the row's identity."""

    def normal(self, row: Row) -> bytes:
        """As `content`, the same for contents that are equal once normalised."""

    def compared(self, row: Row) -> Any:
        """What `near` and `altered` compare of a row."""


class OfRows(Protocol):
    """What collect, contribute and review ask of a dataset's columns."""

    has_features: bool
    """Whether all of the dataset's columns are shown but the answer's."""

    def read(self, column: Column, where: str) -> "pa.ChunkedArray":
        """Canonical values; null for a gap. Raises DataError for a column that cannot hold any."""

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        """Why a value cannot be used; None for a good one."""


class Reviewed(Protocol):
    """What review asks of new rows and the dataset's."""

    signs_are_rare: bool
    """Whether most signs are seen a few times only, and then by chance in new rows alone."""

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf | None:
        """What says the signs in a row, which may be triggers; None where those are patches."""

    def columns(
        self, new: Sequence[Row], base: Sequence[Row], *, language: bool
    ) -> tuple[Values, Values]:
        """What of both may lie elsewhere, by name: numbers or categories.

        `language`: the texts are prompts with answers.
        """

    def features(self, base: Sequence[Row], new: Sequence[Row]) -> tuple[Any, Any]:
        """Both for `judge`, as (rows, D) by what `base` holds."""

    def judge(self) -> Any:
        """An unfitted classifier of scikit-learn: a cheap probe of labels."""

    def linear_features(self, base: Sequence[Row], new: Sequence[Row]) -> tuple[Any, Any]:
        """As `features`, all finite, for a linear model."""


class Input(Identified, OfRows, Reviewed, Protocol):
    """One kind of input, as all of the house sees it."""


@cache
def load_input(name: str) -> Input:
    """The input of a name."""
    found: Input = import_module(INPUTS[name]).INPUT
    return found
