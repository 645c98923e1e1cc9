"""A cheap model of the dataset's own rows, for reviews where no published model can be asked.

Every row is scored by a model that has not seen it: the base rows by cross-validation, and the new
rows by the same models in turn, so that both are scored alike.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from hub_trainer.checks.labels import FloatArray, IntArray, Judged, Scored
from hub_trainer.pictures import open_image
from hub_trainer.rows import feature_names

Row = Mapping[str, Any]
Modality = Literal["text", "image", "table"]

NUM_FOLDS = 5
MAX_BASE_ROWS = 6_000
IMAGE_SIDE = 16
MIN_PIXEL_SPREAD = 0.1
"""Standard deviation, of values in [0, 1], under which a pixel is not scaled up any more: where the
dataset's pictures are all black, a JPEG's noise would outweigh what is drawn."""
NUMBER = "_number"
"""Where a new row says its place in the pull request, from 1."""


def cross_scores(base: Sequence[Row], new: Sequence[Row], modality: Modality) -> Judged | None:
    """Base rows and new rows under the probe, over the labels that the base knows well enough.

    None when the base has too few rows to learn from, or no new row has one of its labels.
    """
    from sklearn.model_selection import StratifiedKFold

    base = sample_rows(base, MAX_BASE_ROWS)
    counts = Counter(row["label"] for row in base)
    names = sorted(name for name, count in counts.items() if count >= NUM_FOLDS)
    base, new = (with_labels(rows, names) for rows in (base, new))
    if len(names) < 2 or not new:
        return None
    labels, new_labels = label_indices(base, names), label_indices(new, names)
    features, new_features = _features(base, new, modality)
    scores, new_scores = np.zeros((len(base), len(names))), np.zeros((len(new), len(names)))
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    for fold, (train, held_out) in enumerate(folds.split(labels, labels)):
        model = _fitted(modality, features[train], labels[train])
        scores[held_out] = model.predict_proba(features[held_out])
        mine = np.arange(len(new)) % NUM_FOLDS == fold
        if mine.any():
            new_scores[mine] = model.predict_proba(new_features[mine])
    numbers = tuple(int(row.get(NUMBER, 0)) for row in new)
    return Judged(Scored(scores, labels), Scored(new_scores, new_labels, numbers), tuple(names))


def with_labels(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The rows that carry one of these labels."""
    known = frozenset(names)
    return [row for row in rows if row["label"] in known]


def label_indices(rows: Sequence[Row], names: Sequence[str]) -> IntArray:
    """The place of each row's label among `names`."""
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[row["label"]] for row in rows], dtype=np.int64)


def sample_rows(rows: Sequence[Row], max_rows: int, *, seed: int = 0) -> list[Row]:
    """At most so many rows, chosen by the seed, in their order."""
    if len(rows) <= max_rows:
        return list(rows)
    chosen = np.random.default_rng(seed).choice(len(rows), max_rows, replace=False)
    return [rows[number] for number in np.sort(chosen)]


def _fitted(modality: Modality, features: Any, labels: IntArray) -> Any:
    """The probe of a modality; one that could be fitted longer will do."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _model(modality).fit(features, labels)


def _model(modality: Modality) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    if modality == "table":
        return RandomForestClassifier(200, min_samples_leaf=2, random_state=0)
    if modality == "image":
        return LogisticRegression(C=0.02, max_iter=200)
    return LogisticRegression(C=20.0, max_iter=200, tol=1e-3)


def features_of(base: Sequence[Row], new: Sequence[Row], modality: Modality) -> tuple[Any, Any]:
    """Both kinds of rows as finite numbers, for a linear model."""
    features, others = _features(base, new, modality)
    if modality != "table":
        return features, others
    middle, spread = np.nanmedian(features, axis=0), np.nanstd(features, axis=0)
    middle, spread = np.nan_to_num(middle), np.where(spread > 0, spread, 1.0)
    return tuple(np.nan_to_num((one - middle) / spread) for one in (features, others))


def _features(base: Sequence[Row], new: Sequence[Row], modality: Modality) -> tuple[Any, Any]:
    if modality == "text":
        return _text_features([row["text"] for row in base], [row["text"] for row in new])
    if modality == "image":
        known, asked = _pixels(base), _pixels(new)
        spread = np.maximum(known.std(axis=0), MIN_PIXEL_SPREAD)
        return known / spread, asked / spread
    return _cells(base, new)


def _text_features(base: list[str], new: list[str]) -> tuple[Any, Any]:
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    views = (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=20_000
        ),
    )
    pairs = [(view.fit_transform(base), view.transform(new)) for view in views]
    return tuple(hstack(side).tocsr() for side in zip(*pairs, strict=True))


def _pixels(rows: Sequence[Row]) -> FloatArray:
    """Small RGB copies of the images. (rows, IMAGE_SIDE * IMAGE_SIDE * 3)"""
    from PIL import Image

    pixels = []
    for row in rows:
        picture = open_image(row["image"])
        small = picture.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BOX)
        pixels.append(np.asarray(small, dtype=np.float64).ravel() / 255)
    return np.stack(pixels)


def _cells(base: Sequence[Row], new: Sequence[Row]) -> tuple[FloatArray, FloatArray]:
    """Numbers as they are; other values by their place among those of the base, unseen as NaN."""
    names = feature_names(list(base[0]))
    codes = {name: _codes(base, name) for name in names}

    def encode(rows: Sequence[Row]) -> FloatArray:
        return np.array([[_number(row.get(name), codes[name]) for name in names] for row in rows])

    return encode(base), encode(new)


def _codes(rows: Sequence[Row], name: str) -> dict[str, int]:
    texts = {str(row[name]) for row in rows if isinstance(row.get(name), str)}
    return {text: number for number, text in enumerate(sorted(texts))}


def _number(value: Any, codes: Mapping[str, int]) -> float:
    if isinstance(value, str):
        return float(codes.get(value, np.nan))
    return float("nan") if value is None else float(value)
