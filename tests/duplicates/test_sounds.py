"""Sounds: the same recording is seen however it is saved or altered, another one of it is not."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from hub_trainer.duplicates import SealedRows, find_duplicates, find_leakage
from tests.alterations import ALTERATIONS
from tests.sounds import encoded, tone, utterance

Row = dict[str, Any]
NUM = 10


@cache
def recordings(seed: int) -> list[Row]:
    """Four words by two voices, each said three times."""
    rng = np.random.default_rng(seed)
    said = [(word, voice) for word in range(4) for voice in range(2) for _ in range(3)]
    return [{"audio": encoded(utterance(word, rng, voice=voice))} for word, voice in said]


@cache
def sealed() -> SealedRows:
    return SealedRows(recordings(0), "audio", 0.85)


@pytest.mark.parametrize("name", ALTERATIONS["audio"])
def test_sound_when_altered_then_seen_as_the_copy_that_it_is(name: str) -> None:
    rng = np.random.default_rng(1)
    rows = recordings(0)[:: len(recordings(0)) // NUM][:NUM]
    copies = [ALTERATIONS["audio"][name](row, rng, []) for row in rows]
    found = {match.row: match.reference for match in sealed().copies_among(copies)}
    assert [recordings(0)[found[n]] is rows[n] for n in range(NUM)] == [True] * NUM


def test_sounds_when_honest_then_none_is_a_copy_of_another() -> None:
    assert sealed().copies_among(recordings(1)) == []
    assert find_duplicates(recordings(0), "audio", 0.85) == []


@pytest.mark.parametrize("name", ["at 16 kHz", "mp3", "ogg", "quieter", "silence before"])
def test_sound_when_saved_again_then_is_a_near_duplicate(name: str) -> None:
    rng = np.random.default_rng(2)
    rows = recordings(0)[:6]
    copies = [ALTERATIONS["audio"][name](row, rng, []) for row in rows]
    found = find_duplicates([*rows, *copies], "audio", 0.85)
    assert [(group.first, group.near) for group in found] == [(n, (n + 6,)) for n in range(6)]


def test_sound_when_in_another_container_then_is_equal() -> None:
    rows = recordings(0)[:3]
    copies = [ALTERATIONS["audio"]["flac"](row, np.random.default_rng(0), []) for row in rows]
    assert all(copy["audio"] != row["audio"] for copy, row in zip(copies, rows, strict=True))
    found = find_leakage(copies, rows, "audio", None)
    assert [(match.row, match.reference, match.kind) for match in found] == [
        (n, n, "exact") for n in range(3)
    ]


def test_sounds_when_none_or_one_then_are_compared_without_an_error() -> None:
    one = [{"audio": encoded(tone())}]
    assert find_duplicates(one, "audio", 0.85) == []
    assert SealedRows([], "audio", 0.85).copies_among(one) == []
    assert SealedRows(one, "audio", 0.85).copies_among([]) == []
    assert len(SealedRows(one, "audio", 0.85).copies_among(one)) == 1
    short = [{"audio": encoded(tone(0.06))}, {"audio": encoded(tone(0.06, pitch=3_000))}]
    assert find_duplicates(short, "audio", 0.85) == []
