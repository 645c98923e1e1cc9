"""Columns of a dataset that are its input and its label, when no recipe says so."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.recipe.columns import COLUMN_OF

if TYPE_CHECKING:
    from hub_trainer.rows.canonical import RowSpec
    from hub_trainer.rows.read import RawSplit

LABEL_NAMES = ("label", "labels", "class", "target", "category", "intent", "species", "y")
SET_NAMES = ("labels", "label", "tags", "topics", "categories", "classes", "emotions", "genres")
TARGET_NAMES = ("target", "score", "price", "value", "rating", "quality", "amount", "y")
WORD_NAMES = ("tokens", "words")
TAG_NAMES = ("tags", "ner_tags", "entity_tags", "ner", "bio_tags", "labels")
SPOKEN_NAMES = ("text", "sentence", "transcription", "transcript", "normalized_text")
TEXT_NAMES = ("text", "sentence", "utterance", "content", "question", "document")
PAIR_NAMES = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
"""What datasets call the two texts of a pair."""
MIN_WORDS = 3
"""Words of half of the cells, at least, in a column that holds texts and no categories."""
USUAL_NAMES: Mapping[str, Sequence[str]] = {
    "label": LABEL_NAMES,
    "labels": SET_NAMES,
    "target": TARGET_NAMES,
    "text": tuple(dict.fromkeys((*TEXT_NAMES, *SPOKEN_NAMES))),
    "tokens": WORD_NAMES,
    "tags": TAG_NAMES,
    "image": ("image", "img", "picture"),
    "audio": ("audio", "sound", "speech", "recording", "file", "clip"),
}
"""Our column -> what datasets call it."""


def infer_spec(raw: "RawSplit") -> "RowSpec":
    """The columns of a split: words with tags, examples of language, a sound with what is said in
    it, or a picture, a sound, a text, a pair of texts or a table with a label.

    Raises DataError when there is no column that can be the label.
    """
    from hub_trainer.rows.canonical import RowSpec

    words, tags = _tagged_columns(raw)
    if words and tags:
        kinds = {"tokens": "words", "tags": "spans"}
        return RowSpec("text", kinds, _renamed({"tokens": words, "tags": tags}))
    if _is_language(raw):
        return RowSpec("prompt", {"example": "completion"})
    sound, said = _spoken_columns(raw)
    if sound and said:
        kinds = {"audio": "audio", "text": "transcript"}
        return RowSpec("audio", kinds, _renamed({"audio": sound, "text": said}))
    pair = pair_columns(raw)
    label = _label_column(raw, TARGET_NAMES if pair else ())
    kind = answer_kind(raw, label)
    ours = COLUMN_OF[kind]
    others = [name for name in raw.table.column_names if name != label]
    if raw.media:
        theirs = sorted(raw.media)[0]
        name = raw.media[theirs].name
        return RowSpec(name, {name: name, ours: kind}, _renamed({name: theirs, ours: label}))
    if pair:
        kinds = {**dict.fromkeys(pair, "text"), ours: kind}
        return RowSpec("text", kinds, _renamed({**pair, ours: label}))
    text = _text_column(raw, others)
    if text is not None:
        kinds, columns = {"text": "text", ours: kind}, {"text": text, ours: label}
        return RowSpec("text", kinds, _renamed(columns))
    nested = [name for name in others if _is_nested(raw, name)]
    return RowSpec("table", {ours: kind}, _renamed({ours: label}), drop_columns=nested)


def pair_columns(raw: "RawSplit") -> dict[str, str]:
    """Our columns of a pair of texts -> the split's, by their usual names; nothing for no pair."""
    strings = {name.casefold(): name for name in _strings(raw)}
    for first, second in PAIR_NAMES:
        if first in strings and second in strings:
            return {"text": strings[first], "text_pair": strings[second]}
    return {}


def columns_of_texts(raw: "RawSplit") -> list[str]:
    """Columns of which half of the cells at least have several words."""
    found = []
    for name in _strings(raw):
        counts = sorted(len((cell or "").split()) for cell in raw.table[name].to_pylist())
        if counts and counts[len(counts) // 2] >= MIN_WORDS:
            found.append(name)
    return found


def _strings(raw: "RawSplit") -> list[str]:
    schema = raw.table.schema
    return [name for name in schema.names if str(schema.field(name).type).endswith("string")]


def _tagged_columns(raw: "RawSplit") -> tuple[str | None, str | None]:
    """The columns of lists of words and of their tags, by their usual names."""
    lists = [name for name in raw.table.column_names if _is_list_of(raw, name, "string", "int")]
    words = next((name for name in WORD_NAMES if name in lists), None)
    return words, next((name for name in TAG_NAMES if name in lists), None)


def _spoken_columns(raw: "RawSplit") -> tuple[str | None, str | None]:
    """The column of sounds and that of what is said in them, where no label is beside those."""
    names: Sequence[str] = raw.table.column_names
    sounds = sorted(name for name, medium in raw.media.items() if medium.name == "audio")
    if not sounds or not set(LABEL_NAMES).isdisjoint(names):
        return None, None
    return sounds[0], next((name for name in SPOKEN_NAMES if name in names), None)


def _is_list_of(raw: "RawSplit", name: str, *inner: str) -> bool:
    import pyarrow.types as types

    kind = raw.table.schema.field(name).type
    is_list = types.is_list(kind) or types.is_large_list(kind)
    return is_list and str(kind.value_type).removeprefix("large_").startswith(inner)


def answer_kind(raw: "RawSplit", column: str) -> str:
    """What a column of answers holds: lists are labels, fractions are numbers, else a label."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    values = raw.table[column]
    if types.is_list(values.type) or types.is_large_list(values.type):
        return "labels"
    if types.is_floating(values.type) and column not in raw.class_names:
        known = values.drop_null()
        if len(known) and pc.any(pc.not_equal(known, pc.floor(known))).as_py():
            return "number"
    return "label"


def _is_language(raw: "RawSplit") -> bool:
    """Whether the rows are prompts with answers, or bare texts; labelled questions are neither."""
    from hub_trainer.rows.formats import FORMATS

    names = set(raw.table.column_names)
    known = next((one for one in FORMATS if one.columns <= names), None)
    if known is None or known.columns == {"text"}:
        return names == {"text"}
    labelled = bool(raw.class_names) or not names.isdisjoint(LABEL_NAMES)
    return known.columns != {"question", "answer"} or not labelled


def _label_column(raw: "RawSplit", others: Sequence[str]) -> str:
    """The column of answers, by its usual names or by `others`."""
    names: Sequence[str] = raw.table.column_names
    found = [name for name in LABEL_NAMES if name in names] or sorted(raw.class_names)
    found += [name for name in others if name in names]
    if found:
        return found[0]
    raise DataError(
        "No column of the dataset can be told to be the label.",
        got=f"columns {', '.join(names)}",
        do="Review with a recipe that names it: --recipe FILE.",
    )


def _text_column(raw: "RawSplit", names: Sequence[str]) -> str | None:
    """The column of text, unless the rows are a table: several columns that are not nested."""
    strings = [name for name in _strings(raw) if name in names]
    known = [name for name in TEXT_NAMES if name in strings]
    if known:
        return known[0]
    return strings[0] if len(names) == len(strings) == 1 else None


def _is_nested(raw: "RawSplit", name: str) -> bool:
    kind = str(raw.table.schema.field(name).type)
    return kind.startswith(("list", "struct", "large_list", "map", "fixed_size_list"))


def _renamed(columns: dict[str, str]) -> dict[str, Any]:
    return {ours: theirs for ours, theirs in columns.items() if ours != theirs}
