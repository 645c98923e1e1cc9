"""Audio: the bytes of one encoded sound per row, in the column `audio`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.inputs import (
    Input,
    Measure,
    PlainFeatures,
    Row,
    SignsOf,
)
from hub_trainer.inputs.encoded import EncodedFile
from hub_trainer.inputs.media import MEDIA
from hub_trainer.inputs.perturbed import TELEPHONE, Perturbation
from hub_trainer.inputs.sound_features import CEPSTRA, WHOLE, power_spectra, signs, summary
from hub_trainer.sounds import inspect, open_sound, resampled, sound_problem

FIGURES_WINDOW = 1_024
HEARD = 0.99
"""Share of the power that lies below a sound's bandwidth."""
MIN_SPREAD = 0.1
"""Standard deviation under which a feature is not scaled up any more."""


class _Audio(EncodedFile):
    """A sound; `sounds` decodes it wherever its samples are looked at."""

    rated_feature: Mapping[str, Any] = {"decode": False, "_type": "Audio"}
    measures: Mapping[str, Measure] = {
        "length": Measure("seconds"),
        "loudness": Measure("decibels, of which 0 is as loud as a file can be"),
        "highest pitch": Measure("hertz"),
        "silence": Measure("% of the sound"),
    }
    perturbation: Perturbation | None = TELEPHONE
    near = "hub_trainer.inputs.near_sounds"
    altered = "hub_trainer.inputs.altered_sounds"

    # --- columns

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        return sound_problem(value)

    # --- measures

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


def _signs(row: Row) -> Any:
    return signs(row["audio"])


def _figures(content: bytes) -> dict[str, Any]:
    """Length, rate, level and bandwidth of a sound, and how much of it is near silence."""
    samples, rate = open_sound(content)
    power = power_spectra(samples, FIGURES_WINDOW, FIGURES_WINDOW // 2)
    pitches = np.linspace(0, rate / 2, power.shape[1])
    below = np.cumsum(power.sum(axis=0))
    loudness = power.sum(axis=1)
    return {
        "sampling rate": f"{rate:,} Hz",
        "length": len(samples) / rate,
        "loudness": float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-12)),
        "highest pitch": float(pitches[np.searchsorted(below, HEARD * below[-1])]),
        "silence": float(100 * np.mean(loudness < 1e-4 * loudness.max())),
    }


def _summaries(rows: Sequence[Row]) -> NDArray[np.float64]:
    """(rows, D)"""
    return np.stack([_summary(row["audio"]) for row in rows])


@lru_cache(maxsize=8_192)
def _summary(content: bytes) -> NDArray[np.float64]:
    return summary(content)


INPUT: Input = _Audio(MEDIA["audio"], _figures)
