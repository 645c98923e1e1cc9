"""Image: the bytes of one encoded picture per row, in the column `image`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hub_trainer.errors import DataError
from hub_trainer.inputs import (
    Altered,
    Column,
    Input,
    Near,
    Row,
    Values,
    altered_images,
    near_images,
)
from hub_trainer.pictures import image_problem, open_image

FIGURES_SIDE = 32
"""Pixels per side from which brightness and contrast are told."""
MAX_PICTURES = 1_500
"""Rows of each side whose figures are compared."""
PROBE_SIDE = 16
"""Pixels per side that a cheap probe sees."""
MIN_PIXEL_SPREAD = 0.1
"""Standard deviation, of values in [0, 1], under which a pixel is not scaled up any more: where the
dataset's pictures are all black, a JPEG's noise would outweigh what is drawn."""


class Image:
    """A picture; `pictures` decodes it wherever its pixels are looked at."""

    name = "image"
    near: Near = near_images
    altered: Altered = altered_images
    repeats_by_chance = False
    has_features = False
    signs_are_rare = True

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        """Encoded files."""
        kind = column.values.type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            do = "Use an Image column, or one with the bytes of the encoded files."
            raise DataError("The column holds no images.", where=where, got=str(kind), do=do)
        return column.values.cast(pa.large_binary())

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        """What a file is, where it is no picture that shows anything."""
        return image_problem(value, max_pixels=max_pixels)

    # --- identity

    def content(self, row: Row) -> bytes:
        """The file as it is."""
        content: bytes = row["image"]
        return content

    def normal(self, row: Row) -> bytes:
        """The decoded pixels, upright."""
        return near_images.pixels(row["image"])

    def compared(self, row: Row) -> bytes:
        """The file as it is."""
        return self.content(row)

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> None:
        """None: the signs of pictures are patches of them."""

    def columns(
        self, new: Sequence[Row], base: Sequence[Row], *, language: bool
    ) -> tuple[Values, Values]:
        """Sizes, colours and brightness."""
        return _figures(new[:MAX_PICTURES]), _figures(base[:MAX_PICTURES])

    def features(self, base: Sequence[Row], new: Sequence[Row]) -> tuple[Any, Any]:
        """Small pixels, by their spread in the dataset."""
        known, asked = _pixels(base), _pixels(new)
        spread = np.maximum(known.std(axis=0), MIN_PIXEL_SPREAD)
        return known / spread, asked / spread

    def linear_features(self, base: Sequence[Row], new: Sequence[Row]) -> tuple[Any, Any]:
        """As `features`."""
        return self.features(base, new)

    def judge(self) -> Any:
        """Logistic regression, much held back: a picture has more pixels than there are rows."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=0.02, max_iter=200)


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


INPUT: Input = Image()
