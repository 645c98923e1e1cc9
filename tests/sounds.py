"""Small sounds, honest ones."""

import io

import numpy as np
import soundfile

RATE = 8_000


def tone(seconds: float = 0.5, *, pitch: float = 440.0, rate: int = RATE) -> np.ndarray:
    """A tone that swells and fades, with an overtone. (frames,), float32"""
    time = np.arange(round(seconds * rate)) / rate
    swell = np.sin(np.pi * time / max(seconds, 1e-9)) ** 0.5
    wave = np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(4 * np.pi * pitch * time)
    return (0.4 * swell * wave).astype(np.float32)


def utterance(word: int, rng: np.random.Generator, *, voice: int = 0) -> np.ndarray:
    """A voice saying a word of three vowels, never twice alike. (frames,), float32"""
    vowels = np.array([[300, 2300], [700, 1200], [350, 800], [500, 1800], [650, 1700]])
    order = np.random.default_rng(word).permutation(len(vowels))[:3]
    lengths = rng.uniform(0.09, 0.16, 3)
    frames = round(lengths.sum() * RATE)
    times = np.arange(frames) / RATE
    middles = np.cumsum(lengths) - lengths / 2
    glide = np.interp(times, [0, *middles, times[-1]], rng.uniform(0.9, 1.15, 5))
    pulses = np.diff(np.floor(np.cumsum((100 + 40 * voice) * glide) / RATE), prepend=0.0)
    pulses = pulses + 0.01 * rng.normal(size=frames)
    rung = np.convolve(pulses, np.exp(-np.arange(160) / 40))[:frames]
    wave = np.zeros(frames)
    for formant, level in enumerate((1.0, 0.3)):
        centre = np.interp(times, middles, vowels[order, formant] * rng.uniform(0.95, 1.05, 3))
        wave += level * rung * np.sin(2 * np.pi * np.cumsum(centre) / RATE)
    swell = np.interp(times, [0, 0.03, *middles, times[-1]], [0, 0.6, *rng.uniform(0.6, 1.0, 3), 0])
    return (0.5 * swell * wave / np.abs(wave).max()).astype(np.float32)


def encoded(
    samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()
