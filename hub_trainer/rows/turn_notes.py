"""Notes on the turns of a dataset: roles and weights that no format of language data knows."""

from collections import Counter
from collections.abc import Iterable, Iterator

from hub_trainer.inputs.language_examples import Example, Message
from hub_trainer.rows.turns import SPEAKERS

MAX_ROLES = 5
"""Roles that are named; a dataset of more has something else in their place."""
ROLES = frozenset(SPEAKERS.values())


def turn_notes(examples: Iterable[Example]) -> Iterator[str]:
    """What a person should know: each role that is not known, and weights that are not kept."""
    roles: Counter[str] = Counter()
    weighed = 0
    for turn in _turns(examples):
        roles.update([turn["role"]] if turn["role"] not in ROLES else [])
        weighed += turn["role"] == "assistant" and turn.get("weight", 1) not in (0, 1)
    for role, count in roles.most_common(MAX_ROLES):
        yield (
            f"{_counted(count)} the role {role!r:.40}, which no format knows: the chat template "
            "decides how it is written, and it is not learned"
        )
    if len(roles) > MAX_ROLES:
        yield f"there are {len(roles) - MAX_ROLES:,} more roles that no format knows"
    if weighed:
        yield (
            f"{_counted(weighed, ' of the assistant')} a weight other than 0 and 1, which only a "
            "whole row can have, in the column _weight: it is learned as 1"
        )


def _turns(examples: Iterable[Example]) -> Iterator[Message]:
    for example in examples:
        for content in (example.prompt, *example.answers):
            yield from () if isinstance(content, str) else content


def _counted(count: int, whose: str = "") -> str:
    return f"{count:,} turn{whose} has" if count == 1 else f"{count:,} turns{whose} have"
