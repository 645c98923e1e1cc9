"""Conversations and pairs: the server keeps what was said, and takes only ratings of it."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.hub import Hub
from hub_trainer.ratings import RatingRefused
from hub_trainer.ratings.rating_store import Shard
from hub_trainer.recipe import GenerationSection
from hub_trainer.space.chat.chat_service import ChatService
from hub_trainer.space.chat.messages import readable
from hub_trainer.space.chat.opinions import answer_opinion
from hub_trainer.space.raters import Rater
from tests.space.factory import SHA, Clock
from tests.space.writing import OTHER_SHA, chat_service_of, chat_settings, prompt_of, rival

ADA, BOB = Rater("ada", "account"), Rater("bob", "anonymous")
NOWHERE = Hub("http://127.0.0.1:9", "hf_none")
GREEDY = {"generation": GenerationSection()}


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[tuple[ChatService, Clock]]:
    service, clock = chat_service_of(tmp_path, NOWHERE, chat_settings(ratings_per_hour=4))
    yield service, clock
    service.intake.outbox.store.close()


@pytest.fixture
def service(clocked: tuple[ChatService, Clock]) -> ChatService:
    return clocked[0]


@pytest.fixture
def paired(tmp_path: Path) -> Iterator[ChatService]:
    service, _ = chat_service_of(tmp_path / "pairs", NOWHERE, chat_settings(**GREEDY, **rival()))
    yield service
    service.intake.outbox.store.close()


def _ask(service: ChatService, message: str, after: str = "", rater: Rater = ADA) -> Any:
    """The whole answer, with its ticket."""
    *_, last = service.answer(message, after, rater)
    return last


def _ask_both(service: ChatService, message: str, after: str = "", rater: Rater = ADA) -> Any:
    *_, last = service.pair(message, after, rater)
    return last


def _rate(service: ChatService, ticket: str, kind: str, text: str = "", rater: Rater = ADA) -> str:
    return asyncio.run(service.rate(ticket, kind, text, rater))


def _altered(ticket: str) -> str:
    """The ticket, its signature changed in the first sign: two bits of the last say nothing."""
    signed, _, signature = ticket.rpartition(".")
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _rated(service: ChatService) -> list[Any]:
    return service.intake.outbox.store.rated(Shard(1, 99))


def test_answer_when_streamed_grows_and_ends_with_a_ticket(service: ChatService) -> None:
    pieces = list(service.answer("one two", "", ADA))
    assert all(b.text.startswith(a.text) for a, b in zip(pieces, pieces[1:], strict=False))
    assert [piece.ticket is None for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert pieces[-1].text.endswith("ONE TWO")


def test_answer_when_rated_is_kept_with_model_prompt_sampling_and_seed(
    service: ChatService,
) -> None:
    shown = _ask(service, "one two")
    rating_id = _rate(service, shown.ticket, "up")
    [rated] = _rated(service)
    assert (rated.rating.rating_id, rated.rating.kind, rated.rating.answer) == (rating_id, "up", "")
    assert rated.generation.model == f"org/model@{SHA}"
    assert rated.generation.prediction == shown.text
    assert rated.generation.row["text"] == "user: one two"
    assert prompt_of(rated.generation) == [{"role": "user", "content": "one two"}]
    seed = rated.generation.sampling.pop("seed")
    assert rated.generation.sampling == {
        "max_new_tokens": 50,
        "temperature": 0.8,
        "top_k": None,
        "top_p": 1.0,
        "finished": True,
    }
    assert f" {seed % 100}:" in shown.text


def test_answer_when_asked_again_has_another_seed_and_when_greedy_says_the_same(
    tmp_path: Path,
) -> None:
    for changes, count in (({}, 2), (GREEDY, 1)):
        seeds = iter([11, 12])
        service, _ = chat_service_of(
            tmp_path / str(count), NOWHERE, chat_settings(**changes), new_seed=seeds.__next__
        )
        assert len({_ask(service, "the same").text for _ in range(2)}) == count
        service.intake.outbox.store.close()


def test_conversation_when_gone_on_with_holds_what_the_server_has_said(
    service: ChatService,
) -> None:
    first = _ask(service, "one")
    second = _ask(service, "two", first.ticket)
    _rate(service, _ask(service, "three", second.ticket).ticket, "down")
    assert [turn["content"] for turn in prompt_of(_rated(service)[0].generation)] == [
        "one",
        first.text,
        "two",
        second.text,
        "three",
    ]


def test_conversation_when_the_model_has_no_template_is_the_message_alone(tmp_path: Path) -> None:
    service, _ = chat_service_of(tmp_path, NOWHERE, chat_settings(), voice="plain")
    assert not service.remembers
    second = _ask(service, "two", _ask(service, "one").ticket)
    _rate(service, second.ticket, "up")
    assert prompt_of(_rated(service)[0].generation) == "two"
    assert _rated(service)[0].generation.row["text"] == "two"
    service.intake.outbox.store.close()


def test_conversation_when_of_somebody_else_is_not_gone_on_with(service: ChatService) -> None:
    ticket = _ask(service, "secret").ticket
    with pytest.raises(DataError, match="This conversation is not known here") as caught:
        _ask(service, "go on", ticket, BOB)
    assert caught.value.do == "start a new one"
    with pytest.raises(RatingRefused, match="not a prediction of this Space"):
        _ask(service, "go on", _altered(ticket))


def test_conversation_when_too_long_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("hub_trainer.space.chat.chat_service.MAX_TURNS", 2)
    service, _ = chat_service_of(tmp_path, NOWHERE, chat_settings())
    second = _ask(service, "2", _ask(service, "1").ticket)
    with pytest.raises(DataError, match="A conversation has 2 turns at most"):
        _ask(service, "3", second.ticket)
    service.intake.outbox.store.close()


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("", "The message is missing."),
        (" \n\x00\ud800\x7f ", "The message is missing."),
        ("x" * 100_000, "The message has 100,000 characters, and 8,000 is the limit."),
        ("x" * 600, "The prompt leaves no room for an answer."),
    ],
)
def test_message_when_unusable_says_why_and_nothing_is_kept(
    service: ChatService, message: str, what: str
) -> None:
    with pytest.raises(DataError) as caught:
        _ask(service, message)
    assert caught.value.what == what
    assert caught.value.do in ("write one first", "shorten it")
    assert service.intake.outbox.store._read("SELECT count(*) FROM generation") == [(0,)]


def test_text_when_it_has_unseen_characters_loses_only_them() -> None:
    assert readable(" a\x00\x1b[31m\r\nb\rc\td\ud800 ") == "a[31m\nb\nc\td"
    for kept in (
        "\u202eright to left",
        "<script>alert(1)</script>",
        "é 漢 👩‍🚀",
        "![](http://x/y)",
    ):
        assert readable(kept) == kept


def test_answer_when_stopped_is_kept_as_far_as_it_was_written(service: ChatService) -> None:
    asked = iter([False, False, False, True])
    *_, last = service.answer("one two three", "", ADA, stopped=lambda: next(asked))
    assert last.text.endswith(": ONE")
    _rate(service, last.ticket, "down")
    [rated] = _rated(service)
    assert rated.generation.prediction == last.text
    assert rated.generation.sampling["stopped"] is True
    assert rated.generation.sampling["finished"] is False
    assert service._converses.ended == ["cut"]  # type: ignore[attr-defined]


def test_answer_when_nobody_waits_for_it_any_more_ends_and_is_not_kept(
    service: ChatService,
) -> None:
    answer = service.answer("one two three", "", ADA)
    next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert service._converses.ended == ["cut"]  # type: ignore[attr-defined]
    assert service.intake.outbox.store._read("SELECT count(*) FROM generation") == [(0,)]


def test_edit_when_sent_is_kept_with_the_space_before_the_answer(service: ChatService) -> None:
    shown = _ask(service, "one")
    _rate(service, shown.ticket, "edit", "  Better.\x00 ")
    assert _rated(service)[0].rating.answer == "Better."
    continued = replace(_rated(service)[0].generation, prediction=" there was")
    assert answer_opinion(continued, "edit", "there is").answer == " there is"
    with pytest.raises(RatingRefused, match="That is what the model wrote"):
        answer_opinion(continued, "edit", "there was ")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("up", "x", "This rating has no text with it."),
        ("edit", "", "The edited answer is missing."),
        ("edit", "x" * 16_001, "The edited answer has 16,001 characters, and 16,000 is the limit."),
        ("report", " ", "The reason is missing."),
        ("report", "x" * 1_001, "The reason has 1,001 characters"),
        ("left", "", "A rating is up, down, edit or report, not 'left'."),
        ("prefer", "", "not 'prefer'"),
    ],
)
def test_rating_when_it_says_something_else_is_refused(
    service: ChatService, kind: str, text: str, message: str
) -> None:
    ticket = _ask(service, "one").ticket
    with pytest.raises(RatingRefused) as refused:
        _rate(service, ticket, kind, text)
    assert message in refused.value.what
    assert refused.value.reason == "invalid"
    assert _rated(service) == []


def test_rating_when_the_same_edit_is_what_the_model_wrote_is_refused(service: ChatService) -> None:
    shown = _ask(service, "one")
    with pytest.raises(RatingRefused, match="That is what the model wrote") as refused:
        _rate(service, shown.ticket, "edit", shown.text)
    assert refused.value.do == "Rate it up instead."


def test_rating_when_forged_replayed_or_of_somebody_else_is_refused(
    service: ChatService, paired: ChatService
) -> None:
    ticket = _ask(service, "one").ticket
    with pytest.raises(RatingRefused, match="made for somebody else"):
        _rate(service, ticket, "up", rater=BOB)
    head, _, tail = ticket.partition(".")
    for forged in ("", "made up", f"{head[:-1]}A.{tail}", "x" * 5_000):
        with pytest.raises(RatingRefused, match="not a prediction of this Space"):
            _rate(service, forged, "up")
    unknown = service.intake.ticket("answer", "0" * 32)
    with pytest.raises(RatingRefused, match="not known here any more"):
        _rate(service, unknown, "up")
    with pytest.raises(RatingRefused, match="not known here any more"):
        _rate(paired, ticket, "left")
    first = _rate(service, ticket, "up")
    assert _rate(service, ticket, "up") == first
    assert len(_rated(service)) == 1


def test_rating_when_over_the_limit_is_refused(service: ChatService) -> None:
    ticket = _ask(service, "one").ticket
    for kind in ("up", "down", "up", "down"):
        _rate(service, ticket, kind)
    with pytest.raises(RatingRefused, match="4 is the limit"):
        _rate(service, ticket, "up")


def test_rating_when_accounts_are_needed_and_nobody_is_signed_in_is_refused(
    tmp_path: Path,
) -> None:
    service, _ = chat_service_of(tmp_path, NOWHERE, chat_settings(), needs_account=True)
    with pytest.raises(RatingRefused, match="Sign in to rate"):
        _rate(service, _ask(service, "one", rater=BOB).ticket, "up", rater=BOB)
    assert _rate(service, _ask(service, "one").ticket, "up")
    service.intake.outbox.store.close()


def test_answers_when_not_rated_for_a_day_are_deleted(
    clocked: tuple[ChatService, Clock],
) -> None:
    service, clock = clocked
    _ask(service, "unrated message")
    _rate(service, _ask(service, "rated message").ticket, "up")
    clock.ahead_seconds = 24 * 3600 + 60
    service.intake.forget_unrated()
    [(fields,)] = service.intake.outbox.store._read("SELECT fields FROM generation")
    assert "unrated" not in fields


def test_consent_when_of_answers_names_what_is_kept_also_of_pairs(
    service: ChatService, paired: ChatService
) -> None:
    assert "your prompt with the turns before it, the model's answer" in service.intake.consent
    assert "both answers, your rating and what you write of it" in paired.intake.consent
    assert "admin/ratings under the licence cc0-1.0" in paired.intake.consent


# --- pairs


def test_pair_when_rated_keeps_both_answers_and_where_they_were(paired: ChatService) -> None:
    shown = _ask_both(paired, "one two")
    assert {shown.left.split()[0], shown.right.split()[0]} == {"LOUD", "quiet"}
    _rate(paired, shown.ticket, "right")
    _rate(paired, shown.ticket, "tie")
    preferred, tied = _rated(paired)
    assert (preferred.rating.kind, tied.rating.kind) == ("prefer", "tie")
    assert (preferred.generation.prediction, preferred.rival.prediction) == (
        shown.right,
        shown.left,
    )
    assert (preferred.rival_side, tied.rival_side) == ("left", "right")
    loud = preferred.generation if shown.right.startswith("LOUD") else preferred.rival
    quiet = preferred.rival if loud is preferred.generation else preferred.generation
    assert (loud.model, quiet.model) == (f"org/model@{SHA}", f"org/rival@{OTHER_SHA}")
    assert loud.row == quiet.row
    assert loud.sampling["seed"] != quiet.sampling["seed"]


def test_pair_when_sides_are_drawn_is_even_over_seeds_and_not_told_without_the_key(
    paired: ChatService, tmp_path: Path
) -> None:
    left_is_ours = [paired._order(seed) == (0, 1) for seed in range(2_000)]
    assert 900 < sum(left_is_ours) < 1_100
    service, _ = chat_service_of(tmp_path, NOWHERE, chat_settings(**rival()))
    service._key = b"another key"
    other = [service._order(seed) == (0, 1) for seed in range(2_000)]
    assert 900 < sum(a == b for a, b in zip(left_is_ours, other, strict=True)) < 1_100
    service.intake.outbox.store.close()


def test_pair_when_shown_tells_nothing_of_the_models_but_their_words(paired: ChatService) -> None:
    for number in range(20):
        pieces = list(paired.pair(f"message {number}", "", ADA))
        # A word of each at a time: who is faster is not to be seen.
        assert all(abs(len(p.left.split()) - len(p.right.split())) <= 1 for p in pieces)
        told = json.dumps([vars(piece) for piece in pieces])
        assert "org/" not in told
        assert SHA not in told
        assert OTHER_SHA not in told
        what, pair_id = paired.intake.open_ticket(pieces[-1].ticket or "")
        assert what == "pair"
        assert len(pair_id) == 32


def test_pair_when_gone_on_with_follows_the_better_answer(paired: ChatService) -> None:
    shown = _ask_both(paired, "one")
    with pytest.raises(DataError, match="Which answer is better") as caught:
        _ask_both(paired, "two", shown.ticket)
    assert caught.value.do == "say it, then go on"
    _rate(paired, shown.ticket, "right")
    following = _ask_both(paired, "two", shown.ticket)
    _rate(paired, following.ticket, "tie")
    said = [turn["content"] for turn in prompt_of(_rated(paired)[1].generation)]
    assert said == ["one", shown.right, "two"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_pair_when_a_side_is_reported_keeps_that_answer(paired: ChatService, side: str) -> None:
    shown = _ask_both(paired, "one")
    _rate(paired, shown.ticket, f"report-{side}", "It is rude.")
    [rated] = _rated(paired)
    assert (rated.rating.kind, rated.rating.answer, rated.rival) == ("report", "It is rude.", None)
    assert rated.generation.prediction == getattr(shown, side)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("left", "because", "This rating has no text with it."),
        ("tie", "because", "This rating has no text with it."),
        ("report-left", "", "The reason is missing."),
        ("up", "", "is left, right, tie, report-left or report-right, not 'up'"),
        ("report-", "x", "not 'report-'"),
    ],
)
def test_pair_when_a_rating_says_something_else_is_refused(
    paired: ChatService, kind: str, text: str, message: str
) -> None:
    ticket = _ask_both(paired, "one").ticket
    with pytest.raises(RatingRefused) as refused:
        _rate(paired, ticket, kind, text)
    assert message in refused.value.what
    assert _rated(paired) == []


def test_pair_when_of_somebody_else_is_not_rated(paired: ChatService) -> None:
    ticket = _ask_both(paired, "one").ticket
    with pytest.raises(RatingRefused, match="made for somebody else"):
        _rate(paired, ticket, "left", rater=BOB)


def test_pair_when_stopped_keeps_both_as_far_as_they_were(paired: ChatService) -> None:
    asked = iter([False, False, True])
    *_, last = paired.pair("one two three", "", ADA, stopped=lambda: next(asked))
    assert sorted(text.lower().split()[0] for text in (last.left, last.right)) == ["loud", "quiet"]
    _rate(paired, last.ticket, "left")
    assert _rated(paired)[0].generation.sampling["stopped"]
    assert _rated(paired)[0].rival.sampling["stopped"]
