"""Language data becomes canonical rows: examples in the columns of `inputs.language_examples`."""

import json
from collections.abc import Sequence

from hub_trainer.errors import DataError
from hub_trainer.inputs.language_examples import (
    KIND_OF,
    Example,
    Kind,
    Row,
    as_text,
    asked_and_answers,
    example_of,
)
from hub_trainer.rows.formats import (
    FORMATS,
    Format,
    assert_thumbs,
    detect_format,
)
from hub_trainer.rows.turns import RowFault


def example_row(known: Format, example: Example) -> dict[str, str]:
    """The canonical row of an example."""
    asked, answers = asked_and_answers(example)
    prompt = as_text(asked)
    gap = "\n" if prompt and not isinstance(asked, str) else ""
    held = {**vars(example), "format": known.name}
    return {
        "text": prompt + gap + "\n\n".join(as_text(answer) for answer in answers),
        "prompt": prompt,
        "label": _label(known.kind, example),
        "example": json.dumps(held, ensure_ascii=False),
    }


def examples_of(rows: Sequence[Row]) -> tuple[Format, list[Example]]:
    """The format of canonical rows and their examples.

    Raises DataError when the rows are of several kinds, which no one loss learns from.
    """
    kinds = {KIND_OF[row["label"]] for row in rows}
    if len(kinds) != 1:
        raise DataError(
            "The rows are of several kinds, and a model learns from one of them at a time.",
            got=", ".join(sorted({row["label"] for row in rows})) or "no rows",
            do="collect demonstrations, preferences or ratings, each with a recipe of its own",
        )
    name = json.loads(rows[0]["example"])["format"]
    (known,) = (one for one in FORMATS if one.name == name)
    return known, [example_of(row) for row in rows]


def canonical_examples(rows: Sequence[Row], where: str) -> list[dict[str, str] | str]:
    """Per row of a dataset its canonical row, or why it is none."""
    try:
        known = detect_format(rows[0] if rows else {})
    except DataError as error:
        error.where = where
        raise
    if known.kind == "kto":
        assert_thumbs([row.get("label") for row in rows], where=where)
    return [_canonical(known, row) for row in rows]


def _canonical(known: Format, row: Row) -> dict[str, str] | str:
    try:
        made = example_row(known, known.example(row))
    except RowFault as fault:
        return str(fault)
    except RecursionError:
        return "nested too deeply"
    try:
        "".join(made.values()).encode()
    except UnicodeEncodeError:
        return "a text holds half of a surrogate pair, which is no character"
    return made


def _label(kind: Kind, example: Example) -> str:
    if kind == "kto":
        return "desirable" if example.desirable else "undesirable"
    return "demonstration" if kind == "sft" else "preference"
