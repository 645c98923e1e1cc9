"""Hostile requests to every route of both Spaces: no 5xx, no traceback of ours, no lost rating."""

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client

from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings.rating_store import Shard
from tests.space.factory import QUIET, running_space
from tests.space.writing import rival, running_chat

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]
ADA = {"Authorization": "Bearer hf_ada"}
PER_ROUTE = int(os.environ.get("REQUESTS", "60"))
OURS = "hub_trainer/space/"
API = "/gradio_api"
ROUTES = ["/rate", "/health", *(f"{API}/{name}" for name in ("queue/join", "cancel", "reset"))]
KINDS = [
    "application/json",
    "text/plain",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
]
ATOMS = [
    *(None, True, -1, 2**70, 0.5, "", "up", "edit", "../../etc/passwd", "file:///etc/passwd"),
    *("\u202e\u200b", "<script>", "x" * 5_000, "\0", [], {}, [[]], {"path": "/etc/passwd"}),
]


def _value(rng: random.Random, depth: int = 0) -> Any:
    if depth < 3 and rng.random() < 0.3:
        names = ["data", "generation_id", "rating", "answer", "fn_index", "session_hash", "meta"]
        return {rng.choice(names): _value(rng, depth + 1) for _ in range(3)}
    return rng.choice(ATOMS)


def _body(rng: random.Random, ticket: str) -> bytes:
    raw = [
        b'{"data": ["\\ud800"]}',
        b'{"data": [NaN]}',
        b'{"data": [1e999]}',
        b"[" * 30_000 + b"]" * 30_000,
        b"x" * 300_000,
        b"\xff\xfe\x00",
        b"",
    ]
    if rng.random() < 0.3:
        return rng.choice(raw)
    body = {"data": [_value(rng) for _ in range(rng.randrange(5))], "fn_index": _value(rng)}
    body |= {"session_hash": _value(rng), "event_id": _value(rng)}
    body |= {"generation_id": rng.choice([ticket, ticket[:-1], _value(rng)])}
    body |= {"rating": _value(rng), "answer": _value(rng)}
    return json.dumps(body).encode()


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "ask", "honest"),
    [("form", "predict", "right"), ("chat", "chat", "up"), ("pairs", "pair", "left")],
)
def test_routes_when_requests_are_hostile_answer_without_a_5xx_and_keep_what_was_said(
    local: LocalHub,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    ask: str,
    honest: str,
) -> None:
    rng = random.Random(kind)
    run = running_space if kind == "form" else running_chat
    changes: dict[str, Any] = {"ratings_per_hour": 100_000, "flush_seconds": 600}
    changes |= rival() if kind == "pairs" else {}
    statuses: Counter[int] = Counter()
    results: Counter[str] = Counter()
    with run(tmp_path, local, **changes) as space, httpx.Client(timeout=60) as http:
        client = Client(space.url, headers=ADA, verbose=False)
        said = [_rated(client, ask, honest)]
        ticket = _ticket(client.predict("one two", api_name=f"/{ask}"))
        routes = [*ROUTES, *(f"{API}/call/{name}" for name in (ask, "rate"))]
        for route in routes:
            for _ in range(PER_ROUTE):
                headers = {"content-type": rng.choice(KINDS), **rng.choice([ADA, {}])}
                body = _body(rng, ticket)
                if "/call/" in route and rng.random() < 0.5:
                    # Well formed, so that the values reach the handler and not the parser alone.
                    headers["content-type"] = KINDS[0]
                    body = json.dumps({"data": [ticket, _value(rng), _value(rng)]}).encode()
                answer = http.post(f"{space.url}{route}", content=body, headers=headers)
                assert answer.status_code < 500, (route, headers, body[:200], answer.text[:300])
                assert answer.status_code < 400 or len(answer.json()) > 0, (route, answer.text)
                statuses[answer.status_code] += 1
                if "/call/" in route and answer.status_code == 200:
                    event_id = answer.json()["event_id"]
                    streamed = http.get(f"{space.url}{route}/{event_id}").text
                    ended = re.findall(r"^event: (complete|error)$", streamed, re.MULTILINE)
                    assert len(ended) == 1, (route, body[:200], streamed[:300])
                    results[ended[0]] += 1
        said.append(_rated(client, ask, honest))
        client.close()
        kept = space.store.counts().kept
        found = {rated.rating.rating_id for rated in space.store.rated(Shard(1, kept))}
        assert set(said) <= found
    logged = capfd.readouterr().err
    ours = [one for one in logged.split("Traceback (most recent call last)")[1:] if OURS in one]
    assert not ours, ours[0]
    counts = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    ends = ", ".join(f"{end}: {count}" for end, count in sorted(results.items()))
    with capfd.disabled():
        print(f"{kind}: {statuses.total():,} hostile requests to {len(routes)} routes; {counts}")
        print(f"{kind}: {results.total():,} streamed results; {ends}")


def _ticket(answer: Any) -> str:
    return str(answer["generation_id"] if isinstance(answer, dict) else answer[1])


def _rated(client: Client, ask: str, honest: str) -> str:
    ticket = _ticket(client.predict("one two three", api_name=f"/{ask}"))
    return str(client.predict(ticket, honest, "", api_name="/rate")["rating_id"])
