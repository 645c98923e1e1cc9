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


def encoded(
    samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()
