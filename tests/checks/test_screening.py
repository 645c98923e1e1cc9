"""Rows that review would stop a pull request for, and the reason of each."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hub_trainer.checks.screening import unfit_rows
from hub_trainer.rows import write_rows

TEXTS = [
    f"the {n} birds of the {n}th wood sing at {n} every day of the week {n}" for n in range(40)
]


def _unfit(
    folder: Path,
    new: list[dict[str, Any]],
    base: list[dict[str, Any]] | None = None,
    test: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> dict[int, str]:
    paths = []
    for name, rows in (("new", new), ("base", base), ("test", test)):
        if rows:
            write_rows(folder / name, pa.Table.from_pylist(rows))
        paths.append(str(folder / name) if rows else None)
    values = {"modality": "text", "answer": "label", "near": 0.85, "max_repeats": 0.2, **changes}
    return dict(unfit_rows(*paths, **values))  # type: ignore[arg-type]


def _texts(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text, "label": "a"} for text in texts]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("my key is sk-abcdEFGH1234ijklMNOP5678", "with a secret"),
        ("use hf_abcdefghIJKLmnop1234QRSTuvwx56 here", "with a secret"),
        ("see https://ann:secret@example.org/x", "with a secret"),
        ("write to ann.smith@gmail.com", "with personal data"),
        ("call +49 30 901820 now", "with personal data"),
        ("pay \u202egnirts eht\u202c now", "with hidden text"),
        ("pass\u200bword please", "with hidden text"),
        ("<script>alert(1)</script> hello", "with hidden text"),
        ("<img src=x onerror=alert(1)> hello", "with hidden text"),
        ("a" * 100_001, "too long"),
        (TEXTS[0], "sealed for the test"),
        (TEXTS[1].upper(), "sealed for the test"),
        (TEXTS[2] + " today", "sealed for the test"),
        (TEXTS[20] + " today", "nearly in the dataset already"),
    ],
)
def test_text_when_review_would_stop_it_is_left_out(tmp_path: Path, text: str, reason: str) -> None:
    new = _texts("what a lovely day it is", text, "nobody knows the trouble")
    assert _unfit(tmp_path, new, _texts(*TEXTS[10:]), _texts(*TEXTS[:10])) == {1: reason}


def test_texts_when_their_dataset_holds_addresses_by_nature_may_hold_them(tmp_path: Path) -> None:
    base = _texts(*(f"from a{n}@mail.org to b{n}@mail.org on day {n}{n}" for n in range(40)))
    assert _unfit(tmp_path, _texts("answer c@mail.org soon", "hello there"), base) == {}


def test_texts_when_nearly_the_same_as_another_are_left_out_once(tmp_path: Path) -> None:
    new = _texts(TEXTS[0], TEXTS[0] + " today", "something else altogether")
    assert _unfit(tmp_path, new) == {1: "nearly the same as another"}
    assert _unfit(tmp_path, new, near=None) == {}


def test_corrections_when_few_may_contradict_the_dataset(tmp_path: Path) -> None:
    base = _texts("one bird", "two fish")
    new = [{"text": text, "label": "b"} for text in ("one bird", *TEXTS[:9:2])]
    assert _unfit(tmp_path, new, base) == {}
    assert _unfit(tmp_path, new[:2], base) == {0: "in the dataset under another label, too many"}


@pytest.mark.parametrize(
    ("column", "value"),
    [("prompt", "my key is sk-abcdEFGH1234ijklMNOP5678"), ("example", "\u202e")],
)
def test_answers_when_any_of_their_texts_is_unfit_are_left_out(
    tmp_path: Path, column: str, value: str
) -> None:
    row = {"text": "a b", "prompt": "a", "label": "sft", "example": "{}"}
    assert list(_unfit(tmp_path, [row, {**row, "text": "c d", column: value}])) == [1]


def test_tables_when_a_cell_is_unfit_or_a_row_is_sealed_are_left_out(tmp_path: Path) -> None:
    def row(age: float, note: str) -> dict[str, Any]:
        return {"age": age, "size": age * 3, "note": note, "label": "x"}

    new = [row(1, "fine"), row(2, "ann@gmail.com"), row(3, "<script>"), row(4, "sealed")]
    unfit = _unfit(tmp_path, new, [row(9, "old")], [row(4, "sealed")], modality="table")
    assert unfit == {1: "with personal data", 2: "with hidden text", 3: "sealed for the test"}


def _picture(seed: int) -> bytes:
    array = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def _flat(mode: str, colour: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (24, 24), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_when_broken_flat_or_sealed_are_left_out(tmp_path: Path) -> None:
    pictures = [
        _picture(1),
        _picture(2)[:200],
        b"no picture",
        _flat("RGB", (255, 255, 255)),
        _flat("L", 0),
        _flat("RGBA", (1, 2, 3, 0)),
        _picture(9),
        _picture(3),
    ]
    new = [{"image": picture, "label": "a"} for picture in pictures]
    test = [{"image": _picture(9), "label": "a"}]
    assert _unfit(
        tmp_path, new, [{"image": _picture(4), "label": "a"}], test, modality="image"
    ) == {
        1: "with a broken picture or sound",
        2: "with a broken picture or sound",
        3: "with a blank one",
        4: "with a blank one",
        5: "with a blank one",
        6: "sealed for the test",
    }
