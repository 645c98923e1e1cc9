"""Media: the kinds of encoded files of which a row holds one, and what other code says of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer import pictures, sounds
from hub_trainer.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Medium:
    """A kind of file, as a dataset has it in a column, or in folders named by label."""

    name: str
    """Of its input, and of the column in canonical rows."""
    feature: str
    """What `datasets` calls such a column."""
    reader: str
    """The reader of `datasets` for a folder of such files."""
    encodes: bool
    """Whether `datasets` reads such a folder with the libraries at hand."""
    noun: str
    plural: str
    suffixes: tuple[str, ...]
    unread: tuple[str, ...]
    """Endings of files of this kind that are not read."""
    formats: str
    """The formats that are read, in words."""
    usual: str
    """Those to save a file in, in words."""
    example: str
    """The name of a file."""
    processor: str
    """The class of transformers that makes a model's input of such files."""
    problem: Callable[[bytes], str | None]
    """Why bytes are no usable file of this kind."""
    suffix: Callable[[bytes], str | None]
    """How the name of a file with this content ends; None for what is no such file."""
    plain: Callable[[bytes], bytes]
    """The file as it is read in training, without what else it tells, as where it was made."""
    given: str
    """How a person gives one, in words."""


MEDIA: Mapping[str, Medium] = {
    "image": Medium(
        name="image",
        feature="Image",
        reader="imagefolder",
        encodes=True,
        noun="picture",
        plural="pictures",
        suffixes=pictures.IMAGE_SUFFIXES,
        unread=pictures.OTHER_PICTURES,
        formats="PNG, JPEG, WebP, BMP, TIFF or GIF",
        usual="PNG or JPEG",
        example="1.png",
        processor="AutoImageProcessor",
        problem=pictures.image_problem,
        suffix=pictures.suffix_of,
        plain=pictures.as_png,
        given="upload or paste",
    ),
    "audio": Medium(
        name="audio",
        feature="Audio",
        reader="audiofolder",
        encodes=False,
        noun="sound",
        plural="sounds",
        suffixes=sounds.SOUND_SUFFIXES,
        unread=sounds.OTHER_SOUNDS,
        formats="WAV, FLAC, OGG or MP3",
        usual="WAV or FLAC",
        example="1.wav",
        processor="AutoFeatureExtractor",
        problem=sounds.sound_problem,
        suffix=sounds.suffix_of,
        plain=sounds.as_wav,
        given="record or upload",
    ),
}
"""Name of an input -> the medium that its rows hold."""

BLANK_FILES = frozenset({pictures.ONE_COLOUR, sounds.SILENT_SOUND})
"""Problems of files that decode, and hold nothing."""


def medium_of_reader(reader: str) -> Medium | None:
    """The medium of a reader of folders; None for readers of rows."""
    return next((one for one in MEDIA.values() if one.reader == reader), None)


def medium_of_feature(feature: str) -> Medium | None:
    """The medium of a column by what `datasets` calls it."""
    return next((one for one in MEDIA.values() if one.feature == feature), None)


def medium_of_column(feature: Mapping[str, Any], contents: "pa.ChunkedArray") -> Medium:
    """The medium of a column of bytes: what its feature says, else what its first cell is."""
    declared = medium_of_feature(str(feature.get("_type")))
    first = next((one for one in contents.to_pylist() if one), b"")
    return declared or medium_of_content(first) or MEDIA["image"]


def medium_of_content(content: bytes) -> Medium | None:
    """The medium of a file by its first bytes."""
    return next((one for one in MEDIA.values() if one.suffix(content) is not None), None)


def uploaded(
    medium: Medium, values: Sequence[Any], problem: Callable[[bytes], str | None] | None = None
) -> dict[str, Any]:
    """The row of a file that a person gives in the Space, by its path.

    `problem` says why a model cannot take it, where it asks more than the medium does. Raises
    DataError for no file, and for one that is of no use.
    """
    if not isinstance(values[0], str):
        raise DataError(f"There is no {medium.noun} yet.", do=f"{medium.given} one first")
    content = Path(values[0]).read_bytes()
    if fault := (problem or medium.problem)(content):
        what = f"The model cannot take this: {fault}."
        raise DataError(what, do=f"choose another {medium.noun}")
    return {medium.name: medium.plain(content)}
