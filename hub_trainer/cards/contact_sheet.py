"""Contact sheet of a few named pictures: a PNG, the same bytes for the same pictures."""

import io
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub_trainer.pictures import open_image

MAX_BYTES = 500_000
MAX_PICTURES = 32
"""So many at the smallest side stay below MAX_BYTES, even where they are noise."""
SIDES = range(112, 63, -8)
"""Pixels of the square that a picture fits into, largest first."""
MAX_WIDTH = 1000
MARGIN, GAP, BLOCK_GAP, CAPTION = 16, 6, 28, 48
"""Pixels around the sheet, between pictures, between groups, and below each row of pictures."""
FONT_SIZE = 16
WHITE, INK, TILE, RULE = "#ffffff", "#202124", "#f1f3f4", "#dadce0"


def contact_sheet(groups: Mapping[str, Sequence[bytes]]) -> bytes:
    """The encoded pictures of each group side by side, above the group's name.

    Each keeps its shape on a square tile: small ones are enlarged by a whole factor, so that their
    pixels stay sharp. The tiles are as large as MAX_BYTES allows.
    """
    assert groups
    assert 0 < sum(map(len, groups.values())) <= MAX_PICTURES
    decoded = [[_reduced(content) for content in contents] for contents in groups.values()]
    captions = [_caption(name, number) for number, name in enumerate(groups, start=1)]
    for side in SIDES:
        # The sheet as a file that holds pixels and nothing else.
        sheet = _drawn(captions, decoded, side)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG", optimize=True)
        content = buffer.getvalue()
        if len(content) <= MAX_BYTES:
            break
    return content


def _reduced(content: bytes) -> Any:
    """The decoded picture, no larger than the tiles need: it is drawn at several sides."""
    from PIL import Image

    picture = open_image(content)
    picture.thumbnail((2 * SIDES[0], 2 * SIDES[0]), Image.Resampling.LANCZOS)
    return picture


def _drawn(captions: Sequence[str], groups: Sequence[Sequence[Any]], side: int) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    num_across = max(map(len, groups))
    width = num_across * side + (num_across - 1) * GAP
    fitting = max(1, (MAX_WIDTH - 2 * MARGIN + BLOCK_GAP) // (width + BLOCK_GAP))
    num_rows = -(-len(groups) // fitting)
    num_columns = -(-len(groups) // num_rows)  # 8 groups of which 7 fit are two rows of 4
    size = (
        2 * MARGIN + num_columns * (width + BLOCK_GAP) - BLOCK_GAP,
        MARGIN + num_rows * (side + CAPTION),
    )
    sheet = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(sheet)
    # Not the layout engine of the machine: with another one the same names are other bytes.
    font = ImageFont.truetype(_font_file(), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    for index, (caption, pictures) in enumerate(zip(captions, groups, strict=True)):
        left = MARGIN + index % num_columns * (width + BLOCK_GAP)
        top = MARGIN + index // num_columns * (side + CAPTION)
        for number, picture in enumerate(pictures):
            _place(sheet, draw, picture, left + number * (side + GAP), top, side)
        text = _shortened(caption, font, width)
        draw.text((left, top + side + 6), text, fill=INK, font=font)
    return sheet


def _place(sheet: Any, draw: Any, picture: Any, left: int, top: int, side: int) -> None:
    """Put a picture in the middle of its tile."""
    draw.rectangle((left - 1, top - 1, left + side, top + side), fill=TILE, outline=RULE)
    fitted = _fitted(picture, side)
    sheet.paste(fitted, (left + (side - fitted.width) // 2, top + (side - fitted.height) // 2))


def _fitted(picture: Any, side: int) -> Any:
    from PIL import Image

    longest = max(picture.size)
    if 2 * longest <= side:
        factor = side // longest
        size = (factor * picture.width, factor * picture.height)
        return picture.resize(size, Image.Resampling.NEAREST)
    if longest <= side:
        return picture
    size = tuple(max(1, round(length * side / longest)) for length in picture.size)
    return picture.resize(size, Image.Resampling.LANCZOS)


def _caption(name: str, number: int) -> str:
    """A group's name, or its number on the sheet where the font would draw boxes for it."""
    from matplotlib.ft2font import FT2Font

    printable = (c if c.isprintable() else " " for c in unicodedata.normalize("NFC", name))
    text = " ".join("".join(printable).split())
    glyphs = FT2Font(str(_font_file())).get_charmap()
    drawable = all(ord(c) in glyphs and not _needs_shaping(c) for c in text)
    return text if text and drawable else f"no. {number}"


def _needs_shaping(character: str) -> bool:
    """Whether it is drawn wrong one after another: right to left, or upon its neighbour."""
    right_to_left = unicodedata.bidirectional(character) in ("R", "AL", "AN")
    return right_to_left or unicodedata.combining(character) != 0


def _shortened(text: str, font: Any, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _font_file() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
