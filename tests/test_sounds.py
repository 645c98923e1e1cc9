import io
import os
import struct

import numpy as np
import pytest
import soundfile

from hub_trainer.sounds import (
    BROKEN_SOUND,
    CUT_SHORT,
    MAX_SECONDS,
    NO_SAMPLES,
    NO_SOUND,
    SILENT_SOUND,
    as_wav,
    decode,
    inspect,
    open_sound,
    sixteen_bits,
    sound_problem,
    suffix_of,
)
from tests.sounds import encoded, tone

HEADER = 44
"""Bytes of a plain WAV file before its samples."""


def wav(**changes: tuple[int, bytes]) -> bytes:
    """A good file with bytes put over its header: name=(place, bytes)."""
    content = bytearray(encoded(tone()))
    for place, put in changes.values():
        content[place : place + len(put)] = put
    return bytes(content)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("FLAC", "PCM_16")]
    + [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("WAVEX", "PCM_16")],
)
def test_sound_when_of_a_known_format_then_is_no_problem_and_decodes_to_what_was_written(
    kind: str, subtype: str | None
) -> None:
    samples = tone(rate=16_000)
    content = encoded(samples, 16_000, kind, subtype)
    assert sound_problem(content) is None
    found = decode(content, 16_000)
    assert found.dtype == np.float32
    assert len(found) == pytest.approx(len(samples), abs=0.05 * 16_000)
    assert np.abs(found).max() == pytest.approx(np.abs(samples).max(), rel=0.15)


def test_sound_when_in_another_container_then_has_the_same_samples() -> None:
    levels = sixteen_bits(tone())
    wave, flac = (encoded(levels, kind=kind) for kind in ("WAV", "FLAC"))
    stereo = encoded(np.stack([levels, levels], axis=1))
    first, second, third = (sixteen_bits(open_sound(one)[0]) for one in (wave, flac, stereo))
    assert (first == second).all()
    assert (first == third).all()
    assert np.abs(first).max() > 10_000


def test_decode_when_at_another_rate_then_keeps_length_and_pitch() -> None:
    content = encoded(tone(seconds=1.0, pitch=440, rate=44_100), 44_100)
    found = decode(content, 8_000)
    assert len(found) == 8_000
    assert np.abs(np.fft.rfft(found)).argmax() == 440
    assert inspect(content).rate == 44_100


def test_inspect_when_read_then_says_what_the_header_says() -> None:
    found = inspect(encoded(np.stack([tone(seconds=0.5)] * 2, axis=1), 8_000))
    assert (found.seconds, found.rate, found.channels) == (0.5, 8_000, 2)


def test_sound_when_above_full_scale_then_is_made_quieter_as_a_whole() -> None:
    loud = encoded(20_000 * tone(), 8_000, "WAV", "FLOAT")
    found = open_sound(loud)[0]
    assert np.abs(found).max() == 1.0
    assert np.allclose(found, tone() / np.abs(tone()).max(), atol=1e-4)


def test_as_wav_when_the_file_names_its_author_then_the_copy_does_not() -> None:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8_000, 1, format="FLAC") as file:
        file.artist = "Somebody"
        file.write(tone())
    content = buffer.getvalue()
    assert b"Somebody" in content
    copy = as_wav(content)
    assert b"Somebody" not in copy
    assert (sixteen_bits(open_sound(copy)[0]) == sixteen_bits(open_sound(content)[0])).all()


@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello, this is no sound. " * 99])
def test_sound_when_no_sound_file_then_is_said_so(content: bytes) -> None:
    assert sound_problem(content) == NO_SOUND
    assert suffix_of(content) is None


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "W64"])
def test_sound_when_of_another_format_then_is_one(kind: str) -> None:
    assert sound_problem(encoded(tone(), kind=kind)) == NO_SOUND


def test_sound_when_frames_of_mp3_are_garbage_then_cannot_be_decoded() -> None:
    assert sound_problem(b"\xff\xfb\x90\x64" + bytes(20_000)) == BROKEN_SOUND
    assert sound_problem(b"ID3" + b"no tag" * 999) == BROKEN_SOUND


def test_sound_when_flac_or_ogg_is_cut_then_is_told() -> None:
    assert sound_problem(encoded(tone(2.0), kind="FLAC")[:3_000]) == BROKEN_SOUND
    assert sound_problem(encoded(tone(2.0), kind="OGG")[:4_000]) in (NO_SAMPLES, BROKEN_SOUND)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFF0, 20_000])
def test_sound_when_its_header_says_more_than_is_there_then_is_cut_short(size: int) -> None:
    assert sound_problem(wav(data=(40, struct.pack("<I", size)))) == CUT_SHORT


def test_sound_when_a_wav_has_no_samples_then_is_told() -> None:
    assert sound_problem(encoded(np.zeros(0, np.float32))) == NO_SAMPLES
    assert sound_problem(wav()[: HEADER - 8]) == NO_SAMPLES


@pytest.mark.parametrize("rate", [0, 999, 400_000, 0xFFFFFFFF])
def test_sound_when_its_rate_is_absurd_then_is_told(rate: int) -> None:
    found = sound_problem(wav(rate=(24, struct.pack("<I", rate))))
    assert found == "sound with a sampling rate outside 1,000 to 384,000 frames per second"


@pytest.mark.parametrize("channels", [0, 9, 60_000])
def test_sound_when_its_channels_are_absurd_then_is_told(channels: int) -> None:
    found = sound_problem(wav(channels=(22, struct.pack("<H", channels))))
    assert found == "sound of none or more than 8 channels"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sound_when_it_holds_what_is_no_number_then_is_told(value: float) -> None:
    samples = tone()
    samples[7] = value
    content = encoded(samples, 8_000, "WAV", "FLOAT")
    assert sound_problem(content) == "sound with values that are no numbers"


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_sound_when_it_never_moves_then_is_silent(level: float) -> None:
    assert sound_problem(encoded(np.full(8_000, level, np.float32))) == SILENT_SOUND
    assert sound_problem(encoded(tone() * 1e-3)) is None


def test_sound_when_shorter_than_a_frame_then_is_told() -> None:
    assert sound_problem(encoded(tone(0.04))) == "sound shorter than 0.05 seconds"
    assert sound_problem(encoded(tone(0.06))) is None


def test_sound_when_three_hours_of_silence_then_is_refused_by_its_header() -> None:
    content = encoded(np.zeros(3 * 3_600 * 1_000, np.int16), 1_000, "FLAC")
    assert len(content) < 100_000
    assert sound_problem(content) == f"sound longer than {MAX_SECONDS:g} seconds"


def test_sound_when_a_bomb_leaves_its_length_open_then_is_refused() -> None:
    content = bytearray(encoded(np.zeros(100 * 8_000, np.int16), 8_000, "FLAC"))
    assert sound_problem(bytes(content), max_seconds=101) == SILENT_SOUND
    content[21] &= 0xF0  # the number of samples in the stream's header: zero is unknown
    content[22:26] = bytes(4)
    found = sound_problem(bytes(content), max_seconds=101)
    assert found == "sound whose header does not say how long it is"


def test_sound_when_of_very_many_samples_then_is_refused_by_its_header() -> None:
    content = encoded(np.zeros((20 * 200_000, 8), np.int16), 200_000, "FLAC")
    assert sound_problem(content) == "sound of more than 30,000,000 samples"


def test_sound_when_bytes_are_chance_then_there_is_a_reason_and_no_error() -> None:
    rng = np.random.default_rng(0)
    starts = [encoded(tone(), kind=kind) for kind in ("WAV", "FLAC", "OGG", "MP3")]
    for trial in range(200):
        content = bytearray(starts[trial % 4])
        for place in rng.integers(0, len(content), 12 if trial % 8 < 4 else 200):
            content[place] = rng.integers(256)
        cut = len(content) if trial % 3 else int(rng.integers(1, len(content)))
        problem = sound_problem(bytes(content[:cut]))
        assert problem is None or "sound" in problem
    assert sound_problem(os.urandom(1_000)) is not None
