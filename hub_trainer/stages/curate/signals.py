"""Signals of people as examples: thumbs to rate by, pairs to prefer by, edits to learn.

An example's weight is the trust that its raters have, so that who often errs counts less.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.duplicates import content_keys
from hub_trainer.inputs.language_examples import Content, Kind
from hub_trainer.ratings import count_ratings, last_about
from hub_trainer.recipe import CurateSection
from hub_trainer.rows.formats import FINISHED, detect_format
from hub_trainer.rows.language_rows import example_row
from hub_trainer.rows.row_files import WEIGHT
from hub_trainer.stages.curate.curate_context import Agreed
from hub_trainer.stages.curate.reasons import NO_AGREEMENT, TOO_FEW_RATERS

ShardRow = Mapping[str, Any]
SIGNAL_OF: Mapping[str, Literal["thumb", "pair", "edit"]] = {
    "up": "thumb",
    "down": "thumb",
    "report": "thumb",
    "prefer": "pair",
    "edit": "edit",
}
SIGNALS_FOR: Mapping[Kind, frozenset[str]] = {
    "kto": frozenset({"thumb"}),
    "dpo": frozenset({"pair", "edit"}),
    "sft": frozenset({"edit"}),
}
"""Kind of a dataset -> what it learns from; an edit is preferred to what it corrects."""
AGREED, ASKED = 4.0, 5.0
"""What a rater counts before others have rated the same: as 4 agreements of 5."""


@dataclass(frozen=True)
class Opinion:
    """One rating that counts: a rater's choice of a value for an item."""

    rater: str
    signal: str
    item: str
    """What is rated, the same for everybody: an answer to a prompt, or two of them."""
    value: str
    """`up` or `down`; the better answer; the edited text."""
    row: ShardRow


@dataclass(frozen=True)
class Opinions:
    """The ratings that count, oldest first, and why others do not."""

    all: Sequence[Opinion]
    dropped: Mapping[str, int]
    notes: Sequence[str] = ()
    """What a person should know of where the ratings came from."""


@dataclass(frozen=True)
class KnownExamples:
    """What is known of rows by content keys."""

    rows: frozenset[str]
    """Whole rows of the dataset."""
    sealed_prompts: frozenset[str]
    """Prompts of the test rows, which nobody may train on."""


def count_opinions(shard_rows: Sequence[ShardRow], task: str, section: CurateSection) -> Opinions:
    """What each source says last of each item."""
    counted = count_ratings(
        shard_rows,
        task=task,
        anonymous=section.anonymous,
        max_per_source=section.max_ratings_per_rater,
    )
    said = [_opinion(row) for row in counted.rows if row["kind"] in SIGNAL_OF]
    last, notes = last_about([one.rater for one in said], [(one.signal, one.item) for one in said])
    dropped = Counter(counted.dropped)
    dropped["without a preference"] = len(counted.rows) - len(said)
    dropped["of the same rater about the same answer"] = len(said) - len(last)
    return Opinions([said[place] for place in last], +dropped, [*counted.notes, *notes])


def trust_of(opinions: Sequence[Opinion]) -> dict[str, float]:
    """How much each rater counts: 1 for one of whom nothing is known, 0 for one who guesses.

    Measured by agreement with all others who rated the same item, drawn towards 4 of 5.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for one in opinions:
        votes[one.item][one.value] += 1
    agreed: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for one in opinions:
        others = votes[one.item] - Counter([one.value])
        ranked = others.most_common(2)
        if one.signal == "edit" or not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
            continue
        asked[one.rater] += 1
        agreed[one.rater] += ranked[0][0] == one.value
    prior = 2 * AGREED / ASKED - 1
    return {
        rater: max(0.0, 2 * (agreed[rater] + AGREED) / (asked[rater] + ASKED) - 1) / prior
        for rater in {one.rater for one in opinions}
    }


def examples_of_kind(
    opinions: Sequence[Opinion], kind: Kind, seen: KnownExamples, *, min_raters: int
) -> Agreed:
    """The examples for a dataset of this kind, in the order of their items."""
    trust = trust_of(opinions)
    by_item: dict[str, list[Opinion]] = defaultdict(list)
    for one in opinions:
        if one.signal in SIGNALS_FOR[kind]:
            by_item[one.item].append(one)
    skipped: Counter[str] = Counter()
    examples: list[dict[str, Any]] = []
    for item in sorted(by_item):
        found = _example(by_item[item], kind, trust, min_raters)
        reason = found if isinstance(found, str) else _known(found, seen)
        if reason:
            skipped[reason] += 1
        elif not isinstance(found, str):
            examples.append(found)
    return Agreed(examples, +skipped, kind)


def canonical_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The canonical row of an example, by which it is compared with others."""
    known = detect_format(row)
    return example_row(known, known.example(row))


def summarise_opinions(opinions: Opinions, agreed: Agreed) -> dict[str, Any]:
    """What is said of the ratings in the artifact and in the pull request."""
    signals = Counter(one.signal for one in opinions.all)
    return {
        "notes": list(opinions.notes),
        "num_ratings": len(opinions.all),
        "num_raters": len({one.rater for one in opinions.all}),
        "signals": dict(sorted(signals.items())),
        "trust": _spread(trust_of(opinions.all)),
        "dropped_ratings": dict(opinions.dropped),
        "skipped_rows": dict(agreed.skipped),
    }


def _opinion(row: ShardRow) -> Opinion:
    signal = SIGNAL_OF[row["kind"]]
    if signal == "thumb":
        value = "up" if row["kind"] == "up" else "down"
        return Opinion(row["rater"], signal, _item(row, row["prediction"]), value, row)
    if signal == "edit":
        # What an edit becomes depends on its text, so each is an item of its own.
        item = _item(row, "edit", row["prediction"], row["answer"])
        return Opinion(row["rater"], signal, item, row["answer"], row)
    sides = sorted([row["prediction"], json.loads(row["rival"])["completion"]])
    return Opinion(row["rater"], signal, _item(row, *sides), row["prediction"], row)


def _item(row: ShardRow, *parts: str) -> str:
    return json.dumps([row["prompt"], *parts], ensure_ascii=False)


def _example(
    said: Sequence[Opinion], kind: Kind, trust: Mapping[str, float], min_raters: int
) -> dict[str, Any] | str:
    """What an item becomes, or why it becomes nothing."""
    if len({one.rater for one in said}) < min_raters:
        return TOO_FEW_RATERS
    support: dict[str, float] = defaultdict(float)
    for one in said:
        support[one.value] += trust[one.rater]
    value = max(sorted(support), key=support.__getitem__)
    margin = 2 * support[value] - sum(support.values())
    if margin <= 0:
        return NO_AGREEMENT
    first = next(one for one in said if one.value == value)
    example = _columns(first, kind)
    if example is None:
        return "with nothing changed"
    return {**example, WEIGHT: round(margin / len(said), 4), FINISHED: _finished(first, kind)}


def _columns(one: Opinion, kind: Kind) -> dict[str, Any] | None:
    """The columns of a kind by TRL's names; None for an edit that says the same."""
    row, prompt = one.row, json.loads(one.row["prompt"])
    if kind == "kto":
        return {
            "prompt": prompt,
            "completion": _said(prompt, row["prediction"]),
            "label": one.value == "up",
        }
    rejected = (
        row["prediction"] if one.signal == "edit" else str(json.loads(row["rival"])["completion"])
    )
    if one.value == rejected:
        return None
    if kind == "dpo":
        chosen = _said(prompt, one.value)
        return {"prompt": prompt, "chosen": chosen, "rejected": _said(prompt, rejected)}
    return {"prompt": prompt, "completion": _said(prompt, one.value)}


def _finished(one: Opinion, kind: Kind) -> list[bool]:
    """For each answer of an example, whether it came to its own end; what people write does."""
    shown = _ended(one.row["sampling"])
    if kind == "sft":
        return [True]
    if kind == "kto":
        return [shown]
    if one.signal == "edit":
        return [True, shown]
    return [shown, _ended(json.dumps(json.loads(one.row["rival"])["sampling"]))]


def _ended(sampling: str) -> bool:
    return bool(json.loads(sampling).get("finished", True))


def _said(prompt: Content, text: str) -> Content:
    """An answer in the form of its prompt."""
    return text if isinstance(prompt, str) else ({"role": "assistant", "content": text},)


def _known(example: Mapping[str, Any], seen: KnownExamples) -> str | None:
    row = canonical_of(example)
    whole, asked = content_keys([row, {"text": row["prompt"]}], "prompt")
    if asked in seen.sealed_prompts:
        return "sealed for the test"
    return "in the dataset already" if whole in seen.rows else None


def _spread(trust: Mapping[str, float]) -> dict[str, float]:
    values = sorted(trust.values())
    return (
        {"min": values[0], "median": values[len(values) // 2], "max": values[-1]} if values else {}
    )
