"""Features of table rows as columns of pandas, and their encoding as numbers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hub_trainer.errors import DataError
from hub_trainer.inputs.dates import DATE_PARTS, EXAMPLE, date_numbers, holds_dates, read_date
from hub_trainer.recipe.columns import is_feature

if TYPE_CHECKING:
    import pandas as pd

FeatureKind = Literal["number", "boolean", "category", "date", "text"]
Features = Mapping[str, FeatureKind]
Row = Mapping[str, Any]

MAX_CATEGORIES = 50
MAX_WORDS = 300
"""Words of a column of texts that are counted, the most frequent ones."""
MIN_WORDS = 4
"""Words on average from which texts that hardly repeat are read word by word."""
_WORD = re.compile(r"\w+")


def find_features(rows: Sequence[Row]) -> dict[str, FeatureKind]:
    """The features of the rows and their kinds; one without any value is left out.

    Provenance columns start with an underscore and are no features.
    """
    names = {name: None for row in rows for name in row}
    features: dict[str, FeatureKind] = {}
    for name in names:
        if not is_feature(name):
            continue
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            features[name] = _kind(values)
    return features


def table_of(rows: Sequence[Row], features: Features) -> "pd.DataFrame":
    """The features of the rows as the pipeline takes them. Raises DataError for a wrong value."""
    import pandas as pd

    columns: dict[str, pd.Series] = {}
    for name, kind in features.items():
        values = [_value(name, kind, row.get(name)) for row in rows]
        if kind == "date":
            parts = zip(*map(date_numbers, values), strict=True) if values else [()] * 4
            for column, numbers in zip(columns_of(name, kind), parts, strict=True):
                columns[column] = pd.Series(numbers, dtype="float64")
        else:
            columns[name] = pd.Series(
                values, dtype="object" if kind in ("category", "text", "date") else "float64"
            )
    return pd.DataFrame(columns)


def columns_of(name: str, kind: FeatureKind) -> list[str]:
    """The columns of `table_of` that a feature becomes."""
    return [f"{name}: {part}" for part in DATE_PARTS] if kind == "date" else [name]


def typical_row(rows: Sequence[Row], features: Features) -> dict[str, Any]:
    """Median numbers and dates, commonest categories, no text: an example that is nobody's own."""
    return {
        name: _typical(kind, [row.get(name) for row in rows]) for name, kind in features.items()
    }


def encode_tables(features: Features, rows: Sequence[Row], others: Sequence[Row]) -> Any:
    """Both tables as numbers, (rows, columns) each, by what the first of them holds."""
    encoder = encoder_of(features, gaps_are_kept=False)
    return encoder.fit_transform(table_of(rows, features)), encoder.transform(
        table_of(others, features)
    )


def encoder_of(features: Features, *, gaps_are_kept: bool) -> Any:
    """A transformer of scikit-learn from such tables to numbers, not yet fitted."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [
        column
        for name, kind in features.items()
        if kind in ("number", "boolean", "date")
        for column in columns_of(name, kind)
    ]
    scaler = StandardScaler()
    if not gaps_are_kept:
        scaler = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), scaler)
    one_hot = OneHotEncoder(
        handle_unknown="ignore", sparse_output=False, max_categories=MAX_CATEGORIES
    )
    words = [
        (
            f"words of {name}",
            TfidfVectorizer(max_features=MAX_WORDS, token_pattern=_WORD.pattern),
            name,
        )
        for name in _of_kind(features, "text")
    ]
    plain = [("numbers", scaler, numbers), ("categories", one_hot, _of_kind(features, "category"))]
    return ColumnTransformer([*plain, *words], sparse_threshold=0)


def _of_kind(features: Features, kind: FeatureKind) -> list[str]:
    return [name for name, found in features.items() if found == kind]


def _kind(values: Sequence[Any]) -> FeatureKind:
    if all(isinstance(value, bool | np.bool_) for value in values):
        return "boolean"
    if all(_is_number(value) for value in values):
        return "number"
    if holds_dates(values):
        return "date"
    return "text" if holds_texts(values) else "category"


def holds_texts(values: Sequence[Any]) -> bool:
    """Whether these are texts of several words that hardly repeat; gaps do not count."""
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        return False
    num_words = sum(len(_WORD.findall(text)) for text in texts)
    return num_words >= MIN_WORDS * len(texts) and len(set(texts)) > len(texts) / 2


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _value(name: str, kind: FeatureKind, value: Any) -> Any:
    if value is None or value != value:  # a float that is no number differs from itself
        return "" if kind == "text" else None
    if kind in ("category", "text"):
        return str(value)
    if kind == "date":
        if value and read_date(str(value)) is None:
            raise DataError(
                f"Feature {name} must be a date.",
                got=repr(value)[:100],
                do=f"write it as {EXAMPLE}, or nothing",
            )
        return str(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"Feature {name} must be a {kind}.",
            got=repr(value)[:100],
            do="give a number or nothing",
        ) from None


def _typical(kind: FeatureKind, values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None and value == value]
    if kind == "number":
        return float(np.median(present))
    if kind == "text":
        return ""
    if kind == "date":
        return sorted(present)[len(present) // 2]
    return Counter(present).most_common(1)[0][0]
