"""Examples as rows of tokens that training takes, with what would spoil a run refused before it."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.finetune.language.chat import Tokens, TrainOn, tokenize
from hub_trainer.inputs.language_examples import Content, Example, Kind
from hub_trainer.rows.formats import Format

MAX_DROPPED_FRACTION = 0.1


@dataclass(frozen=True)
class Encoded:
    """Rows of tokens, and what was cut or left out to get them.

    A row holds `prompt` (ids, maybe none), `answers` (ids of each), `trained` (a mask for each
    answer), `weight`, and for ratings `desirable`.
    """

    kind: Kind
    format: str
    rows: list[dict[str, Any]]
    num_truncated: int = 0
    num_dropped: int = 0
    """Examples of which nothing was left to learn after they were cut."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows; a prompt counts once per answer, as a model would read it."""
        return sum(num_tokens(row) for row in self.rows)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each answer with its prompt."""
        return [len(row["prompt"]) + len(ids) for row in self.rows for ids in row["answers"]]


@dataclass(frozen=True)
class Reading:
    """How examples become tokens."""

    max_length: int
    """Tokens of a prompt and its answer; the rest is cut off."""
    train_on: TrainOn | None = None
    stops: tuple[int, ...] = ()
    """Ids that end a generation besides the tokenizer's own end of text."""
    names_template: bool = False
    """Whether the chat template is one that the recipe names."""


@dataclass(frozen=True)
class Cut:
    """Tokens no longer than was asked for."""

    tokens: Tokens
    size: int
    """Tokens of the prompt and its longest answer, before anything was cut."""

    @property
    def truncated(self) -> bool:
        """Whether something was cut."""
        return self.size > len(self.tokens.prompt) + max(map(len, self.tokens.answers))


def num_tokens(row: dict[str, Any]) -> int:
    """Tokens of a row, its prompt counted once per answer."""
    return sum(len(row["prompt"]) + len(answer) for answer in row["answers"])


def encode(examples: Sequence[Example], tokenizer: Any, found: Format, reading: Reading) -> Encoded:
    """Tokenize and cut; refuse what a model could not learn from."""
    _check_train_on(found, reading.train_on)
    if reading.names_template:
        _check_template_used(examples, found)
    cuts = _cuts(examples, tokenizer, reading)
    encoded = _kept(examples, cuts, found)
    _check_left(cuts, len(encoded.rows), reading.max_length)
    _check_begin(tokenizer, [cut.tokens for cut in cuts])
    whole = [
        c.tokens
        for c, example in zip(cuts, examples, strict=True)
        if all(example.finished) and not c.truncated and _learnable(c.tokens)
    ]
    _check_end(tokenizer, whole, reading.stops)
    return encoded


def encode_unchecked(
    examples: Sequence[Example], tokenizer: Any, found: Format, reading: Reading
) -> Encoded:
    """Tokenize and cut rows that are only measured: they may be few, and of one kind."""
    return _kept(examples, _cuts(examples, tokenizer, reading), found)


def sizes(examples: Sequence[Example], tokenizer: Any, reading: Reading) -> list[int]:
    """Tokens of each prompt with its longest answer, before anything is cut."""
    return [one.size for one in _cuts(examples, tokenizer, reading)]


def _cuts(examples: Sequence[Example], tokenizer: Any, reading: Reading) -> list[Cut]:
    ends = {tokenizer.eos_token_id, *reading.stops}
    return [cut(_tokens(tokenizer, one, reading, ends), reading.max_length) for one in examples]


def _tokens(tokenizer: Any, example: Example, reading: Reading, ends: Container[int]) -> Tokens:
    """The tokens of an example; an answer that was cut off teaches no end."""
    tokens = tokenize(tokenizer, readable(tokenizer, example), reading.train_on)
    if all(example.finished):
        return tokens
    sizes = [
        len(ids) if finished else _end_of(ids, ends)
        for ids, finished in zip(tokens.answers, example.finished, strict=True)
    ]
    return Tokens(
        tokens.prompt,
        [ids[:size] for ids, size in zip(tokens.answers, sizes, strict=True)],
        [mask[:size] for mask, size in zip(tokens.trained, sizes, strict=True)],
    )


def _end_of(ids: Sequence[int], ends: Container[int]) -> int:
    """Where the last end of an answer is; behind all of it when there is none."""
    return next((place for place in range(len(ids) - 1, -1, -1) if ids[place] in ends), len(ids))


def _kept(examples: Sequence[Example], cuts: Sequence[Cut], found: Format) -> Encoded:
    """The rows of which something is left to learn."""
    pairs = zip(examples, cuts, strict=True)
    rows = [_row(example, c.tokens) for example, c in pairs if _learnable(c.tokens)]
    truncated = sum(c.truncated for c in cuts)
    return Encoded(found.kind, found.name, rows, truncated, len(cuts) - len(rows))


def check_batch(kind: Kind, loss_type: str, total: int) -> None:
    """Refuse a batch of one rating: its KL would be an estimate from a single answer."""
    if kind == "kto" and loss_type == "kto" and total < 2:
        raise DataError(
            "KTO needs batches of two or more ratings: their answers are mismatched to"
            " estimate how far the model has moved.",
            where="train.arguments.per_device_train_batch_size",
            got=f"{total} rating in a batch over all processes and accumulation",
            do="raise per_device_train_batch_size or gradient_accumulation_steps, or use the loss"
            " apo_zero_unpaired",
        )


def check_classes(encoded: Encoded) -> None:
    """Refuse ratings that are all of one kind."""
    rows = encoded.rows
    if encoded.kind != "kto":
        return
    desirable = sum(row["desirable"] for row in rows)
    if 0 < desirable < len(rows):
        return
    raise DataError(
        "KTO learns from ratings of both kinds, and here all are of one.",
        where="label",
        got=f"{desirable} desirable and {len(rows) - desirable} undesirable answers",
        do="collect ratings of the other kind too, or train on the good answers with sft",
    )


def _row(example: Example, tokens: Tokens) -> dict[str, Any]:
    row: dict[str, Any] = {
        "prompt": tokens.prompt,
        "answers": tokens.answers,
        "trained": tokens.trained,
        "weight": example.weight,
    }
    if example.desirable is not None:
        row["desirable"] = example.desirable
    return row


def readable(tokenizer: Any, example: Example) -> Example:
    """A single question and its answer need no chat template: a line break parts them."""
    if tokenizer.chat_template or not example.asked:
        return example
    question = "".join(f"{message['content']}\n" for message in _turns(example.prompt))
    answers = tuple(str(_turns(answer)[-1]["content"]) for answer in example.answers)
    return Example(question, answers, weight=example.weight)


def _turns(content: Content) -> Sequence[Any]:
    assert not isinstance(content, str)
    return content


def cut(tokens: Tokens, max_length: int) -> Cut:
    """Cut at the end; a prompt that is too long leaves empty answers."""
    size = len(tokens.prompt) + max(map(len, tokens.answers))
    room = max(max_length - len(tokens.prompt), 0)
    answers = [answer[:room] for answer in tokens.answers]
    trained = [mask[:room] for mask in tokens.trained]
    return Cut(Tokens(tokens.prompt[:max_length], answers, trained), size)


def _learnable(tokens: Tokens) -> bool:
    """Whether each answer has a learned token that something comes before."""
    first = 0 if tokens.prompt else 1
    return all(any(mask[first:]) for mask in tokens.trained)


# What is refused


def _check_train_on(found: Format, train_on: TrainOn | None) -> None:
    """A choice that would change nothing is refused."""
    offered: tuple[TrainOn | None, ...] = (None, "completion", "assistant", "all")
    if found.kind != "sft":
        offered = (None, "completion")
    elif found.name == "text":
        offered = (None, "all")
    if train_on not in offered:
        raise DataError(
            f"Rows of {found.name} cannot be learned by {train_on}.",
            where="train.language.train_on",
            got=str(train_on),
            do=f"use {', '.join(str(name) for name in offered[1:])} or leave it away",
        )


def _check_template_used(examples: Sequence[Example], found: Format) -> None:
    if all(isinstance(said, str) for one in examples for said in (one.prompt, *one.answers)):
        raise DataError(
            "The rows are texts, which no chat template is asked to write down.",
            where="train.language.chat_template",
            got=found.name,
            do="remove the key, or give rows of messages",
        )


def _check_left(cuts: Sequence[Cut], kept: int, max_length: int) -> None:
    dropped = len(cuts) - kept
    if dropped <= MAX_DROPPED_FRACTION * len(cuts) and kept:
        return
    cut = sum(c.truncated for c in cuts)
    longest = max(c.size for c in cuts)
    raise DataError(
        "There is nothing left to learn in too many examples: a prompt fills max_length, or no"
        " turn is the assistant's.",
        got=f"{dropped} of {len(cuts)} examples without a learned token,"
        f" {cut} were cut at {max_length}",
        do=f"raise prepare.max_length (the longest has {longest}), shorten the prompts, or check"
        " who speaks in the rows",
    )


def _check_begin(tokenizer: Any, found: Sequence[Tokens]) -> None:
    begin = tokenizer.bos_token_id
    if begin is None:
        return
    for index, tokens in enumerate(found):
        ids = tokens.prompt or tokens.answers[0]
        if ids[:2] == [begin, begin]:
            raise DataError(
                "An example begins with two begin-of-text tokens.",
                where=f"example {index}",
                got=repr(tokenizer.decode(ids[:8])),
                do="remove the token from the text, or from the tokenizer's chat template:"
                " the other of them adds it already",
            )


def _check_end(tokenizer: Any, whole: Sequence[Tokens], stops: Sequence[int]) -> None:
    """By id and by what is learned, so it does not matter whether padding has the same id."""
    ends = {tokenizer.eos_token_id, *stops} - {None}
    for tokens in whole:
        for answer, mask in zip(tokens.answers, tokens.trained, strict=True):
            if any(learned and token in ends for token, learned in zip(answer, mask, strict=True)):
                return
    if not whole:
        return
    last = _last_learned(whole[0])
    raise DataError(
        "No end-of-turn token is among what is learned, so the model would never learn to stop.",
        where="the tokenizer's eos_token and chat template",
        got=f"the last learned token is {tokenizer.decode([last])!r},"
        f" the end is {tokenizer.eos_token!r}",
        do="set eos_token to the token that ends a turn in the chat template, and put it inside"
        " {% generation %} where the template has that",
    )


def _last_learned(tokens: Tokens) -> int:
    pairs = zip(tokens.answers[0], tokens.trained[0], strict=True)
    return [token for token, learned in pairs if learned][-1:][0]
