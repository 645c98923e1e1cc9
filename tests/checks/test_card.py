import pytest

from hub_trainer.checks.card_changes import MAX_CARD_BYTES, check_card
from hub_trainer.checks.verdict import Check, decide

CARD = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
dataset_info:
  features:
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '1': dog
---
# Pets
"""


def _failed(base: str | None, head: str | None) -> dict[str, Check]:
    checks = check_card(
        base.encode() if base is not None else None, head.encode() if head is not None else None
    )
    return {check.name: check for check in checks if not check.passed}


def test_card_when_not_changed_then_passes() -> None:
    assert decide(check_card(CARD.encode(), CARD.encode())) == "merge"
    assert decide(check_card(None, None)) == "merge"


def test_text_when_edited_then_a_person_reads_it() -> None:
    found = _failed(CARD, CARD + "More words.")
    assert list(found) == ["card"]
    assert found["card"].blocks == "human"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "~/x.csv", "../x.parquet", "data/../../x", "C:\\x.csv", "..\\x"]
    + ["hf://datasets/a/b/x.parquet", "https://example.org/x.csv", "file:///etc/passwd"]
    + ["zip://a::https://example.org/b.zip", "s3://bucket/x", "x::y"],
)
def test_data_files_when_outside_then_refused(path: str) -> None:
    found = _failed(CARD, CARD.replace("data/train-*", path))
    assert found["card paths"].blocks == "refuse"
    assert "configs[0].data_files[0].path" in found["card paths"].detail


@pytest.mark.parametrize(
    "configs",
    [
        "configs: [{config_name: x, data_files: /etc/passwd}]",
        "configs: [{config_name: x, data_files: [data/a.csv, /etc/passwd]}]",
        "configs: [{config_name: x, data_files: {train: /etc/passwd}}]",
        "configs: [{config_name: x, data_files: [{split: train, path: [a, /etc/passwd]}]}]",
        "configs: [{config_name: x, data_dir: /etc}]",
    ],
)
def test_data_files_when_written_in_any_form_then_found(configs: str) -> None:
    assert "card paths" in _failed(None, f"---\n{configs}\n---\n")


def test_card_when_it_appears_with_a_bad_path_then_refused() -> None:
    assert "card paths" in _failed(None, CARD.replace("data/train-*", "/etc/passwd"))


def test_licence_when_changed_then_human_or_refused() -> None:
    assert _failed(CARD, CARD.replace("mit", "cc-by-4.0"))["licence"].blocks == "human"
    unknown = _failed(CARD, CARD.replace("license: mit", "license: all-mine"))["licence"]
    assert unknown.blocks == "refuse"
    assert "'all-mine'" in unknown.detail
    assert _failed(CARD, CARD.replace("license: mit\n", ""))["licence"].blocks == "refuse"


def test_label_names_when_declared_anew_then_refused() -> None:
    swapped = CARD.replace("'0': cat", "'0': dog").replace("'1': dog", "'1': cat")
    assert _failed(CARD, swapped)["card schema"].blocks == "refuse"


def test_yaml_when_aliased_then_not_read() -> None:
    bomb = "---\na: &a [x, x]\nb: [*a, *a, *a]\n---\n"
    assert "not YAML" in _failed(CARD, bomb)["card"].detail


def test_card_when_huge_or_broken_then_refused() -> None:
    assert "larger than" in _failed(CARD, "x" * (MAX_CARD_BYTES + 1))["card"].detail
    broken = _failed(CARD, "---\na: [\n---\n")["card"]
    assert broken.blocks == "refuse"
    assert "not YAML" in broken.detail


def test_card_when_removed_then_a_person_decides_at_least() -> None:
    assert decide(check_card(CARD.encode(), None)) != "merge"


def test_card_when_it_changes_how_rows_are_read_then_says_what() -> None:
    split = CARD.replace("data/train-*", "data/*")
    assert split != CARD
    found = _failed(CARD, split)["card"]
    assert found.blocks == "human"
    assert found.detail == (
        "README.md is edited, and changes which files are which split, the sealed rows among them; "
        "a person must read it"
    )
    declared = CARD.replace("---\n", "---\nhub_trainer: {task: tabular-regression}\n", 1)
    assert "and changes what the rows are for and how their columns are read;" in (
        _failed(CARD, declared)["card"].detail
    )
