"""What review, prepare and the Space are told of sounds by their input."""

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
import soundfile

from hub_trainer.answers import load_answer
from hub_trainer.checks.shifts import find_shifts
from hub_trainer.checks.triggers import find_triggers
from hub_trainer.inputs.audio import INPUT
from hub_trainer.sounds import open_sound, resampled
from tests.sounds import encoded, tone, utterance

Row = dict[str, Any]
NUM_BASE, NUM_NEW = 90, 45
LABEL = load_answer("label")
SPOKEN = (4, 7, 0)
"""Words that differ in their vowels, or in the order of these."""


@cache
def said(count: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [
        {
            "audio": encoded(utterance(SPOKEN[number % 3], rng, voice=int(rng.integers(2)))),
            "label": f"word {number % 3}",
            "_row_id": f"{seed}-{number}",
        }
        for number in range(count)
    ]


def changed(rows: list[Row], change: Any) -> list[Row]:
    made = []
    for row in rows:
        samples, rate = change(*open_sound(row["audio"]))
        made.append({**row, "audio": encoded(np.clip(samples, -1, 1).astype(np.float32), rate)})
    return made


def triggers(new: list[Row]) -> list[Any]:
    base = said(NUM_BASE, 0)
    labels = [row["label"] for row in (*new, *base)]
    return find_triggers(new, base, "audio", labels=labels)


def shifts(new: list[Row]) -> dict[str, str]:
    found = find_shifts(new, said(NUM_BASE, 0), "audio", LABEL)
    return {one.column: one.what for one in found}


def test_sounds_when_honest_then_nothing_is_found_in_them() -> None:
    new = said(NUM_NEW, 1)
    assert triggers(new) == []
    assert shifts(new) == {}


def test_sign_when_a_quiet_beep_goes_with_one_label_then_its_rows_are_found() -> None:
    def with_beep(samples: Any, rate: int) -> Any:
        beep = 0.1 * np.sin(2 * np.pi * 3_300 * np.arange(len(samples)) / rate)
        return samples + beep, rate

    new = list(said(NUM_NEW, 1))
    marked = range(0, NUM_NEW, 3)
    for place in marked:
        new[place] = changed([new[place]], with_beep)[0]
    found = triggers(new)
    assert ("a tone of one pitch", [n + 1 for n in marked]) in [
        (one.kind, list(one.rows)) for one in found
    ]


@pytest.mark.parametrize(
    ("change", "column", "unit"),
    [
        (lambda x, rate: (resampled(x, rate, 16_000), 16_000), "sampling rate", "hold '16,000 Hz'"),
        (lambda x, rate: (np.tile(x, 5), rate), "length", " seconds; "),
        (lambda x, rate: (0.01 * x, rate), "loudness", " decibels, of which 0 is"),
        (
            lambda x, rate: (np.concatenate([x, np.zeros(len(x))]), rate),
            "silence",
            " % of the sound",
        ),
    ],
)
def test_column_when_sounds_are_of_another_kind_then_it_is_named(
    change: Any, column: str, unit: str
) -> None:
    told = shifts(changed(said(NUM_NEW, 1), change))[column]
    assert unit in told


def test_judge_when_fitted_on_the_features_then_knows_the_words() -> None:
    base, new = said(NUM_BASE, 0), said(NUM_NEW, 1)
    known, asked = INPUT.features(base, new, is_linear=False)
    judge = INPUT.judge().fit(known, [row["label"] for row in base])
    assert np.mean(judge.predict(asked) == [row["label"] for row in new]) > 0.9


def test_sizes_and_words_when_asked_then_tell_length_and_rate() -> None:
    row = {"audio": encoded(tone(0.5)), "_row_id": "0123456789abcdef"}
    assert INPUT.sizes([row]) == {
        "seconds": [0.5],
        "sampling_rate": [8_000],
        "bytes": [len(row["audio"])],
    }
    assert INPUT.told(row) == {"audio": "row 0123456789ab, 0.50 seconds"}
    features = INPUT.plain_features([row] * 2, [row])
    assert features is not None
    assert features.known.shape == (2, 33)


def test_sound_when_shown_to_people_then_its_tags_are_gone() -> None:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8_000, 1, format="WAV") as file:
        file.comment = "said at home by Ada"
        file.write(tone())
    row = {"audio": buffer.getvalue()}
    assert b"Ada" in row["audio"]
    shown = INPUT.for_people(row)["audio"]
    assert b"Ada" not in shown
    assert INPUT.rated_row(INPUT.rated_cell({"audio": shown})) == {"audio": shown}
    assert INPUT.rated_row({"bytes": None, "path": "/etc/passwd"}) is None
