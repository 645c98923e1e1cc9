"""Markdown that nobody's text can break out of: tables that line up, code, fences."""

import re
import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len

_BIDI = dict.fromkeys(
    [0x061C, 0x200E, 0x200F, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
_MENTION = {ord("@"): "\uff20"}
_ENTITIES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",
    "$": "&#36;",
    "://": "&#58;//",
    "www.": "www&#46;",
}
_SPECIAL = re.compile(r"([\\`*_\[\]~#])")
_PLAIN_NAME = re.compile(r"[\w .,:;'?+/%=-]+")


def one_line(text: str, max_chars: int = 200) -> str:
    """Somebody's text on one line: no control or direction characters, and no mention of anyone."""
    words = " ".join(_visible(text).split())
    return words if len(words) <= max_chars else f"{words[: max_chars - 1]}…"


def escape(text: str, max_chars: int = 200) -> str:
    """Somebody's text so that Markdown shows it as it is: no markup, link, HTML or table cell."""
    safe = one_line(text, max_chars)
    parts = re.split("|".join(map(re.escape, _ENTITIES)), safe, flags=re.IGNORECASE)
    found = re.findall("|".join(map(re.escape, _ENTITIES)), safe, flags=re.IGNORECASE)
    escaped = [_SPECIAL.sub(r"\\\1", part) for part in parts]
    entities = [_ENTITIES[entity.lower()] for entity in found] + [""]
    return "".join(part + entity for part, entity in zip(escaped, entities, strict=True))


def name(text: str, max_chars: int = 60) -> str:
    """A name that is data, such as a label: as code where that is safe."""
    shown = one_line(text, max_chars)
    return f"`{shown}`" if _PLAIN_NAME.fullmatch(shown) else escape(text, max_chars) or "(empty)"


def fence(text: str, language: str = "text", max_chars: int = 20_000) -> str:
    """A block of somebody's text that its content cannot close."""
    lines = [_visible(line).rstrip() for line in text.splitlines()]
    return code_block("\n".join(lines)[:max_chars], language)


def code_block(text: str, language: str) -> str:
    """A block of our own code, as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text.strip()}\n{ticks}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 1) -> str:
    """A table whose columns line up as plain text; cells from `numbers_from` on stand right.

    Cells are Markdown that is safe already, as from `escape` and `name`.
    """
    lines = [list(header), *(list(row) for row in rows)]
    assert all(len(line) == len(header) for line in lines)
    assert not any("|" in cell or "\n" in cell for line in lines for cell in line)
    widths = [max(3, *(cell_len(line[i]) for line in lines)) for i in range(len(header))]
    rule = [_rule(width, i >= numbers_from) for i, width in enumerate(widths)]
    padded = [_padded(line, widths, numbers_from) for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _rule(width: int, right: bool) -> str:
    return "-" * (width - 1) + ":" if right else "-" * width


def _padded(line: Sequence[str], widths: Sequence[int], numbers_from: int) -> list[str]:
    padded = []
    for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
        space = " " * (width - cell_len(cell))
        padded.append(space + cell if i >= numbers_from else cell + space)
    return padded


def _visible(text: str) -> str:
    """Text without characters that act instead of being seen, and with every @ made harmless."""
    text = str(text).translate(_BIDI).translate(_MENTION)
    return "".join(
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c
        for c in text
        if unicodedata.category(c) != "Cs"
    )
