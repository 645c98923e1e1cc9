"""Rows that are longer than the model reads: cut in training, left out, or refused by name."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hub_trainer.artifacts import Artifact, write_artifact
from hub_trainer.errors import DataError
from hub_trainer.hub import Hub
from hub_trainer.lineage import PinnedRepo, Pins
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.reports import CollectReport
from hub_trainer.rows import read_rows, with_row_ids, write_rows
from hub_trainer.stages import prepare
from hub_trainer.tasks import ModelFolders, Splits, load_task
from tests.stages.prepared import push_model
from tests.tasks.factory import LABELS, recipe, text_base, text_rows
from tests.tasks.language import language_base, rows_of

LONG = {3, 17}


@pytest.fixture
def base(hub: Hub, local: LocalHub, tmp_path: Path) -> PinnedRepo:
    name = f"{local.user}/{tmp_path.name.lower()}"
    return push_model(hub, name, language_base(tmp_path / "base"))


def said(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Questions and answers of 20 tokens or so, and those at two places of many more."""
    return rows_of(
        [
            {"prompt": f"{n}: {n * 7919}", "completion": f" {n}!" + " and" * 9 * (n in LONG)}
            for n in range(start, start + count)
        ]
    )


def collected(round_dir: Path, base: PinnedRepo, **splits: list[dict[str, Any]]) -> Path:
    pins = Pins(1, "run 1", None, base, (), "recipe")
    round_dir.mkdir()
    (round_dir / "pins.json").write_text(json.dumps(asdict(pins)))
    with write_artifact(round_dir / "collect", {"rows": repr(splits)}) as draft:
        for name, rows in splits.items():
            known = [
                {**row, "_source": "ada/data@0123456789", "_row": number}
                for number, row in enumerate(rows, start=1)
            ]
            table = with_row_ids(pa.Table.from_pylist(known), "prompt")
            write_rows(draft.folder / f"{name}.parquet", table)
        draft.outputs |= CollectReport(["demonstration"], ()).to_json()
    return round_dir


def wanted(how: str | None, **changes: Any) -> Recipe:
    section = {"prepare__too_long": how, "prepare__max_length": 32}
    section["prepare__deduplicate"] = {"near": None}
    return recipe("text-generation", **{**section, **changes})


def numbers(made: Artifact, split: str) -> set[int]:
    return {int(row["prompt"].split(":")[0]) for row in read_rows(made.folder / f"{split}.parquet")}


def test_prepare_when_long_rows_are_dropped_then_they_go_with_their_reason_and_sealed_ones_stay(
    tmp_path: Path, hub: Hub, base: PinnedRepo, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    test = [*said(6, start=100), *rows_of([{"prompt": "long: 1", "completion": " so" * 20}])]
    round_dir = collected(tmp_path / "round", base, train=said(40), test=test)
    made = prepare.run(wanted("drop"), round_dir, hub)
    assert not (numbers(made, "train") | numbers(made, "validation")) & LONG
    assert made.outputs["rows"] == {"train": 34, "validation": 4, "test": 7}
    assert made.outputs["dropped"] == {"longer than 32 tokens": 2}
    assert "prepare: 2 left out: 2 longer than 32 tokens" in caplog.text
    report = json.loads((made.folder / "report.json").read_text())
    assert report["first_left_out"]["ada/data@01234567"] == [
        [4, "longer than 32 tokens"],
        [18, "longer than 32 tokens"],
    ]
    assert {"split": "train", "step": "drop what is too long", "rows_in": 40, "rows_out": 38} in (
        report["steps"]
    )


def test_prepare_when_test_rows_are_held_back_then_the_same_ones_however_long_rows_fare(
    tmp_path: Path, hub: Hub, base: PinnedRepo
) -> None:
    found = []
    for how in ("cut", "drop"):
        round_dir = collected(tmp_path / how, base, train=said(60))
        found.append(numbers(prepare.run(wanted(how), round_dir, hub), "test"))
    assert found[0] == found[1]


@pytest.mark.parametrize("how", ["cut", None])
def test_prepare_when_long_rows_are_cut_then_all_of_them_reach_training(
    how: str | None, tmp_path: Path, hub: Hub, base: PinnedRepo
) -> None:
    round_dir = collected(tmp_path / "round", base, train=said(40), test=said(6, start=100))
    made = prepare.run(wanted(how), round_dir, hub)
    assert (made.outputs["rows"]["train"], made.outputs["dropped"]) == (36, {})
    assert made.digest == prepare.run(wanted(how, prepare__max_length=16), round_dir, hub).digest


def test_prepare_when_the_length_changes_then_rows_are_dropped_anew(
    tmp_path: Path, hub: Hub, base: PinnedRepo
) -> None:
    round_dir = collected(tmp_path / "round", base, train=said(40), test=said(6, start=100))
    prepare.run(wanted("drop"), round_dir, hub)
    made = prepare.run(wanted("drop", prepare__max_length=90), round_dir, hub)
    assert made.outputs["dropped"] == {}


def test_prepare_when_long_rows_are_refused_then_the_first_is_named_with_its_source(
    tmp_path: Path, hub: Hub, base: PinnedRepo
) -> None:
    round_dir = collected(tmp_path / "round", base, train=said(40), test=said(6, start=100))
    with pytest.raises(DataError, match="longer than the model reads") as caught:
        prepare.run(wanted("refuse"), round_dir, hub)
    assert caught.value.where == "train row 4 of ada/data@01234567"
    assert caught.value.got == "48 tokens, of which it reads 32; 2 such rows of 40"
    assert "too_long to drop or cut" in str(caught.value)
    assert prepare.run(wanted("refuse", prepare__max_length=60), round_dir, hub)


def test_prepare_when_every_row_is_too_long_then_says_so_in_place_of_dropping_all(
    tmp_path: Path, hub: Hub, base: PinnedRepo
) -> None:
    round_dir = collected(tmp_path / "round", base, train=said(40), test=said(6, start=100))
    with pytest.raises(DataError, match="All train rows are longer") as caught:
        prepare.run(wanted("drop", prepare__max_length=4), round_dir, hub)
    assert "of which it reads 4" in str(caught.value.got)
    assert "raise prepare.max_length" in str(caught.value)


def test_sizes_of_texts_count_what_the_model_reads_and_of_pairs_both(tmp_path: Path) -> None:
    folders = ModelFolders(text_base(tmp_path / "base"))
    task = load_task("text-classification")
    assert task.counts_tokens is not None
    one = {"text": "red card", "label": "red"}
    of = recipe("text-classification", prepare__max_length=4)
    found = task.counts_tokens.token_counts([one, {**one, "text": "my red card " * 4}], of, folders)
    assert (list(found.counts), found.longest) == ([4, 14], 4)
    pair = {**one, "text_pair": "a card"}
    assert list(task.counts_tokens.token_counts([pair], of, folders).counts)[0] >= 6
    assert list(task.counts_tokens.token_counts([], of, folders).counts) == []


def test_text_when_cut_in_training_then_a_note_says_how_many(tmp_path: Path) -> None:
    base = ModelFolders(text_base(tmp_path / "base"))
    rows = text_rows(24)
    rows[0] = {**rows[0], "text": "my red card " * 20}
    of = recipe("text-classification", prepare__max_length=16)
    report = load_task("text-classification").fit(
        Splits(rows, text_rows(6, seed=1), LABELS),
        of,
        tmp_path / "out",
        base=base,
        progress=lambda share, doing: None,
    )
    assert "1 of 24 training rows are longer than 16 tokens and were cut at their end" in (
        report.notes
    )


@pytest.mark.parametrize(
    "task",
    [
        "token-classification",
        "image-classification",
        "audio-classification",
        "automatic-speech-recognition",
        "tabular-classification",
        "tabular-regression",
    ],
)
def test_length_when_nothing_is_ever_cut_then_the_key_is_refused(task: str) -> None:
    found = load_task(task).recipe_problems(recipe(task, prepare__too_long="drop"), None)
    assert f"prepare.too_long: changes nothing in {task}; remove it" in {
        problem.message for problem in found
    }
    assert load_task(task).counts_tokens is None
