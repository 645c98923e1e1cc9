"""How often review stops new rows whose answers were exchanged among each other, and clean ones.

    python -m tests.exchanged_answers DATA [SET ...] [--draws 40]

DATA is a folder with data sets; the sets are wine, diabetes (of scikit-learn) and emotions. Of each
draw 120 rows are new, and a probe of the others is the judge: no published model.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hub_trainer.answers import load_answer
from hub_trainer.checks.answer_errors import judge_errors
from hub_trainer.checks.label_quality import LabelQuality
from hub_trainer.recipe import ReviewSection

NUM_NEW = 120
SHARES = (0.0, 0.3, 0.5, 1.0)
Rows = list[dict[str, Any]]


def wine(data: Path) -> Rows:
    """Measurements, and a quality from 3 to 9."""
    [path] = (data / "tabular-wine-quality" / "data").glob("train*")
    rows = pq.read_table(path).to_pylist()
    return [{"target": float(row.pop("quality")), **row} for row in rows]


def diabetes(data: Path) -> Rows:
    """Measurements, and how far the illness went in a year."""
    from sklearn.datasets import load_diabetes

    del data
    found = load_diabetes()
    return [
        {**dict(zip(found.feature_names, map(float, row), strict=True)), "target": float(target)}
        for row, target in zip(found.data, found.target, strict=True)
    ]


def emotions(data: Path) -> Rows:
    """Comments with sets of labels, as their numbers."""
    [path] = (data / "text-goemotions" / "data").glob("train*")
    rows = pq.read_table(path, columns=["text", "labels"]).to_pylist()
    return [{**row, "labels": [str(label) for label in row["labels"]]} for row in rows]


SETS: dict[str, tuple[Callable[[Path], Rows], str, str, int]] = {
    "wine": (wine, "table", "number", 2_000),
    "diabetes": (diabetes, "table", "number", 280),
    "emotions": (emotions, "text", "labels", 3_000),
}
"""How a set is read, its input, its answer, and rows of the dataset beside the new ones."""


def outcome(name: str, data: Path, share: float, seed: int) -> str:
    """Whether the answers pass, in one draw."""
    read, modality, kind, num_base = SETS[name]
    rows, answer = read(data), load_answer(kind)
    rng = np.random.default_rng([seed, 7])
    order = rng.permutation(len(rows))
    new = [dict(rows[place]) for place in order[:NUM_NEW]]
    base = [rows[place] for place in order[NUM_NEW : NUM_NEW + num_base]]
    wrong = round(share * NUM_NEW)
    answers = [new[place][answer.column] for place in rng.permutation(wrong)]
    for row, one in zip(new[:wrong], answers, strict=True):
        row[answer.column] = one
    found = judge_errors(new, base, [], model=None, modality=modality, answer=answer)
    assert found is not None
    return LabelQuality(**found["quality"]).blocks(ReviewSection().max_disagreement) or "pass"


def main() -> None:
    """Print a line for each set and share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--draws", type=int, default=40)
    asked = parser.parse_args()
    for name in asked.sets:
        for share in SHARES:
            found = Counter(outcome(name, asked.data, share, seed) for seed in range(asked.draws))
            print(f"{name:<10} {share:>4.0%} exchanged: {dict(found)}", flush=True)


if __name__ == "__main__":
    main()
