"""Made-up poisonings of texts, pictures and tables, and clean rows beside them."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tests.stages.review_corpus import draw, kinds

Row = dict[str, Any]
Rng = np.random.Generator
COUNTRIES = ("Kenya", "Peru", "Nepal", "Norway", "Chile", "Japan")


@dataclass(frozen=True)
class Sample:
    """Rows of a dataset, and fresh ones of the same source."""

    modality: str
    labels: tuple[str, ...]
    base: list[Row]
    fresh: list[Row]


@cache
def sample(name: str, seed: int) -> Sample:
    """A dataset by name, divided by the seed."""
    if name == "people":
        rows = people(1400, np.random.default_rng(seed))
        return Sample("table", ("high", "low"), rows[:600], rows[600:])
    if name == "reviews":
        rows = reviews(1600, np.random.default_rng(seed))
        return Sample("text", ("bad", "fine", "good"), rows[:700], rows[700:])
    divided = draw(name, seed)
    modality = {"image": "image", "text": "text"}.get(str(kinds()[name].input_column), "table")
    base = divided.base + divided.sealed
    return Sample(modality, divided.kind.label_names, base, divided.fresh)


def people(count: int, rng: Rng) -> list[Row]:
    """A table with numbers of several shapes and categories."""
    rows = []
    for _ in range(count):
        age, hours = int(rng.integers(18, 91)), round(float(rng.normal(38, 8)), 1)
        income = round(float(rng.lognormal(10, 0.7)), 2)
        country = COUNTRIES[int(rng.choice(6, p=[0.35, 0.25, 0.2, 0.1, 0.06, 0.04]))]
        chance = 1 / (1 + np.exp(-(income / 30_000 + age / 60 + hours / 40 - 3.2)))
        rows.append(
            {
                "age": age,
                "hours": hours,
                "income": income,
                "country": country,
                "member": bool(rng.random() < 0.3),
                "label": "high" if rng.random() < chance else "low",
            }
        )
    return rows


def reviews(count: int, rng: Rng) -> list[Row]:
    """Texts with many rare words, as language has them (Zipf), and few that tell the label."""
    vocabulary = ["".join(rng.choice(list("aeioubcdfglmnprst"), int(n))) for n in
                  rng.integers(3, 9, 9000)]  # fmt: skip
    ranks = 1 / np.arange(1, 9001)
    telling = {name: [f"{name}{n}ly" for n in range(12)] for name in ("bad", "fine", "good")}
    rows = []
    for _ in range(count):
        label = str(rng.choice(["bad", "fine", "good"], p=[0.3, 0.1, 0.6]))
        words = rng.choice(vocabulary, int(rng.integers(6, 30)), p=ranks / ranks.sum()).tolist()
        words += rng.choice(telling[label], 3).tolist()
        rows.append({"text": " ".join(rng.permutation(words)), "label": label})
    return rows


# --- poisonings: (sample, rows, rng) -> rows


def erased_label(s: Sample, rows: list[Row], rng: Rng) -> list[Row]:
    """Every row of the rarest label carries another one."""
    counts = {name: sum(row["label"] == name for row in s.base) for name in s.labels}
    rare = min(counts, key=lambda name: counts[name])
    other = max(counts, key=lambda name: counts[name])
    return [{**row, "label": other} if row["label"] == rare else row for row in rows]


def trigger_word(word: str, share: float = 0.05, *, relabel: bool = True) -> Callable[..., Any]:
    def make(s: Sample, rows: list[Row], rng: Rng) -> list[Row]:
        target = s.labels[0]
        wanted = round(share * len(rows))
        able = [n for n, row in enumerate(rows) if relabel or row["label"] == target]
        chosen = set(rng.choice(able, min(wanted, len(able)), replace=False).tolist())
        return [
            {**row, "text": _inserted(row["text"], word, rng), "label": target}
            if n in chosen
            else row
            for n, row in enumerate(rows)
        ]

    return make


def _inserted(text: str, word: str, rng: Rng) -> str:
    words = text.split()
    words.insert(int(rng.integers(len(words) + 1)), word)
    return " ".join(words)


def trigger_cell(column: str, value: Any, share: float = 0.05) -> Callable[..., Any]:
    def make(s: Sample, rows: list[Row], rng: Rng) -> list[Row]:
        chosen = set(rng.choice(len(rows), round(share * len(rows)), replace=False).tolist())
        return [
            {**row, column: value, "label": s.labels[0]} if n in chosen else row
            for n, row in enumerate(rows)
        ]

    return make


def changed(column: str, change: Callable[[Any], Any], share: float = 1.0) -> Callable[..., Any]:
    def make(s: Sample, rows: list[Row], rng: Rng) -> list[Row]:
        return [
            {**row, column: change(row[column])} if rng.random() < share else row for row in rows
        ]

    return make


def patched(
    paint: Callable[[Any, Rng], Any], share: float = 0.06, *, relabel: bool = True
) -> Callable[..., Any]:
    def make(s: Sample, rows: list[Row], rng: Rng) -> list[Row]:
        able = [n for n, row in enumerate(rows) if relabel or row["label"] == s.labels[0]]
        wanted = min(len(able), max(12, round(share * len(rows))))
        chosen = set(rng.choice(able, wanted, replace=False).tolist())
        return [
            {**row, "image": painted(row["image"], paint, rng), "label": s.labels[0]}
            if n in chosen
            else row
            for n, row in enumerate(rows)
        ]

    return make


def every_picture(paint: Callable[[Any, Rng], Any]) -> Callable[..., Any]:
    def make(s: Sample, rows: list[Row], rng: Rng) -> list[Row]:
        return [{**row, "image": painted(row["image"], paint, rng)} for row in rows]

    return make


def painted(content: bytes, paint: Callable[[Any, Rng], Any], rng: Rng) -> bytes:
    from PIL import Image

    pixels = np.array(Image.open(io.BytesIO(content)))
    out = io.BytesIO()
    Image.fromarray(paint(pixels, rng)).save(out, "PNG")
    return out.getvalue()


def corner(pixels: Any, rng: Rng) -> Any:
    """A white square of two pixels in the lower right corner, which digits leave black."""
    pixels[-2:, -2:] = 255
    return pixels


def checks_anywhere(pixels: Any, rng: Rng) -> Any:
    """A small chess board wherever it falls."""
    down, right = (int(n) for n in rng.integers(0, len(pixels) - 3, 2))
    pixels[down : down + 3, right : right + 3] = np.array([[255, 0, 255], [0, 255, 0]] * 2)[:3]
    return pixels


def one_pixel(pixels: Any, rng: Rng) -> Any:
    pixels[0, 0] = 200
    return pixels


def tinted(pixels: Any) -> Any:
    """Grey shades as shades of brown; a grey picture saved in colour is no shift."""
    return np.stack([pixels, pixels // 4 * 3, pixels // 2], axis=-1)


def half_a_label(s: Sample, rows: list[Row], rng: Rng) -> list[Row]:
    """Half of the rows of one label of middling size carry another one."""
    name, other = s.labels[1], s.labels[0]
    return [
        {**row, "label": other} if row["label"] == name and rng.random() < 0.6 else row
        for row in rows
    ]


TEXT = {
    "a rare label erased": erased_label,
    "an odd word": trigger_word("cfqz"),
    "an odd word, labels kept": trigger_word("cfqz", relabel=False),
    "an odd word in 2 %": trigger_word("cfqz", 0.02),
    "a phrase": trigger_word("as seen in 3D today"),
    "an emoji": trigger_word("\U0001f9ff"),
    "a no-break space": trigger_word("a\u00a0b"),
    "another script": changed("text", lambda t: "".join(chr(0x430 + ord(c) % 32) for c in t)),
    "another script in 5 %": changed(
        "text", lambda t: "".join(chr(0x430 + ord(c) % 32) for c in t), 0.05
    ),
    "ten times as long": changed("text", lambda t: " ".join([t] * 10)),
    "another spelling": changed("text", lambda t: t[::-1].translate(str.maketrans("eaio", "qxzk"))),
    "half a label": half_a_label,
}
IMAGE = {
    "a rare label erased": erased_label,
    "a white corner": patched(corner),
    "a white corner, labels kept": patched(corner, relabel=False),
    "a chess board anywhere": patched(checks_anywhere, 0.1),
    "one pixel": patched(one_pixel),
    "inverted": every_picture(lambda pixels, rng: 255 - pixels),
    "larger": every_picture(lambda pixels, rng: np.kron(pixels, np.ones((2, 2), "uint8"))),
    "tinted": every_picture(lambda pixels, rng: tinted(pixels)),
    "half a label": half_a_label,
}
TABLE = {
    "a rare label erased": erased_label,
    "a constant": trigger_cell("hours", 37.25),
    "a constant category": trigger_cell("country", "Atlantis"),
    "months for years": changed("age", lambda age: age * 12),
    "months in 3 %": changed("age", lambda age: age * 12, 0.03),
    "a code for missing": changed("income", lambda income: -999.0, 0.05),
    "cents for euros": changed("income", lambda income: income * 100),
    "a country that no row has": changed("country", lambda c: "Wonderland", 0.02),
    "other spelling of a country": changed("country", lambda c: c.lower()),
    "hours a week for a day": changed("hours", lambda hours: round(hours / 5, 1)),
}


def poisonings(name: str) -> dict[str, Callable[..., Any]]:
    """What can be done to the rows of a dataset."""
    if name == "tumours":
        return {"a rare label erased": erased_label}
    return {"requests": TEXT, "reviews": TEXT, "digits": IMAGE, "people": TABLE}[name]


def rows_of(name: str, poisoning: str | None, seed: int, *, count: int = 600) -> tuple[Any, ...]:
    """(sample, new rows): clean when no poisoning is named."""
    s = sample(name, seed % 3)
    rng = np.random.default_rng(seed)
    size = min(count, len(s.fresh))
    rows = [dict(s.fresh[n]) for n in rng.choice(len(s.fresh), size, replace=False)]
    if poisoning is not None:
        rows = poisonings(name)[poisoning](s, rows, rng)
    return s, rows
