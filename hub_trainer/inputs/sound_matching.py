"""Two recordings, or one recording twice: told apart by their waves, not by what they sound like.

Two people who say "seven", or one who says it twice, are two examples. A copy, though, keeps the
wave: louder, in another format, cut, with noise or with silence before it. So pieces of one sound
are looked for in the other by the correlation of their waves, in a band that every telephone and
codec carries, and at slightly different speeds where that is asked for. Candidates are found by
coarse pictures of the spectrum: of the whole sound, and of the time around its loudest moment,
which neither cuts nor silence move.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.inputs.sound_features import BANDS, HOP, RATE, heard, log_mel
from hub_trainer.sounds import resampled

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

FINE_RATE = 4_000
"""Frames per second at which waves are compared."""
STEP = RATE // FINE_RATE
PIECE = 0.25
"""Seconds of a piece that is looked for."""
PIECES = 3
REACH_SECONDS = 1.5
"""How far from its place in one sound a piece may be in the other, which may be cut."""
TRIM = 10**-3.0
"""Part of the loudest moment's power under which a sound's beginning and end do not count."""
TRIM_SECONDS = 0.02
QUIET = 1e-3
"""Power of a place, over that of the piece, under which it is no better a place for being quiet."""
MAX_SHOWN = 20.0
"""Seconds of a sound that are compared."""
SHAPE, AROUND = 24, 0.25
"""Times at which a coarse picture shows the spectrum; seconds before and after the loudest one."""
SHAPE_DEPTH = 3.0
"""Powers of ten in a coarse picture: what is fainter may be noise."""
SPEEDS = (-0.02, -0.015, -0.01, -0.005, 0.0, 0.005, 0.01, 0.015, 0.02)
FINER = np.array([-0.00375, -0.0025, -0.00125, 0.00125, 0.0025, 0.00375])
"""Changes of speed: first these, then those around the best."""
CANDIDATES = 6
"""Others, by each kind of picture, whose waves are compared."""
LEAST_LIKENESS = 0.5
BLOCK = 512


@dataclass(frozen=True)
class Wave:
    """A sound at FINE_RATE."""

    whole: Floats
    loud: Floats
    """Without quiet ends."""


@dataclass(frozen=True)
class Sounds:
    """Sounds, made ready to be compared."""

    waves: Sequence["Wave"]
    whole: Floats
    """Coarse pictures of each from its beginning to its end. (n, SHAPE * BANDS), of unit norm"""
    middle: Floats
    """The same of the time around the loudest moment."""

    def __len__(self) -> int:
        return len(self.waves)


def made_ready(contents: Sequence[bytes]) -> Sounds:
    """Decode sounds and draw their pictures."""
    made = [_made(content) for content in contents]
    empty = np.zeros((0, SHAPE * BANDS), np.float32)
    return Sounds(
        [wave for wave, _, _ in made],
        np.stack([whole for _, whole, _ in made]) if made else empty,
        np.stack([middle for _, _, middle in made]) if made else empty,
    )


@dataclass(frozen=True)
class Pairs:
    """Pairs of sounds that may be one: places in either, and how alike their pictures are."""

    rows: Places
    others: Places
    likeness: Floats


def candidates(ours: Sounds, theirs: Sounds, start: int, stop: int) -> Pairs:
    """Pairs of ours from `start` to `stop` with theirs, the likeliest of each kind of picture.

    A sound is no candidate of itself.
    """
    found: dict[tuple[int, int], float] = {}
    count = min(CANDIDATES, len(theirs))
    for mine, other in ((ours.whole, theirs.whole), (ours.middle, theirs.middle)):
        likeness = mine[start:stop] @ other.T
        if ours is theirs:
            likeness[np.arange(stop - start), np.arange(start, stop)] = -1
        for row, places in enumerate(np.argsort(-likeness, axis=1)[:, :count]):
            for place in places.tolist():
                alike = float(likeness[row, place])
                if alike >= LEAST_LIKENESS:
                    pair = (start + row, place)
                    found[pair] = max(alike, found.get(pair, 0.0))
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    shares = np.array([found[pair] for pair in sorted(found)], np.float32)
    return Pairs(pairs[:, 0], pairs[:, 1], shares)


def correlation(first: Wave, second: Wave) -> float:
    """How well pieces of the shorter one are found in the other."""
    return float(_correlations(first, second, [0.0])[0])


def best_correlation(first: Wave, second: Wave) -> float:
    """As `correlation`, where one of the two may be a little faster."""
    coarse = _correlations(first, second, SPEEDS)
    near = SPEEDS[int(coarse.argmax())]
    return float(max(coarse.max(), _correlations(first, second, (near + FINER).tolist()).max()))


def _correlations(first: Wave, second: Wave, speeds: Sequence[float]) -> NDArray[np.float64]:
    """Per speed how well pieces of the shorter one are found in the other."""
    if len(first.loud) > len(second.loud):
        first, second = second, first
    told, wave = first.loud, second.whole
    size = min(round(PIECE * FINE_RATE), len(told))
    starts = np.unique(np.linspace(0, len(told) - size, PIECES).astype(np.int64)).tolist()
    found, total = np.zeros(len(speeds)), 0.0
    parts: dict[tuple[int, int], _Part] = {}
    for start in starts:
        place = start * len(wave) / len(told)
        low = max(0, int(place - REACH_SECONDS * FINE_RATE))
        high = min(len(wave), int(place + size + REACH_SECONDS * FINE_RATE))
        if (low, high) not in parts:
            parts[low, high] = _Part.of(wave[low:high], size)
        piece = told[start : start + size]
        weight = float(np.sum(piece**2))
        found, total = found + weight * parts[low, high].holds(piece, speeds), total + weight
    return found / max(total, 1e-12)


def unexplained(found: float) -> float:
    """The part of a wave that another with this correlation leaves over."""
    return float(np.sqrt(max(0.0, 1 - found**2)))


@dataclass(frozen=True)
class _Part:
    """A part of a wave in which pieces are looked for."""

    frames: int
    length: int
    """Of the transform."""
    spectrum: NDArray[np.complexfloating[Any, Any]]
    power: NDArray[np.float64]
    """Sums of squares up to each frame."""

    @classmethod
    def of(cls, wave: Floats, size: int) -> "_Part":
        """With silence around it, so that a piece may stand out by half at its ends."""
        from scipy.fft import next_fast_len

        padded = np.pad(wave, size // 2)
        # What the transform wraps around lies beyond the places that are looked at.
        length = next_fast_len(max(len(padded), 2 * size), real=True)
        power = np.cumsum(np.concatenate([[0.0], padded.astype(np.float64) ** 2]))
        return cls(len(padded), length, np.fft.rfft(padded, length), power)

    def holds(self, piece: Floats, speeds: Sequence[float]) -> NDArray[np.float64]:
        """The best correlation of the piece, at each speed, with any place, turned over or not."""
        told = [_faster(piece, speed) for speed in speeds]
        transforms = np.stack([np.fft.rfft(one, self.length) for one in told])
        products = np.fft.irfft(self.spectrum * np.conj(transforms), self.length, axis=1)
        found = []
        for one, product in zip(told, products, strict=True):
            norm = float(np.sum(one.astype(np.float64) ** 2)) ** 0.5
            there = self.power[len(one) :] - self.power[: -len(one)]
            shares = np.abs(product[: self.frames - len(one) + 1])
            shares = shares / (np.sqrt(np.maximum(there, QUIET * norm**2)) * max(norm, 1e-12))
            found.append(_peak(shares))
        return np.array(found)


def _peak(values: NDArray[np.float64]) -> float:
    """The top of the parabola through the largest value and its neighbours."""
    place = int(values.argmax())
    top = float(values[place])
    if not 0 < place < len(values) - 1:
        return top
    before, after = float(values[place - 1]), float(values[place + 1])
    bend = before - 2 * top + after
    return min(1.0, top - (before - after) ** 2 / (8 * bend)) if bend < 0 else top


def _faster(piece: Floats, speed: float) -> Floats:
    if speed == 0:
        return piece
    times = np.arange(int(len(piece) / (1 + speed))) * (1 + speed)
    return np.asarray(np.interp(times, np.arange(len(piece)), piece), np.float32)


@lru_cache(maxsize=8_192)
def _made(content: bytes) -> tuple[Wave, Floats, Floats]:
    samples = heard(content)
    # Where a sound begins and ends but for what is quiet.
    power = _smooth(samples.astype(np.float64) ** 2, round(TRIM_SECONDS * RATE))
    places = np.flatnonzero(power > TRIM * power.max())
    low, high = int(places[0]), int(places[-1]) + 1
    low, high = low - low % STEP, min(high, low + round(MAX_SHOWN * RATE))
    levels = np.maximum(log_mel(samples[low:high]), -SHAPE_DEPTH).astype(np.float32)
    whole = _picture(levels, np.linspace(0, len(levels) - 1, SHAPE))
    loudest = int(_smooth(np.sum(10.0**levels, axis=1, dtype=np.float64)).argmax())
    steps = AROUND * RATE / HOP
    middle = _picture(levels, np.linspace(loudest - steps, loudest + steps, SHAPE))
    room = round(REACH_SECONDS * RATE)
    start = max(0, low - room)
    start -= start % STEP
    wave = _softened(resampled(samples[start : high + room], RATE, FINE_RATE))
    loud = wave[(low - start) // STEP : (high - start) // STEP]
    return Wave(wave, loud), whole, middle


def _softened(wave: Floats) -> Floats:
    """With less of its upper octave, where a shift of half a frame turns the wave."""
    padded = np.pad(wave, 1)
    found: Floats = ((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4).astype(np.float32)
    return found


def _smooth(values: NDArray[np.float64], width: int = 5) -> NDArray[np.float64]:
    return np.convolve(values, np.ones(width) / width, "same")


def _picture(levels: Floats, times: NDArray[np.float64]) -> Floats:
    """The spectrum at these times, of zero mean and unit norm. (SHAPE * BANDS,)"""
    times = np.clip(times, 0, len(levels) - 1)
    below = np.floor(times).astype(np.int64)
    above = np.minimum(below + 1, len(levels) - 1)
    share = (times - below).astype(np.float32)[:, None]
    flat = (levels[below] * (1 - share) + levels[above] * share).ravel()
    flat = flat - flat.mean()
    found: Floats = flat / max(float(np.linalg.norm(flat)), 1e-6)
    return found
