"""Who rates: a pseudonym that needs the key, and tokens that are asked about and forgotten."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import HubError
from hub_trainer.ratings import RatingRefused
from hub_trainer.space.raters import CACHE_SECONDS, Raters, rater_key
from tests.space.factory import whoami


class Asked:
    """A Hub that counts how often it is asked."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.seconds = 0.0

    def __call__(self, token: str) -> Mapping[str, Any]:
        self.tokens.append(token)
        return whoami(token)

    def clock(self) -> float:
        return self.seconds


def _raters(asked: Asked | None = None, key: bytes = b"key") -> Raters:
    asked = asked or Asked()
    return Raters(key, asked, asked.clock)


def test_account_when_by_token_or_by_sign_in_is_the_same_rater() -> None:
    raters = _raters()
    by_token = raters.from_token({"authorization": "Bearer hf_ada"})
    assert by_token == raters.from_token({"x-hf-authorization": "bearer hf_ada"})
    assert by_token == raters.of_account("id-ada")
    assert by_token is not None
    assert by_token.tier == "account"


def test_pseudonym_when_made_hides_the_name_and_needs_the_key() -> None:
    first, second = (_raters(key=key).of_account("id-ada") for key in (b"one", b"two"))
    assert first != second
    assert len(first.pseudonym) == 16
    assert "ada" not in first.pseudonym
    assert _raters().of_account("x") != _raters().of_session("x", "net")
    assert _raters().of_session("x", "net").tier == "anonymous"


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Basic abc"}, {"authorization": "Bearer "}]
)
def test_token_when_there_is_none_gives_nobody(headers: dict[str, str]) -> None:
    assert _raters().from_token(headers) is None


@pytest.mark.parametrize("token", ["hf_unknown", "hf_org"])
def test_token_when_unknown_or_of_an_organisation_is_refused_without_its_text(token: str) -> None:
    with pytest.raises(RatingRefused, match="does not know the token") as refused:
        _raters().from_token({"authorization": f"Bearer {token}"})
    assert refused.value.reason == "rater"
    assert token not in str(refused.value)


def test_token_when_the_hub_is_down_says_to_try_again_and_is_asked_again() -> None:
    asked = Asked()
    raters = _raters(asked)
    for _ in range(2):
        with pytest.raises(RatingRefused, match="cannot be asked") as refused:
            raters.from_token({"authorization": "Bearer hf_down"})
        assert refused.value.reason == "busy"
    assert len(asked.tokens) == 2


def test_token_when_seen_before_is_asked_about_once_in_a_while() -> None:
    asked = Asked()
    raters = _raters(asked)
    for _ in range(3):
        raters.from_token({"authorization": "Bearer hf_ada"})
    assert len(asked.tokens) == 1
    asked.seconds = CACHE_SECONDS + 1
    raters.from_token({"authorization": "Bearer hf_ada"})
    assert len(asked.tokens) == 2
    assert "hf_ada" not in repr(vars(raters))


def test_cache_when_full_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub_trainer.space.raters.MAX_CACHED", 2)
    raters = _raters()
    for number in range(5):
        with pytest.raises(RatingRefused):
            raters.from_token({"authorization": f"Bearer hf_{number}"})
    assert len(raters._cache) == 2


def test_key_when_not_given_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = rater_key(tmp_path, {})
    assert rater_key(tmp_path, {}) == key
    assert len(key) == 64
    assert stat.S_IMODE((tmp_path / "rater.key").stat().st_mode) == 0o600
    assert rater_key(tmp_path, {"RATER_KEY": "secret"}) == b"secret"


def test_hub_error_when_of_another_kind_is_no_outage() -> None:
    def refuses(token: str) -> Mapping[str, Any]:
        raise HubError("The Hub refused who the token belongs to.")

    with pytest.raises(RatingRefused, match="does not know"):
        Raters(b"k", refuses, lambda: 0.0).from_token({"authorization": "Bearer hf_x"})
