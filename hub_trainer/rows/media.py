"""Encoded images from strangers: their format, size and integrity, checked before use."""

import io
import warnings
from typing import Any

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def image_problem(content: bytes, *, max_pixels: int = 16_000_000) -> str | None:
    """Why these bytes are no usable image; None when they are one and decode to the end."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    return f"image of more than {max_pixels:,} pixels"
                image.load()
    except Image.UnidentifiedImageError:
        return "no image in a known format"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"image of more than {max_pixels:,} pixels"
    except (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, EOFError):
        return "image that cannot be decoded"
    except (OverflowError, MemoryError, AttributeError, RuntimeError):
        return "image that cannot be decoded"
    return None


def open_image(content: bytes) -> Any:
    """A checked image as a PIL image in RGB, turned upright as its EXIF data says."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
        upright = ImageOps.exif_transpose(image)
        return upright.convert("RGB")
