import re
import unicodedata
from dataclasses import replace
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from hub_trainer.checks.comment import ADVICE, has_comment, inert, marker_of, render_comment
from hub_trainer.checks.verdict import Check, MadeFile, Verdict

FOLDS = re.compile(r"^</?details>$|^<summary>[\w ]+</summary>$", re.MULTILINE)
SHA, BASE = "a" * 40, "b" * 40
HOSTILE = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            ["@all", "@", "＠x", "https://evil.example", "www.evil.example", "ftp://x", "//", ":"]
            + [
                "evil.example",
                "evil.com/x",
                "\u3164",
                "\u2800",
                "\ufe0f",
                "e\u0301\u0301\u0301\u0301",
            ]
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
    assert text.startswith("**Review: merge.** Merged.")
    assert text.count("<details>") == text.count("</details>") == 2
    assert f"`{SHA}`" in text
    assert f"`{BASE}`" in text
    assert "    hub-trainer review o/d --pr 7" in text
    assert text.endswith(marker_of(SHA))


def test_failed_check_when_shown_then_stands_out() -> None:
    text = render_comment(_verdict("bad"), dataset_id="o/d")
    assert "- refuse, **file names**: bad." in text.splitlines()
    assert text.startswith("**Review: refuse.** Not merged yet. To be mended first: file names.")


def test_comment_when_refused_then_leads_with_verdict_reason_rows_and_what_mends_it() -> None:
    bad = Check("label quality", False, "a fifth looks wrong", "refuse", tuple(range(3, 23)))
    verdict = Verdict(7, SHA, BASE, "refuse", (Check("rows", True, "12"), bad), rows=100)
    text = render_comment(verdict, dataset_id="o/d")
    lines = text.splitlines()
    assert lines[0].startswith("**Review: refuse.**")
    assert lines[0].endswith("Thank you for these 100 rows.")
    assert "Rows 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 and 8 more." in text
    assert "- Look at the labels of the rows named, and correct or drop them." in lines
    assert "    hub-trainer contribute o/d FILE --dry-run" in lines
    assert "stays open" in text
    assert "    hf upload o/d FILE ITS_PATH_IN_THE_REPO --repo-type dataset" in text
    named = render_comment(replace(verdict, files=("data/new.csv",)), dataset_id="o/d")
    push = "hf upload o/d FILE.csv data/new.csv --repo-type dataset --revision refs/pr/7"
    assert f"    {push}" in named.splitlines()
    several = tuple(f"train/cats/{n}.png" for n in range(3))
    folder = render_comment(replace(verdict, files=several), dataset_id="o/d")
    assert "    hub-trainer contribute o/d FOLDER --pr 7" in folder.splitlines()
    push = "hf upload o/d FOLDER train/cats --repo-type dataset --revision refs/pr/7"
    assert f"    {push}" in folder.splitlines()
    mixed = render_comment(replace(verdict, files=("a b/x.png", "c.png")), dataset_id="o/d")
    assert "hf upload o/d FOLDER . --repo-type dataset" in mixed
    odd = render_comment(replace(verdict, files=("a; rm -r b.csv",)), dataset_id="o/d")
    assert "rm -r" not in odd
    assert text.index("label quality") < text.index("<summary>1 checks passed") < text.index(SHA)
    assert lines[-1] == marker_of(SHA)


def test_comment_when_merged_then_says_what_was_left_out_and_converted(tmp_path: Path) -> None:
    made = (MadeFile("data/train-1.parquet", tmp_path / "x", "0"),)
    passed = (Check("rows", True, "12"),)
    verdict = Verdict(7, SHA, BASE, "merge", passed, rows=12, left_out=2, made=made)
    headline = render_comment(verdict, dataset_id="o/d").splitlines()[0]
    assert "Thank you for these 12 rows. 10 of them were added; 2 repeat rows" in headline
    assert "that are there already or sealed for the test, and were left out." in headline
    assert "in the dataset's own schema" in headline


def test_comment_when_hostile_then_says_closed_and_offers_no_way_on() -> None:
    hostile = Check("file types", False, "'x.py' is neither data nor the card", hostile=True)
    verdict = Verdict(7, SHA, BASE, "refuse", (hostile,))
    assert verdict.closes
    text = render_comment(verdict, dataset_id="o/d")
    assert text.splitlines()[0].startswith("**Review: refuse.** Closed")
    assert "stays open" not in text


def test_advice_when_listed_then_each_line_is_for_a_check_that_exists() -> None:
    folder = Path(__file__).parents[2] / "hub_trainer" / "checks"
    source = "".join(p.read_text() for p in folder.glob("*.py") if p.name != "comment.py")
    source += (folder.parent / "stages" / "review.py").read_text()
    assert [name for name in ADVICE if f'"{name}"' not in source] == []


@example("", "WWW")
@example("", "evil.a")
@example("", "evil.a1")
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
    assert not re.search(r"evil\.[a-z]", body)
    assert not re.search("[\u2800\u3164\ufe00-\ufe0f]|\u0301{3}", body)
    assert not re.search(r"<(?!!-- )", FOLDS.sub("", body))
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


def test_inert_when_a_file_is_named_then_its_dot_stays() -> None:
    assert inert("data/new.csv: see README.md") == "data/new.csv: see README.md"
    assert inert("at 0.95 see evil.com.") == r"at 0.95 see evil\[.\]com."
    assert inert("evil.zip, or evil.csv.org") == r"evil\[.\]zip, or evil.csv\[.\]org"


def test_inert_when_long_then_cut() -> None:
    assert len(inert("x" * 10_000)) == 600


def test_marker_when_from_a_stranger_then_does_not_count() -> None:
    comments = [("mallory", f"hello {marker_of(SHA)}")]
    assert not has_comment(comments, SHA, author="bot")
    assert has_comment([*comments, ("bot", f"x {marker_of(SHA)}")], SHA, author="bot")
    assert not has_comment([("bot", marker_of(BASE))], SHA, author="bot")


def test_sha_when_hostile_then_only_hex_is_left() -> None:
    assert marker_of("ab--> <script>") == "<!-- hub-trainer-review abc -->"
