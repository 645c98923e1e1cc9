import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub, delivery


class Receiver:
    """Keeps what it is sent; answers with the statuses it was given, then with 200."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.received.append((dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, number: int) -> list[dict[str, Any]]:
        for _ in range(400):
            if len(self.received) >= number:
                return [body for _, body in self.received]
            time.sleep(0.05)
        raise AssertionError(f"{len(self.received)} of {number} deliveries came")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


def _watch(api: HfApi, url: str, repo_id: str, secret: str | None = None) -> str:
    watched = [{"type": "model", "name": repo_id}]
    return api.create_webhook(url=url, watched=watched, secret=secret).id  # type: ignore[arg-type]


def test_webhook_when_things_happen_then_each_is_told_in_order_with_the_secret(
    api: HfApi, repo_id: str, receiver: Receiver
) -> None:
    hook = _watch(api, receiver.url, repo_id, "s3cret")
    sha = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo_id).oid
    num = api.create_discussion(repo_id, title="A question", description="Why?").num
    api.comment_discussion(repo_id, num, "Because")
    told = receiver.wait_for(3)
    api.delete_webhook(hook)
    assert told[0]["event"] == {"action": "update", "scope": "repo.content"}
    assert told[0]["updatedRefs"][0]["newSha"] == sha
    assert told[0]["repo"]["name"] == repo_id
    assert all(headers["X-Webhook-Secret"] == "s3cret" for headers, _ in receiver.received)
    assert all(body["webhook"] == {"id": hook, "version": 3} for body in told)


def test_webhook_when_a_comment_is_made_then_its_text_is_told(
    api: HfApi, repo_id: str, receiver: Receiver
) -> None:
    num = api.create_discussion(repo_id, title="A question").num
    hook = _watch(api, receiver.url, repo_id)
    api.comment_discussion(repo_id, num, "Because")
    (told,) = receiver.wait_for(1)
    assert told["event"] == {"action": "create", "scope": "discussion.comment"}
    assert (told["discussion"]["num"], told["comment"]["content"]) == (num, "Because")
    assert "X-Webhook-Secret" not in receiver.received[0][0]
    api.delete_webhook(hook)


def test_webhook_when_the_receiver_fails_then_told_again(
    api: HfApi, repo_id: str, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    hook = _watch(api, receiver.url, repo_id)
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo_id)
    first, second = receiver.wait_for(2)
    assert first == second
    api.delete_webhook(hook)


def test_webhook_when_disabled_then_silent(
    api: HfApi, http: httpx.Client, hub: LocalHub, repo_id: str, receiver: Receiver
) -> None:
    hook = _watch(api, receiver.url, repo_id)
    assert api.disable_webhook(hook).disabled
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo_id)
    assert not api.enable_webhook(hook).disabled
    api.upload_file(path_or_fileobj=b"2", path_in_repo="b", repo_id=repo_id)
    (told,) = receiver.wait_for(1)
    assert told["updatedRefs"][0]["newSha"] == api.model_info(repo_id).sha
    api.delete_webhook(hook)


def test_webhook_when_the_repo_is_private_then_strangers_hear_nothing(
    api: HfApi, other: HfApi, hub: LocalHub, new_repo: Callable[..., str], receiver: Receiver
) -> None:
    repo_id = new_repo(private=True)
    hooks = [(each, _watch(each, receiver.url, repo_id)) for each in (other, api)]
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo_id)
    receiver.wait_for(1)
    told = {body["webhook"]["id"] for _, body in receiver.received}
    assert told == {hooks[1][1]}
    waiting = hub.core.store.read().execute("SELECT webhook_id FROM delivery").fetchall()
    assert hooks[0][1] not in [row["webhook_id"] for row in waiting]
    for owner, hook in hooks:
        owner.delete_webhook(hook)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "A webhook needs a url"),
        ({"url": "file:///etc/passwd"}, "must be http or https"),
        ({"url": "http://"}, "must be http or https"),
        ({"url": "http://a\nb"}, "must be http or https"),
        ({"url": "http://a", "watched": 5}, "watched must be a list"),
        ({"url": "http://a", "watched": [{"type": "moon", "name": "x"}]}, "watched must be"),
        ({"url": "http://a", "domains": ["sea"]}, "domains must be a list"),
    ],
)
def test_webhook_when_malformed_then_400(http: httpx.Client, body: Any, message: str) -> None:
    answer = http.post("/api/settings/webhooks", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_webhook_when_someone_elses_then_404(api: HfApi, other: HfApi, http: httpx.Client) -> None:
    hook = other.create_webhook(url="http://127.0.0.1:9", watched=[]).id
    answer = http.get(f"/api/settings/webhooks/{hook}")
    assert (answer.status_code, "does not exist" in answer.text) == (404, True)
    other.delete_webhook(hook)


def test_webhooks_when_one_receiver_never_answers_then_the_others_hear_at_once(
    api: HfApi, repo_id: str, receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the request, says nothing
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        hooks = [_watch(api, slow, repo_id), _watch(api, receiver.url, repo_id)]
        for number in range(3):
            api.upload_file(path_or_fileobj=b"1", path_in_repo=f"{number}", repo_id=repo_id)
        told = receiver.wait_for(3)
        silent.settimeout(10)
        waiting, _ = silent.accept()
        silent.settimeout(0.3)
        with pytest.raises(TimeoutError):  # one thing at a time: the second waits for the first
            silent.accept()
        waiting.close()
        for hook in hooks:
            api.delete_webhook(hook)
    history = [commit.commit_id for commit in api.list_repo_commits(repo_id)]
    assert [body["updatedRefs"][0]["newSha"] for body in told] == history[2::-1]


def test_webhook_when_the_receiver_dribbles_then_it_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def dribble() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while not done.wait(0.1):  # never silent for as long as the timeout
                    connection.send(b"H")

        threading.Thread(target=dribble, daemon=True).start()
        with pytest.raises((OSError, HTTPException)):
            delivery.post(f"http://127.0.0.1:{server.getsockname()[1]}/", "{}", "")
        done.set()
