"""Models of the tests that read a picture or the row of a table, with the tasks' own inputs."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.space.ranges import ranges_of
from hub_trainer.space.shown_rows import ShownRows
from hub_trainer.tasks import ModelFolders, Widgets, load_task

DIGITS = [str(number) for number in range(10)]
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]


class DarkTask:
    """Says how dark a picture is, from 0 to 9."""

    name = "image-classification"
    modality = "image"
    answer = load_answer("label")

    def predict(self, folders: ModelFolders, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        from PIL import Image

        found = []
        for row in rows:
            grey = Image.open(io.BytesIO(row["image"])).convert("L").resize((1, 1)).getpixel((0, 0))
            label = str(int(grey) * 10 // 256)  # type: ignore[arg-type]
            rest = {name: 0.18 / 9 for name in DIGITS if name != label}
            found.append(Prediction(label, {label: 0.82, **rest}))
        return found

    def problems(self, row: Mapping[str, Any]) -> list[str]:
        return []

    def widgets(self, examples: Sequence[Any]) -> Widgets:
        return load_task(self.name).widgets(examples)  # type: ignore[union-attr]


class BillTask:
    """Says the species of a penguin by its bill."""

    name = "tabular-classification"
    modality = "table"
    answer = load_answer("label")

    def predict(self, folders: ModelFolders, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        first = [min(max((50 - (row["bill_mm"] or 45)) / 20, 0.05), 0.9) for row in rows]
        return [
            Prediction(
                "Adelie" if p > 0.4 else "Gentoo",
                dict(zip(SPECIES, (p, 0.05, 0.95 - p), strict=True)),
            )
            for p in first
        ]

    def problems(self, row: Mapping[str, Any]) -> list[str]:
        return []

    def widgets(self, examples: Sequence[Any]) -> Widgets:
        return load_task(self.name).widgets(examples)  # type: ignore[union-attr]


def drawings() -> ShownRows:
    """Drawn digits."""
    from PIL import Image, ImageDraw, ImageFont

    rows = []
    for digit in DIGITS[2:8]:
        picture = Image.new("L", (56, 56), 0)
        font = ImageFont.load_default(44)
        ImageDraw.Draw(picture).text((15, 2), digit, fill=255, font=font)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        rows.append({"image": buffer.getvalue()})
    return ShownRows(rows)


def penguins() -> ShownRows:
    """Rows of a table with numbers, words and a yes or no."""
    rows = [
        {
            "bill_mm": 34.0 + number,
            "flipper_mm": 172.0 + 2 * number,
            "mass_g": 2700.0 + 120 * number,
            "island": ["Biscoe", "Dream", "Torgersen"][number % 3],
            "sex": ["female", "male"][number % 2],
            "ringed": number % 4 == 0,
        }
        for number in range(25)
    ]
    return ShownRows(rows, ranges_of(rows))
