import json
from dataclasses import replace
from pathlib import Path

import pytest

from hub_trainer.checks.schema_changes import STRUCTURE, Schema, check_schema, schema_of
from hub_trainer.checks.verdict import Check, decide
from hub_trainer.rows import read_split

BASE = Schema(
    100, {"text": "string", "label": "class label"}, {"label": ("a", "b")}, {"text": 0, "label": 0}
)


def _failed(new: Schema, base: Schema = BASE) -> dict[str, Check]:
    return {check.name: check for check in check_schema(base, new) if not check.passed}


def test_schema_when_equal_then_passes() -> None:
    assert decide(check_schema(BASE, BASE)) == "merge"


def test_columns_when_missing_new_or_of_another_type_then_refused() -> None:
    types = {"text": "int", "extra": "string"}
    found = _failed(
        replace(BASE, types=types, class_names={}, null_fractions=dict.fromkeys(types, 0))
    )
    assert found["columns"].blocks == "refuse"
    for part in ("'label' is missing", "'extra' is new", "'text' is int, not string"):
        assert part in found["columns"].detail


def test_label_names_when_reordered_or_added_then_refused() -> None:
    for names in (("b", "a"), ("a", "b", "c"), ("a",)):
        assert "label names" in _failed(replace(BASE, class_names={"label": names}))


def test_label_names_when_of_folders_then_some_of_them_will_do() -> None:
    fewer = replace(BASE, class_names={"label": ("b",)})
    other = replace(BASE, class_names={"label": ("b", "z")})
    assert decide(check_schema(BASE, fewer, names_from_folders=True)) == "merge"
    assert decide(check_schema(BASE, other, names_from_folders=True)) == "refuse"


def test_cells_when_emptier_than_the_dataset_then_a_person_decides() -> None:
    assert not _failed(replace(BASE, null_fractions={"text": 0.05, "label": 0}))
    found = _failed(replace(BASE, null_fractions={"text": 0.2, "label": 0}))
    assert found["empty cells"].blocks == "human"
    assert "'text' is empty in 20% of the rows" in found["empty cells"].detail


def test_cells_when_emptier_by_chance_then_pass() -> None:
    base = replace(BASE, null_fractions={"text": 0.6, "label": 0})
    new = replace(BASE, null_fractions={"text": 0.7, "label": 0})
    assert not _failed(new, base)
    assert "empty cells" in _failed(replace(new, rows=5000), base)
    one = replace(BASE, rows=5, null_fractions={"text": 0.2, "label": 0})
    assert not _failed(one)


def test_column_when_wholly_empty_then_its_type_does_not_count() -> None:
    base = replace(BASE, null_fractions={"text": 0.5, "label": 0})
    new = replace(
        BASE, types={**BASE.types, "text": "null"}, null_fractions={"text": 1.0, "label": 0}
    )
    assert "columns" not in _failed(new, base)


def test_schema_when_sent_as_json_then_comes_back() -> None:
    assert Schema.from_json(BASE.to_json()) == BASE


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("string", "int"),
        ("string", "bool"),
        ("float", "int"),
        (STRUCTURE, "list<item: struct<role: string>>"),
    ],
)
def test_column_when_its_file_says_nothing_of_types_then_may_look_narrower(
    wanted: str, found: str
) -> None:
    base = replace(BASE, types={**BASE.types, "text": wanted})
    new = replace(BASE, types={**BASE.types, "text": found})
    assert "columns" in _failed(new, base)
    assert not _failed(replace(new, untyped=True), base)
    wider = replace(new, types={**BASE.types, "text": wanted}, untyped=True)
    assert "columns" in _failed(wider, replace(base, types=new.types))


def test_schema_when_cells_are_structures_of_any_keys_then_says_so(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}], [{"role": "user", "content": "q", "name": "ann"}]
    lines = (json.dumps({"messages": one, "mixed": n or "x"}) for n, one in enumerate(turns))
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    schema = schema_of(read_split(tmp_path))
    assert schema.types == {"messages": STRUCTURE, "mixed": "string"}
    assert schema.untyped
