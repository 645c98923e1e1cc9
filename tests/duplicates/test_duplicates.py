import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from hub_trainer.duplicates import (
    DuplicateGroup,
    Match,
    content_keys,
    find_duplicates,
    find_leakage,
    find_repeats,
)
from hub_trainer.inputs import near_tables, near_texts

NEAR = 0.85
CHILDCARE = Path(__file__).parents[3] / "shared" / "data" / "dirty-neardup-childcare"
WORDS = Path(__file__).read_text().split()


def rows_of(*contents: str) -> list[dict[str, Any]]:
    return [{"text": content, "label": str(i)} for i, content in enumerate(contents)]


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    vocabulary = sorted({word for word in WORDS if word.isalpha()})
    return [
        " ".join(rng.choice(vocabulary) for _ in range(rng.randint(12, 40))) for _ in range(count)
    ]


def edited(text: str, kind: str) -> str:
    middle = len(text) // 2
    return {
        "case": text.upper(),
        "space": text.replace(" ", "  \t") + "\n",
        "width": "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in text),
        "mark": f"{text}!!",
        "typo": text[:middle] + text[middle + 1] + text[middle] + text[middle + 2 :],
    }[kind]


@pytest.mark.parametrize("kind", ["case", "space", "width"])
def test_texts_when_equal_once_normalised_then_are_exact_repeats(kind: str) -> None:
    text = sentences(1)[0]
    groups = find_duplicates(rows_of(text, "another", edited(text, kind)), "text", None)
    assert groups == [DuplicateGroup(0, (2,), ())]


@pytest.mark.parametrize("kind", ["mark", "typo"])
def test_texts_when_slightly_edited_then_are_near_repeats_only(kind: str) -> None:
    text = sentences(1)[0]
    rows = rows_of(text, edited(text, kind), "something else altogether")
    assert find_duplicates(rows, "text", None) == []
    assert find_duplicates(rows, "text", NEAR) == [DuplicateGroup(0, (), (1,))]


def test_texts_when_one_repeats_exactly_and_nearly_then_the_group_holds_both() -> None:
    text = sentences(1)[0]
    near = edited(text, "mark")
    rows = rows_of("first", text, near, text.upper(), near.upper())
    assert find_duplicates(rows, "text", NEAR) == [DuplicateGroup(1, (3,), (2, 4))]


def test_texts_when_similar_along_a_chain_then_each_resembles_its_first() -> None:
    words = sentences(1)[0].split()
    chain = [" ".join(words[i:] + [f"w{j}" for j in range(i)]) for i in range(0, len(words), 1)]
    rows = rows_of(*chain)
    for group in find_duplicates(rows, "text", 0.7):
        first = near_texts._shingle_hashes(near_texts.normal_text(chain[group.first]))
        for number in group.near:
            other = near_texts._shingle_hashes(near_texts.normal_text(chain[number]))
            assert near_texts.jaccard(first, other) >= 0.7


def test_texts_when_short_or_empty_then_only_equal_ones_repeat() -> None:
    rows = rows_of("ok", "no", "", " ", "OK", "k")
    assert find_duplicates(rows, "text", NEAR) == [
        DuplicateGroup(0, (4,), ()),
        DuplicateGroup(2, (3,), ()),
    ]


def test_texts_when_a_thousand_are_planted_then_nearly_all_are_found_and_none_is_wrong() -> None:
    known, rng = sentences(2_000), random.Random(1)
    planted = [edited(text, rng.choice(["mark", "typo"])) for text in known[:1_000]]
    found = find_leakage(rows_of(*planted), rows_of(*known), "text", NEAR)
    assert sum(match.kind == "near" for match in found) > 900
    assert [match.row for match in found if match.row != match.reference] == []
    assert len(found) >= 950


def test_texts_when_distinct_then_none_is_near() -> None:
    assert find_duplicates(rows_of(*sentences(3_000)), "text", NEAR) == []


def test_texts_when_long_then_the_sketch_still_tells_near_from_far() -> None:
    rng = random.Random(2)
    long = [" ".join(f"{rng.randrange(10**6)}" for _ in range(2_000)) for _ in range(6)]
    changed = [text.replace("1", "2", 3) for text in long]
    found = find_leakage(rows_of(*changed), rows_of(*long), "text", NEAR)
    assert [(match.row, match.reference) for match in found] == [(i, i) for i in range(6)]


@pytest.mark.parametrize("near", [0.5, 0.7, 0.85, 0.95, 1.0])
def test_bands_when_chosen_then_they_find_pairs_at_the_threshold(near: float) -> None:
    bands, rows = near_texts._bands(near)
    assert bands * rows <= near_texts.NUM_PERMUTATIONS
    assert 1 - (1 - near**rows) ** bands >= near_texts.RECALL


def test_leakage_when_found_then_says_which_how_and_how_much() -> None:
    text = sentences(1)[0]
    rows = rows_of("new", text.upper(), edited(text, "typo"))
    exact, near = find_leakage(rows, rows_of("other", text, text), "text", NEAR)
    assert exact == Match(1, 1, "exact", 1.0)
    assert (near.row, near.reference, near.kind) == (2, 1, "near")
    assert NEAR <= near.similarity < 1.0
    assert find_leakage(rows, [], "text", NEAR) == []
    assert find_leakage([], rows, "text", NEAR) == []
    assert find_leakage(rows, rows_of("other", text), "text", None) == [exact]


def test_content_keys_when_labels_differ_then_are_equal() -> None:
    first, second = content_keys([{"text": "A", "label": "x"}, {"text": "a", "label": "y"}], "text")
    assert first == second != content_keys([{"a": "A"}], "table")[0]


@pytest.mark.skipif(not CHILDCARE.is_dir(), reason="the labelled near duplicates lie elsewhere")
def test_texts_when_real_records_repeat_then_precision_is_high_and_lsh_loses_none() -> None:
    import pyarrow.parquet as pq

    names = ("site_name", "address", "zip", "phone")
    records = pq.read_table(CHILDCARE / "data").to_pylist()
    rows = [{"text": " ".join(str(r[n] or "") for n in names)} for r in records]
    pairs = [
        (group.first, member)
        for group in find_duplicates(rows, "text", NEAR)
        for member in (*group.exact, *group.near)
    ]
    right = sum(records[a]["true_id"] == records[b]["true_id"] for a, b in pairs)
    assert len(pairs) > 690
    assert right / len(pairs) > 0.995
    some = [r["text"] for r in rows[:600]]
    hashes = [near_texts._shingle_hashes(near_texts.normal_text(text)) for text in some]
    near = {
        i
        for i in range(300, 600)
        if max(near_texts.jaccard(hashes[i], hashes[j]) for j in range(300)) >= NEAR
    }
    contents = [(text,) for text in some]
    found = {row + 300 for row, _, _ in near_texts.between(contents[300:], contents[:300], NEAR)}
    assert found == near


# --- images


def png(pixels: np.ndarray | Image.Image) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def picture(seed: int, side: int = 96) -> Image.Image:
    """A picture with large shapes, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


CHANGES = {
    "jpeg 75": lambda image: jpeg(image, 75),
    "jpeg 50": lambda image: jpeg(image, 50),
    "half": lambda image: png(image.resize((48, 48), Image.Resampling.BICUBIC)),
    "double": lambda image: png(image.resize((192, 192), Image.Resampling.BICUBIC)),
    "brighter": lambda image: png(ImageEnhance.Brightness(image).enhance(1.1)),
    "paler": lambda image: png(ImageEnhance.Contrast(image).enhance(0.8)),
}


def image_rows(*contents: bytes) -> list[dict[str, Any]]:
    return [{"image": content, "label": "x"} for content in contents]


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_images_when_changed_as_copies_are_then_each_finds_its_original(change: str) -> None:
    originals = [picture(seed) for seed in range(40)]
    copies = image_rows(*(CHANGES[change](image) for image in originals))
    found = find_leakage(copies, image_rows(*map(png, originals)), "image", NEAR)
    assert [(m.row, m.reference, m.kind) for m in found] == [(i, i, "near") for i in range(40)]


def test_images_when_equal_pixels_in_another_format_then_are_exact_repeats() -> None:
    image = picture(1)
    bmp = io.BytesIO()
    image.save(bmp, "BMP")
    groups = find_duplicates(image_rows(png(image), png(picture(2)), bmp.getvalue()), "image", None)
    assert groups == [DuplicateGroup(0, (2,), ())]


def test_images_when_turned_by_exif_then_are_compared_upright() -> None:
    image, exif = picture(3), Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    assert len(find_duplicates(image_rows(png(image), buffer.getvalue()), "image", None)) == 1


def test_images_when_handwritten_digits_then_no_two_are_merged() -> None:
    pixels = (load_digits().images / 16 * 255).astype(np.uint8)
    assert len(pixels) == 1_797
    assert find_duplicates(image_rows(*map(png, pixels)), "image", NEAR) == []


def test_images_when_a_digit_is_copied_in_another_quality_then_is_found() -> None:
    pixels = (load_digits().images[:60] / 16 * 255).astype(np.uint8)
    copies = [png(np.clip(digit.astype(int) + 3, 0, 255).astype(np.uint8)) for digit in pixels]
    found = find_leakage(image_rows(*copies), image_rows(*map(png, pixels)), "image", NEAR)
    assert [(match.row, match.reference) for match in found] == [(i, i) for i in range(60)]


def test_images_when_of_one_colour_then_only_equal_ones_repeat() -> None:
    flat = [png(np.full((16, 16, 3), value, np.uint8)) for value in (0, 1, 200, 200)]
    assert find_duplicates(image_rows(*flat), "image", NEAR) == [DuplicateGroup(2, (3,), ())]


def test_images_when_three_are_copies_then_the_first_leads() -> None:
    image = picture(4)
    rows = image_rows(png(picture(5)), png(image), jpeg(image, 90), jpeg(image, 80))
    assert find_duplicates(rows, "image", NEAR) == [DuplicateGroup(1, (), (2, 3))]


# --- tables


def test_tables_when_features_are_equal_then_are_exact_repeats() -> None:
    rows = [
        {"a": 1, "b": "x", "label": "yes", "_row_id": "1"},
        {"a": 1.0, "b": "x", "label": "no", "_row_id": "2"},
        {"a": 1, "b": "X", "label": "yes", "_row_id": "3"},
        {"a": None, "b": "x", "label": "yes", "_row_id": "4"},
    ]
    assert find_duplicates(rows, "table", None) == [DuplicateGroup(0, (1,), ())]


def test_tables_when_near_is_asked_for_then_numbers_are_rounded_and_case_is_levelled() -> None:
    rows = [
        {"a": 1.234, "b": "Left side"},
        {"a": 1.231, "b": "left  side"},
        {"a": 1.3, "b": "Left side"},
    ]
    assert find_duplicates(rows, "table", 0.85) == [DuplicateGroup(0, (), (1,))]
    assert find_duplicates(rows, "table", 0.999) == []
    (match,) = find_repeats(rows[1:], rows[:1], "table", 0.85)
    assert (match.row, match.reference, match.kind) == (0, 0, "near")


@pytest.mark.parametrize(("near", "digits"), [(0.5, 2), (0.85, 2), (0.9, 2), (0.99, 3), (1.0, 15)])
def test_digits_when_near_grows_then_more_of_them_count(near: float, digits: int) -> None:
    assert near_tables.significant_digits(near) == digits


def test_tables_when_values_are_true_or_large_then_stay_apart() -> None:
    rows = [{"a": True}, {"a": 1}, {"a": 10**17}, {"a": "1"}]
    assert find_duplicates(rows, "table", 0.99) == []
