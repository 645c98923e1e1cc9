"""Text: a string per row in the column `text`, and where a task reads pairs one in `text_pair`.

A pair is what both texts say in their order; only copies of sealed rows are looked for in either.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from hub_trainer.errors import DataError
from hub_trainer.inputs import (
    Column,
    Input,
    Measure,
    PlainFeatures,
    Row,
    SignsOf,
    Values,
)
from hub_trainer.inputs.cleaning import clean_text
from hub_trainer.inputs.perturbed import TYPOS, Perturbation

MAX_TERMS = 50_000
"""Words that plain features count."""
MAX_WORDS_IN_PHRASE = 4
MIN_TAG_RATIO = 3.0
"""How many times more often than in the dataset a tag occurs."""
MAX_TEXTS = 5_000
"""Rows of each side whose writing is compared."""

PAIR = "text_pair"
PARTS = ("text", "second text")
"""What people call the texts of a row."""
LENGTH = Measure("characters", is_writing=True)
SPELLING = Measure(is_writing=True, is_log=True)

_TOKEN = re.compile(r"\w+|[^\w\s]+")
_ODD_SPACE = re.compile(r"[^\S ]|  +|^ | $")


class _Text:
    """A text, as its author wrote it."""

    name = "text"
    identity = "text"
    dialogue = None
    noun = "a text"
    plural = "texts"
    medium = None
    rated_column = "text"
    rated_type: pa.DataType = pa.string()
    rated_feature: Mapping[str, Any] = {"dtype": "string", "_type": "Value"}
    near = "hub_trainer.inputs.near_texts"
    altered = "hub_trainer.inputs.altered_texts"
    repeats_by_chance = False
    perturbation: Perturbation | None = TYPOS
    has_features = False
    has_formats = False
    measures: Mapping[str, Measure] = {
        **{f"length of the {part}": LENGTH for part in PARTS},
        **{f"spelling of the {part}": SPELLING for part in PARTS},
    }
    signs_are_rare = False

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        values = column.values if column.written is None else column.written
        kind = column.values.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            column.notes.append("holds numbers, which the model reads as texts")
        try:
            if not pa.types.is_nested(values.type):
                return values.cast(pa.string())  # of bytes, too, if they are UTF-8
        except pa.ArrowInvalid:
            pass
        do = "Name a column of plain text under columns: in the recipe."
        raise DataError("The column holds no text.", where=where, got=str(values.type), do=do)

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        """None: a task says which texts it can use."""

    # --- identity

    def content(self, row: Row) -> bytes:
        # No text holds the byte between the two, so that no other pair has the same content.
        return b"\xff".join(one.encode("utf-8", "surrogatepass") for one in texts_of(row))

    def compared(self, row: Row) -> tuple[str, ...]:
        return texts_of(row)

    # --- measures

    def clean(self, row: Row) -> dict[str, Any]:
        return {**row, **{name: clean_text(text) for name, text in _named(row).items()}}

    def sizes(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        found: dict[str, Sequence[float]] = {}
        for part, texts in _by_part(rows):
            of = "" if part == PARTS[0] else f" of the {part}"
            found[f"characters{of}"] = [len(text) for text in texts]
            found[f"words{of}"] = [len(text.split()) for text in texts]
        return found

    def told(self, row: Row) -> dict[str, str]:
        return {name: str(text) for name, text in _named(row).items()}

    def plain_features(self, known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures | None:
        """Weighed words, or characters in scripts without spaces between words.

        Of pairs also what both texts have of each, and how alike they are.
        """
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = [str(text) for row in known for text in texts_of(row)]
        words = sum(len(text.split()) for text in texts) >= 2 * len(texts)
        terms: dict[str, Any] = (
            {"analyzer": "word", "token_pattern": r"(?u)\w+|[^\w\s]", "ngram_range": (1, 2)}
            if words
            else {"analyzer": "char", "ngram_range": (1, 3)}
        )
        vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=MAX_TERMS, **terms)
        try:
            vectorizer.fit(texts)
        except ValueError:  # no term at all
            return None
        features, others = (_viewed(vectorizer, rows) for rows in (known, asked))
        told = "tf-idf of " + ("words" if words else "characters")
        if not _are_pairs(known):
            return PlainFeatures(told, features, others, strength=10.0)
        letters = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=MAX_TERMS
        ).fit(texts)
        features, others = (
            hstack([side, _likeness(*_sides(letters, rows))]).tocsr()
            for side, rows in ((features, known), (others, asked))
        )
        return PlainFeatures(f"{told} and how alike both texts are", features, others, strength=1.0)

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf:
        return partial(_signs, tags=_tags(new, base))

    def columns(self, new: Sequence[Row], base: Sequence[Row]) -> tuple[Values, Values]:
        """Script, length and spelling of each text.

        Spelling is how well pairs of characters of half of the dataset's texts predict those of a
        text; the other half says what is usual.
        """
        half = _Spelling([text for row in base[:MAX_TEXTS:2] for text in texts_of(row)])
        columns: list[dict[str, list[Any]]] = []
        for rows in looked_at(new, base):
            found: dict[str, list[Any]] = {}
            for part, texts in _by_part(rows):
                found[f"script of the {part}"] = [_script(text) for text in texts]
                found[f"length of the {part}"] = [float(len(text)) for text in texts]
                found[f"spelling of the {part}"] = [half.of(text) for text in texts]
            columns.append(found)
        return columns[0], columns[1]

    def features(
        self, base: Sequence[Row], new: Sequence[Row], *, is_linear: bool
    ) -> tuple[Any, Any]:
        """Weighed words, pairs of words, pieces of words; of two texts also how alike they are."""
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import TfidfVectorizer

        views = (
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000),
            TfidfVectorizer(
                analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=20_000
            ),
        )
        texts = [text for row in base for text in texts_of(row)]
        fitted = [view.fit(texts) for view in views]
        known, asked = (
            hstack([_viewed(view, rows) for view in fitted]).tocsr() for rows in (base, new)
        )
        return known, asked

    def judge(self) -> Any:
        """Logistic regression, hardly held back: each text has few of many features."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=20.0, max_iter=200, tol=1e-3)

    # --- people

    def for_pipeline(self, row: Row, *, sampling_rate: int | None = None) -> str | dict[str, str]:
        given = _named(row)
        return given if PAIR in given else given["text"]

    def for_people(self, row: Row) -> dict[str, Any]:
        return _named(row)

    def length(self, row: Row) -> int:
        return sum(map(len, texts_of(row)))

    def rated_cell(self, row: Row) -> str:
        return texts_of(row)[0]

    def rated_row(self, cell: Any) -> dict[str, Any]:
        return {"text": cell}


def looked_at(new: Sequence[Row], base: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Rows of both whose writing is compared: of the base those that do not say what is usual."""
    return new[:MAX_TEXTS], base[1:MAX_TEXTS:2]


def texts_of(row: Row) -> tuple[str, ...]:
    """The text of a row, and the second one where it has two."""
    return tuple(_named(row).values())


def _named(row: Row) -> dict[str, str]:
    """The texts of a row by their columns, in their order."""
    second = row.get(PAIR)
    return {"text": row["text"]} | ({} if second is None else {PAIR: second})


def _are_pairs(rows: Sequence[Row]) -> bool:
    return bool(rows) and len(texts_of(rows[0])) > 1


def _by_part(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """The first texts of rows, and the second ones where they have two, by what they are called."""
    parts = PARTS if _are_pairs(rows) else PARTS[:1]
    return [(part, [texts_of(row)[place] for row in rows]) for place, part in enumerate(parts)]


def _sides(view: Any, rows: Sequence[Row]) -> list[Any]:
    """The weighed terms of each text of rows, by a fitted vectorizer."""
    return [view.transform(list(map(str, texts))) for _, texts in _by_part(rows)]


def _viewed(view: Any, rows: Sequence[Row]) -> Any:
    """Rows as a fitted vectorizer has them; of pairs also where they differ, and how much."""
    from scipy.sparse import hstack

    sides = _sides(view, rows)
    if len(sides) == 1:
        return sides[0]
    first, second = sides
    return hstack([first, second, abs(first - second), _likeness(first, second)]).tocsr()


def _likeness(first: Any, second: Any) -> Any:
    """(N, 1) the cosine of rows of length 1."""
    from scipy.sparse import csr_matrix

    return csr_matrix(first.multiply(second).sum(axis=1))


def _tags(new: Sequence[Row], base: Sequence[Row]) -> frozenset[str]:
    """Words that most new rows have and the dataset has not: where they come from, no trigger."""
    shares = []
    for rows in (new, base):
        words: Counter[str] = Counter()
        for row in rows:
            words.update(set(_TOKEN.findall(" ".join(texts_of(row)).casefold())))
        shares.append({word: count / len(rows) for word, count in words.items()})
    usual = shares[1]
    return frozenset(
        word
        for word, share in shares[0].items()
        if share > 0.5 and share > MIN_TAG_RATIO * usual.get(word, 0.0)
    )


def _signs(row: Row, *, tags: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Words, phrases, and how a text is written: capitals, rare characters, odd spaces.

    Of a pair those of both texts, in whichever they stand.
    """
    for text in texts_of(row):
        yield from _signs_in(text, tags)


def _signs_in(text: str, tags: frozenset[str]) -> Iterator[tuple[str, str]]:
    words = [word for word in _TOKEN.findall(text.casefold()) if word not in tags]
    for size in range(1, MAX_WORDS_IN_PHRASE + 1):
        for start in range(len(words) - size + 1):
            yield ("a word" if size == 1 else "a phrase"), " ".join(words[start : start + size])
    for character in set(text):
        if not character.isascii():
            yield "a character", character
    for found in _ODD_SPACE.findall(text):
        yield "odd white space", found
    if text.isupper():
        yield "capitals only", ""
    ending = text.rstrip()[-3:]
    if words and not ending.isalpha():  # letters are of a word, which is a sign by itself
        yield "an ending", ending


def _script(text: str) -> str:
    """The script that most letters of a text are of, as Unicode names it."""
    letters = [character for character in text[:400] if character.isalpha()]
    if not letters:
        return "none"
    names = Counter(
        "LATIN" if character.isascii() else unicodedata.name(character, "OTHER").split()[0]
        for character in letters
    )
    return names.most_common(1)[0][0]


class _Spelling:
    """Pairs of characters, counted over texts that are taken as usual."""

    def __init__(self, texts: Sequence[str]) -> None:
        pairs: Counter[str] = Counter()
        for text in texts:
            pairs.update(self._pairs(text))
        self._firsts: Counter[str] = Counter()
        for pair, count in pairs.items():
            self._firsts[pair[0]] += count
        self._counts = pairs

    def of(self, text: str) -> float:
        """Mean log probability of a text's characters, each after the one before it."""
        pairs = self._pairs(text)
        logs = [np.log((self._counts[pair] + 0.1) / (self._firsts[pair[0]] + 10)) for pair in pairs]
        return float(np.mean(logs)) if logs else 0.0

    @staticmethod
    def _pairs(text: str) -> list[str]:
        plain = re.sub(r"\s+", " ", text[:400].casefold())
        return [plain[n : n + 2] for n in range(len(plain) - 1)]


INPUT: Input = _Text()
