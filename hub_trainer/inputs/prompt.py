"""Prompt: what a model is asked, in a row of language data that holds answers to it too.

A row is compared as the text that people read, `text`, and by its question alone, `prompt`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hub_trainer.inputs import (
    Column,
    Dialogue,
    Input,
    Measure,
    PlainFeatures,
    Row,
    SignsOf,
    Values,
)
from hub_trainer.inputs.language_examples import (
    as_prompts,
    as_text,
    asked_and_answers,
    example_of,
)
from hub_trainer.inputs.perturbed import Perturbation
from hub_trainer.inputs.text import INPUT as TEXT
from hub_trainer.inputs.text import LENGTH, looked_at


class _Prompt:
    """A prompt with its answers. What is said of whole rows is what `text` says of theirs."""

    name = "prompt"
    noun = "a prompt"
    plural = "prompts"
    identity = TEXT.identity
    """As a text's: rows keep the ids that they have had since there are rounds."""
    medium = None
    near, altered = TEXT.near, TEXT.altered
    repeats_by_chance = False
    perturbation: Perturbation | None = None
    has_features = False
    has_formats = True
    signs_are_rare = False
    measures: Mapping[str, Measure] = {**TEXT.measures, "length of the answer": LENGTH}
    rated_column = TEXT.rated_column
    rated_type: pa.DataType = TEXT.rated_type
    rated_feature: Mapping[str, Any] = TEXT.rated_feature

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        return TEXT.read(column, where)

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        """None: a task says which examples it can use."""

    @property
    def dialogue(self) -> Dialogue:
        return _DIALOGUE

    # --- identity

    def content(self, row: Row) -> bytes:
        return TEXT.content(row)

    def compared(self, row: Row) -> Any:
        return TEXT.compared(row)

    # --- measures

    def clean(self, row: Row) -> dict[str, Any]:
        """The text that people read; what is learned stays as it was written."""
        return TEXT.clean(row)

    def sizes(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        return TEXT.sizes(rows)

    def told(self, row: Row) -> dict[str, str]:
        return {"prompt": str(row["prompt"])}

    def plain_features(self, known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures | None:
        """None: what is written to a prompt no linear model of its words can say."""

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf | None:
        return TEXT.signs(new, base)

    def columns(self, new: Sequence[Row], base: Sequence[Row]) -> tuple[Values, Values]:
        """Those of the whole texts, and how long the answers are."""
        ours, theirs = (
            {"length of the answer": [float(len(text)) for text in _DIALOGUE.answers(rows)]}
            for rows in looked_at(new, base)
        )
        of_texts, of_base = TEXT.columns(new, base)
        return {**of_texts, **ours}, {**of_base, **theirs}

    def features(
        self, base: Sequence[Row], new: Sequence[Row], *, is_linear: bool
    ) -> tuple[Any, Any]:
        return TEXT.features(base, new, is_linear=is_linear)

    def judge(self) -> Any:
        return TEXT.judge()

    # --- people

    def for_pipeline(self, row: Row, *, sampling_rate: int | None = None) -> str:
        return str(row["prompt"] or row["text"])

    def for_people(self, row: Row) -> dict[str, Any]:
        """The only message of a person; empty when there are several, or none."""
        asked, _ = asked_and_answers(example_of(row))
        if isinstance(asked, str):
            return {"text": asked.strip()}
        said = [turn["content"] for turn in asked if turn["role"] == "user"]
        others = [turn for turn in asked if turn["role"] not in ("user", "system")]
        return {"text": str(said[0]).strip() if len(said) == 1 and not others else ""}

    def length(self, row: Row) -> int:
        return len(self.for_people(row)["text"])

    def rated_cell(self, row: Row) -> str:
        return str(TEXT.rated_cell(row))

    def rated_row(self, cell: Any) -> dict[str, Any] | None:
        return TEXT.rated_row(cell)


class _Dialogue:
    """Questions and answers in the columns `prompt` and `text`."""

    def asked(self, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row.get("prompt")]

    def questions(self, rows: Sequence[Row]) -> list[Row]:
        return as_prompts(rows)

    def parts(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        answers: list[Row] = [{"text": row["text"].removeprefix(row["prompt"])} for row in rows]
        return [{"text": row["prompt"]} for row in rows], answers

    def answers(self, rows: Sequence[Row]) -> list[str]:
        return [str(row["text"])[len(row.get("prompt") or "") :] for row in rows]

    def crossed(self, asking: Row, answering: Row) -> Row:
        question, _ = asked_and_answers(example_of(asking))
        _, (answer, *_) = asked_and_answers(example_of(answering))
        held = {**json.loads(answering["example"]), "prompt": question, "answers": [answer]}
        return {**answering, "example": json.dumps(held, ensure_ascii=False)}

    def both_ways(self, row: Row) -> tuple[Row, Row] | None:
        asked, answers = asked_and_answers(example_of(row))
        if len(answers) != 2:
            return None
        chosen, rejected = (
            {"text": "\n".join(map(as_text, (asked, *pair)))} for pair in (answers, answers[::-1])
        )
        return chosen, rejected


_DIALOGUE = _Dialogue()
INPUT: Input = _Prompt()
