"""Pictures as small grids of coarse colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.pictures import open_image

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


def _opened(content: bytes, side: int) -> Any:
    from PIL import Image

    image = open_image(content)
    larger = max(image.size) > side
    how = Image.Resampling.BOX if larger else Image.Resampling.NEAREST
    return image.resize((side, side), how)
