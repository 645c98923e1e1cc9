"""Audio: the bytes of one encoded sound per row, in the column `audio`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hub_trainer.errors import DataError
from hub_trainer.inputs import (
    Column,
    Input,
    PlainFeatures,
    Row,
    SignsOf,
    Values,
)
from hub_trainer.inputs.media import MEDIA
from hub_trainer.inputs.sound_features import CEPSTRA, WHOLE, power_spectra, signs, summary
from hub_trainer.sounds import as_wav, inspect, open_sound, resampled, sound_problem

MAX_SOUNDS = 1_500
"""Rows of each side whose figures are compared."""
FIGURES_WINDOW = 1_024
HEARD = 0.99
"""Share of the power that lies below a sound's bandwidth."""
MIN_SPREAD = 0.1
"""Standard deviation under which a feature is not scaled up any more."""


class _Audio:
    """A sound; `sounds` decodes it wherever its samples are looked at."""

    name = "audio"
    identity = "audio"
    dialogue = None
    noun = "a sound"
    plural = "sounds"
    is_tokenized = False
    medium = MEDIA["audio"]
    rated_column = "audio"
    rated_type: pa.DataType = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rated_feature: Mapping[str, Any] = {"decode": False, "_type": "Audio"}
    near = "hub_trainer.inputs.near_sounds"
    altered = "hub_trainer.inputs.altered_sounds"
    repeats_by_chance = False
    has_features = False
    has_formats = False
    signs_are_rare = True

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        kind = column.values.type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            do = "Use an Audio column, or one with the bytes of the encoded files."
            raise DataError("The column holds no sounds.", where=where, got=str(kind), do=do)
        return column.values.cast(pa.large_binary())

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        return sound_problem(value)

    # --- identity

    def content(self, row: Row) -> bytes:
        content: bytes = row["audio"]
        return content

    def compared(self, row: Row) -> bytes:
        return self.content(row)

    # --- measures

    def clean(self, row: Row) -> dict[str, Any]:
        return dict(row)

    def sizes(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        facts = [inspect(row["audio"]) for row in rows]
        return {
            "seconds": [one.seconds for one in facts],
            "sampling_rate": [one.rate for one in facts],
            "bytes": [len(row["audio"]) for row in rows],
        }

    def told(self, row: Row) -> dict[str, str]:
        """Its number and length, as no words play a sound."""
        seconds = inspect(row["audio"]).seconds
        return {"audio": f"row {str(row['_row_id'])[:12]}, {seconds:.2f} seconds"}

    def plain_features(self, known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures:
        ours, theirs = self.features(known, asked, is_linear=True)
        told = f"the mean and the spread of {CEPSTRA} cepstra, and the length"
        return PlainFeatures(told, ours[:, :WHOLE], theirs[:, :WHOLE], strength=1.0)

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf:
        return _signs

    def columns(self, new: Sequence[Row], base: Sequence[Row]) -> tuple[Values, Values]:
        return _figures(new[:MAX_SOUNDS]), _figures(base[:MAX_SOUNDS])

    def features(
        self, base: Sequence[Row], new: Sequence[Row], *, is_linear: bool
    ) -> tuple[Any, Any]:
        """Summaries in units of their spread in the dataset."""
        known, asked = _summaries(base), _summaries(new)
        middle, spread = known.mean(axis=0), np.maximum(known.std(axis=0), MIN_SPREAD)
        return (known - middle) / spread, (asked - middle) / spread

    def judge(self) -> Any:
        """Logistic regression, held back a little: a summary has some hundred numbers."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=0.1, max_iter=500)

    # --- people

    def for_pipeline(self, row: Row, *, sampling_rate: int | None = None) -> dict[str, Any]:
        samples, rate = open_sound(row["audio"])
        wanted = sampling_rate or rate
        return {"raw": resampled(samples, rate, wanted), "sampling_rate": wanted}

    def for_people(self, row: Row) -> dict[str, Any]:
        """The sound, without what else its file says."""
        return {"audio": as_wav(row["audio"])}

    def length(self, row: Row) -> int:
        return 0

    def rated_cell(self, row: Row) -> dict[str, Any]:
        return {"bytes": row["audio"], "path": None}

    def rated_row(self, cell: Any) -> dict[str, Any] | None:
        return None if cell["bytes"] is None else {"audio": cell["bytes"]}


def _signs(row: Row) -> Any:
    return signs(row["audio"])


def _figures(rows: Sequence[Row]) -> Values:
    found = [_figures_of(row["audio"]) for row in rows]
    return {name: [one[name] for one in found] for name in found[0]}


def _figures_of(content: bytes) -> dict[str, Any]:
    """Length, rate, level and bandwidth of a sound, and how much of it is near silence."""
    samples, rate = open_sound(content)
    power = power_spectra(samples, FIGURES_WINDOW, FIGURES_WINDOW // 2)
    pitches = np.linspace(0, rate / 2, power.shape[1])
    below = np.cumsum(power.sum(axis=0))
    loudness = power.sum(axis=1)
    return {
        "sampling rate": f"{rate:,} Hz",
        "seconds": len(samples) / rate,
        "loudness": float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-12)),
        "bandwidth": float(pitches[np.searchsorted(below, HEARD * below[-1])]),
        "silence": float(np.mean(loudness < 1e-4 * loudness.max())),
    }


def _summaries(rows: Sequence[Row]) -> NDArray[np.float64]:
    """(rows, D)"""
    return np.stack([_summary(row["audio"]) for row in rows])


@lru_cache(maxsize=8_192)
def _summary(content: bytes) -> NDArray[np.float64]:
    return summary(content)


INPUT: Input = _Audio()
