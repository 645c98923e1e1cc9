"""Image: the bytes of one encoded picture per row, in the column `image`."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hub_trainer.errors import DataError
from hub_trainer.inputs import (
    Column,
    Input,
    PlainFeatures,
    Row,
    Values,
)
from hub_trainer.inputs.media import MEDIA
from hub_trainer.pictures import as_png, image_problem, open_image

FIGURES_SIDE = 32
"""Pixels per side from which brightness and contrast are told."""
MAX_PICTURES = 1_500
"""Rows of each side whose figures are compared."""
PROBE_SIDE = 16
"""Pixels per side that a cheap probe sees."""
MIN_PIXEL_SPREAD = 0.1
"""Standard deviation, of values in [0, 1], under which a pixel is not scaled up any more: where the
dataset's pictures are all black, a JPEG's noise would outweigh what is drawn."""


class _Image:
    """A picture; `pictures` decodes it wherever its pixels are looked at."""

    name = "image"
    identity = "image"
    dialogue = None
    noun = "a picture"
    plural = "pictures"
    is_tokenized = False
    medium = MEDIA["image"]
    rated_column = "image"
    rated_type: pa.DataType = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rated_feature: Mapping[str, Any] = {"_type": "Image"}
    near = "hub_trainer.inputs.near_images"
    altered = "hub_trainer.inputs.altered_images"
    repeats_by_chance = False
    has_features = False
    has_formats = False
    signs_are_rare = True

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        kind = column.values.type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            do = "Use an Image column, or one with the bytes of the encoded files."
            raise DataError("The column holds no pictures.", where=where, got=str(kind), do=do)
        return column.values.cast(pa.large_binary())

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        return image_problem(value, max_pixels=max_pixels)

    # --- identity

    def content(self, row: Row) -> bytes:
        content: bytes = row["image"]
        return content

    def compared(self, row: Row) -> bytes:
        return self.content(row)

    # --- measures

    def clean(self, row: Row) -> dict[str, Any]:
        return dict(row)

    def sizes(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        sides = [_sides(row["image"]) for row in rows]
        return {
            "width": [width for width, _ in sides],
            "height": [height for _, height in sides],
            "bytes": [len(row["image"]) for row in rows],
        }

    def told(self, row: Row) -> dict[str, str]:
        """Its number, as no words show a picture."""
        return {"image": f"row {str(row['_row_id'])[:12]}"}

    def plain_features(self, known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures:
        told = f"{PROBE_SIDE} x {PROBE_SIDE} pixels"
        return PlainFeatures(told, _pixels(known), _pixels(asked), strength=1.0)

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> None:
        """None: the signs of pictures are patches of them."""

    def columns(self, new: Sequence[Row], base: Sequence[Row]) -> tuple[Values, Values]:
        return _figures(new[:MAX_PICTURES]), _figures(base[:MAX_PICTURES])

    def features(
        self, base: Sequence[Row], new: Sequence[Row], *, is_linear: bool
    ) -> tuple[Any, Any]:
        """Small pixels, by their spread in the dataset."""
        known, asked = _pixels(base), _pixels(new)
        spread = np.maximum(known.std(axis=0), MIN_PIXEL_SPREAD)
        return known / spread, asked / spread

    def judge(self) -> Any:
        """Logistic regression, much held back: a picture has more pixels than there are rows."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=0.02, max_iter=200)

    # --- people

    def for_pipeline(self, row: Row, *, sampling_rate: int | None = None) -> Any:
        return open_image(row["image"])

    def for_people(self, row: Row) -> dict[str, Any]:
        """The picture, without what else its file says."""
        return {"image": as_png(row["image"])}

    def length(self, row: Row) -> int:
        return 0

    def rated_cell(self, row: Row) -> dict[str, Any]:
        return {"bytes": row["image"], "path": None}

    def rated_row(self, cell: Any) -> dict[str, Any] | None:
        return None if cell["bytes"] is None else {"image": cell["bytes"]}


def _sides(content: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    return width, height


def _figures(rows: Sequence[Row]) -> Values:
    found = [_figures_of(row["image"]) for row in rows]
    return {name: [one[name] for one in found] for name in found[0]}


def _figures_of(content: bytes) -> dict[str, Any]:
    """Width and height of a picture, whether it is grey, how bright and how varied it is.

    By its pixels and not by its file: a grey picture saved in three channels is still grey.
    """
    image = open_image(content)
    grey = np.asarray(image.convert("L").resize((FIGURES_SIDE, FIGURES_SIDE)), dtype=np.float64)
    channels = np.asarray(image)
    is_grey = bool(np.all(channels == channels[..., :1]))
    return {
        "size": f"{image.width} x {image.height}",
        "width": float(image.width),
        "height": float(image.height),
        "colours": "shades of grey" if is_grey else "colours",
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
    }


def _pixels(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Small RGB copies of the images. (rows, PROBE_SIDE * PROBE_SIDE * 3)"""
    from PIL.Image import Resampling

    pixels = []
    for row in rows:
        picture = open_image(row["image"])
        small = picture.resize((PROBE_SIDE, PROBE_SIDE), Resampling.BOX)
        pixels.append(np.asarray(small, dtype=np.float64).ravel() / 255)
    return np.stack(pixels)


INPUT: Input = _Image()
