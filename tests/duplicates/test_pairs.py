"""Pairs of texts: which rows say the same, and which are copies of a sealed pair."""

import hashlib

import pytest

from hub_trainer.duplicates import (
    DuplicateGroup,
    content_keys,
    find_duplicates,
    find_leakage,
    find_repeats,
)
from hub_trainer.inputs import near_texts
from hub_trainer.rows import row_id
from tests.duplicates.test_duplicates import edited, sentences

NEAR = 0.85
Pair = tuple[str, str]


def rows_of(*pairs: Pair) -> list[dict[str, str]]:
    return [{"text": first, "text_pair": second} for first, second in pairs]


def made(count: int, *, seed: int = 0) -> list[Pair]:
    """Pairs of long sentences, no two of which are alike."""
    found = sentences(2 * count, seed=seed)
    return list(zip(found[:count], found[count:], strict=True))


def test_row_ids_when_a_row_has_one_text_then_they_are_what_they_were() -> None:
    said = hashlib.sha256(b"text\0a caf\xc3\xa9").hexdigest()
    assert row_id({"text": "a café"}, "text") == said
    assert row_id({"text": "a café", "text_pair": None}, "text") == said
    assert content_keys([{"text": "A  Café"}], "text") == [said]


def test_content_when_of_a_pair_then_both_texts_in_their_order_count() -> None:
    rows = rows_of(("a", "b"), ("b", "a"), ("a", "c"), ("ab", ""), ("a b", ""), ("a", "B "))
    assert len({row_id(row, "text") for row in rows}) == 6
    keys = content_keys(rows, "text")
    assert (len(set(keys)), keys[0] == keys[5]) == (5, True)
    assert row_id(rows[0], "text") != row_id({"text": "a"}, "text")


def test_pairs_when_they_share_one_text_then_are_no_repeats() -> None:
    long, (first, second) = " ".join(sentences(20)), sentences(2, seed=5)
    rows = rows_of((long, "yes"), (long, "no"), (first, second), (first, long), (long, second))
    assert find_duplicates(rows, "text", NEAR) == []
    assert find_repeats(rows[1:], rows[:1], "text", NEAR) == []


@pytest.mark.parametrize("side", [0, 1])
def test_pairs_when_one_side_is_edited_then_are_near_repeats(side: int) -> None:
    [pair] = made(1)
    changed = tuple(edited(text, "typo") if n == side else text for n, text in enumerate(pair))
    rows = rows_of(pair, ("something", "else"), (changed[0], changed[1]))
    assert find_duplicates(rows, "text", NEAR) == [DuplicateGroup(0, (), (2,))]


def test_pairs_when_turned_round_then_are_repeats_of_sealed_rows_only() -> None:
    known = made(40)
    turned = rows_of(*((second, first) for first, second in known))
    assert find_duplicates([*rows_of(*known), *turned], "text", NEAR) == []
    found = find_leakage(turned, rows_of(*known), "text", NEAR)
    assert [(one.row, one.reference, one.kind) for one in found] == [
        (n, n, "near") for n in range(40)
    ]


def test_short_pairs_when_turned_round_then_are_copies_however_little_they_say() -> None:
    known = [*made(60), ("a cat", "the dog"), ("yes", "no")]
    found = find_leakage(
        rows_of(("the dog", "A cat!"), ("no", "yes")), rows_of(*known), "text", NEAR
    )
    assert [(one.row, one.reference) for one in found] == [(0, 60), (1, 61)]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", ["mark", "typo", "longer"])
def test_sealed_pairs_when_one_side_is_altered_then_are_found(kind: str, side: int) -> None:
    known = made(200)

    def altered(text: str) -> str:
        return f"well then, as they say: {text}" if kind == "longer" else edited(text, kind)

    rows = rows_of(
        *(
            (altered(first), second) if side == 0 else (first, altered(second))
            for first, second in known[:50]
        )
    )
    found = find_leakage(rows, rows_of(*known), "text", NEAR)
    assert len(found) >= 49
    assert all(one.row == one.reference for one in found)


def test_sealed_pairs_when_one_text_is_shared_then_the_rows_are_honest() -> None:
    known, others = made(200), made(200, seed=3)
    rows = rows_of(
        *((first, other) for (first, _), (_, other) in zip(known, others, strict=True)),
        *((other, second) for (_, second), (other, _) in zip(known, others, strict=True)),
    )
    assert find_leakage(rows, rows_of(*known), "text", NEAR) == []


def test_pairs_when_hundreds_share_a_text_then_few_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    whole = near_texts.jaccard
    monkeypatch.setattr(near_texts, "jaccard", lambda *two: compared.append(1) or whole(*two))
    shared, *others = sentences(401)
    assert find_duplicates(rows_of(*((shared, one) for one in others)), "text", NEAR) == []
    assert len(compared) < 0.02 * 400 * 400
