import json
import socket

import pytest
from starlette.testclient import TestClient

from hub_trainer.checks.webhook_trigger import MAX_BODY_BYTES, WebhookTrigger, concerns, webhook_app
from hub_trainer.errors import UsageError

SECRET = "s" * 32
BODY = {"repo": {"type": "dataset", "name": "o/d"}, "event": {"scope": "discussion"}}


def _post(body: bytes, secret: str | None = SECRET) -> tuple[int, int]:
    delivered: list[int] = []
    client = TestClient(webhook_app("o/d", SECRET, lambda: delivered.append(1)))
    headers = {} if secret is None else {"X-Webhook-Secret": secret.encode()}
    return client.post("/", content=body, headers=headers).status_code, len(delivered)


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "s", SECRET[:-1], "é" * 32])
def test_delivery_when_the_secret_is_wrong_then_refused(secret: str | None) -> None:
    assert _post(json.dumps(BODY).encode(), secret) == (403, 0)


def test_delivery_when_right_then_delivered() -> None:
    assert _post(json.dumps(BODY).encode()) == (202, 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[]", b'{"repo": 3}', b'{"repo": {"type": "model", "name": "o/d"}}']
    + [b'{"repo": {"type": "dataset", "name": "other/d"}}', b"[" * 60_000],
)
def test_delivery_when_about_something_else_then_ignored(body: bytes) -> None:
    assert _post(body) == (200, 0)
    assert not concerns(body, "o/d")


def test_delivery_when_huge_then_refused() -> None:
    body = json.dumps({**BODY, "x": "y" * MAX_BODY_BYTES}).encode()
    assert _post(body) == (413, 0)


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_trigger_when_its_secret_is_short_then_it_does_not_start(secret: str) -> None:
    with pytest.raises(UsageError) as caught:
        WebhookTrigger("o/d", secret)
    assert caught.value.what == "The webhook needs a secret."
    assert caught.value.got == f"{len(secret)} bytes"
    assert "openssl rand -hex 32" in str(caught.value)
    assert not secret or secret not in str(caught.value)


def test_trigger_when_delivered_then_wait_comes_back_and_close_ends_it() -> None:
    import httpx

    trigger = WebhookTrigger("o/d", SECRET)
    address = trigger.listen("127.0.0.1", 0)
    answer = httpx.post(address, json=BODY, headers={"X-Webhook-Secret": SECRET}, timeout=20)
    assert answer.status_code == 202
    assert trigger.wait(600)
    trigger.close()
    assert not trigger.wait(600)


def test_port_when_taken_then_error_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError) as caught:
            WebhookTrigger("o/d", SECRET).listen("127.0.0.1", port)
    assert caught.value.where == f"127.0.0.1:{port}"
    assert caught.value.do == "Name another with --webhook HOST:PORT; port 0 takes a free one."
