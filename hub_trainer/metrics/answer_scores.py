"""The score of one written answer: against references, against what it must contain, as JSON."""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hub_trainer.errors import UsageError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Chinese characters, each of which counts as a word."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_LETTER = rf"[^\W{_UNSPACED}]"


def exact_match(answer: str, reference: str) -> float:
    """1 when they are the same after SQuAD's normalisation."""
    return float(normalise(answer) == normalise(reference))


def token_f1(answer: str, reference: str) -> float:
    """F1 of the words that they share, after SQuAD's normalisation."""
    found, wanted = normalise(answer).split(), normalise(reference).split()
    if not found or not wanted:
        return float(found == wanted)
    shared = (Counter(found) & Counter(wanted)).total()
    return 2 * shared / (len(found) + len(wanted))


def rouge_l(answer: str, reference: str) -> float:
    """F1 of the longest sequence of words that both have in this order, others between them."""
    found, wanted = _words(answer), _words(reference)
    if not found or not wanted:
        return 0.0
    return 2 * _common_subsequence(found, wanted) / (len(found) + len(wanted))


def contains_all(answer: str, expected: Sequence[str]) -> float:
    """1 when each expected text is in the answer as whole words, whatever their case."""
    text = " ".join(answer.casefold().split())
    return float(all(_as_words(one).search(text) for one in expected))


def normalise(text: str) -> str:
    """Lower case without punctuation, English articles and doubled spaces, as SQuAD compares."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def schema_check(schema: dict[str, Any]) -> Callable[[str], float]:
    """What tells 1 for an answer that is JSON and valid under the schema, 0 for any other.

    A `$ref` is only looked for within the schema: nothing is fetched. Raises UsageError for what
    is no JSON Schema.
    """
    from jsonschema import SchemaError, ValidationError, validators
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise _no_schema(error.message) from error
    validator = kind(schema, registry=Registry())

    def check(answer: str) -> float:
        try:
            validator.validate(json.loads(answer, parse_constant=_no_json))
        except (ValueError, ValidationError, RecursionError):
            return 0.0
        except Unresolvable as error:
            raise _no_schema(f"{error.ref} is not in it") from error
        return 1.0

    return check


def _no_json(constant: str) -> None:
    """Python reads NaN and Infinity too, which JSON does not know."""
    raise ValueError(constant)


def _no_schema(got: str) -> UsageError:
    return UsageError(
        "This is no JSON Schema that answers can be held to.",
        where="evaluate.json_schema",
        got=got,
        do="write it as json-schema.org describes, with all its parts in one place",
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest one, a word of `right` at a time for all of `left` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(left)) - 1
    free = everywhere
    for word in right:
        matched = free & places.get(word, 0)
        free = (free + matched | free - matched) & everywhere
    return len(left) - free.bit_count()


def _as_words(expected: str) -> re.Pattern[str]:
    text = " ".join(expected.casefold().split())
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, text) else ""
    after = rf"(?!{_LETTER})" if re.search(rf"{_LETTER}\Z", text) else ""
    return re.compile(before + re.escape(text) + after)
