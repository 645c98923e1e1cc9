"""A cheap model of the dataset's own rows, for reviews where no published model can be asked.

Every row is scored by a model that has not seen it: the base rows by cross-validation, and the new
rows by the same models in turn, so that both are scored alike.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hub_trainer.checks.label_quality import IntArray, Judged, Scored
from hub_trainer.inputs import load_input

Row = Mapping[str, Any]

NUM_FOLDS = 5
MAX_BASE_ROWS = 6_000
NUMBER = "_number"
"""Where a new row says its place in the pull request, from 1."""


def cross_scores(base: Sequence[Row], new: Sequence[Row], modality: str) -> Judged | None:
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
    shown = load_input(modality)
    features, new_features = shown.features(base, new, is_linear=False)
    scores, new_scores = np.zeros((len(base), len(names))), np.zeros((len(new), len(names)))
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    for fold, (train, held_out) in enumerate(folds.split(labels, labels)):
        model = _fitted(shown.judge(), features[train], labels[train])
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


def _fitted(model: Any, features: Any, labels: IntArray) -> Any:
    """The probe, fitted; one that could be fitted longer will do."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, labels)
