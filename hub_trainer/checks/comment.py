"""The one comment that review leaves under a pull request; every foreign string is made inert."""

import re
import unicodedata
from collections.abc import Iterable

from hub_trainer.checks.verdict import Verdict

MARKER = "hub-trainer-review"
MAX_DETAIL = 400
HEADLINES = {
    "merge": "Every check passed; these rows are merged.",
    "refuse": "This pull request is refused.",
    "human": "A person has to look at this pull request.",
}
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SIGNS = re.compile(r"([\\`*_\[\]|~#!&<>])")
_ADDRESSES = ((re.compile(r"(?i)(www)\."), r"\1[.]"), (re.compile(r":(?=//)"), "[:]"))


def render_comment(verdict: Verdict, *, dataset_id: str) -> str:
    """Markdown: what was vetted, a table that lines up, and the command that repeats it."""
    rows = [
        (inert(check.name), "pass" if check.passed else "**fail**", inert(check.detail))
        for check in verdict.checks
    ]
    command = f"hub-trainer review {dataset_id} --pr {int(verdict.number)}"
    return "\n".join(
        [
            f"**Review: {verdict.verdict}.** {HEADLINES[verdict.verdict]}",
            "",
            *_table([("check", "result", "detail"), *rows]),
            "",
            f"Vetted commit: `{_hex(verdict.sha)}`, against main at `{_hex(verdict.base_sha)}`. "
            "A later push is not covered and is reviewed anew.",
            "",
            "To repeat it:",
            "",
            f"    {command}",
            "",
            marker_of(verdict.sha),
        ]
    )


def marker_of(sha: str) -> str:
    """A hidden line by which a comment about this commit is found again."""
    return f"<!-- {MARKER} {_hex(sha)} -->"


def has_comment(comments: Iterable[tuple[str, str]], sha: str, *, author: str) -> bool:
    """Whether `author` has commented on this commit already; a stranger's marker does not count."""
    return any(name == author and marker_of(sha) in text for name, text in comments)


def inert(text: str, limit: int = MAX_DETAIL) -> str:
    """Text that Markdown shows as text: no mention, link, HTML, cell, new line or hidden sign.

    Addresses and mentions are broken by spelling (`http[:]//`, `[at]`), as some readers look for
    them after escapes were undone; other signs are escaped.
    """
    visible = " ".join("".join(_plain(character) for character in text).split())
    short = visible if len(visible) <= limit else visible[: limit - 1] + "…"
    for pattern, spelling in _ADDRESSES:
        short = pattern.sub(spelling, short)
    broken = short.replace("@", "[at]").replace("＠", "[at]")
    return _SIGNS.sub(lambda found: _HTML.get(found[0], "\\" + found[0]), broken)


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "�" if category in ("Cf", "Co", "Cn", "Cs") else character


def _hex(sha: str) -> str:
    return re.sub(r"[^0-9a-f]", "", sha.lower())[:64]


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], ruler, *lines[1:]]
