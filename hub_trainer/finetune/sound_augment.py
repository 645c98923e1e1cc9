"""Sounds that differ a little from epoch to epoch, by numpy alone.

Each takes samples in one channel, their rate and a source of chance.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Rng = np.random.Generator
Augmentation = Callable[[Samples, int, Rng], Samples]

MAX_GAIN_DB = 12.0
MIN_NOISE_DB, MAX_NOISE_DB = 10.0, 40.0
"""How far below the sound the noise lies."""
MAX_SHIFT_SECONDS, MAX_SHIFT_FRACTION = 0.15, 0.1
MAX_SPEED_CHANGE = 0.1
FRAME_SECONDS, PAUSE_SECONDS = 0.02, 0.1
QUIET = 10 ** (-30 / 20)
"""Level of a pause, of what is loud in the sound."""
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 0.6
MAX_SECONDS = 30.0


def gain(samples: Samples, rate: int, rng: Rng) -> Samples:
    """Make louder or quieter by up to 12 dB."""
    del rate
    return _as_samples(samples * 10 ** (rng.uniform(-MAX_GAIN_DB, MAX_GAIN_DB) / 20))


def noise(samples: Samples, rate: int, rng: Rng) -> Samples:
    """Add white noise 10 to 40 dB below the sound."""
    del rate
    level = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    level *= 10 ** (-rng.uniform(MIN_NOISE_DB, MAX_NOISE_DB) / 20)
    return _as_samples(samples + level * rng.standard_normal(len(samples)))


def shift(samples: Samples, rate: int, rng: Rng) -> Samples:
    """Begin later by up to 0.15 seconds of silence, or earlier by up to a tenth that is cut off."""
    if rng.random() < 0.5:
        silence = np.zeros(round(rng.uniform(0, MAX_SHIFT_SECONDS) * rate), np.float32)
        return np.concatenate([silence, samples])
    return samples[round(rng.uniform(0, MAX_SHIFT_FRACTION) * len(samples)) :]


def speed(samples: Samples, rate: int, rng: Rng) -> Samples:
    """Play faster or slower by up to a tenth, and so higher or lower."""
    del rate
    factor = 1 + rng.uniform(-MAX_SPEED_CHANGE, MAX_SPEED_CHANGE)
    times = np.arange(max(1, int(len(samples) / factor))) * factor
    return _as_samples(np.interp(times, np.arange(len(samples)), samples))


def pause(samples: Samples, rate: int, rng: Rng) -> Samples:
    """Give each pause of a tenth of a second or more a new length, of 0.1 to 0.6 seconds.

    Where that would make the sound longer than half a minute, it stays as it is.
    """
    parts, end = [], 0
    for start, stop in _pauses(samples, rate):
        parts += [samples[end:start], _stretched(samples[start:stop], rate, rng)]
        end = stop
    found = np.concatenate([*parts, samples[end:]])
    return found if len(found) <= max(len(samples), MAX_SECONDS * rate) else samples


def _pauses(samples: Samples, rate: int) -> list[tuple[int, int]]:
    """Where it is quiet for long enough, in samples: 30 dB below what is loud."""
    size = max(1, round(FRAME_SECONDS * rate))
    count = len(samples) // size
    if not count:
        return []
    frames = samples[: count * size].reshape(count, size).astype(np.float64)
    levels = np.sqrt(np.mean(frames**2, axis=1))
    quiet = levels < QUIET * np.quantile(levels, 0.95)
    edges = np.flatnonzero(np.diff(np.r_[False, quiet, False]))
    long = round(PAUSE_SECONDS / FRAME_SECONDS)
    pairs = edges.reshape(-1, 2).tolist()
    return [(start * size, stop * size) for start, stop in pairs if stop - start >= long]


def _stretched(quiet: Samples, rate: int, rng: Rng) -> Samples:
    """Its ends stay; its middle is left out, or goes on as in a mirror."""
    wanted = round(rng.uniform(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS) * rate)
    first = quiet[: min(wanted, len(quiet)) // 2]
    last = quiet[len(quiet) - (min(wanted, len(quiet)) - len(first)) :]
    missing = wanted - len(first) - len(last)
    if missing <= 0:
        return np.concatenate([first, last])
    there_and_back = np.concatenate([quiet[::-1], quiet])
    return np.concatenate([first, np.resize(there_and_back, missing), last])


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "gain": gain,
    "noise": noise,
    "shift": shift,
    "speed": speed,
    "pause": pause,
}
"""By the names that `prepare.augment` takes; applied in the order in which they are written."""
OF_SPEECH = frozenset(AUGMENTATIONS) - {"shift"}
"""Those that cut no word off."""


def augment(samples: Samples, rate: int, names: Sequence[str], rng: Rng) -> Samples:
    """The sound after all of the named augmentations."""
    for name in names:
        samples = AUGMENTATIONS[name](samples, rate, rng)
    return samples


def _as_samples(values: NDArray[np.float64] | Samples) -> Samples:
    return np.asarray(values, np.float32)
