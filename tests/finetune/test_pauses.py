"""Pauses of a sound get other lengths; what is said between them stays as it was."""

import numpy as np
import pytest

from hub_trainer.finetune.sound_augment import AUGMENTATIONS, OF_SPEECH, augment, pause

RATE = 8_000


def tones(*seconds: float, hush: float = 0.4, ends: float = 0.3) -> np.ndarray:
    """Tones of these lengths between pauses that are not quite silent."""
    rng = np.random.default_rng(0)

    def quiet(length: float) -> np.ndarray:
        return 1e-3 * rng.standard_normal(round(length * RATE))

    parts = [quiet(ends)]
    for length in seconds:
        times = np.arange(round(length * RATE)) / RATE
        parts += [0.5 * np.sin(2 * np.pi * 440 * times), quiet(hush)]
    parts[-1] = quiet(ends)
    return np.concatenate(parts).astype(np.float32)


def loud(samples: np.ndarray) -> float:
    """Seconds that are loud, by frames of 20 ms."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    return float((np.abs(frames).max(axis=1) > 0.1).sum()) * 0.02


def test_pauses_when_changed_then_words_stay_and_lengths_differ() -> None:
    samples = tones(0.5, 0.7, 0.4)
    lengths = set()
    for seed in range(20):
        found = pause(samples, RATE, np.random.default_rng(seed))
        assert found.dtype == np.float32
        assert loud(found) == pytest.approx(loud(samples), abs=0.07)
        # two ends of 0.3 s and two pauses of 0.4 s become four of 0.1 to 0.6 s
        assert 1.6 + 4 * 0.1 - 0.2 <= len(found) / RATE <= 1.6 + 4 * 0.6 + 0.2
        lengths.add(len(found))
    assert len(lengths) > 10
    again = pause(samples, RATE, np.random.default_rng(3))
    assert np.array_equal(again, pause(samples, RATE, np.random.default_rng(3)))


def test_pauses_when_there_are_none_then_the_sound_stays() -> None:
    samples = tones(1.0, hush=0.0, ends=0.04)
    assert np.array_equal(pause(samples, RATE, np.random.default_rng(0)), samples)
    short = np.ones(3, np.float32)
    assert np.array_equal(pause(short, RATE, np.random.default_rng(0)), short)


def test_pauses_when_the_sound_would_be_too_long_then_it_stays() -> None:
    samples = tones(*[0.2] * 70, hush=0.15)
    assert 24 < len(samples) / RATE < 30
    found = pause(samples, RATE, np.random.default_rng(0))
    assert np.array_equal(found, samples)


def test_steps_of_speech_when_applied_then_none_cuts_words_off() -> None:
    assert AUGMENTATIONS.keys() - {"shift"} == OF_SPEECH
    samples = tones(0.5, 0.5)
    for name in sorted(OF_SPEECH):
        found = augment(samples, RATE, [name], np.random.default_rng(1))
        assert loud(found) > 0.8 * loud(samples)
