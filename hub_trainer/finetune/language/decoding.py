"""Tokens as text while they come: whole characters only, with the spaces that belong to them."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")
UNFINISHED = "\ufffd"
"""What a tokenizer writes for bytes that are no character, or not yet one."""
WINDOW_PIECES = 6
"""Earlier pieces decoded with the next one: a word on its own would lose its space."""


class Ending(Generic[Part]):
    """Parts as a generator yields them, and what it returned: whether they came to their end."""

    def __init__(self, parts: Generator[Part, None, bool]) -> None:
        self._parts, self.finished = parts, False

    def __iter__(self) -> Iterator[Part]:
        self.finished = yield from self._parts


def text_pieces(tokenizer: Any, prompt: Sequence[int], answer: Iterable[int]) -> Iterator[str]:
    """The text of an answer to a prompt, a piece as soon as there is one."""
    ids = list(prompt)
    starts = deque([0], maxlen=WINDOW_PIECES)
    shown, held = _decoded(tokenizer, ids), ""
    for token in answer:
        ids.append(token)
        held = _decoded(tokenizer, ids[starts[0] :])[len(shown) :]
        if not held or held.endswith(UNFINISHED):
            continue
        yield held
        starts.append(len(ids))
        shown, held = _decoded(tokenizer, ids[starts[0] :]), ""
    if held:
        yield held


def answer_text(tokenizer: Any, prompt: Sequence[int], answer: Iterable[int]) -> str:
    """The text of an answer, without what only marks its end."""
    return "".join(text_pieces(tokenizer, prompt, answer))


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
