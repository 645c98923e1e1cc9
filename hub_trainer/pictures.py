"""Pictures from strangers: checked before use, and decoded in one way wherever one is looked at.

What is trained is what is measured, reviewed and served, so nothing else turns a file into pixels.
Eight bits per channel, upright as its EXIF data says, the first frame where there are several,
transparent parts on white. A grey picture of more than eight bits keeps its range: the
smallest of 8, 10, 12, 14, 16, 24 and 32 bits that holds its largest value is black to white, since
files of 12-bit cameras say 16 (a mask of 0 and 1 is black and white).
"""

import io
import warnings
from typing import Any

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
OTHER_PICTURES: tuple[str, ...] = (
    ".heic",
    ".heif",
    ".avif",
    ".svg",
    ".jp2",
    ".psd",
    ".ico",
    ".tga",
    ".ppm",
    ".pgm",
)
OTHER_PICTURES += (".pbm", ".dng", ".cr2", ".nef", ".eps", ".dcm", ".exr", ".jxl")
"""Pictures of kinds that are not read."""
SIGNS = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
"""How files begin, and how their names end."""
DEPTHS = (1, 8, 10, 12, 14, 16, 24, 32)
MAX_PIXELS = 16_000_000
LOST_RANGE = 64
"""A colour picture of 16 bits is cut to its upper eight: below this, it never used the others."""
PNG, DEEP_PNG = b"\x89PNG\r\n\x1a\n", 16
WHITE_IS_ZERO, PHOTOMETRIC, BITS_PER_SAMPLE = 0, 262, 258
ORIENTATION = 274
TURNED = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""EXIF's orientations, and what undoes each."""
BROKEN = (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, EOFError) + (
    OverflowError, MemoryError, AttributeError, RuntimeError,
)  # fmt: skip
"""What decoders raise for files that are broken."""


class PictureFault(ValueError):
    """A picture that decodes, but not into what it shows."""


ONE_COLOUR = "image of one colour"


def image_problem(content: bytes, *, max_pixels: int = MAX_PIXELS) -> str | None:
    """Why these bytes are no usable image; None when they are one and decode to the end."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = open_image(content, max_pixels=max_pixels)
    except PictureFault as fault:
        return str(fault)
    except Image.UnidentifiedImageError:
        return "no image in a known format"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"image of more than {max_pixels:,} pixels"
    except BROKEN:
        return "image that cannot be decoded"
    if all(low == high for low, high in picture.getextrema()):
        return ONE_COLOUR
    return None


def open_image(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Any:
    """A checked image as a PIL image in RGB; see above for what becomes of other kinds."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise PictureFault(f"image of more than {max_pixels:,} pixels")
        image.load()
        if image.mode.startswith(("I", "F")):
            return _upright(image, _grey(image)).convert("RGB")
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            shown = Image.new("RGB", layer.size, "white")
            shown.paste(layer, mask=layer.getchannel("A"))
        else:
            shown = image.convert("RGB")
        if _is_deep(image, content) and max(high for _, high in shown.getextrema()) < LOST_RANGE:
            raise PictureFault("colour image of 16 bits that uses only the lower ones")
        return _upright(image, shown)


def as_png(content: bytes) -> bytes:
    """The decoded picture as a plain file, without what else the original said."""
    buffer = io.BytesIO()
    open_image(content).save(buffer, "PNG")
    return buffer.getvalue()


def suffix_of(content: bytes) -> str | None:
    """How the name of a file with this content ends, by its first bytes; None for no picture."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for sign, suffix in SIGNS.items() if content.startswith(sign)), None)


def _upright(image: Any, decoded: Any) -> Any:
    """The decoded picture turned as the file's EXIF data says; broken data says nothing."""
    from PIL.Image import Transpose

    try:
        turned = TURNED.get(image.getexif().get(ORIENTATION))
    except BROKEN:
        return decoded
    return decoded.transpose(Transpose[turned]) if turned else decoded


def _grey(image: Any) -> Any:
    """A picture of more than eight bits per pixel, or of fractions, in 256 levels of grey."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise PictureFault("image with values that are no numbers")
    low, high = float(values.min()), float(values.max())
    if low < 0:
        raise PictureFault("image with values below zero, of which none says where black is")
    top = _white(values, high)
    levels = np.rint(values / top * 255).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        levels = 255 - levels
    return Image.fromarray(levels)


def _white(values: Any, high: float) -> float:
    """The value that is shown white."""
    if (values != values.round()).any():
        if high > 255:
            raise PictureFault("image of fractions above 255, of which none says where white is")
        return 1.0 if high <= 1 else 255.0
    for bits in DEPTHS:
        if high < 2**bits:
            return float(2**bits - 1)
    raise PictureFault("image with values of more than 32 bits")


def _is_deep(image: Any, content: bytes) -> bool:
    """Whether the file has 16 bits per channel, of which PIL keeps the upper eight."""
    if content.startswith(PNG):
        return content[24] == DEEP_PNG
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
    return bool(max(bits if isinstance(bits, tuple) else (bits,)) > 8)
