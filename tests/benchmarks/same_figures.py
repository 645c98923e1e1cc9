"""Figures of one pair of models by the code of two commits: metrics, intervals, p-values.

python -m tests.benchmarks.same_figures BEFORE    (a checkout of 2b035b6, before there were answers)
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hub_trainer

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "mcc")
Labels = Sequence[str]


def pairs() -> dict[str, tuple[Labels, Labels, Labels]]:
    """References, and what two models say, of data that come with scikit-learn."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier

    found = {}
    for name, load in (
        ("digits", load_digits),
        ("cancer", load_breast_cancer),
        ("wine", load_wine),
    ):
        data = load()
        labels = np.array([f"label {one}" for one in data.target])
        is_test = np.arange(len(labels)) % 2 == 0
        said = [
            model.fit(data.data[~is_test], labels[~is_test]).predict(data.data[is_test]).tolist()
            for model in (KNeighborsClassifier(3), GaussianNB())
        ]
        found[name] = (labels[is_test].tolist(), said[0], said[1])
    return found


def figures() -> dict[str, float]:
    """Name of a figure -> what the code on the path makes of it."""
    measured: dict[str, float] = {}
    for data, (references, new, old) in pairs().items():
        names = sorted(set(references))
        for metric in METRICS:
            estimate, compared = _measured(metric, references, new, old, names)
            interval = compared.interval
            measured |= {
                f"{data} {metric} {name}": float(value)
                for name, value in (
                    ("value", estimate.value),
                    ("low", estimate.interval.low),
                    ("high", estimate.interval.high),
                    ("difference", compared.difference),
                    ("difference low", interval.low),
                    ("difference high", interval.high),
                    ("p", compared.p_value),
                    ("p worse", compared.p_value_worse),
                )
            }
    return measured


def _measured(
    metric: str, references: Labels, new: Labels, old: Labels, names: Labels
) -> tuple[Any, Any]:
    """The estimate of the new model, and its comparison with the old one."""
    # Not by trying the import: a package that is installed for editing would answer for the other.
    if not (Path(hub_trainer.__file__).parent / "answers").exists():
        return _before(metric, references, new, old, names)
    from hub_trainer.answers import Prediction, load_answer

    answer = load_answer("label")
    found, other = ([Prediction(one) for one in side] for side in (new, old))
    estimates = answer.estimates([metric], references, found, names, seed=1)
    return estimates[metric], answer.compare(metric, references, (found, other), names, seed=1)


def _before(
    metric: str, references: Labels, new: Labels, old: Labels, names: Labels
) -> tuple[Any, Any]:
    from hub_trainer.metrics import report  # of the earlier commit

    score: Callable[..., Any] = report.score_report  # type: ignore[attr-defined]
    compare: Callable[..., Any] = report.compare_metric  # type: ignore[attr-defined]
    estimates = score(references, new, names, [metric], seed=1)
    return estimates[metric], compare(metric, references, new, old, names, seed=1)


def main(before: Path) -> None:
    """How many figures are equal, and how far the others are apart, by what they are."""
    now = figures()
    told = subprocess.run(
        [sys.executable, str(Path(__file__)), "--figures"],
        env={**os.environ, "PYTHONPATH": str(before)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    earlier = json.loads(told.stdout)
    assert earlier.keys() == now.keys()
    kinds = dict.fromkeys(name.split(" ", 2)[2] for name in now)
    for kind in kinds:
        names = [name for name in now if name.split(" ", 2)[2] == kind]
        apart = [abs(now[name] - earlier[name]) for name in names]
        equal = sum(one == 0 for one in apart)
        print(f"{kind:16} {equal:3} of {len(names)} equal, the others within {max(apart):.2g}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--figures"]:
        print(json.dumps(figures()))
    else:
        main(Path(sys.argv[1]))
