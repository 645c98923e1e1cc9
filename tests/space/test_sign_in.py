"""Raters who are signed in, as on the public Hub: the account of the cookie is the rater."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import itsdangerous
import pytest
from gradio_client import Client

from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings.rating_store import Shard
from hub_trainer.space.raters import ask_hub
from tests.space.factory import QUIET, RunningSpace, raters, running_space

SECRET = "client secret"
pytestmark = QUIET


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSpace]:
    """A Space that takes itself for one on the Hub; nothing is asked of the Hub before sign-in."""
    monkeypatch.setattr("gradio.oauth.get_space", lambda: "org/space")
    monkeypatch.setattr("gradio.oauth.OAUTH_CLIENT_ID", "client")
    monkeypatch.setattr("gradio.oauth.OAUTH_CLIENT_SECRET", SECRET)
    monkeypatch.setattr("gradio.oauth.OAUTH_SCOPES", "openid profile")
    monkeypatch.setattr("gradio.oauth.OPENID_PROVIDER_URL", "http://127.0.0.1:9")
    with LocalHub() as local, running_space(tmp_path, local, sign_in=True) as running:
        yield running


def _cookie(session: dict[str, Any]) -> dict[str, str]:
    """What Gradio sets once the Hub has said who somebody is."""
    key = hashlib.sha256(f"{SECRET}-v4".encode()).hexdigest()
    data = base64.b64encode(json.dumps(session).encode())
    return {"Cookie": f"session={itsdangerous.TimestampSigner(key).sign(data).decode()}"}


def _signed_in(account: str, *, expires_in: float = 3600.0) -> dict[str, str]:
    info = {"access_token": "hf_oauth", "scope": "openid", "expires_at": time.time() + expires_in}
    return _cookie({"oauth_info": {**info, "userinfo": {"sub": account, "name": "Ada"}}})


def _rate(space: RunningSpace, headers: dict[str, str]) -> Any:
    client = Client(space.url, headers=headers, verbose=False)
    _, ticket = client.predict("one two", api_name="/predict")
    try:
        return client.predict(ticket, "right", "", api_name="/rate")
    finally:
        client.close()


def test_rater_when_signed_in_is_the_account_and_nobody_else_may_rate(space: RunningSpace) -> None:
    assert _rate(space, _signed_in("id-ada"))["saved"]
    [rated] = space.store.rated(Shard(1, 9))
    assert rated.rating.rater == raters().of_account("id-ada").pseudonym
    assert rated.rating.rater_tier == "account"
    for headers in ({}, _signed_in("id-ada", expires_in=-5), _cookie({})):
        with pytest.raises(Exception, match="Sign in to rate"):
            _rate(space, headers)
    forged = _signed_in("id-eve")["Cookie"][:-3] + "abc"
    with pytest.raises(Exception, match="Sign in to rate"):
        _rate(space, {"Cookie": forged})
    assert "Sign in with Hugging Face" in httpx.get(f"{space.url}/config").text


def test_rater_when_a_user_of_a_local_hub_sends_a_token_is_that_account(tmp_path: Path) -> None:
    """As docs/local-hub.md shows it: the page has no sign-in, a client has a name."""
    with LocalHub() as local:
        whose = ask_hub(local.url)
        with running_space(tmp_path, local, asked=whose) as space:
            for token in (local.add_user("ann"), local.add_user("bob"), local.add_token("ann")):
                client = Client(space.url, token=token, verbose=False)
                label, ticket = client.predict(text="one two", api_name="/predict")
                saved = client.predict(ticket, "wrong", "many", api_name="/rate")
                client.close()
                assert (label["label"], saved["saved"]) == ("few", True)
            rated = [one.rating for one in space.store.rated(Shard(1, 9))]
    assert {one.rater_tier for one in rated} == {"account"}
    first, second, again = (one.rater for one in rated)
    assert first == again != second
