"""Pictures that differ a little from epoch to epoch, by PIL alone.

Randomness comes from the rng that is given: the engine seeds it by run, epoch and batch.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from PIL import Image, ImageEnhance

Augmentation = Callable[[Image.Image, Random], Image.Image]

MAX_DEGREES = 12.0
MAX_SHIFT_FRACTION = 0.1
MIN_CROP_FRACTION = 0.75
MAX_COLOR_CHANGE = 0.25


def flip(image: Image.Image, rng: Random) -> Image.Image:
    """Mirror left and right, half of the time."""
    if rng.random() < 0.5:
        return image
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def rotate(image: Image.Image, rng: Random) -> Image.Image:
    """Turn by up to 12 degrees either way; corners take the colour of the picture's edge."""
    degrees = rng.uniform(-MAX_DEGREES, MAX_DEGREES)
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_edge_color(image))


def shift(image: Image.Image, rng: Random) -> Image.Image:
    """Move by up to a tenth of each side; what opens takes the colour of the picture's edge."""
    right = round(rng.uniform(-MAX_SHIFT_FRACTION, MAX_SHIFT_FRACTION) * image.width)
    down = round(rng.uniform(-MAX_SHIFT_FRACTION, MAX_SHIFT_FRACTION) * image.height)
    moved = Image.new(image.mode, image.size, _edge_color(image))
    moved.paste(image, (right, down))
    return moved


def crop(image: Image.Image, rng: Random) -> Image.Image:
    """Cut out three quarters or more of each side, and stretch that to the whole."""
    width = max(1, round(image.width * rng.uniform(MIN_CROP_FRACTION, 1)))
    height = max(1, round(image.height * rng.uniform(MIN_CROP_FRACTION, 1)))
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    box = (left, top, left + width, top + height)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


def color(image: Image.Image, rng: Random) -> Image.Image:
    """Change brightness, contrast and saturation by up to a quarter each."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(1 + rng.uniform(-MAX_COLOR_CHANGE, MAX_COLOR_CHANGE))
    return image


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "flip": flip,
    "rotate": rotate,
    "shift": shift,
    "crop": crop,
    "color": color,
}
"""By the names that `prepare.augment` takes; applied in the order in which they are written."""


def augment(image: Image.Image, names: Sequence[str], rng: Random) -> Image.Image:
    """The picture after all of the named augmentations."""
    for name in names:
        image = AUGMENTATIONS[name](image, rng)
    return image


def _edge_color(image: Image.Image) -> tuple[int, int, int]:
    """The mean of the four corners of an RGB picture."""
    right, bottom = image.width - 1, image.height - 1
    corners = [image.getpixel(xy) for xy in ((0, 0), (right, 0), (0, bottom), (right, bottom))]
    red, green, blue = (sum(band) // 4 for band in zip(*corners, strict=True))
    return red, green, blue
