import pytest

from hub_trainer.local_hub.attributes import IgnoreRules, LfsRules, default_attributes


@pytest.mark.parametrize(
    ("path", "lfs"),
    [
        ("w.bin", True),
        ("deep/down/w.safetensors", True),
        ("events.out.tfevents.123", True),
        ("tfevents.123", True),
        ("saved_model/a/b.txt", True),
        ("saved_model/b.txt", True),
        ("x/saved_model/b.txt", False),
        ("a.tar.gz", True),
        ("a.lfs.txt", True),
        ("README.md", False),
        ("w.bin.txt", False),
    ],
)
def test_default_rules_when_asked_then_as_on_the_hub(path: str, lfs: bool) -> None:
    assert LfsRules(default_attributes("model")).is_lfs(path) is lfs


def test_default_rules_when_dataset_then_media_are_large() -> None:
    rules = LfsRules(default_attributes("dataset"))
    assert rules.is_lfs("images/a.png")
    assert not LfsRules(default_attributes("model")).is_lfs("images/a.png")


def test_rules_when_several_match_then_the_last_wins() -> None:
    text = (
        "# comment\n[attr]x\n*.txt filter=lfs\nkeep/*.txt -filter\n/top.bin filter=lfs -text\nbad\n"
    )
    rules = LfsRules(text)
    assert rules.is_lfs("a.txt")
    assert not rules.is_lfs("keep/a.txt")
    assert rules.is_lfs("keep/deeper/a.txt")
    assert rules.is_lfs("top.bin")
    assert not rules.is_lfs("sub/top.bin")


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("*.log", "a/b.log", True),
        ("/a.log", "b/a.log", False),
        ("build/", "build/x/y", True),
        ("build/", "build", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("**/z", "a/b/z", True),
        ("a/**", "a/b", True),
        ("a/**", "a", False),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "b.txt", False),
        ("[^ab].txt", "c.txt", True),
        ("\\#x", "#x", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("a?c", "abc", True),
        ("# x", "# x", False),
        ("x ", "x", True),
    ],
)
def test_ignore_when_asked_then_as_git(pattern: str, path: str, ignored: bool) -> None:
    assert IgnoreRules(pattern).ignores(path) is ignored


def test_ignore_when_taken_back_then_kept() -> None:
    rules = IgnoreRules("*.log\n!keep.log\n")
    assert rules.ignores("a.log")
    assert not rules.ignores("keep.log")


def test_pattern_when_made_to_be_slow_then_it_is_not() -> None:
    assert not LfsRules("*a" * 100 + "b filter=lfs").is_lfs("a" * 255)
    assert not LfsRules("**/a/" * 100 + "b filter=lfs").is_lfs("a/" * 500 + "c")
