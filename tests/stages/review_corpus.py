"""Seeded pull requests for review: clean ones of three kinds of data, and one per defect."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.alterations import ALTERATIONS, TABLES

Row = dict[str, Any]
Files = Mapping[str, bytes]

CARD = """---
license: cc-by-4.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
# A dataset
"""
TEST_CARD = CARD.replace("split: train", "split: test").replace("data/train-*", "data/test-*")


@dataclass(frozen=True)
class Kind:
    """A dataset: how its rows are drawn, and its schema."""

    name: str
    rows: tuple[Row, ...]
    label_names: tuple[str, ...]
    input_column: str | None
    """None for a table."""

    @property
    def modality(self) -> str:
        return self.input_column or "table"

    def features(self, label_names: Sequence[str] | None = None) -> Any:
        import datasets

        label = datasets.ClassLabel(names=list(label_names or self.label_names))
        if self.input_column is None:
            names = [name for name in self.rows[0] if name != "label"]
            return datasets.Features(
                {**{name: datasets.Value("float64") for name in names}, "label": label}
            )
        kind = datasets.Image() if self.input_column == "image" else datasets.Value("string")
        return datasets.Features({self.input_column: kind, "label": label})


@dataclass(frozen=True)
class Case:
    """A pull request: what it puts there, what it takes away, and the verdicts that are right."""

    name: str
    kind: str
    files: Files
    right: frozenset[str]
    """Verdicts that are right. A leak may also be merged if all its rows are left out."""
    leaked: int = 0
    """Rows at the file's end that are copies of sealed ones."""
    deletions: tuple[str, ...] = ()


MERGED = frozenset({"merge"})
REFUSED = frozenset({"refuse"})
STOPPED = frozenset({"refuse", "human"})


@cache
def kinds() -> dict[str, Kind]:
    """The three datasets, 1,000 rows or more each."""
    return {kind.name: kind for kind in (_digits(), _requests(), _tumours())}


def parquet(kind: Kind, rows: Sequence[Row], *, label_names: Sequence[str] | None = None) -> bytes:
    """Rows as a file in the kind's schema; labels by name."""
    import datasets

    names = list(label_names or kind.label_names)
    columns = {name: [_cell(kind, name, row[name], names) for row in rows] for name in kind.rows[0]}
    out = io.BytesIO()
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features=kind.features(names)).to_parquet(out)
    return out.getvalue()


def _cell(kind: Kind, name: str, value: Any, names: Sequence[str]) -> Any:
    if name == "label":
        return names.index(value)
    return {"bytes": value, "path": None} if kind.input_column == name == "image" else value


@dataclass(frozen=True)
class Draw:
    """Disjoint rows of one kind: what is on main, what is sealed, and what is still fresh."""

    kind: Kind
    base: list[Row]
    sealed: list[Row]
    fresh: list[Row]


@cache
def draw(name: str, seed: int) -> Draw:
    """Divide a kind's rows by the seed."""
    kind = kinds()[name]
    order = np.random.default_rng(seed).permutation(len(kind.rows))
    rows = [kind.rows[number] for number in order]
    size = len(rows)
    return Draw(kind, rows[: size // 3], rows[size // 3 : size // 2], rows[size // 2 :])


# --- the cases


def flip_labels(kind: Kind, rows: Sequence[Row], share: float, rng: np.random.Generator) -> Any:
    """The rows with a share of their labels replaced by other ones."""
    wrong = set(rng.choice(len(rows), round(share * len(rows)), replace=False).tolist())
    names = kind.label_names
    step = rng.integers(1, len(names), size=len(rows))
    return [
        {**row, "label": names[(names.index(row["label"]) + step[n]) % len(names)]}
        if n in wrong
        else row
        for n, row in enumerate(rows)
    ]


def make_case(defect: str, name: str, seed: int, *, num_rows: int = 120) -> Case:
    """One pull request with one defect, or none when the defect is `clean`."""
    divided = draw(name, seed % 3)
    rng = np.random.default_rng(seed)
    size = min(num_rows, len(divided.fresh))
    chosen = rng.choice(len(divided.fresh), size, replace=False)
    rows = [divided.fresh[number] for number in chosen]
    case = DEFECTS[defect](divided, rows, rng)
    return replace(case, name=f"{defect}/{name}/{seed}", kind=name)


def _joins(content: bytes, right: frozenset[str], path: str = "data/train-new.parquet") -> Case:
    return Case("", "", {path: content}, right)


def _clean(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    return _joins(parquet(d.kind, rows), MERGED)


def _flip(share: float, right: frozenset[str]) -> Callable[..., Case]:
    def make(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
        return _joins(parquet(d.kind, flip_labels(d.kind, rows, share, rng)), right)

    return make


def _renamed_column(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(parquet(d.kind, rows)))
    out = io.BytesIO()
    names = [f"{name}_" if name == "label" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names).replace_schema_metadata(None), out)
    return _joins(out.getvalue(), REFUSED)


def _swapped_names(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    """Its own label numbers: merged by the names, never by the numbers."""
    names = list(reversed(d.kind.label_names))
    return _joins(parquet(d.kind, rows, label_names=names), MERGED, "data/train-00000-aaa.parquet")


def _exact_repeats(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    return _joins(parquet(d.kind, rows[: len(rows) // 2] + d.base[: len(rows) // 2]), REFUSED)


def _repeats_within(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    return _joins(parquet(d.kind, rows[: len(rows) // 3] * 3), REFUSED)


def _near_repeats(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    near = [_nearly(d.kind, row, rng) for row in d.base[: len(rows) // 2]]
    return _joins(parquet(d.kind, rows[: len(rows) // 2] + near), REFUSED)


def _leak_exact(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    return _leaking(d, rows[:-5], d.sealed[:5])


def _leak_one(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    return _leaking(d, rows[:-1], d.sealed[:1])


def _leak_near(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    near = [_nearly(d.kind, row, rng) for row in d.sealed[:8]]
    return _leaking(d, rows[:-8], near)


def _leaking(d: Draw, rows: list[Row], copies: list[Row]) -> Case:
    case = _joins(parquet(d.kind, rows + copies), REFUSED)
    return replace(case, leaked=len(copies))


def altered_leak(alteration: str, name: str, seed: int) -> Case:
    """A third of the rows are sealed ones, altered."""
    divided, rng = draw(name, seed % 3), np.random.default_rng(seed)
    chosen = rng.choice(len(divided.fresh), 80, replace=False)
    alter = ALTERATIONS[divided.kind.modality][alteration]
    sealed = [divided.sealed[n] for n in rng.choice(len(divided.sealed), 40, replace=False)]
    copies = [alter(row, rng, divided.base) for row in sealed]
    case = _leaking(divided, [divided.fresh[number] for number in chosen], copies)
    return replace(case, name=f"{alteration}/{name}/{seed}", kind=name)


def _nearly(kind: Kind, row: Row, rng: np.random.Generator) -> Row:
    """The row again with a small change that a person would not call another row."""
    if kind.input_column is None:
        return TABLES["one number by 3"](row, rng, kind.rows)
    if kind.input_column == "text":
        words = row["text"].split()
        words[int(rng.integers(len(words)))] += "s"
        return {**row, "text": " ".join(words)}
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(row["image"]))).astype(int)
    noisy = np.clip(pixels + rng.integers(-2, 3, pixels.shape), 0, 255).astype("uint8")
    return {**row, "image": _png(noisy)}


def _personal(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    spoilt = [
        {**row, "text": f"{row['text']}, write to jo.{n}@example.org"} for n, row in enumerate(rows)
    ]
    return _joins(parquet(d.kind, spoilt[:10] + rows[10:]), STOPPED)


def _secret(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    token = "hf_" + "".join(rng.choice(list("abcdefgHIJKLM0123456789"), 34))
    return _joins(parquet(d.kind, [{**rows[0], "text": f"use {token} here"}, *rows[1:]]), REFUSED)


def _bidi(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    spoilt = {**rows[0], "text": f"\u202e{rows[0]['text']}\u202c"}
    return _joins(parquet(d.kind, [spoilt, *rows[1:]]), STOPPED)


def _html(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    spoilt = {**rows[0], "text": f"{rows[0]['text']} <img src=x onerror=alert(1)>"}
    return _joins(parquet(d.kind, [spoilt, *rows[1:]]), STOPPED)


def _one_label(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    name = d.kind.label_names[0]
    return _joins(parquet(d.kind, [row for row in d.fresh if row["label"] == name][:80]), STOPPED)


def _card(path: str) -> Callable[..., Case]:
    def make(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
        card = CARD.replace("data/train-*", path).encode()
        return Case("", "", {"README.md": card}, REFUSED)

    return make


def _card_and_rows(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    card = CARD.replace("data/train-*", "../../etc/passwd").encode()
    files = {"README.md": card, "data/train-new.parquet": parquet(d.kind, rows)}
    return Case("", "", files, REFUSED)


def _licence(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    return Case("", "", {"README.md": CARD.replace("cc-by-4.0", "mit").encode()}, STOPPED)


def _extra(path: str, content: bytes, right: frozenset[str] = REFUSED) -> Callable[..., Case]:
    def make(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
        files = {"data/train-new.parquet": parquet(d.kind, rows), path: content}
        return Case("", "", files, right)

    return make


def _deletion(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    files = {"data/train-new.parquet": parquet(d.kind, rows)}
    return Case("", "", files, STOPPED, deletions=("data/train-00000-of-00001.parquet",))


def _rewrite(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    return _joins(parquet(d.kind, rows), STOPPED, "data/train-00000-of-00001.parquet")


def _misplaced(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    """A file that no split takes up: its rows are merged into the split for training."""
    return _joins(parquet(d.kind, rows), MERGED, "extra/more.parquet")


def _other_format(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    content = b"words,kind\nhello,0\n"
    return _joins(content, REFUSED, "data/train-more.csv")


def _corrupt(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    content = parquet(d.kind, rows)
    return _joins(content[: len(content) // 2], REFUSED)


def _link_blob(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    """What a symbolic link is in a tree: a file whose bytes are the target's path."""
    return _joins(b"../../../etc/passwd", REFUSED, "data/train-link.parquet")


def _image_struct(content: bytes | None, path: str | None) -> Callable[..., Case]:
    def make(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(parquet(d.kind, rows)))
        cells = table["image"].to_pylist()
        cells[0] = {"bytes": content, "path": path}
        kind = table.schema.field("image").type
        out = io.BytesIO()
        pq.write_table(table.set_column(0, table.schema.field("image"), pa.array(cells, kind)), out)
        return _joins(out.getvalue(), REFUSED)

    return make


def _bomb(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    """A few kilobytes that stand for gigabytes: one long text, repeated by a dictionary."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, "int32")), ["x" * 1_000_000])
    table = pa.table({"text": text, "label": pa.array(np.zeros(2000, "int64"))})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return _joins(out.getvalue(), REFUSED)


def _picture_bomb(d: Draw, rows: list[Row], rng: np.random.Generator) -> Case:
    huge = _png(np.zeros((5000, 5000), "uint8"))
    return _joins(parquet(d.kind, [{**rows[0], "image": huge}, *rows[1:]]), REFUSED)


DEFECTS: dict[str, Callable[[Draw, list[Row], np.random.Generator], Case]] = {
    "clean": _clean,
    "flip 10 %": _flip(0.10, STOPPED),
    "flip 20 %": _flip(0.20, STOPPED),
    "flip 30 %": _flip(0.30, REFUSED),
    "renamed column": _renamed_column,
    "swapped label names": _swapped_names,
    "repeats of the dataset": _exact_repeats,
    "repeats within": _repeats_within,
    "near repeats": _near_repeats,
    "leak, exact": _leak_exact,
    "leak, one row": _leak_one,
    "leak, near": _leak_near,
    "personal data": _personal,
    "secret": _secret,
    "bidi": _bidi,
    "html": _html,
    "one label only": _one_label,
    "card: absolute path": _card("/etc/passwd"),
    "card: hf address": _card("hf://datasets/other/private/data.parquet"),
    "card: https chain": _card("zip://x::https://example.org/a.zip"),
    "card: parent folder, with rows": _card_and_rows,
    "card: licence": _licence,
    "script": _extra("loader.py", b"import os"),
    "pickle": _extra("data/train-x.pkl", b"\x80\x04."),
    "npy": _extra("data/train-x.npy", b"\x93NUMPY"),
    "notebook": _extra("demo.ipynb", b"{}"),
    "hidden settings": _extra(".huggingface.yaml", b"configs: []"),
    "hidden file": _extra("data/.train-x.parquet", b"PAR1"),
    "deletion": _deletion,
    "rewrite": _rewrite,
    "misplaced": _misplaced,
    "other format": _other_format,
    "corrupt": _corrupt,
    "link": _link_blob,
    "picture by address": _image_struct(None, "http://127.0.0.1:9/x.png"),
    "picture by path": _image_struct(None, "/etc/passwd"),
    "broken picture": _image_struct(b"no picture", None),
    "bomb": _bomb,
    "picture bomb": _picture_bomb,
}
TEXT_ONLY = {"personal data", "secret", "bidi", "html", "bomb"}
IMAGE_ONLY = {"picture by address", "picture by path", "broken picture", "picture bomb"}
NO_TABLE = {"near repeats"}


def kinds_for(defect: str) -> list[str]:
    """The kinds of data that a defect can be in."""
    if defect in TEXT_ONLY:
        return ["requests"]
    if defect in IMAGE_ONLY:
        return ["digits"]
    return ["digits", "requests"] if defect in NO_TABLE else ["digits", "requests", "tumours"]


# --- the data


def _png(pixels: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _digits() -> Kind:
    """Handwritten digits in the form of MNIST: 28 x 28, the digit itself 20 x 20."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = [
        {"image": _png(_drawn(pixels)), "label": str(label)}
        for pixels, label in zip(found.images, found.target, strict=True)
    ]
    return Kind("digits", tuple(rows), tuple(str(n) for n in range(10)), "image")


def _drawn(pixels: Any) -> Any:
    from PIL import Image

    small = Image.fromarray((pixels * 15.9).astype("uint8"))
    return np.pad(np.asarray(small.resize((20, 20), Image.Resampling.BICUBIC)), 4)


def _tumours() -> Kind:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in found.feature_names]
    labels = tuple(str(name) for name in found.target_names)
    rows = [
        {**dict(zip(names, map(float, values), strict=True)), "label": labels[label]}
        for values, label in zip(found.data, found.target, strict=True)
    ]
    return Kind("tumours", tuple(rows), labels, None)


def _requests() -> Kind:
    """Made-up requests to a help desk: the intent shows in most words, not in all."""
    words = json.loads((Path(__file__).parent / "request_words.json").read_text())
    rng = np.random.default_rng(0)
    labels = tuple(sorted(words["intents"]))
    texts: dict[str, str] = {}
    while len(texts) < 1500:
        label = labels[int(rng.integers(len(labels)))]
        own = rng.choice(words["intents"][label], 3, replace=False).tolist()
        common = rng.choice(words["common"], 7, replace=False).tolist()
        mixed = rng.permutation(own + common).tolist()
        texts.setdefault(" ".join(mixed), label)
    rows = [{"text": text, "label": label} for text, label in texts.items()]
    return Kind("requests", tuple(rows), labels, "text")
