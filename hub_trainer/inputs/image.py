"""Image: the bytes of one encoded picture per row, in the column `image`."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.inputs import (
    Input,
    Measure,
    PlainFeatures,
    Row,
)
from hub_trainer.inputs.encoded import EncodedFile
from hub_trainer.inputs.media import MEDIA
from hub_trainer.inputs.perturbed import BLUR, Perturbation
from hub_trainer.pictures import image_problem, open_image

FIGURES_SIDE = 32
"""Pixels per side from which brightness and contrast are told."""
PROBE_SIDE = 16
"""Pixels per side that a cheap probe sees."""
MIN_PIXEL_SPREAD = 0.1
"""Standard deviation, of values in [0, 1], under which a pixel is not scaled up any more: where the
dataset's pictures are all black, a JPEG's noise would outweigh what is drawn."""


class _Image(EncodedFile):
    """A picture; `pictures` decodes it wherever its pixels are looked at."""

    rated_feature: Mapping[str, Any] = {"_type": "Image"}
    measures: Mapping[str, Measure] = {
        **dict.fromkeys(("width", "height"), Measure("pixels")),
        **dict.fromkeys(("brightness", "contrast"), Measure("of 255 shades of grey")),
    }
    perturbation: Perturbation | None = BLUR
    near = "hub_trainer.inputs.near_images"
    altered = "hub_trainer.inputs.altered_images"

    # --- columns

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        return image_problem(value, max_pixels=max_pixels)

    # --- measures

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


def _sides(content: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    return width, height


def _figures(content: bytes) -> dict[str, Any]:
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


INPUT: Input = _Image(MEDIA["image"], _figures)
