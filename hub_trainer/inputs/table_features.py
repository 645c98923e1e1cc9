"""Features of table rows as columns of pandas, and their encoding as numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hub_trainer.errors import DataError
from hub_trainer.recipe.columns import is_feature

if TYPE_CHECKING:
    import pandas as pd

FeatureKind = Literal["number", "boolean", "category"]
Features = Mapping[str, FeatureKind]
Row = Mapping[str, Any]

MAX_CATEGORIES = 50


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

    columns = {
        name: pd.Series([_value(name, kind, row.get(name)) for row in rows], dtype=_dtype(kind))
        for name, kind in features.items()
    }
    return pd.DataFrame(columns)


def typical_row(rows: Sequence[Row], features: Features) -> dict[str, Any]:
    """Median numbers and commonest categories: an example that is nobody's own."""
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
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [name for name, kind in features.items() if kind != "category"]
    categories = [name for name, kind in features.items() if kind == "category"]
    scaler = StandardScaler()
    if not gaps_are_kept:
        scaler = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), scaler)
    one_hot = OneHotEncoder(
        handle_unknown="ignore", sparse_output=False, max_categories=MAX_CATEGORIES
    )
    return ColumnTransformer([("numbers", scaler, numbers), ("categories", one_hot, categories)])


def _kind(values: Sequence[Any]) -> FeatureKind:
    if all(isinstance(value, bool | np.bool_) for value in values):
        return "boolean"
    if all(_is_number(value) for value in values):
        return "number"
    return "category"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _dtype(kind: FeatureKind) -> str:
    return "object" if kind == "category" else "float64"


def _value(name: str, kind: FeatureKind, value: Any) -> Any:
    if value is None or value != value:  # a float that is no number differs from itself
        return None
    if kind == "category":
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
    return Counter(present).most_common(1)[0][0]
