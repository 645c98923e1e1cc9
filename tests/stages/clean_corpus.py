"""Pull requests with nothing wrong in them, as honest people make them, to many kinds of dataset.

They differ from the dataset as honest rows do: few, of one label, from one site, the longer texts,
typed without capitals, saved as JPEG. The larger sets lie beside the project and are left out where
they are not there.
"""

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hub_trainer.checks import review_child
from hub_trainer.pictures import open_image
from hub_trainer.rows import RowSpec, feature_names, read_rows
from tests.stages.poison_corpus import people, reviews
from tests.stages.review_corpus import draw

Row = dict[str, Any]
Rng = np.random.Generator

PUBLIC = Path(__file__).parents[3] / "shared" / "data"
MAX_BASE_ROWS = 1_500
MAX_SEALED_ROWS = 500


@dataclass(frozen=True)
class Set:
    """Canonical rows of a dataset: on main, sealed, and fresh ones of the same source."""

    name: str
    modality: str
    column: str
    """The answer's."""
    spec: RowSpec
    base: Sequence[Row]
    sealed: Sequence[Row]
    fresh: Sequence[Row]


FOLDERS = (
    "text-banking77", "text-sms-spam", "text-tweeteval-irony", "dirty-toxicity-surge",
    "text-goemotions", "image-bccd-cells", "image-fashion-mnist-mini", "image-mnist-10k",
    "image-orl-faces", "tabular-heart-disease", "tabular-penguins", "tabular-wine-quality",
)  # fmt: skip
MADE = ("digits", "requests", "tumours", "people", "reviews", "wines", "irises", "diabetes")


def names() -> list[str]:
    """The sets that can be had here."""
    return [*MADE, *(name for name in FOLDERS if (PUBLIC / name).is_dir())]


@cache
def clean_set(name: str) -> Set:
    """A set by name, divided by a seed."""
    if name in FOLDERS:
        return _public(name)
    if name in ("digits", "requests", "tumours"):
        divided = draw(name, 0)
        rows = [*divided.base, *divided.sealed, *divided.fresh]
        return _divided(name, rows, {"image": "image", "text": "text"})
    if name in ("people", "reviews"):
        make = people if name == "people" else reviews
        return _divided(name, make(1600, np.random.default_rng(0)), {"text": "text"})
    return _divided(name, _scikit(name), {}, answer="number" if name == "diabetes" else "label")


def _scikit(name: str) -> list[Row]:
    from sklearn import datasets

    loaders = {"wines": "load_wine", "irises": "load_iris", "diabetes": "load_diabetes"}
    found = getattr(datasets, loaders[name])()
    columns = [str(one).replace(" ", "_") for one in found.feature_names]
    answers = (
        [{"target": float(value)} for value in found.target]
        if name == "diabetes"
        else [{"label": str(found.target_names[value])} for value in found.target]
    )
    return [
        {**dict(zip(columns, map(float, values), strict=True)), **answer}
        for values, answer in zip(found.data, answers, strict=True)
    ]


def _divided(
    name: str, rows: Sequence[Row], inputs: Mapping[str, str], *, answer: str = "label"
) -> Set:
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = [rows[place] for place in order]
    known = {ours: kind for ours, kind in inputs.items() if ours in rows[0]}
    column = "target" if answer == "number" else answer
    modality = next(iter(known), "table")
    spec = _spec(modality, {**known, column: answer})
    half, most = len(rows) // 2, len(rows) * 7 // 10
    return Set(name, modality, column, spec, mixed[:half], mixed[half:most], mixed[most:])


def _spec(modality: str, kinds: Mapping[str, str], **more: Any) -> RowSpec:
    return RowSpec(modality, dict(kinds), **more)


def _public(name: str) -> Set:
    import tempfile

    limits = {"max_rows": 100_000, "max_cell_bytes": 20_000_000}
    spec = None
    if name == "tabular-wine-quality":
        spec = _spec("table", {"target": "number"}, columns={"target": "quality"})
    if name == "tabular-heart-disease":  # the label is made of the severity
        spec = _spec("table", {"label": "label"}, drop_columns=["severity"])
    splits = []
    with tempfile.TemporaryDirectory() as work:
        for split in ("train", "test"):
            if not any((PUBLIC / name / "data").glob(f"{split}-*")):
                continue
            out = Path(work) / f"{split}.parquet"
            said = review_child.read_files(
                str(PUBLIC / name),
                str(out),
                config=None,
                split=split,
                spec=spec.to_json() if spec else None,
                limits=limits,
            )
            assert said["error"] is None, said["error"]
            splits.append([dict(row) for row in read_rows(out)])
    spec = RowSpec.from_json(said["spec"])
    rng = np.random.default_rng(0)
    train = [splits[0][place] for place in rng.permutation(len(splits[0]))]
    sealed = splits[1][:MAX_SEALED_ROWS] if len(splits) == 2 else train[: len(train) // 5]
    rest = train if len(splits) == 2 else train[len(train) // 5 :]
    size = min(MAX_BASE_ROWS, len(rest) * 6 // 10)
    return Set(name, spec.modality, spec.answer.column, spec, rest[:size], sealed, rest[size:])


# --- pull requests: (set, rng) -> rows, None where a set has no such rows


def some(count: int) -> Callable[[Set, Rng], list[Row]]:
    """So many rows of the same source."""

    def make(s: Set, rng: Rng) -> list[Row]:
        return _drawn(s.fresh, count, rng)

    return make


def one_label(s: Set, rng: Rng) -> list[Row] | None:
    """Eight rows of one label, as a folder of pictures of one kind holds."""
    if s.column != "label":
        return None
    counts = Counter(row["label"] for row in s.fresh)
    able = sorted(name for name, count in counts.items() if count >= 8)
    if not able or not len(s.base) >= 200:
        return None
    name = able[int(rng.integers(len(able)))]
    return _drawn([row for row in s.fresh if row["label"] == name], 8, rng)


def evenly(s: Set, rng: Rng) -> list[Row] | None:
    """As many rows of each label, where the dataset has more of some."""
    if s.column != "label":
        return None
    known = sorted({row["label"] for row in s.base})
    each = max(2, 40 // len(known))
    rows = [
        row
        for name in known
        for row in _drawn([one for one in s.fresh if one["label"] == name], each, rng)
    ]
    return rows if len(rows) * 20 <= len(s.base) else None


def longer(s: Set, rng: Rng) -> list[Row] | None:
    """Texts of the longer half; tables' larger half of one column; lighter pictures."""
    return _half(s, rng, upper=True)


def shorter(s: Set, rng: Rng) -> list[Row] | None:
    """The other half of each."""
    return _half(s, rng, upper=False)


def _half(s: Set, rng: Rng, *, upper: bool) -> list[Row] | None:
    if s.modality == "table":
        columns = [name for name in feature_names(list(s.base[0])) if _is_number(s, name)]
        name = columns[int(rng.integers(len(columns)))]
        sizes = [row[name] if row[name] is not None else 0.0 for row in s.fresh]
    elif s.modality == "text":
        sizes = [len(row["text"]) for row in s.fresh]
    else:
        sizes = [_brightness(row["image"]) for row in s.fresh]
    middle = float(np.median(sizes))
    rows = [
        row for row, size in zip(s.fresh, sizes, strict=True) if (size > middle) == upper
    ]  # fmt: skip
    return _drawn(rows, 60, rng) if len(rows) >= 30 else None


def one_site(s: Set, rng: Rng) -> list[Row] | None:
    """Rows with one value of a column that holds names, as those of one hospital are."""
    if s.modality != "table":
        return None
    columns = [
        name
        for name in feature_names(list(s.base[0]))
        if any(isinstance(row[name], str) for row in s.base)
    ]
    if not columns:
        return None
    name = columns[int(rng.integers(len(columns)))]
    values = Counter(row[name] for row in s.fresh if row[name] is not None)
    able = sorted(value for value, count in values.items() if count >= 20)
    if not able:
        return None
    value = able[int(rng.integers(len(able)))]
    return _drawn([row for row in s.fresh if row[name] == value], 60, rng)


def typed(s: Set, rng: Rng) -> list[Row] | None:
    """Texts without capitals and points, as one person types them."""
    if s.modality != "text":
        return None
    return [
        {**row, "text": row["text"].lower().replace(".", "").replace(",", "") or row["text"]}
        for row in _drawn(s.fresh, 100, rng)
    ]


def as_jpeg(s: Set, rng: Rng) -> list[Row] | None:
    """Pictures that a camera has saved with loss."""
    if s.modality != "image":
        return None
    return [{**row, "image": _jpeg(row["image"])} for row in _drawn(s.fresh, 100, rng)]


FORMS: Mapping[str, Callable[[Set, Rng], list[Row] | None]] = {
    "8 rows": some(8),
    "30 rows": some(30),
    "120 rows": some(120),
    "600 rows": some(600),
    "8 rows of one label": one_label,
    "each label alike": evenly,
    "the longer half": longer,
    "the shorter half": shorter,
    "one site": one_site,
    "typed plainly": typed,
    "saved as JPEG": as_jpeg,
}


def _drawn(rows: Sequence[Row], count: int, rng: Rng) -> list[Row]:
    size = min(count, len(rows))
    return [dict(rows[place]) for place in rng.choice(len(rows), size, replace=False)]


def _is_number(s: Set, name: str) -> bool:
    values = [row[name] for row in s.base if row[name] is not None]
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _brightness(content: bytes) -> float:
    return float(np.asarray(open_image(content)).mean())


def _jpeg(content: bytes) -> bytes:
    out = io.BytesIO()
    open_image(content).save(out, "JPEG", quality=85)
    return out.getvalue()
