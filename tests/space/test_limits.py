"""How often a visitor may ask, and what the guard lets through."""

import json

import pytest

from hub_trainer.ratings import RatingRefused
from hub_trainer.space.asking_limits import AskingLimits
from hub_trainer.space.guard import BadBody, parsed


def test_questions_when_over_the_minute_or_the_day_are_refused_with_a_sentence() -> None:
    seconds = [0.0]
    limits = AskingLimits(2, 3, now=lambda: seconds[0])
    for _ in range(2):
        limits.take("ann")
    with pytest.raises(RatingRefused, match="answers 2 times a minute to one visitor") as refused:
        limits.take("ann")
    assert (refused.value.reason, str(refused.value.do)[:18]) == ("limit", "Ask again in a min")
    limits.take("bob")
    assert limits.refusal("bob") is None
    seconds[0] = 60.0
    assert limits.refusal("ann") is None
    limits.take("ann")
    seconds[0] = 120.0
    with pytest.raises(RatingRefused, match="3 times a day"):
        limits.take("ann")
    seconds[0] = 86_400.0
    limits.take("ann")


def test_visitors_when_too_many_are_forgotten_from_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_trainer.space.asking_limits.MAX_VISITORS", 3)
    limits = AskingLimits(1, 1)
    for n in range(9):
        limits.take(f"v{n}")
    assert len(limits._asked) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested 100,000 deep"),
        (b"[" * 100_000, "nested 100,000 deep"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "nested 60 deep"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'["a\\u0000b"]', "NUL"),
        (b'["\xff"]', "not JSON"),
        (b"[NaN]", "not JSON"),
        (b"[-Infinity]", "not JSON"),
        (b"[" + b"9" * 5000 + b"]", "not JSON"),
        (b"{", "not JSON"),
        (b'"' * 99_999, "not JSON"),
    ],
)
def test_body_when_it_could_do_harm_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadBody, match=message):
        parsed(body)


@pytest.mark.parametrize(
    "value",
    [None, {}, {"data": ["[[[" * 100, '\\"[', "\\\\", "😀 \t\n", "\\u0000"]}, [[[[1, 2.5, True]]]]],
)
def test_body_when_harmless_is_taken_as_it_is(value: object) -> None:
    assert parsed(json.dumps(value).encode()) == value
    assert parsed(b"") is None
