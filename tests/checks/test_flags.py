import pytest

from hub_trainer.checks.flags import text_flags


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("ab\u202edc", "bidi"),
        ("\u2066x\u2069", "bidi"),
        ("pass\u200bword", "hidden"),
        ("\U000e0041\U000e0042\U000e0043\U000e0044", "hidden"),
        ("<script>x</script>", "html"),
        ("<img src=x onerror=alert(1)>", "html"),
        ("see javascript:alert(1)", "html"),
        ('=HYPERLINK("x")', "formula"),
        ("@SUM(A1)", "formula"),
        ("+cmd(1)", "formula"),
    ],
)
def test_text_when_it_hides_something_then_flagged(text: str, flag: str) -> None:
    counts = text_flags([{"text": text, "label": "a"}, {"text": "plain", "label": "b"}])
    assert counts == {**dict.fromkeys(counts, 0), flag: 1}


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "5 + 3 = 8",
        "\U0001f468\u200d\U0001f469",
        "mail @ noon",
        "-1",
        "<3",
        "<b>x</b>",
    ]
    + ["می\u200cخواهم", "- item (one)", "+44 20 7946 0000"],
)
def test_text_when_ordinary_then_not_flagged(text: str) -> None:
    assert not any(text_flags([{"text": text}]).values())


def test_provenance_when_it_looks_odd_then_not_looked_at() -> None:
    assert not any(text_flags([{"_source": "\u202e", "image": b"<script>"}]).values())
