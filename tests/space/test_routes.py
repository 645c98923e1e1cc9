"""The addresses of a running Space: the page's API, POST /rate, /health, and what is not there."""

import asyncio
import inspect
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.rating_store import Shard
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.space.events import with_names
from hub_trainer.space.routes import until_leaving
from tests.space.factory import QUIET, RunningSpace, running_space

ADA = {"Authorization": "Bearer hf_ada"}

pytestmark = QUIET


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def space(local: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSpace]:
    folder = tmp_path_factory.mktemp("space")
    with running_space(folder, local, ratings_per_hour=10_000) as running:
        yield running


@pytest.fixture(scope="module")
def client(space: RunningSpace) -> Iterator[Client]:
    client = Client(space.url, headers=ADA, verbose=False)
    yield client
    client.close()


def _ticket(client: Client, text: str) -> str:
    label, ticket = client.predict(text, api_name="/predict")
    assert label["label"] in ("few", "many")
    return str(ticket)


def _post(
    space: RunningSpace, body: object, headers: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.post(f"{space.url}/rate", json=body, headers=ADA if headers is None else headers)


def test_api_when_used_by_a_client_predicts_and_saves(client: Client) -> None:
    saved = client.predict(_ticket(client, "one two"), "right", None, api_name="/rate")
    assert saved["saved"] is True
    assert len(saved["rating_id"]) == 32


def test_api_when_described_shows_two_endpoints(client: Client) -> None:
    described = client.view_api(return_format="dict", print_info=False)
    assert sorted(described["named_endpoints"]) == ["/predict", "/rate"]
    assert described["unnamed_endpoints"] == {}
    asked = described["named_endpoints"]["/predict"]["parameters"]
    assert [one["parameter_name"] for one in asked] == ["text"]
    assert client.predict(text="one two", api_name="/predict")[0]["label"] in ("few", "many")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["Text"], ["text"]),
        (["max hr", "max-hr", "2nd", "class", "Größe (cm)"],
         ["max_hr", "max_hr_2", "_2nd", "_class", "größe_cm"]),
        (["request", "%"], ["request_2", "value"]),
    ],
)  # fmt: skip
def test_values_when_their_labels_are_no_names_then_have_names_of_their_own(
    labels: list[str], names: list[str]
) -> None:
    asked = with_names(lambda request, *values: list(values), labels)
    assert list(inspect.signature(asked).parameters) == ["request", *names]
    assert asked(None, *labels) == labels


def test_api_when_input_is_wrong_gives_the_message(client: Client) -> None:
    with pytest.raises(Exception, match="There is no text to classify. Write one first."):
        client.predict("", api_name="/predict")
    ticket = _ticket(client, "one two")
    with pytest.raises(Exception, match="is no label. Choose one of the labels"):
        client.predict(ticket, "wrong", "nonsense", api_name="/rate")


def test_api_when_the_token_is_unknown_says_so(space: RunningSpace) -> None:
    stranger = Client(space.url, headers={"Authorization": "Bearer hf_none"}, verbose=False)
    with pytest.raises(Exception, match="does not know the token"):
        stranger.predict("one two", api_name="/predict")
    stranger.close()


def test_sessions_when_two_have_no_account_are_two_raters(space: RunningSpace) -> None:
    sessions = [Client(space.url, verbose=False) for _ in range(2)]
    ticket = _ticket(sessions[0], "one")
    with pytest.raises(Exception, match="made for somebody else"):
        sessions[1].predict(ticket, "right", "", api_name="/rate")
    assert sessions[0].predict(ticket, "right", "", api_name="/rate")["saved"]
    for session in sessions:
        session.close()


def test_post_when_a_rating_saves_it_once(space: RunningSpace, client: Client) -> None:
    body = {"generation_id": _ticket(client, "one two three"), "rating": "wrong", "answer": "many"}
    first, again = _post(space, body), _post(space, body)
    assert (first.status_code, first.json()["saved"]) == (200, True)
    assert again.json() == first.json()


def test_post_when_refused_has_a_status_and_says_what_to_do(
    space: RunningSpace, client: Client
) -> None:
    ticket = _ticket(client, "one two")
    right = {"generation_id": ticket, "rating": "right"}
    assert _post(space, right, {}).status_code == 401
    assert _post(space, right, {"Authorization": "Bearer hf_none"}).status_code == 401
    assert _post(space, right, {"Authorization": "Bearer hf_down"}).status_code == 503
    assert _post(space, {**right, "generation_id": "made up"}).status_code == 404
    wrong = _post(space, {**right, "rating": "wrong"})
    assert wrong.status_code == 422
    assert wrong.json() == {
        "error": "The right answer is missing.",
        "do": "Choose one of the labels first.",
    }


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b'{"rating": "right"}', b'{"generation_id": 1, "rating": 2}'],
)
def test_post_when_the_body_is_no_rating_says_so(space: RunningSpace, content: bytes) -> None:
    headers = {**ADA, "content-type": "application/json"}
    answer = httpx.post(f"{space.url}/rate", content=content, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"] == "The body is not a rating."


def test_post_when_the_body_is_no_json_says_so(space: RunningSpace) -> None:
    headers = {**ADA, "content-type": "application/json"}
    answer = httpx.post(f"{space.url}/rate", content=b"{", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (422, "The body is not JSON.")


def test_post_when_the_body_is_a_form_or_huge_is_refused(space: RunningSpace) -> None:
    form = httpx.post(f"{space.url}/rate", data={"rating": "right"}, headers=ADA)
    assert form.json()["error"] == "The body is not application/json."
    huge = _post(space, {"generation_id": "x" * 100_000, "rating": "right"})
    assert huge.json()["error"] == "The body is over 65,536 bytes."


DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = {
    "nested": DEEP,
    "nested data": b'{"data":' + DEEP + b"}",
    "surrogate": b'{"data":["\\ud800"],"fn_index":0,"session_hash":"s"}',
    "nul": b'{"data":["a\\u0000"],"fn_index":0,"session_hash":"s"}',
    "huge": b'{"data":["' + b"x" * 1_000_001 + b'"]}',
    "infinite": b'{"data":["a"],"fn_index":1e400}',
    "no object": b"null",
    "no data": b"{}",
    "unknown function": b'{"data":["a"],"fn_index":-1,"session_hash":"s"}',
    "wrong types": b'{"data":{"a":[1]},"fn_index":"x","session_hash":{}}',
    "too few": b'{"data":[]}',
    "no text": b'{"data":[null]}',
}


@pytest.mark.parametrize("path", ["queue/join", "call/predict", "call/v2/rate", "run/predict"])
def test_route_when_the_body_is_hostile_answers_with_a_sentence(
    space: RunningSpace, path: str
) -> None:
    for name, body in BODIES.items():
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{space.url}/gradio_api/{path}", content=body, headers=headers)
        assert answer.status_code < 500, name
        if answer.status_code != 200:
            assert answer.json().get("detail") or answer.json()["error"], name
    assert httpx.get(f"{space.url}/health").status_code == 200


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/x-www-form-x"])
@pytest.mark.parametrize("path", ["queue/join", "run/rate", "component_server"])
def test_route_when_a_form_is_no_form_answers_with_a_sentence(
    space: RunningSpace, path: str, kind: str
) -> None:
    for body in (b"", b"\xff\xfe", b'{"data": ["a"]}', b"x" * 1_000_001):
        headers = {"content-type": kind}
        answer = httpx.post(f"{space.url}/gradio_api/{path}", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (body[:20], answer.text)
        assert answer.json().get("detail") or answer.json()["error"]


def test_post_when_nested_or_half_a_character_says_so(space: RunningSpace) -> None:
    headers = {**ADA, "content-type": "application/json"}
    body = b'{"generation_id": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    answer = httpx.post(f"{space.url}/rate", content=body, headers=headers)
    assert (answer.status_code, "nested 30,001 deep" in answer.text) == (422, True)
    body = b'{"generation_id": "x", "rating": "right", "answer": "\\ud800"}'
    answer = httpx.post(f"{space.url}/rate", content=body, headers=headers)
    assert (answer.status_code, "lone surrogate" in answer.text) == (422, True)


def test_refusal_when_by_the_plain_api_has_its_sentence_and_no_500(space: RunningSpace) -> None:
    answer = httpx.post(f"{space.url}/gradio_api/run/predict", json={"data": [""]})
    assert answer.status_code == 422
    assert answer.json()["error"] == "There is no text to classify. Write one first."


def test_sessions_when_new_for_each_question_share_one_limit_and_one_source(
    local: LocalHub, tmp_path: Path
) -> None:
    with running_space(
        tmp_path, local, ratings_repo_id="admin/flood", predictions_per_minute=6
    ) as space:
        url = f"{space.url}/gradio_api/run/predict"
        forged = [{"x-forwarded-for": f"{n}.{n}.{n}.{n}"} for n in range(1, 12)]
        answers = [
            httpx.post(url, json={"data": ["one"], "session_hash": f"s{n}"}, headers=headers)
            for n, headers in enumerate(forged)
        ]
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 429}
        assert codes.count(200) in (6, 12)  # a minute may have ended meanwhile
        assert answers[-1].json()["detail"].startswith("The model answers 6 times a minute")
        for n, answer in enumerate(answers):
            if answer.status_code == 200:
                said = {"data": [answer.json()["data"][1], "right", ""], "session_hash": f"s{n}"}
                httpx.post(f"{space.url}/gradio_api/run/rate", json=said).raise_for_status()
        rated = space.store.rated(Shard(1, 99))
        assert len({one.rating.rater for one in rated}) == len(rated) >= 6
        assert len({one.rating.source for one in rated}) == 1


def test_health_when_asked_names_the_model_and_what_waits(space: RunningSpace) -> None:
    health = httpx.get(f"{space.url}/health").json()
    assert (health["status"], health["durability"]) == ("ok", "disk")
    assert health["model"] == {
        "repo_id": "org/model",
        "commit_sha": space.service.intake.settings.commit_sha,
    }
    assert set(health["ratings"]) >= {"kept", "waiting", "last_flush", "last_error"}
    assert "By rating you agree" in health["consent"]


def test_answers_when_sent_carry_headers_that_keep_browsers_at_home(space: RunningSpace) -> None:
    for path in ("/", "/health", "/config"):
        headers = httpx.get(f"{space.url}{path}").headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file={store}",
        "/gradio_api/file={key}",
        "/docs",
        "/openapi.json",
    ],
)
def test_files_when_outside_the_page_are_not_served(space: RunningSpace, path: str) -> None:
    folder = space.store.path.parent
    (folder / "rater.key").write_text("secret")
    url = path.format(store=space.store.path, key=folder / "rater.key")
    answer = httpx.get(f"{space.url}{url}")
    assert answer.status_code in (403, 404), answer.text[:200]


def test_crowd_when_it_rates_at_once_loses_nothing(
    space: RunningSpace, client: Client, local: LocalHub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rater = space.service
    ada = client.predict("who", api_name="/predict")
    assert ada
    pseudonym = space.store._read("SELECT rater FROM generation ORDER BY created DESC LIMIT 1")[0][
        0
    ]
    from hub_trainer.space.raters import Rater

    tickets = [rater.predict([f"text {n}"], Rater(pseudonym, "account")).ticket for n in range(60)]
    bodies = [{"generation_id": ticket, "rating": "right"} for ticket in tickets]
    with ThreadPoolExecutor(16) as pool:
        ids = [answer.json()["rating_id"] for answer in pool.map(lambda b: _post(space, b), bodies)]
    assert len(set(ids)) == 60
    end = time.monotonic() + 30
    while space.service.intake.outbox.status().waiting and time.monotonic() < end:
        time.sleep(0.05)
    hub, repo = Hub(local.url, local.token), Repo("admin/ratings", "dataset")
    into = tmp_path_factory.mktemp("sent")
    folder = hub.download(repo, hub.resolve(repo), allow=[SHARDS], into=into)
    assert set(ids) <= {one["rating_id"] for one in read_shards(folder)}


def test_stream_when_the_server_is_told_to_stop_hears_that_its_reader_has_gone() -> None:
    leaving = False
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal leaving
        heard.append((await receive())["type"])
        leaving = True
        heard.append((await receive())["type"])

    async def once() -> None:
        messages = iter([{"type": "http.request"}])

        async def receive() -> Any:
            for message in messages:
                return message
            return await asyncio.Event().wait()

        await until_leaving(app, lambda: leaving)({"type": "http"}, receive, None)

    asyncio.run(once())
    assert heard == ["http.request", "http.disconnect"]
