"""Sounds as plain numbers: spectra in bands that widen with pitch as hearing does, and cepstra.

All is measured at one low rate and relative to the sound's own loudest part, so that neither the
file's rate nor its level tells.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hub_trainer.sounds import decode

FloatArray = NDArray[np.float64]

RATE = 8_000
"""Frames per second at which sounds are compared: what a telephone carries."""
WINDOW, HOP = 256, 128
"""Frames of one spectrum, and between two: 32 and 16 ms."""
BANDS = 26
LOWEST, HIGHEST = 60.0, 3_900.0
"""Hz of the bands."""
DEPTH = 8.0
"""Powers of ten below the loudest part that count: 80 dB."""
CEPSTRA = 16
WHOLE = 2 * CEPSTRA + 1
"""Numbers of a summary that are of the whole sound; then come those of its parts."""
PARTS = 3
"""Parts of a sound whose means tell in which order it sounds."""

LINE_WINDOW, LINE_HOP = 512, 256
LINE_STEP = 62.5
"""Hz within which two tones are one."""
LINE_DB, LINE_SPECTRA = 25.0, 4
"""How far a tone stands out of what is around it, and for how many spectra on end."""
LINE_AROUND = 16
"""Bins on either side that are around a tone."""
EDGE_SPECTRA, EDGE_BANDS, EDGE_STEP = 4, 5, 1.0
"""What is told of a beginning or an end: spectra, bands, and powers of ten that are one step."""


def heard(content: bytes) -> NDArray[np.float32]:
    """The samples at which a sound is compared. (frames,)"""
    found: NDArray[np.float32] = decode(content, RATE)
    return found


def power_spectra(samples: NDArray[np.float32], window: int, hop: int) -> FloatArray:
    """Power by time and pitch. (frames,) -> (spectra, window // 2 + 1)"""
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    return np.asarray(np.abs(np.fft.rfft(pieces * np.hanning(window))) ** 2)


def log_mel(samples: NDArray[np.float32]) -> FloatArray:
    """Powers of ten in each band below the loudest, from 0 to -DEPTH. (spectra, BANDS)"""
    energies = power_spectra(samples, WINDOW, HOP) @ _mel_bands().T
    loudest = max(float(energies.max()), 1e-20)
    return np.asarray(np.log10(np.maximum(energies / loudest, 10.0**-DEPTH)))


def cepstra(levels: FloatArray) -> FloatArray:
    """The shape of each spectrum, without its pitch. (spectra, BANDS) -> (spectra, CEPSTRA)"""
    from scipy.fft import dct

    return np.asarray(dct(levels, norm="ortho", axis=1)[:, :CEPSTRA])


def summary(content: bytes) -> FloatArray:
    """One vector of a sound: means and spread of its cepstra, its length, then means by parts."""
    samples = heard(content)
    shapes = cepstra(log_mel(samples))
    parts = [part.mean(axis=0) for part in np.array_split(shapes, PARTS) if len(part)]
    parts += [parts[-1]] * (PARTS - len(parts))
    length = [np.log(len(samples) / RATE)]
    return np.concatenate([shapes.mean(axis=0), shapes.std(axis=0), length, *parts])


def signs(content: bytes) -> Iterator[tuple[str, int | tuple[int, ...]]]:
    """What a sound may have been marked by: tones that stand out, its beginning, its end."""
    samples = heard(content)
    for pitch in _tones(samples):
        yield "a tone of one pitch", pitch
    levels = log_mel(samples)
    yield "a beginning", _edge(levels[:EDGE_SPECTRA])
    yield "an end", _edge(levels[-EDGE_SPECTRA:])


def _tones(samples: NDArray[np.float32]) -> list[int]:
    """Steps of LINE_STEP Hz at which a tone lasts, whatever else sounds with it."""
    power = power_spectra(samples, LINE_WINDOW, LINE_HOP)
    decibels = 10 * np.log10(power / max(float(power.max()), 1e-20) + 10.0**-DEPTH)
    spread = 2 * LINE_AROUND + 1
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(decibels, ((0, 0), (LINE_AROUND, LINE_AROUND)), mode="edge"), spread, axis=1
    )
    stands_out = decibels - np.median(around, axis=2) > LINE_DB
    runs = np.lib.stride_tricks.sliding_window_view(
        np.pad(stands_out, ((0, LINE_SPECTRA), (0, 0))), LINE_SPECTRA, axis=0
    ).all(axis=2)
    pitches = np.flatnonzero(runs.any(axis=0)) * RATE / LINE_WINDOW
    return sorted({round(pitch / LINE_STEP) for pitch in pitches.tolist()})


def _edge(levels: FloatArray) -> tuple[int, ...]:
    """Coarse levels of a few broad bands."""
    bands = [part.mean() for part in np.array_split(levels.mean(axis=0), EDGE_BANDS)]
    return tuple(round(float(level) / EDGE_STEP) for level in bands)


def _mel_bands() -> FloatArray:
    """Weight of each bin in each band. (BANDS, WINDOW // 2 + 1)"""
    low, high = (2595 * math.log10(1 + end / 700) for end in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) + 1e-6)
