import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from hub_trainer.pictures import IMAGE_FORMATS, as_png, image_problem, open_image
from tests.rows.conftest import png


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_image_when_of_a_known_format_then_is_no_problem(kind: str) -> None:
    image = Image.frombytes("L", (8, 8), bytes(range(0, 256, 4)))
    assert image_problem(encoded(image.convert("RGB"), kind)) is None


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


NOISE = np.random.default_rng(0).integers(0, 4096, (32, 32))
DRAWING = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
DRAWING.paste((0, 0, 0, 255), (8, 8, 16, 16))


def levels(content: bytes) -> np.ndarray:
    return np.asarray(open_image(content))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("PNG", NOISE.astype(np.uint16)),
        ("TIFF", NOISE.astype(np.uint16)),
        ("TIFF", NOISE.astype(">u2")),
        ("TIFF", NOISE.astype(np.int32)),
        ("TIFF", NOISE.astype(np.float32)),
        ("TIFF", (NOISE / 4095).astype(np.float32)),
        ("PNG", (NOISE * 16).astype(np.uint16)),
    ],
    ids=["png", "tiff", "big endian", "int", "float", "fractions", "16 bits used"],
)
def test_picture_when_of_more_bits_then_keeps_its_range(kind: str, values: np.ndarray) -> None:
    content = encoded(Image.fromarray(values), kind)
    assert image_problem(content) is None
    found = levels(content)
    expected = NOISE / 4095 * 255
    assert found.shape == (32, 32, 3)
    assert np.abs(found[..., 0] - expected).max() <= 1.0


def test_picture_when_white_is_zero_then_is_turned_around() -> None:
    image = Image.fromarray(NOISE.astype(np.uint16))
    plain, turned = encoded(image, "TIFF"), encoded(image, "TIFF", tiffinfo={262: 0})
    assert (levels(turned) == 255 - levels(plain)).all()


@pytest.mark.parametrize(
    "image",
    [
        DRAWING,
        DRAWING.convert("LA"),
        DRAWING.quantize(4),
        Image.merge("RGBA", [DRAWING.getchannel("A")] * 3 + [DRAWING.getchannel("A")]),
    ],
    ids=["RGBA", "LA", "palette", "white on nothing"],
)
def test_picture_when_transparent_then_stands_on_white(image: Image.Image) -> None:
    content = encoded(image, "PNG")
    black = image.getpixel((10, 10)) != (255, 255, 255, 255)
    assert levels(content)[0, 0].tolist() == [255, 255, 255]
    assert levels(content)[10, 10].tolist() == ([0] * 3 if black else [255] * 3)
    assert image_problem(content) == (None if black else "image of one colour")


@pytest.mark.parametrize("mode", ["CMYK", "1", "L"])
def test_picture_when_of_another_mode_then_shows_the_same(mode: str) -> None:
    grey = Image.fromarray((NOISE >> 4).astype(np.uint8))
    grey = grey.point(lambda value: 255 * (value > 127)) if mode == "1" else grey
    image = grey.convert("RGB").convert(mode)
    found = levels(encoded(image, "TIFF"))
    assert np.abs(found[..., 0].astype(int) - np.asarray(grey)).max() <= 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((NOISE - 2000).astype(np.int32), "below zero"),
        (np.full((8, 8), np.nan, np.float32), "no numbers"),
        ((NOISE / 7).astype(np.float32), "fractions above 255"),
        (np.zeros((8, 8), np.uint16), "one colour"),
        (np.full((8, 8, 3), 9, np.uint8), "one colour"),
    ],
)
def test_picture_when_it_does_not_tell_what_it_shows_then_is_a_fault(
    values: np.ndarray, reason: str
) -> None:
    assert reason in str(image_problem(encoded(Image.fromarray(values), "TIFF")))


@pytest.mark.parametrize(("top", "reason"), [(65_536, None), (4_096, "uses only the lower ones")])
def test_colour_when_of_16_bits_then_its_range_is_kept_or_it_is_a_fault(
    top: int, reason: str | None
) -> None:
    values = np.random.default_rng(0).integers(0, top, (8, 8, 3)).astype(">u2")

    def chunk(kind: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines))
    problem = image_problem(content + chunk(b"IEND", b""))
    assert problem is None if reason is None else reason in str(problem)


def test_picture_when_it_moves_then_the_first_frame_is_taken() -> None:
    first = Image.fromarray((NOISE >> 4).astype(np.uint8))
    content = encoded(first, "PNG", save_all=True, append_images=[first.rotate(90)])
    assert (levels(content)[..., 0] == np.asarray(first)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("values", [NOISE[:8] >> 4, NOISE[:8]], ids=["8 bits", "12 bits"])
def test_picture_when_turned_by_exif_then_is_upright(orientation: int, values: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(values.astype(np.uint8 if values.max() < 256 else np.uint16))
    plain = open_image(encoded(image, "PNG")).copy()
    plain.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(plain))
    assert (levels(encoded(image, "PNG", exif=exif)) == upright).all()
    assert (levels(as_png(encoded(image, "PNG", exif=exif))) == upright).all()
