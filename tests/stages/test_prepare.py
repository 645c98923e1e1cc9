import io
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hub_trainer.answers import load_answer
from hub_trainer.artifacts import Artifact, write_artifact
from hub_trainer.errors import DataError, RecipeError
from hub_trainer.hub import Hub
from hub_trainer.inputs.cleaning import clean_text
from hub_trainer.recipe import Recipe
from hub_trainer.reports import CollectReport
from hub_trainer.rows import read_rows, row_id, with_row_ids, write_rows
from hub_trainer.rows.holdout import hold_back_test
from hub_trainer.stages import prepare
from hub_trainer.stages.prepare.data_report import aligned_table
from hub_trainer.stages.prepare.split import take_validation

LABEL = load_answer("label")
TASKS = {
    "text": "text-classification",
    "image": "image-classification",
    "table": "tabular-classification",
}
HUB = Hub("http://127.0.0.1:9", "t")


def recipe(modality: str = "text", **section: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "task": TASKS[modality],
            "collect": {"datasets": ["ada/data"]},
            "prepare": section,
            "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
            "publish": {"repo_id": "ada/model"},
        }
    )


def collected(round_dir: Path, modality: str = "text", **splits: list[dict[str, Any]]) -> None:
    """A collect artifact with these rows."""
    labels = sorted({row["label"] for row in splits["train"]})
    with write_artifact(round_dir / "collect", {"rows": repr(splits)}) as draft:
        for name, rows in splits.items():
            table = pa.Table.from_pylist([{**row, "_source": "ada/data@sha"} for row in rows])
            write_rows(draft.folder / f"{name}.parquet", with_row_ids(table, modality))  # type: ignore[arg-type]
        known = CollectReport(labels, (), dropped={"x": {"no label": 2}}, warnings=["a licence"])
        draft.outputs |= known.to_json()


def prepared(round_dir: Path, modality: str = "text", **section: Any) -> Artifact:
    return prepare.run(recipe(modality, **section), round_dir, HUB)


def texts(count: int, start: int = 0) -> list[dict[str, Any]]:
    words = ["amber", "birch", "cedar", "delta", "ember", "flint", "grove", "haze", "iris", "jade"]
    rng = np.random.default_rng(5)
    bodies = [" ".join(rng.choice(words, 12)) for _ in range(start + count)]
    return [{"text": f"{bodies[i]} {i}", "label": "ab"[i % 2]} for i in range(start, start + count)]


def rows_in(artifact: Artifact, split: str) -> list[dict[str, Any]]:
    return read_rows(artifact.folder / f"{split}.parquet")


def test_prepare_when_run_then_splits_are_distinct_and_reported(tmp_path: Path) -> None:
    train, test = texts(60), texts(20, start=60)
    collected(tmp_path, train=[*train, train[0], test[3]], test=test)
    steps: list[tuple[float, str]] = []
    artifact = prepare.run(recipe(), tmp_path, HUB, progress=lambda *step: steps.append(step))
    out = artifact.outputs
    assert out["rows"] == {"train": 54, "validation": 6, "test": 20}
    assert out["counts"]["train"] == {"a": 27, "b": 27}
    assert out["dropped"] == {"exact duplicate": 1, "repeats a test row": 1, "no label": 2}
    assert out["duplicates"]["train"] == {"groups": 1, "exact": 1, "near": 0, "conflicting": 0}
    assert out["leakage"] == {"train in test": {"exact": 1, "near": 0, "sealed_rows": 1}}
    assert out["warnings"] == ["a licence"]
    assert [row["text"] for row in rows_in(artifact, "test")] == [row["text"] for row in test]
    ids = [
        row["_row_id"]
        for split in ("train", "validation", "test")
        for row in rows_in(artifact, split)
    ]
    assert len(ids) == len(set(ids)) == 80
    assert json.loads((artifact.folder / "report.json").read_text())["rows"] == out["rows"]
    assert [share for share, _ in steps] == sorted(share for share, _ in steps)


def test_prepare_when_reported_then_the_tables_line_up(tmp_path: Path) -> None:
    rows = texts(60)
    rows[5]["text"] += " write to ada@mail.example"
    collected(tmp_path, train=rows, test=texts(20, start=60))
    report = (prepared(tmp_path).folder / "report.md").read_text()
    tables = [block.splitlines() for block in report.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({len(line) for line in table}) == 1, "\n".join(table)
    assert "| train | take validation rows |      60 |       54 |" in report
    assert "| a     |    27 |          3 |   10 |" in report
    assert "email" in report
    assert "ada@mail.example" not in report
    assert "- a licence" in report


def test_prepare_when_run_again_then_does_nothing_until_something_changes(tmp_path: Path) -> None:
    collected(tmp_path, train=texts(40))
    first = prepared(tmp_path)
    stamp = (first.folder / "manifest.json").stat().st_mtime_ns
    assert prepared(tmp_path).digest == first.digest
    assert prepared(tmp_path, max_length=9).digest == first.digest
    assert (first.folder / "manifest.json").stat().st_mtime_ns == stamp
    assert prepared(tmp_path, validation_fraction=0.3).digest != first.digest


def test_prepare_when_nothing_was_collected_then_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no collected rows") as caught:
        prepared(tmp_path)
    assert "hub-trainer collect" in str(caught.value)


def test_prepare_when_texts_are_untidy_then_they_are_made_alike(tmp_path: Path) -> None:
    rows = texts(30)
    rows[0]["text"] = "\ufeff  Cafe\u0301 \t au\u200b lait \r\n\n now\x07 "
    rows[1]["text"] = " \u200b "
    collected(tmp_path, train=rows)
    artifact = prepared(tmp_path)
    found = {
        row["text"]: row
        for split in ("train", "validation", "test")
        for row in rows_in(artifact, split)
    }
    row = found["Caf\u00e9 au lait\n\nnow"]
    assert row["_row_id"] == row_id(row, "text")
    assert artifact.outputs["dropped"]["text is empty"] == 1
    assert len(found) == 29


def test_prepare_when_not_cleaned_then_an_empty_row_is_an_error(tmp_path: Path) -> None:
    rows = texts(30)
    rows[7]["text"] = "  "
    collected(tmp_path, train=rows)
    with pytest.raises(DataError, match="text is empty") as caught:
        prepared(tmp_path, clean=False)
    assert "train row 8, of ada/data@sha" in str(caught.value)
    assert "prepare.clean" in str(caught.value)
    assert not (tmp_path / "prepare").exists()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\u202eb", "ab"),
        ("a\u00a0 b", "a b"),
        ("one \n two", "one\ntwo"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("\u0644\u200c\u0627", "\u0644\u200c\u0627"),
        ("x", "x"),
    ],
)
def test_clean_text_when_it_holds_what_is_not_seen_then_only_that_goes(
    text: str, clean: str
) -> None:
    assert clean_text(text) == clean


def test_prepare_when_labels_conflict_then_the_majority_holds_and_a_tie_goes(
    tmp_path: Path,
) -> None:
    def labelled(text: str, *labels: str) -> list[dict[str, Any]]:
        return [{"text": text, "label": label} for label in labels]

    rows = [
        *texts(40),
        *labelled("three of four agree", "b", "a", "a", "a"),
        *labelled("two disagree", "a", "b"),
    ]
    collected(tmp_path, train=rows, test=texts(10, start=50))
    artifact = prepared(tmp_path)
    assert artifact.outputs["dropped"]["exact duplicate"] == 2
    assert artifact.outputs["dropped"]["conflicting label"] == 3
    assert artifact.outputs["duplicates"]["train"]["conflicting"] == 6
    kept = [row for split in ("train", "validation") for row in rows_in(artifact, split)]
    assert [row["label"] for row in kept if row["text"] == "three of four agree"] == ["a"]
    assert not [row for row in kept if row["text"] == "two disagree"]
    assert "6 rows have a content that carries several labels" in artifact.outputs["warnings"]


def test_prepare_when_near_repeats_differ_in_label_then_only_the_same_label_goes(
    tmp_path: Path,
) -> None:
    rows, twin = texts(40), texts(1)[0]["text"]
    rows += [{"text": f"{twin}!", "label": "a"}, {"text": f"{twin}?", "label": "b"}]
    collected(tmp_path, train=rows, test=texts(10, start=50))
    artifact = prepared(tmp_path)
    assert artifact.outputs["dropped"]["near duplicate"] == 1
    kept = {row["text"] for split in ("train", "validation") for row in rows_in(artifact, split)}
    assert {twin, f"{twin}?"} <= kept
    assert (
        prepared(tmp_path, deduplicate={"near": None}).outputs["duplicates"]["train"]["near"] == 0
    )


def test_prepare_when_repeats_are_kept_then_leakage_still_goes(tmp_path: Path) -> None:
    test = texts(10, start=50)
    collected(
        tmp_path,
        train=[*texts(40), *texts(5), test[0], {**test[1], "text": test[1]["text"] + "!"}],
        test=test,
    )
    artifact = prepared(tmp_path, deduplicate=None)
    assert artifact.outputs["rows"] == {"train": 42, "validation": 4, "test": 10}
    assert artifact.outputs["leakage"]["train in test"] == {"exact": 1, "near": 0, "sealed_rows": 1}
    assert artifact.outputs["duplicates"] == {}


def test_prepare_when_validation_is_given_then_no_split_repeats_another(tmp_path: Path) -> None:
    train, validation, test = texts(40), texts(10, start=50), texts(10, start=70)
    collected(
        tmp_path,
        train=[*train, validation[0], test[0]],
        validation=[*validation, test[1]],
        test=test,
    )
    artifact = prepared(tmp_path)
    assert artifact.outputs["rows"] == {"train": 40, "validation": 10, "test": 10}
    assert {name: found["exact"] for name, found in artifact.outputs["leakage"].items()} == {
        "validation in test": 1,
        "train in test": 1,
        "train in validation": 1,
    }


def test_prepare_when_the_test_is_held_back_then_later_rows_move_none(tmp_path: Path) -> None:
    collected(tmp_path / "1", train=texts(100))
    first = prepared(tmp_path / "1")
    more = [*texts(60, start=100), *texts(100)]
    more[70] = {"text": more[70]["text"], "label": "b"}
    collected(tmp_path / "2", train=more)
    second = prepared(tmp_path / "2")
    before = {row["_row_id"] for row in rows_in(first, "test")}
    after = {row["_row_id"] for row in rows_in(second, "test")}
    assert 10 <= len(before) <= 30
    assert before <= after
    learned = {
        row["_row_id"] for split in ("train", "validation") for row in rows_in(second, split)
    }
    assert not learned & after


def test_hold_back_when_rows_are_many_then_the_share_is_as_asked() -> None:
    rows = [{"text": f"row {i}", "label": "a"} for i in range(5_000)]
    train, test = hold_back_test(rows, "text", 0.2)
    assert abs(len(test) / 5_000 - 0.2) < 0.02
    assert len(train) + len(test) == 5_000
    shouted = [{"text": f"ROW  {i}", "label": "b"} for i in range(5_000)]
    assert len(hold_back_test(shouted, "text", 0.2)[1]) == len(test)


def test_validation_when_taken_then_each_label_gives_its_share_and_keeps_a_row() -> None:
    labels = ["a"] * 50 + ["b"] * 20 + ["c"] * 2 + ["d"]
    rows = [{"text": f"{i}", "label": label, "_row_id": f"{i}"} for i, label in enumerate(labels)]
    train, validation = take_validation(rows, 0.3, seed=1, answer=LABEL)
    assert Counter(row["label"] for row in validation) == {"a": 15, "b": 6, "c": 1}
    assert Counter(row["label"] for row in train) == {"a": 35, "b": 14, "c": 1, "d": 1}
    assert take_validation(rows, 0.3, seed=1, answer=LABEL)[1] == validation
    assert take_validation(rows, 0.3, seed=2, answer=LABEL)[1] != validation
    assert [row["text"] for row in train] == sorted((r["text"] for r in train), key=int)


def test_validation_when_the_share_rounds_to_none_then_one_row_is_taken() -> None:
    rows = [{"text": f"{i}", "label": "ab"[i % 2], "_row_id": f"{i}"} for i in range(4)]
    assert [len(part) for part in take_validation(rows, 0.1, seed=0, answer=LABEL)] == [3, 1]
    assert [len(part) for part in take_validation(rows[:2], 0.1, seed=0, answer=LABEL)] == [2, 0]


def test_prepare_when_a_test_label_is_left_without_training_rows_then_names_it(
    tmp_path: Path,
) -> None:
    test = [*texts(10, start=50), {"text": "the only one of its kind", "label": "c"}]
    collected(
        tmp_path, train=[*texts(40), {"text": "The only one of its kind", "label": "c"}], test=test
    )
    with pytest.raises(DataError, match="The test rows have labels") as caught:
        prepared(tmp_path)
    assert "got:   c" in str(caught.value)


def test_prepare_when_all_rows_have_one_label_then_says_so(tmp_path: Path) -> None:
    collected(tmp_path, train=[{**row, "label": "a"} for row in texts(40)])
    with pytest.raises(DataError, match="all have one label") as caught:
        prepared(tmp_path)
    assert "only a" in str(caught.value)


def test_prepare_when_no_training_row_is_left_then_says_so(tmp_path: Path) -> None:
    collected(tmp_path, train=texts(10), test=texts(10))
    with pytest.raises(DataError, match="No train row is left") as caught:
        prepared(tmp_path)
    assert "10 test rows" in str(caught.value)
    assert "prepare.deduplicate" in str(caught.value)


def test_prepare_when_an_augmentation_is_unknown_then_lists_those_there_are(tmp_path: Path) -> None:
    collected(tmp_path, train=texts(40))
    with pytest.raises(RecipeError, match=r"prepare.augment|1 problem") as caught:
        prepared(tmp_path, augment=["swirl"])
    assert "has no 'swirl'" in str(caught.value)


def test_prepare_when_a_table_then_only_equal_rows_of_equal_label_are_repeats(
    tmp_path: Path,
) -> None:
    rows = [{"x": float(i), "arm": "lr"[i % 2], "label": "ab"[i % 3 % 2]} for i in range(40)]
    rows += [rows[0], {**rows[1], "label": "a" if rows[1]["label"] == "b" else "b"}]
    rows += [{**rows[2], "x": rows[2]["x"] + 0.001}]
    test = [{"x": 100.0 + i, "arm": "l", "label": "ab"[i % 2]} for i in range(8)]
    collected(tmp_path, "table", train=rows, test=test)
    found = prepared(tmp_path, "table").outputs
    assert found["duplicates"]["train"] == {"groups": 2, "exact": 2, "near": 0, "conflicting": 2}
    assert found["rows"]["train"] + found["rows"]["validation"] == 42
    near = prepared(tmp_path, "table", deduplicate={"near": 0.85}).outputs
    assert near["dropped"]["near duplicate"] >= 1


def test_prepare_when_sealed_rows_of_a_table_come_back_altered_then_they_go(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    names = [f"x{n}" for n in range(8)]

    def drawn(count: int) -> list[dict[str, Any]]:
        values = np.round(rng.normal(100, 20, (count, len(names))))
        return [
            {
                **dict(zip(names, map(float, row), strict=True)),
                "arm": "lr"[n % 2],
                "label": "ab"[n % 2],
            }
            for n, row in enumerate(values)
        ]

    train, test = drawn(200), drawn(60)
    copies = [{**row, names[n % 8]: row[names[n % 8]] + 3} for n, row in enumerate(test[:40])]
    collected(tmp_path, "table", train=[*train, *copies], test=test)
    out = prepared(tmp_path, "table").outputs
    assert out["dropped"]["nearly repeats a test row"] == 40
    assert out["rows"]["train"] + out["rows"]["validation"] == 200
    assert out["leakage"]["train in test"] == {"exact": 0, "near": 40, "sealed_rows": 40}


def test_prepare_when_a_table_keeps_repeats_then_leakage_is_left_to_chance(tmp_path: Path) -> None:
    rows = [{"arm": "lr"[i % 2], "label": "ab"[i % 2]} for i in range(40)]
    collected(tmp_path, "table", train=rows, test=rows[:8])
    with pytest.raises(DataError, match="No train row is left"):
        prepared(tmp_path, "table")
    assert prepared(tmp_path, "table", deduplicate=None).outputs["rows"]["train"] == 36


def test_prepare_when_a_table_has_blank_cells_then_they_are_null(tmp_path: Path) -> None:
    rows = [{"arm": "  ", "x": float(i), "label": "ab"[i % 2]} for i in range(30)]
    collected(tmp_path, "table", train=rows)
    artifact = prepared(tmp_path, "table")
    assert {row["arm"] for row in rows_in(artifact, "train")} == {None}


def test_prepare_when_images_repeat_then_the_copies_go_and_can_be_looked_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def picture(seed: int) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)

    def encoded(image: Image.Image, kind: str) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind)
        return buffer.getvalue()

    rows = [{"image": encoded(picture(i), "PNG"), "label": "ab"[i % 2]} for i in range(30)]
    test = [{"image": encoded(picture(i), "PNG"), "label": "ab"[i % 2]} for i in range(40, 46)]
    leaked = {"image": encoded(picture(40), "JPEG"), "label": "a"}
    collected(tmp_path, "image", train=[*rows, {**rows[0]}, leaked], test=test)
    artifact = prepared(tmp_path, "image")
    assert artifact.outputs["dropped"] == {
        "exact duplicate": 1,
        "nearly repeats a test row": 1,
        "no label": 2,
    }
    assert artifact.outputs["leakage"]["train in test"] == {"exact": 0, "near": 1, "sealed_rows": 1}
    [pair] = map(json.loads, (artifact.folder / "near_pairs.jsonl").read_text().splitlines())
    ids = {row["_row_id"]: row["image"] for row in rows_in(artifact, "test")}
    assert ids[pair["sealed"]["row_id"]] == test[0]["image"]
    assert (pair["row"]["label"], "image" in pair["row"]) == ("a", False)
    with Image.open(artifact.folder / "near_pairs.png") as drawn:
        assert drawn.width > 2 * 64
    told = (
        f"rows that nearly repeat a sealed one, beside that: {artifact.folder / 'near_pairs.png'}"
    )
    assert told in caplog.text
    assert [row["image"] for row in rows_in(artifact, "test")] == [row["image"] for row in test]
    assert "| train      | width  |" in (artifact.folder / "report.md").read_text()


def test_prepare_when_a_source_loses_a_tenth_then_it_is_said_with_its_first_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "_row": number} for number, row in enumerate(texts(60), start=1)]
    lost = [{**rows[0], "_row": 61 + i} for i in range(8)] + [{**rows[1], "text": " ", "_row": 69}]
    collected(tmp_path, train=[*rows, *lost], test=texts(20, start=60))
    with caplog.at_level(logging.INFO, "hub_trainer.stages.prepare"):
        artifact = prepared(tmp_path)
    told = [(record.levelname, record.message) for record in caplog.records]
    counts = "8 exact duplicates, 1 text is empty"
    assert [level for level, _ in told].count("INFO") == 0  # the warning tells it
    warning = (
        f"ada/data@sha: 9 of 89 rows left out: {counts}; the first: row 69 (text is empty), "
        "row 61 (exact duplicate), row 62 (exact duplicate)"
    )
    assert ("WARNING", f"prepare: {warning}") in told
    assert artifact.outputs["left_out"] == {"exact duplicate": 8, "text is empty": 1}
    report = json.loads((artifact.folder / "report.json").read_text())
    assert report["left_out"] == {
        "collect": {"no label": 2},
        "prepare": artifact.outputs["left_out"],
    }
    assert warning in report["warnings"]
    page = (artifact.folder / "report.md").read_text()
    assert "| prepare     | exact duplicate |    8 |" in page
    assert "| ada/data@sha |  61 | exact duplicate |" in page


def test_table_when_aligned_then_numbers_are_right_and_bars_are_escaped() -> None:
    table = aligned_table(["name", "n"], [("a|b\nc", 12345), ("d", 6)])
    assert table.splitlines() == [
        "| name   |      n |",
        "| ------ | -----: |",
        "| a\\|b c | 12,345 |",
        "| d      |      6 |",
    ]
    assert aligned_table(["name"], []).splitlines()[0] == "| name |"
