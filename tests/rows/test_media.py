import io

import pytest
from PIL import Image

from hub_trainer.rows import IMAGE_FORMATS, image_problem, open_image
from tests.rows.conftest import png


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_image_when_of_a_known_format_then_is_no_problem(kind: str) -> None:
    assert image_problem(encoded(Image.new("RGB", (8, 8)), kind)) is None


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "EPS"])
def test_image_when_of_another_format_then_is_one(kind: str) -> None:
    content = encoded(Image.new("RGB", (16, 16)), kind)
    assert image_problem(content) == "no image in a known format"


def test_image_when_truncated_then_cannot_be_decoded() -> None:
    assert image_problem(png(side=64)[:-200]) == "image that cannot be decoded"
    assert image_problem(png(side=64)[:10]) == "no image in a known format"
    assert image_problem(b"") == "no image in a known format"


@pytest.mark.parametrize("side", [4_100, 13_000, 20_000])
def test_image_when_a_bomb_then_is_refused_by_its_header(side: int) -> None:
    content = encoded(Image.new("1", (side, side)), "PNG")
    assert len(content) < 100_000
    assert image_problem(content) == "image of more than 16,000,000 pixels"


def test_open_image_when_turned_by_exif_then_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("L", (4, 8)), "JPEG", exif=exif)
    image = open_image(content)
    assert (image.size, image.mode) == ((8, 4), "RGB")
