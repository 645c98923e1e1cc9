"""Pictures as small grids of coarse colours, and the figures by which they are compared."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, Any]

SIDE = 32
LEVELS = 6
"""Steps of each colour: noise of a few grey values seldom leaves its step."""


def small_pictures(rows: Sequence[Row], *, side: int = SIDE) -> NDArray[np.int64]:
    """Coarse colours of each picture, drawn to `side` x `side` cells. (rows, side, side)"""
    grids = []
    for row in rows:
        pixels = np.asarray(_opened(row["image"], side), dtype=np.int64) * LEVELS // 256
        grids.append(pixels[..., 0] * LEVELS**2 + pixels[..., 1] * LEVELS + pixels[..., 2])
    return np.stack(grids)


def picture_figures(row: Row) -> dict[str, Any]:
    """Width, height and mode of a picture, and how bright and how varied it is."""
    from PIL import Image

    with Image.open(BytesIO(row["image"])) as image:
        width, height, mode = image.width, image.height, image.mode
        grey = np.asarray(image.convert("L").resize((SIDE, SIDE)), dtype=np.float64)
    return {
        "size": f"{width} x {height}",
        "width": float(width),
        "height": float(height),
        "colour mode": mode,
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
    }


def _opened(content: bytes, side: int) -> Any:
    from PIL import Image

    with Image.open(BytesIO(content)) as image:
        larger = max(image.size) > side
        how = Image.Resampling.BOX if larger else Image.Resampling.NEAREST
        return image.convert("RGB").resize((side, side), how)
