"""The sheet as its pixels say: shapes kept, names beneath, small enough, the same bytes again."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from hub_trainer.cards.contact_sheet import (
    BLOCK_GAP,
    CAPTION,
    GAP,
    MARGIN,
    MAX_BYTES,
    SIDES,
    contact_sheet,
)

RED, BLUE = (220, 30, 30), (40, 40, 230)
SIDE = SIDES[0]


def encoded(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(size: tuple[int, int], colour: Any = RED, mode: str = "RGB") -> bytes:
    return encoded(Image.new(mode, size, colour))


def read(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def extent(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of what has a colour; all of it has."""
    rows, columns = np.nonzero((sheet == colour).all(axis=2))
    left, top, width, height = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
    assert len(rows) == width * height
    return int(left), int(top), int(width), int(height)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((400, 100), (112, 28)),
        ((100, 400), (28, 112)),
        ((300, 300), (112, 112)),
        ((3000, 3), (112, 1)),
        ((100, 60), (100, 60)),  # neither half a tile nor more than one
        ((32, 16), (96, 48)),
        ((1, 1), (112, 112)),
    ],
)
def test_picture_when_drawn_then_keeps_its_shape_in_the_middle_of_its_tile(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    left, top, width, height = extent(read(contact_sheet({"one": [plain(size)]})), RED)
    assert (width, height) == shown
    assert (left, top) == (MARGIN + (SIDE - width) // 2, MARGIN + (SIDE - height) // 2)


def test_picture_when_small_then_its_pixels_are_enlarged_sharp() -> None:
    board = np.indices((4, 4)).sum(axis=0) % 2 * 255
    sheet = read(contact_sheet({"one": [encoded(Image.fromarray(board.astype(np.uint8)))]}))
    tile = sheet[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE]
    assert set(np.unique(tile)) == {0, 255}
    assert (tile[::28, ::28, 0] == board).all()


def test_picture_when_grey_or_transparent_then_drawn_as_the_model_sees_it() -> None:
    clear = Image.new("RGBA", (112, 112), (0, 0, 0, 0))
    clear.paste((*BLUE, 255), (0, 0, 112, 56))
    sheet = read(contact_sheet({"a": [plain((112, 112), 90, "L"), encoded(clear)]}))
    assert (sheet[MARGIN + 50, MARGIN + 50] == 90).all()
    second = MARGIN + SIDE + GAP + 50
    assert tuple(sheet[MARGIN + 20, second]) == BLUE
    assert tuple(sheet[MARGIN + 90, second]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("num_labels", "each", "columns", "rows"),
    [(1, 4, 1, 1), (2, 4, 2, 1), (3, 4, 2, 2), (8, 4, 2, 4), (12, 2, 3, 4), (8, 1, 4, 2)],
)
def test_sheet_when_it_has_labels_then_every_row_is_as_wide_as_a_card(
    num_labels: int, each: int, columns: int, rows: int
) -> None:
    groups = {f"label {n}": [plain((50, 50), (n, n, 255))] * each for n in range(num_labels)}
    sheet = read(contact_sheet(groups))
    width = each * SIDE + (each - 1) * GAP
    assert sheet.shape[1] == 2 * MARGIN + columns * width + (columns - 1) * BLOCK_GAP <= 1000
    assert sheet.shape[0] == MARGIN + rows * (SIDE + CAPTION)
    for number in range(num_labels):
        left = MARGIN + number % columns * (width + BLOCK_GAP)
        top = MARGIN + number // columns * (SIDE + CAPTION)
        assert tuple(sheet[top + SIDE // 2, left + SIDE // 2]) == (number, number, 255)
        caption = sheet[top + SIDE + 2 : top + SIDE + CAPTION - 2, left : left + width]
        assert (caption < 100).any()


@pytest.mark.parametrize("name", ["猫", "قطة", "\u200d", "", "é\u0301\u0301", "🫠"])
def test_name_when_the_font_cannot_draw_it_then_its_number_stands_there(name: str) -> None:
    picture = plain((20, 20))
    drawn = contact_sheet({"first": [picture], name: [picture]})
    assert drawn == contact_sheet({"first": [picture], "no. 2": [picture]})


def test_name_when_too_long_or_on_several_lines_then_it_stays_under_its_pictures() -> None:
    picture = plain((20, 20))
    assert read(contact_sheet({"word " * 40: [picture]})).shape[1] == 2 * MARGIN + SIDE
    drawn = contact_sheet({"two\nlines\t$x$": [picture]})
    assert drawn == contact_sheet({"two lines $x$": [picture]})
    assert drawn != contact_sheet({"two lines": [picture]})


@pytest.mark.parametrize("side", [64, 112, 300])
def test_sheet_when_its_pictures_are_noise_then_its_tiles_shrink_until_it_is_small(
    side: int,
) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(32)]
    pictures = [encoded(Image.fromarray(one)) for one in noise]
    groups = {f"label {n}": pictures[4 * n : 4 * n + 4] for n in range(8)}
    content = contact_sheet(groups)
    assert len(content) <= MAX_BYTES
    assert content == contact_sheet(groups)


def test_sheet_when_pictures_tell_of_themselves_then_it_holds_pixels_alone() -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "home of ada", 6  # turned: upright it is tall
    photo = encoded(Image.new("RGB", (200, 100), BLUE), "JPEG", exif=exif, quality=100)
    content = contact_sheet({"one": [photo]})
    assert b"ada" in photo
    assert b"ada" not in content
    with Image.open(io.BytesIO(content)) as sheet:
        assert isinstance(sheet, PngImageFile)
        sheet.load()
        assert (sheet.info, sheet.text, dict(sheet.getexif())) == ({}, {}, {})
        assert sheet.getpixel((MARGIN + 2, MARGIN + 50)) == (241, 243, 244)
        assert sheet.getpixel((MARGIN + 56, MARGIN + 2))[2] > 200
