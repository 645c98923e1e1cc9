"""Preferences in prepare: pairs that contradict each other, and pairs that are none."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hub_trainer.artifacts import Artifact, write_artifact
from hub_trainer.checks.review_child import compare_rows
from hub_trainer.duplicates import preference_keys
from hub_trainer.hub import Hub
from hub_trainer.recipe import Recipe
from hub_trainer.reports import CollectReport
from hub_trainer.rows import read_rows, with_row_ids, write_rows
from hub_trainer.stages import prepare
from hub_trainer.stages.prepare.repeats import without_contradictions
from tests.tasks.language import rows_of


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def turns(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    asked = [{"role": "user", "content": prompt}]
    return {
        "chosen": [*asked, {"role": "assistant", "content": chosen}],
        "rejected": [*asked, {"role": "assistant", "content": rejected}],
    }


def kept(rows: list[dict[str, Any]]) -> list[str]:
    found, gone = without_contradictions(rows_of(rows), "prompt")
    assert {reason for _, reason in gone} <= {"conflicting preference"}
    assert len(found) + len(gone) == len(rows)
    return [row["text"] for row in found]


@pytest.mark.parametrize("written", [pair, turns])
def test_preferences_when_they_contradict_each_other_then_the_majority_holds_and_a_tie_goes(
    written: Any,
) -> None:
    tie = [written("q", "x one", "y two"), written("q", "y two", " X  one")]
    assert kept(tie) == []
    assert len(kept([*tie, written("q", "x one", "y two")])) == 2
    assert len(kept([tie[0], written("other", "y two", "x one")])) == 2
    assert len(kept([written("q", "Answer", "answer")])) == 1


def test_rows_when_nothing_is_preferred_then_none_contradicts() -> None:
    rows = rows_of([{"text": "a"}, {"text": "b"}])
    assert preference_keys(rows, "prompt") == [None, None]
    assert preference_keys([{"text": "a", "label": "b"}], "text") == [None]


def test_prepare_when_preferences_contradict_each_other_then_they_are_counted(
    tmp_path: Path,
) -> None:
    artifact = prepared(tmp_path, [pair("q", "x one", "y two"), pair("q", "y two", "x one")])
    assert artifact.outputs["dropped"] == {"conflicting preference": 2}
    assert sum(artifact.outputs["rows"].values()) == 40
    report = (artifact.folder / "report.md").read_text()
    assert "drop contradictions" in report


def test_review_when_a_preference_turns_the_datasets_round_then_it_is_a_contradiction(
    tmp_path: Path,
) -> None:
    for name, row in (("new", pair("q", "y", "x")), ("base", pair("q", "x", "y"))):
        table = pa.Table.from_pylist([{**one, "_source": "o/d@sha"} for one in rows_of([row])])
        write_rows(tmp_path / f"{name}.parquet", with_row_ids(table, "prompt"))
    files = (str(tmp_path / "new.parquet"), str(tmp_path / "base.parquet"), None)
    found = compare_rows(*files, modality="prompt", near=None, answer="completion")
    assert found.repeats.conflicting == 1


def prepared(round_dir: Path, further: list[dict[str, Any]]) -> Artifact:
    """Forty pairs that are well apart, and further ones for training."""
    made = rows_of([pair(f"{n} {n * n}", f"{n * 7}", f"{n * 11 + 1}") for n in range(40)])
    splits = {"train": [*made[:30], *rows_of(further)], "test": made[30:]}
    with write_artifact(round_dir / "collect", {"rows": len(further)}) as draft:
        for name, rows in splits.items():
            table = pa.Table.from_pylist([{**row, "_source": "ada/data@sha"} for row in rows])
            write_rows(draft.folder / f"{name}.parquet", with_row_ids(table, "prompt"))
        draft.outputs |= CollectReport(["preference"], ()).to_json()
    recipe = Recipe.model_validate(
        {
            "task": "text-generation",
            "base_model": "ada/base",
            "collect": {"datasets": ["ada/data"]},
            "prepare": {"deduplicate": {"near": 1.0}},
            "evaluate": {"metrics": ["perplexity"], "primary": "perplexity"},
            "publish": {"repo_id": "ada/model"},
        }
    )
    artifact = prepare.run(recipe, round_dir, Hub("http://127.0.0.1:9", "t"))
    assert read_rows(artifact.folder / "train.parquet")
    return artifact
