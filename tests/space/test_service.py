"""What the Space accepts: only its own predictions, only labels, each rater within bounds."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import RatingRefused
from hub_trainer.ratings.rating_store import Shard
from hub_trainer.space.raters import Rater
from hub_trainer.space.service import SpaceService
from tests.space.factory import Clock, service_of, settings_of

ADA, BOB = Rater("ada", "account"), Rater("bob", "anonymous")
DAY = 24 * 3600
NOWHERE = Hub("http://127.0.0.1:9", "hf_none")


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[tuple[SpaceService, Clock]]:
    service, clock = service_of(tmp_path, NOWHERE, settings_of(ratings_per_hour=3))
    yield service, clock
    service.intake.outbox.store.close()


@pytest.fixture
def service(clocked: tuple[SpaceService, Clock]) -> SpaceService:
    return clocked[0]


def _rate(
    service: SpaceService, ticket: str, kind: str, answer: str | None = None, **who: Any
) -> str:
    return asyncio.run(service.rate(ticket, kind, answer, who.get("rater", ADA)))


def _kept(service: SpaceService) -> list[tuple[str, str, str]]:
    return [
        (one.rating.rater, one.rating.kind, one.rating.answer)
        for one in service.intake.outbox.store.rated(Shard(1, 99))
    ]


def test_rating_when_right_keeps_the_prediction_as_the_answer(service: SpaceService) -> None:
    shown = service.predict(["one two"], ADA)
    assert shown.prediction.value == "few"
    rating_id = _rate(service, shown.ticket, "right")
    [rated] = service.intake.outbox.store.rated(Shard(1, 1))
    assert rated.rating.rating_id == rating_id
    assert (rated.rating.kind, rated.rating.answer) == ("right", "few")
    assert rated.generation.row == {"text": "one two"}
    assert rated.generation.model == f"org/model@{service.intake.settings.commit_sha}"
    assert rated.generation.scores == shown.prediction.scores
    assert rated.rating.rater_tier == "account"


def test_draft_when_a_label_is_wrong_then_the_others_are_offered(service: SpaceService) -> None:
    shown = service.predict(["one two"], ADA)
    assert service.draft(shown.ticket) == {"value": None, "choices": ["many", "<b>&none"]}
    assert service.answer.draft("few", ["few", "many"]) == {"value": "many", "choices": ["many"]}


def test_rating_when_wrong_keeps_the_right_answer(service: SpaceService) -> None:
    ticket = service.predict(["one two"], ADA).ticket
    _rate(service, ticket, "wrong", "many")
    assert _kept(service) == [("ada", "wrong", "many")]


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("wrong", None, "right answer is missing"),
        ("wrong", "no such label", "'no such label' is no label"),
        ("wrong", "few", "That is what the model said"),
        ("right", "many", "has no other answer"),
        ("maybe", None, "right or wrong, not 'maybe'"),
    ],
)
def test_rating_when_it_says_something_else_is_refused(
    service: SpaceService, kind: str, answer: str | None, message: str
) -> None:
    ticket = service.predict(["one two"], ADA).ticket
    with pytest.raises(RatingRefused, match=message) as refused:
        _rate(service, ticket, kind, answer)
    assert refused.value.reason == "invalid"
    assert _kept(service) == []


@pytest.mark.parametrize("ticket", ["", "made up", "x" * 5000])
def test_rating_when_the_ticket_is_made_up_is_refused(service: SpaceService, ticket: str) -> None:
    with pytest.raises(RatingRefused, match="not a prediction of this Space") as refused:
        _rate(service, ticket, "right")
    assert refused.value.reason == "unknown"


def test_rating_when_the_ticket_was_changed_is_refused(service: SpaceService) -> None:
    ticket = service.predict(["one two"], ADA).ticket
    head, _, tail = ticket.partition(".")
    with pytest.raises(RatingRefused, match="not a prediction of this Space"):
        _rate(service, f"{head[:-1]}A.{tail}", "right")


def test_rating_when_of_another_space_is_refused(service: SpaceService, tmp_path: Path) -> None:
    other, _ = service_of(tmp_path / "other", NOWHERE, settings_of())
    other.intake.signer.secret_keys = [b"another key"]
    ticket = other.predict(["one two"], ADA).ticket
    with pytest.raises(RatingRefused, match="not a prediction of this Space"):
        _rate(service, ticket, "right")
    other.intake.outbox.store.close()


def test_rating_when_a_day_has_passed_is_refused(
    clocked: tuple[SpaceService, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = clocked
    ticket = service.predict(["one two"], ADA).ticket
    real = service.intake.signer.loads
    monkeypatch.setattr(service.intake.signer, "loads", lambda s, max_age: real(s, max_age=-1))
    with pytest.raises(RatingRefused, match="more than a day old") as refused:
        _rate(service, ticket, "right")
    assert refused.value.reason == "expired"


def test_rating_when_somebody_else_asked_is_refused(service: SpaceService) -> None:
    ticket = service.predict(["one two"], ADA).ticket
    with pytest.raises(RatingRefused, match="made for somebody else"):
        _rate(service, ticket, "right", rater=BOB)


def test_rating_when_over_the_limit_is_refused(service: SpaceService) -> None:
    for text in ("a", "b", "c"):
        _rate(service, service.predict([text], ADA).ticket, "right")
    ticket = service.predict(["d"], ADA).ticket
    with pytest.raises(RatingRefused, match="3 is the limit") as refused:
        _rate(service, ticket, "right")
    assert refused.value.reason == "limit"
    assert _rate(service, service.predict(["d"], BOB).ticket, "right", rater=BOB)


def test_rating_when_accounts_are_needed_and_nobody_is_signed_in_is_refused(
    tmp_path: Path,
) -> None:
    service, _ = service_of(tmp_path, NOWHERE, settings_of(), needs_account=True)
    ticket = service.predict(["one two"], BOB).ticket
    with pytest.raises(RatingRefused, match="Sign in to rate") as refused:
        _rate(service, ticket, "right", rater=BOB)
    assert refused.value.reason == "rater"
    assert _rate(service, service.predict(["x"], ADA).ticket, "right")
    service.intake.outbox.store.close()


def test_rating_when_the_disk_is_full_is_not_acknowledged(
    service: SpaceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = service.predict(["one two"], ADA).ticket

    def full(*args: object, **kwargs: object) -> str:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("hub_trainer.ratings.rating_store._insert_rating", full)
    with pytest.raises(RatingRefused, match="Nothing can be kept") as refused:
        _rate(service, ticket, "right")
    assert refused.value.reason == "storage"
    monkeypatch.setattr("hub_trainer.ratings.rating_store._insert_generation", full)
    with pytest.raises(RatingRefused, match="Nothing can be kept"):
        service.predict(["more"], ADA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "There is no text to classify"),
        ("   ", "There is no text to classify"),
        ("x" * 20_000_001, "The text has 20,000,001 characters, and 20,000 is the limit"),
    ],
)
def test_input_when_unusable_says_why_and_is_not_kept(
    service: SpaceService, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        service.predict([text], ADA)
    assert service.intake.outbox.store._read("SELECT count(*) FROM generation") == [(0,)]


def test_input_when_not_rated_for_a_day_is_deleted(
    clocked: tuple[SpaceService, Clock],
) -> None:
    service, clock = clocked
    service.predict(["unrated"], ADA)
    _rate(service, service.predict(["rated"], ADA).ticket, "right")
    service.intake.forget_unrated()
    assert service.intake.outbox.store._read("SELECT count(*) FROM generation") == [(2,)]
    clock.ahead_seconds = DAY + 60
    service.intake.forget_unrated()
    [(fields,)] = service.intake.outbox.store._read("SELECT fields FROM generation")
    assert "unrated" not in fields
    assert b"unrated" not in service.intake.outbox.store.path.read_bytes()


def test_consent_when_its_words_change_has_another_version(tmp_path: Path) -> None:
    versions = set()
    for name, license_name in (("a", "cc0-1.0"), ("b", "mit")):
        service, _ = service_of(tmp_path / name, NOWHERE, settings_of(license=license_name))
        assert f"under the licence {license_name}" in service.intake.consent
        _rate(service, service.predict(["x"], ADA).ticket, "right")
        versions.add(service.intake.outbox.store.rated(Shard(1, 1))[0].rating.consent)
        service.intake.outbox.store.close()
    assert len(versions) == 2


def test_rating_when_the_disk_may_be_lost_is_acknowledged_by_the_hub(tmp_path: Path) -> None:
    with LocalHub() as local:
        hub = Hub(local.url, local.token)
        hub.create_repo(Repo("admin/ratings", "dataset"))
        service, _ = service_of(tmp_path, hub, settings_of(flush_seconds=3600.0))
        service.intake.durability = "hub"
        assert service.health()["durability"] == "hub"
        service.intake.outbox.start()
        assert _rate(service, service.predict(["one two"], ADA).ticket, "right")
        files = hub.list_files(Repo("admin/ratings", "dataset"), "main")
        assert [file.path for file in files if file.path.endswith(".parquet")]
        assert service.intake.outbox.status().waiting == 0
        service.intake.outbox.stop()
        service.intake.outbox.store.close()


def test_rating_when_the_hub_does_not_take_it_is_kept_and_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_trainer.hub.time.sleep", lambda seconds: None)
    service, _ = service_of(tmp_path, NOWHERE, settings_of(flush_seconds=3600.0))
    service.intake.durability = "hub"
    service.intake.outbox.start()
    with pytest.raises(RatingRefused, match="not on the Hub yet") as refused:
        _rate(service, service.predict(["one two"], ADA).ticket, "right")
    assert (refused.value.reason, service.intake.outbox.status().waiting) == ("busy", 1)
    service.intake.outbox.stop()
    service.intake.outbox.store.close()
