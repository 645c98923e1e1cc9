"""Inputs: what a model can be shown, one file each; stages ask an input and never which it is.

A task is an input, an answer and a way to fit; its `modality` is the name of its input. Adding one
is a file here and a row of `INPUTS`.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]

INPUTS: Mapping[str, str] = {
    "text": "hub_trainer.inputs.text",
    "image": "hub_trainer.inputs.image",
    "table": "hub_trainer.inputs.table",
}
"""Name of an input -> module that holds its `INPUT`."""


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


class Input(Identified, Protocol):
    """One kind of input, as all of the house sees it."""


@cache
def load_input(name: str) -> Input:
    """The input of a name."""
    found: Input = import_module(INPUTS[name]).INPUT
    return found
