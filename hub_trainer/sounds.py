"""Sounds from strangers: checked before use, and decoded in one way wherever one is heard.

What is trained is what is measured, reviewed and served, so nothing else turns a file into samples.
One channel, the mean of all; values in [-1, 1], where a file that goes beyond is made quieter as a
whole. The header is read and held against the limits before a sample is decoded, and no more
samples are decoded than it says.
"""

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SOUND_FORMATS = ("WAV", "FLAC", "OGG", "MP3")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
OTHER_SOUNDS = (".m4a", ".aac", ".mp4", ".wma", ".aiff", ".aif", ".amr", ".webm", ".au", ".oga")
"""Sounds of kinds that are not read."""
MAX_SECONDS = 60.0
MIN_SECONDS = 0.05
"""Less than this is shorter than one frame of a speech model."""
MIN_RATE, MAX_RATE = 1_000, 384_000
MAX_CHANNELS = 8
SILENT = 1e-4
"""Distance from the middle, of a full scale of 1, that a sound must reach: 80 dB below the top."""
MAX_SAMPLES = 30_000_000
"""Values of all channels: 60 seconds of stereo at 192,000 frames per second have 23 million."""
UNKNOWN_LENGTH = 2**62
"""Frames from which a header says that it does not know how many there are."""
MIN_DECODED = 0.95
"""Part of the frames in the header that must be there: MP3 files are a little off."""
SIGNS = {b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}

NO_SOUND = "no sound in a known format"
NO_SAMPLES = "sound without samples"
CUT_SHORT = "sound that is cut short: its header says more than the file holds"
BROKEN_SOUND = "sound that cannot be decoded"
SILENT_SOUND = "silent sound"


class SoundFault(ValueError):
    """Why a file is no sound that can be used."""


@dataclass(frozen=True)
class SoundFacts:
    """What the header of a sound says, within the limits."""

    seconds: float
    rate: int
    """Frames per second."""
    channels: int


def sound_problem(content: bytes, *, max_seconds: float = MAX_SECONDS) -> str | None:
    """Why these bytes are no usable sound; None when they are one and decode to the end."""
    import numpy as np

    try:
        samples, rate = open_sound(content, max_seconds=max_seconds)
    except SoundFault as fault:
        return str(fault)
    if len(samples) < MIN_SECONDS * rate:
        return f"sound shorter than {MIN_SECONDS:g} seconds"
    if np.abs(samples - samples.mean()).max() < SILENT:
        return SILENT_SOUND
    return None


def inspect(content: bytes, *, max_seconds: float = MAX_SECONDS) -> SoundFacts:
    """Length, rate and channels by the header alone. Raises SoundFault for what is no sound."""
    with _opened(content, max_seconds) as file:
        return SoundFacts(file.frames / file.samplerate, file.samplerate, file.channels)


def open_sound(content: bytes, *, max_seconds: float = MAX_SECONDS) -> tuple["np.ndarray", int]:
    """Samples of a checked sound in one channel, and its own rate. (frames,), float32

    Raises SoundFault.
    """
    import numpy as np

    with _opened(content, max_seconds) as file:
        rate, said = file.samplerate, file.frames
        try:
            # In one piece: after each the library seeks, which in MP3 is not exact.
            frames = file.read(said, dtype="float32", always_2d=True)
        except _decoder_errors() as error:
            raise SoundFault(BROKEN_SOUND) from error
    if len(frames) < MIN_DECODED * said:
        raise SoundFault(CUT_SHORT)
    samples = frames.mean(axis=1)
    if not np.isfinite(samples).all():
        raise SoundFault("sound with values that are no numbers")
    return np.asarray(samples / max(1.0, float(np.abs(samples).max()))), rate


def decode(content: bytes, rate: int, *, max_seconds: float = MAX_SECONDS) -> "np.ndarray":
    """A checked sound in one channel at `rate` frames per second. (frames,), float32"""
    samples, own = open_sound(content, max_seconds=max_seconds)
    return resampled(samples, own, rate)


def resampled(samples: "np.ndarray", own: int, rate: int) -> "np.ndarray":
    """Samples at another rate, without what that rate cannot hold."""
    if own == rate:
        return samples
    import soxr

    found: np.ndarray = soxr.resample(samples, own, rate)
    return found


def as_wav(content: bytes) -> bytes:
    """The decoded sound as a plain file at its own rate, without what else the original said."""
    return to_wav(*open_sound(content))


def to_wav(samples: "np.ndarray", rate: int) -> bytes:
    """Samples in [-1, 1] as a WAV file of 16 bits."""
    levels = sixteen_bits(samples).tobytes()
    format_ = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    size = 4 + 8 + len(format_) + 8 + len(levels)
    head = b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<I", len(format_))
    return head + format_ + b"data" + struct.pack("<I", len(levels)) + levels


def sixteen_bits(samples: "np.ndarray") -> "np.ndarray":
    """Samples in [-1, 1] as whole numbers of 16 bits: the same for 16 bits in any container."""
    import numpy as np

    levels: np.ndarray = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2")
    return levels


def suffix_of(content: bytes) -> str | None:
    """How the name of a file with this content ends, by its first bytes; None for no sound."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return ".wav"
    found = next((suffix for sign, suffix in SIGNS.items() if content.startswith(sign)), None)
    # Eleven ones start each frame of MPEG; then no reserved version, and layer III.
    is_frame = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2
    return ".mp3" if found is None and is_frame else found


def _opened(content: bytes, max_seconds: float) -> Any:
    """The file, its header read and within the limits."""
    import soundfile

    suffix = suffix_of(content)
    if suffix is None:
        raise SoundFault(NO_SOUND)
    if suffix == ".wav":
        _check_riff(content)
    try:
        file = soundfile.SoundFile(io.BytesIO(content))
    except _decoder_errors() as error:
        raise SoundFault(BROKEN_SOUND) from error
    try:
        _check_shape(file.samplerate, file.channels)
        if file.frames == 0:
            raise SoundFault(NO_SAMPLES)
        if file.frames >= UNKNOWN_LENGTH:
            raise SoundFault("sound whose header does not say how long it is")
        if file.frames > max_seconds * file.samplerate:
            raise SoundFault(f"sound longer than {max_seconds:g} seconds")
        if file.frames * file.channels > MAX_SAMPLES:
            raise SoundFault(f"sound of more than {MAX_SAMPLES:,} samples")
    except SoundFault:
        file.close()
        raise
    return file


def _check_riff(content: bytes) -> None:
    """Hold what the chunks of a WAV file say of it against what is there."""
    place = 12
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        place += 8
        if name == b"fmt " and place + 8 <= len(content):
            channels, rate = struct.unpack_from("<HI", content, place + 2)
            _check_shape(rate, channels)
        if name == b"data":
            if size > len(content) - place:
                raise SoundFault(CUT_SHORT)
            return
        place += size + size % 2
    raise SoundFault(NO_SAMPLES)


def _check_shape(rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise SoundFault(
            f"sound with a sampling rate outside {MIN_RATE:,} to {MAX_RATE:,} frames per second"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise SoundFault(f"sound of none or more than {MAX_CHANNELS} channels")


def _decoder_errors() -> tuple[type[Exception], ...]:
    """What the decoder raises for files that are broken."""
    import soundfile

    return soundfile.SoundFileError, OSError, ValueError, MemoryError
