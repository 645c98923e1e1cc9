"""Whatever a text holds, Markdown made from it stays what it was meant to be."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from hub_trainer.cards.markdown import code_block, escape, fence, name, one_line, table

HOSTILE = [
    "@everyone please look",
    "x@evil.example",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[free](https://evil.example)",
    "![x](http://evil.example/p.png)",
    "https://evil.example/a",
    "HTTP://EVIL.example",
    "www.evil.example",
    "a | b | c",
    "a \\| b",
    "`code` ``more``",
    "````\n@me\n````",
    "---\nlicense: mit\n---",
    "# heading\n\n## another",
    "~~~\ntext",
    "$$x$$ $y$",
    "\u202eevil\u202c",
    "a\0b\x1b[31m",
    "\u2028line\u2029",
    "&lt;b&gt;",
    "_under_ *star* **two**",
    "",
    " ",
    "\ud800",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))
ACTIVE = re.compile(
    r"@\w|<[a-zA-Z!/]|(?<!\\)\]\(|https?://|www\.|(?<![\\&])[*_`\[\]~#]|\$|\||[\n\r\0\x1b]"
    r"|[\u202a-\u202e\u2066-\u2069]",
    re.IGNORECASE,
)


@settings(deadline=None)
@given(texts)
def test_escape_when_text_is_hostile_then_nothing_in_it_acts(text: str) -> None:
    assert not ACTIVE.search(escape(text))


@settings(deadline=None)
@given(texts)
def test_name_when_text_is_hostile_then_it_is_code_or_escaped(text: str) -> None:
    shown = name(text)
    if shown.startswith("`"):
        assert re.fullmatch(r"`[\w .,:;'?+/%=-]+`", shown)
    else:
        assert not ACTIVE.search(shown)
        assert shown.strip()


@settings(deadline=None)
@given(st.lists(texts, max_size=6))
def test_fence_when_text_has_fences_then_only_its_own_line_closes_it(lines: list[str]) -> None:
    block = fence("\n".join(lines)).split("\n")
    ticks = block[0].removesuffix("text")
    assert set(ticks) == {"`"}
    assert block[-1] == ticks
    assert not any(line.strip().startswith(ticks) for line in block[1:-1])
    assert not re.search(r"@\w", "\n".join(block))


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_table_when_cells_are_hostile_then_columns_line_up_and_none_is_added(
    rows: list[tuple[str, str]],
) -> None:
    lines = table(["label", "n"], [[name(a), escape(b)] for a, b in rows]).split("\n")
    assert len(lines) == len(rows) + 2
    assert len({cell_len(line) for line in lines}) == 1
    assert all(line.count("|") == 3 for line in lines)


def test_escape_when_shown_then_markdown_gives_the_text_back() -> None:
    import html

    text = r"a|b <c> [d](e) _f_ *g* `h` \i #j $k & ~l!"
    shown = re.sub(r"\\([\\`*_\[\]~#])", r"\1", escape(text))
    assert html.unescape(shown) == text


def test_one_line_when_text_is_long_then_cut() -> None:
    assert one_line("a" * 300, 10) == "a" * 9 + "…"
    assert one_line("  a \n\t b ") == "a b"


def test_table_when_scripts_are_wide_then_columns_line_up_on_a_terminal() -> None:
    lines = table(["label", "rows"], [["`日本`", "1"], ["`abc`", "22"]]).split("\n")
    assert len({cell_len(line) for line in lines}) == 1
    assert lines[1] == "| ------ | ---: |"


def test_code_block_when_code_is_ours_then_it_stays_as_it_is() -> None:
    assert code_block("@decorator\nx = 1\n", "python") == "```python\n@decorator\nx = 1\n```"
