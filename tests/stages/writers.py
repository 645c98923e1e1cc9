"""A task of generation whose models are a file that says how good they are, and rounds of it."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from hub_trainer.answers import Likelihood, Prediction, Preference, Written, load_answer
from hub_trainer.artifacts import write_artifact
from hub_trainer.inputs.language_examples import answer_text, asked_and_answers, example_of
from hub_trainer.recipe import GenerationSection
from hub_trainer.rows.formats import detect_format
from hub_trainer.rows.language_rows import example_row
from hub_trainer.tasks import PLAIN, Asked, BasePredictions, ModelFolders

Rows = Sequence[Mapping[str, Any]]


class FakeWriter:
    """Answers a share of the prompts rightly, at a loss per token, both read from the model."""

    name = "text-generation"
    answer = load_answer("completion")
    converses = True
    modality = "prompt"
    columns: ClassVar[Mapping[str, str]] = {"example": "completion"}

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, int]] = []
        self.sampling: GenerationSection | None = None

    def predict(self, folders: ModelFolders, rows: Rows, asked: Asked = PLAIN) -> list[Prediction]:
        found = [Prediction(None)] * len(rows)
        places = range(len(rows)) if asked.answered is None else asked.answered
        if places:
            for place, one in zip(
                places, self.answers(folders, [rows[n] for n in places], asked), strict=True
            ):
                found[place] = one
        if asked.weighed:
            weighed = self.likelihoods(folders, [rows[n] for n in asked.weighed])
            for place, likelihood in zip(asked.weighed, weighed, strict=True):
                found[place] = replace(found[place], likelihood=likelihood)
        if asked.paired:
            pairs = self.preferences(folders, [rows[n] for n in asked.paired])
            for place, pair in zip(asked.paired, pairs, strict=True):
                found[place] = replace(found[place], preference=pair)
        return found

    def predict_base(
        self, splits: Any, rows: Rows, base: ModelFolders, asked: Asked
    ) -> BasePredictions:
        return BasePredictions("the base model as it is", self.predict(base, rows, asked))

    def answers(self, folders: ModelFolders, rows: Rows, asked: Asked) -> list[Prediction]:
        model = self._heard("answers", folders, rows)
        self.sampling = asked.sampling
        found = []
        for row in rows:
            is_right = _draw(row["prompt"]) < model["right"]
            text = _right(row) if is_right else "no idea"
            found.append(Prediction(text, written=Written(len(text), finished=is_right)))
        return found

    def likelihoods(self, folders: ModelFolders, rows: Rows) -> list[Likelihood]:
        model = self._heard("likelihoods", folders, rows)
        found = []
        for row in rows:
            count = 0 if "too long" in row["text"] else len(row["text"]) % 7 + 3
            noise = _draw(row["text"] + str(model["loss"])) - 0.5
            found.append(Likelihood(-count * (model["loss"] + 0.1 * noise), count))
        return found

    def preferences(self, folders: ModelFolders, rows: Rows) -> list[Preference | None]:
        """Right about a share of the pairs, and with the larger margins the better it is."""
        model = self._heard("preferences", folders, rows)
        found: list[Preference | None] = []
        for row in rows:
            margin = 20 * (model["right"] - _draw(row["text"])) + 0.01
            is_whole = "too long" not in row["text"]
            found.append(Preference(-30.0 + margin, -30.0) if is_whole else None)
        return found

    def _heard(self, what: str, folders: ModelFolders, rows: Rows) -> dict[str, Any]:
        model: dict[str, Any] = json.loads((folders.model / "config.json").read_text())
        self.calls.append((what, model["name"], len(rows)))
        if "needs" in model:
            assert folders.base is not None
            assert json.loads((folders.base / "config.json").read_text())["name"] == model["needs"]
        return model


def _draw(text: str) -> float:
    return zlib.crc32(text.encode()) % 1000 / 1000


def _right(row: Mapping[str, Any]) -> str:
    return answer_text(asked_and_answers(example_of(row))[1][0])


def model_folder(
    folder: Path, name: str, *, right: float = 0.5, loss: float = 2.0, **more: Any
) -> Path:
    """A model that answers this share of prompts rightly, at this loss per token."""
    folder.mkdir(parents=True)
    about = {"name": name, "right": right, "loss": loss, **more}
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def rows_of(raw: Rows, *, prefix: str = "row", **columns: Sequence[Any]) -> list[dict[str, Any]]:
    """Canonical rows of language data in whatever known format."""
    known = detect_format(raw[0])
    rows = [dict(example_row(known, known.example(one))) for one in raw]
    for index, row in enumerate(rows):
        row["_row_id"] = f"{prefix}-{index}"
        row |= {name: values[index] for name, values in columns.items()}
    return rows


def sums(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Prompts with their completions."""
    numbers = range(start, start + count)
    return [{"prompt": f"What is {n} plus {n}?", "completion": f"It is {2 * n}."} for n in numbers]


def write_trained(round_dir: Path, **about: Any) -> Path:
    """The train artifact of a new model."""
    with write_artifact(round_dir / "train", {"model": about}) as draft:
        model_folder(draft.folder / "model", "new", **about)
    return round_dir / "train" / "model"
