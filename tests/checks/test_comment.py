import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from hub_trainer.checks.comment import has_comment, inert, marker_of, render_comment
from hub_trainer.checks.verdict import Check, Verdict

SHA, BASE = "a" * 40, "b" * 40
HOSTILE = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            ["@all", "@", "＠x", "https://evil.example", "www.evil.example", "ftp://x", "//", ":"]
            + ["[a](b)", "![x](y)", "<script>", "<!--", "-->", "|", "\n", "\r\n", "---", "`", "```"]
            + ["\\", "*", "_", "#1", "&lt;", "~~", "\u202e", "\u200b", "\x00", "\u2028", "</td>"]
            + ["Co-authored-by: x <y@z>", "Hub-Trainer-Run: x", "mail@host.org", "$$", "{{x}}"]
        ),
        max_size=12,
    ).map("".join),
)


def _verdict(*details: str, name: str = "file names") -> Verdict:
    checks = tuple(Check(name, False, detail) for detail in details)
    return Verdict(3, SHA, BASE, "refuse", checks)


def test_comment_when_rendered_then_the_table_lines_up_and_names_what_was_vetted() -> None:
    verdict = Verdict(
        7, SHA, BASE, "merge", (Check("rows", True, "12"), Check("duplicates", True, "none"))
    )
    text = render_comment(verdict, dataset_id="o/d")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert len(table) == 4
    assert f"`{SHA}`" in text
    assert f"`{BASE}`" in text
    assert "    hub-trainer review o/d --pr 7" in text
    assert text.endswith(marker_of(SHA))


def test_failed_check_when_shown_then_stands_out() -> None:
    text = render_comment(_verdict("bad"), dataset_id="o/d")
    assert "| file names | **fail** | bad" in text
    assert text.startswith("**Review: refuse.**")


@given(HOSTILE, HOSTILE)
def test_comment_when_strings_are_hostile_then_only_the_table_is_there(a: str, b: str) -> None:
    text = render_comment(_verdict(a, b, name=a[:20]), dataset_id="o/d")
    plain = render_comment(_verdict("x", "y", name="n"), dataset_id="o/d")
    assert len(text.splitlines()) == len(plain.splitlines())
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4
    body = text.replace(marker_of(SHA), "")
    assert "@" not in body
    assert "＠" not in body
    assert "://" not in body
    assert not re.search(r"(?i)www\.", body)
    assert not re.search(r"<(?!!-- )", body)
    assert "<!--" not in body
    hidden = {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}
    assert not [c for c in body if unicodedata.category(c) in hidden and c != "\n"]


@given(HOSTILE)
def test_inert_when_applied_then_markdown_signs_are_escaped(text: str) -> None:
    shown = inert(text)
    for found in re.finditer(r"[`*_\[\]|~#!]", shown):
        before = shown[: found.start()]
        assert (len(before) - len(before.rstrip("\\"))) % 2 == 1
    assert "\n" not in shown


def test_inert_when_long_then_cut() -> None:
    assert len(inert("x" * 10_000)) == 400


def test_marker_when_from_a_stranger_then_does_not_count() -> None:
    comments = [("mallory", f"hello {marker_of(SHA)}")]
    assert not has_comment(comments, SHA, author="bot")
    assert has_comment([*comments, ("bot", f"x {marker_of(SHA)}")], SHA, author="bot")
    assert not has_comment([("bot", marker_of(BASE))], SHA, author="bot")


def test_sha_when_hostile_then_only_hex_is_left() -> None:
    assert marker_of("ab--> <script>") == "<!-- hub-trainer-review abc -->"
