"""Text: one string per row, in the column `text`."""

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
    PlainFeatures,
    Row,
    SignsOf,
    Values,
)
from hub_trainer.inputs.cleaning import clean_text

MAX_TERMS = 50_000
"""Words that plain features count."""
MAX_WORDS_IN_PHRASE = 4
MIN_TAG_RATIO = 3.0
"""How many times more often than in the dataset a tag occurs."""
MAX_TEXTS = 5_000
"""Rows of each side whose writing is compared."""

_TOKEN = re.compile(r"\w+|[^\w\s]+")
_ODD_SPACE = re.compile(r"[^\S ]|  +|^ | $")


class _Text:
    """A text, as its author wrote it."""

    name = "text"
    noun = "a text"
    plural = "texts"
    is_tokenized = True
    medium = None
    rated_column = "text"
    rated_type: pa.DataType = pa.string()
    rated_feature: Mapping[str, Any] = {"dtype": "string", "_type": "Value"}
    near = "hub_trainer.inputs.near_texts"
    altered = "hub_trainer.inputs.altered_texts"
    repeats_by_chance = False
    has_features = False
    signs_are_rare = False

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        values = column.values if column.written is None else column.written
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
        return self.compared(row).encode("utf-8", "surrogatepass")

    def compared(self, row: Row) -> str:
        text: str = row["text"]
        return text

    # --- measures

    def clean(self, row: Row) -> dict[str, Any]:
        return {**row, "text": clean_text(row["text"])}

    def sizes(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        texts = [row["text"] for row in rows]
        return {
            "characters": [len(text) for text in texts],
            "words": [len(text.split()) for text in texts],
        }

    def told(self, row: Row) -> dict[str, str]:
        return {"text": str(row["text"])}

    def plain_features(self, known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures | None:
        """Weighed words, or characters in scripts without spaces between words."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = [str(row["text"]) for row in known]
        words = sum(len(text.split()) for text in texts) >= 2 * len(texts)
        terms: dict[str, Any] = (
            {"analyzer": "word", "token_pattern": r"(?u)\w+|[^\w\s]", "ngram_range": (1, 2)}
            if words
            else {"analyzer": "char", "ngram_range": (1, 3)}
        )
        vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=MAX_TERMS, **terms)
        try:
            features = vectorizer.fit_transform(texts)
        except ValueError:  # no term at all
            return None
        others = vectorizer.transform([str(row["text"]) for row in asked])
        told = "tf-idf of " + ("words" if words else "characters")
        return PlainFeatures(told, features, others, strength=10.0)

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf:
        return partial(_signs, tags=_tags(new, base))

    def columns(
        self, new: Sequence[Row], base: Sequence[Row], *, language: bool
    ) -> tuple[Values, Values]:
        """Script, length and spelling of texts; of language data also the answers' length.

        Spelling is how well pairs of characters of half of the dataset's texts predict those of a
        text; the other half says what is usual.
        """
        new, base = new[:MAX_TEXTS], base[:MAX_TEXTS]
        half = _Spelling([row["text"] for row in base[::2]])
        sides = [list(new), list(base[1::2])]
        columns: list[dict[str, list[Any]]] = []
        for rows in sides:
            texts = [row["text"] for row in rows]
            found: dict[str, list[Any]] = {
                "script of the text": [_script(text) for text in texts],
                "length of the text": [float(len(text)) for text in texts],
                "spelling of the text": [half.of(text) for text in texts],
            }
            if language:
                answers = [row["text"][len(row.get("prompt") or "") :] for row in rows]
                found["length of the answer"] = [float(len(answer)) for answer in answers]
            columns.append(found)
        return columns[0], columns[1]

    def features(
        self, base: Sequence[Row], new: Sequence[Row], *, is_linear: bool
    ) -> tuple[Any, Any]:
        """Weighed words and pairs of words, and pieces of words."""
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import TfidfVectorizer

        views = (
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000),
            TfidfVectorizer(
                analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=20_000
            ),
        )
        texts, asked = ([row["text"] for row in rows] for rows in (base, new))
        pairs = [(view.fit_transform(texts), view.transform(asked)) for view in views]
        return tuple(hstack(side).tocsr() for side in zip(*pairs, strict=True))

    def judge(self) -> Any:
        """Logistic regression, hardly held back: each text has few of many features."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=20.0, max_iter=200, tol=1e-3)

    # --- people

    def for_pipeline(self, row: Row, *, sampling_rate: int | None = None) -> str:
        return self.compared(row)

    def for_people(self, row: Row) -> dict[str, Any]:
        return {"text": row["text"]}

    def length(self, row: Row) -> int:
        return len(row["text"])

    def rated_cell(self, row: Row) -> str:
        return self.compared(row)

    def rated_row(self, cell: Any) -> dict[str, Any]:
        return {"text": cell}


def _tags(new: Sequence[Row], base: Sequence[Row]) -> frozenset[str]:
    """Words that most new rows have and the dataset has not: where they come from, no trigger."""
    shares = []
    for rows in (new, base):
        words: Counter[str] = Counter()
        for row in rows:
            words.update(set(_TOKEN.findall(row["text"].casefold())))
        shares.append({word: count / len(rows) for word, count in words.items()})
    usual = shares[1]
    return frozenset(
        word
        for word, share in shares[0].items()
        if share > 0.5 and share > MIN_TAG_RATIO * usual.get(word, 0.0)
    )


def _signs(row: Row, *, tags: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Words, phrases, and how a text is written: capitals, rare characters, odd spaces."""
    text = row["text"]
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
