"""Altered copies of sealed rows are seen, and honest rows are not taken for them."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hub_trainer.duplicates import SealedRows, find_leakage
from hub_trainer.inputs.picture_forms import normal_forms
from tests.alterations import ALTERATIONS, png
from tests.stages.review_corpus import kinds

Row = dict[str, Any]
KINDS = {"text": "requests", "image": "digits", "table": "tumours"}
HARD = {
    "words replaced": 0.8, "typos": 0.8, "turned by 3": 0.8, "turned, mirrored, noise": 0.8,
    "blurred": 0.8, "smaller": 0.8, "shifted by 2": 0.8, "shifted, negative": 0.8,
}  # fmt: skip
"""Alterations after which single rows may be lost; all others lose one in twenty at most."""
PARTIAL = (
    "marked", "marked, turned, mirrored", "turned by 5, black corners",
    "turned by 15, black corners", "cropped by a quarter", "half", "twice side by side",
    "four times", "shifted by 3, all round",
)  # fmt: skip
"""Alterations that cover, cut or surround a part of a picture, and leave the rest as it was."""
HARSH = ("much brighter", "much noise")
"""Alterations that leave too little of a picture of 8 x 8 pixels; of larger ones single rows."""
CASES = [
    (modality, name)
    for modality in KINDS
    for name in ALTERATIONS[modality]
    if name not in (*PARTIAL, *HARSH)
]


@cache
def divided(modality: Any) -> tuple[SealedRows, list[Row], list[Row]]:
    """Sealed rows, the same as a list, and honest ones."""
    rows = kinds()[KINDS[modality]].rows
    order = np.random.default_rng(7).permutation(len(rows))
    sealed = [rows[number] for number in order[:150]]
    honest = [rows[number] for number in order[150:450]]
    return SealedRows(sealed, modality, 0.85), sealed, honest


@pytest.mark.parametrize(("modality", "name"), CASES)
def test_copies_when_altered_then_seen(modality: Any, name: str) -> None:
    index, sealed, honest = divided(modality)
    rng = np.random.default_rng(1)
    copies = [ALTERATIONS[modality][name](row, rng, honest) for row in sealed[:40]]
    found = {match.row: match.reference for match in index.copies_among(copies)}
    right = sum(found.get(number) == number for number in range(40))
    assert right >= HARD.get(name, 0.95) * 40


@pytest.mark.parametrize("modality", list(KINDS))
def test_copies_when_rows_are_honest_then_few_are_taken_for_some(modality: Any) -> None:
    index, _, honest = divided(modality)
    assert len(index.copies_among(honest)) <= 0.06 * len(honest)


@pytest.mark.parametrize("modality", list(KINDS))
def test_copies_when_near_is_stricter_then_less_is_near(modality: Any) -> None:
    index, sealed, honest = divided(modality)
    assert SealedRows(sealed, modality, 0.95).reach < index.reach
    assert SealedRows(sealed, modality, 1.0).copies_among(honest) == []
    assert [m.kind for m in find_leakage(sealed[:2], sealed, modality, None)] == ["exact"] * 2


def test_tables_when_numbers_are_text_and_words_have_another_case_then_seen() -> None:
    _, sealed, honest = divided("table")
    named = [{**row, "site": "Upper Hall"} for row in sealed]
    copies = [{name: str(value).upper() for name, value in row.items()} for row in named[:10]]
    found = find_leakage(copies, named, "table", 0.85)
    assert [match.reference for match in found] == list(range(10))


def test_tables_when_a_few_categories_are_all_then_only_equal_rows_are_copies() -> None:
    rng = np.random.default_rng(0)
    rows = [{name: "xyz"[int(rng.integers(3))] for name in "abcd"} for _ in range(200)]
    found = find_leakage(rows[100:], rows[:100], "table", 0.85)
    assert {match.kind for match in found} == {"exact"}


@pytest.mark.parametrize("way", ["%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d"])
def test_tables_when_a_date_is_moved_by_days_or_written_otherwise_then_a_copy_is_seen(
    way: str,
) -> None:
    rng = np.random.default_rng(0)
    begin = date(2022, 1, 1)
    rows = [
        {
            "day": begin + timedelta(days=int(rng.integers(730))),
            "city": str(rng.choice(["Rome", "Oslo", "Bonn", "Lyon"])),
            "price": float(np.round(rng.lognormal(5, 0.5), 2)),
            "size": int(rng.integers(30, 140)),
        }
        for _ in range(600)
    ]
    sealed = [{**row, "day": row["day"].isoformat()} for row in rows[:300]]
    moved = [{**row, "day": (row["day"] + timedelta(days=2)).strftime(way)} for row in rows[:100]]
    found = find_leakage(moved, sealed, "table", 0.85)
    assert sum(match.row == match.reference for match in found) >= 98
    elsewhere = [{**row, "day": sealed[-n - 1]["day"]} for n, row in enumerate(sealed[:100])]
    assert len(find_leakage(elsewhere, sealed, "table", 0.85)) >= 90
    honest = [{**row, "day": row["day"].isoformat()} for row in rows[300:]]
    assert len(find_leakage(honest, sealed, "table", 0.85)) <= 9


def test_tables_when_columns_are_lacking_or_new_then_compared_by_those_there_are() -> None:
    _, sealed, honest = divided("table")
    copies = [{**dict(list(row.items())[2:]), "new": 1.0} for row in sealed[:20]]
    found = find_leakage(copies, sealed, "table", 0.85)
    assert [match.reference for match in found] == list(range(20))


HIDDEN: dict[str, Callable[[str], str]] = {
    "signs for letters": lambda text: text.translate(str.maketrans("aeiost", "431057")),
    "lines for spaces": lambda text: text.replace(" ", "_"),
    "vowels doubled": lambda text: re.sub("([aeiou])", r"\1\1", text),
    "the first half": lambda text: text[: len(text) // 2],
    "the second half": lambda text: text[len(text) // 2 :],
}


@pytest.mark.parametrize("way", HIDDEN)
def test_texts_when_hidden_or_cut_then_a_copy_is_seen(way: str) -> None:
    _, sealed, honest = divided("text")
    copies = [{"text": HIDDEN[way](row["text"])} for row in sealed[:40]]
    found = find_leakage(copies, sealed, "text", 0.85)
    assert sum(match.row == match.reference for match in found) >= 36
    assert len(find_leakage(honest, sealed, "text", 0.85)) <= 0.05 * len(honest)


def test_texts_when_short_then_only_equal_ones_are_copies() -> None:
    sealed = [{"text": text} for text in ("ok", "thank you", "yes please", "see you", "not yet")]
    rows = [{"text": text} for text in ("OK", "ok then", "thank you all", "yes", "")]
    assert [match.row for match in find_leakage(rows, sealed, "text", 0.85)] == [0]


def test_texts_when_of_a_script_without_spaces_then_copies_are_seen() -> None:
    rng = np.random.default_rng(0)
    signs = [chr(0x4E00 + n) for n in range(600)]
    texts = ["".join(rng.choice(signs, 30)) for _ in range(60)]
    sealed = [{"text": text} for text in texts[:30]]
    copies = [{"text": text[20:] + signs[0] + text[:20]} for text in texts[:30]]
    assert len(find_leakage(copies, sealed, "text", 0.85)) >= 29
    assert find_leakage([{"text": text} for text in texts[30:]], sealed, "text", 0.85) == []


def test_texts_when_without_any_word_then_only_equal_ones_are_copies() -> None:
    sealed = [{"text": "?!"}, {"text": ""}, {"text": "\u200b"}]
    found = find_leakage([{"text": "!?"}, {"text": "?!"}], sealed, "text", 0.85)
    assert [(match.row, match.kind) for match in found] == [(1, "exact")]


def test_copies_when_there_is_nothing_to_compare_then_none() -> None:
    for modality, row in (("text", {"text": "a"}), ("table", {"a": 1.0}), ("table", {})):
        assert find_leakage([], [row], modality, 0.85) == []  # type: ignore[arg-type]
        assert find_leakage([row], [], modality, 0.85) == []  # type: ignore[arg-type]


def clouds(count: int, seed: int) -> list[Row]:
    """Pictures of 48 x 40 pixels whose grey changes slowly, each in another way."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 7, 6)).astype(np.uint8)
    large = (Image.fromarray(grid).resize((40, 48), Image.Resampling.BICUBIC) for grid in coarse)
    return [{"image": png(picture)} for picture in large]


def test_pictures_when_parts_are_covered_cut_or_added_then_each_is_seen() -> None:
    sealed, honest = clouds(30, 0), clouds(60, 1)
    index = SealedRows(sealed, "image", 0.85)
    rng = np.random.default_rng(2)
    lost = {}
    for name in PARTIAL:
        copies = [ALTERATIONS["image"][name](row, rng, honest) for row in sealed]
        found = {match.row: match.reference for match in index.copies_among(copies)}
        lost[name] = [number for number in range(30) if found.get(number) != number]
    assert {name: rows for name, rows in lost.items() if len(rows) > 1} == {}
    assert len(index.copies_among(honest)) <= 3


def test_pictures_when_a_turn_left_black_corners_then_they_take_the_ground() -> None:
    picture = Image.new("RGB", (40, 40), (200, 200, 200))
    picture.paste((90, 90, 90), (12, 12, 28, 28))
    whole = normal_forms([png(picture.rotate(10))])[2][0, 0]
    assert whole[:2].min() > 200
    on_black = Image.new("RGB", (40, 40))
    on_black.paste((90, 90, 90), (12, 12, 28, 28))
    assert normal_forms([png(on_black)])[2][0, 0, 0, 0] == 0


def test_pictures_when_several_may_stand_beside_each_other_then_the_parts_count() -> None:
    sizes = [(80, 40), (40, 80), (40, 40), (40, 8)]
    forms = normal_forms([png(Image.effect_noise(size, 80)) for size in sizes])[2]
    assert (forms.max(axis=(2, 3)) > 0).sum(axis=1).tolist() == [3, 3, 5, 0]
