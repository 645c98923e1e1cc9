"""Clients rate while the server is killed and the Hub fails: the Jepsen form of a set test.

Each client logs what it sends and what it is told. At the end the dataset must hold every rating
that was acknowledged, none that was never sent, and none twice.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.shards import SHARDS, parse_shard_path
from tests.ratings.faults import FaultyHub

ADA = {"Authorization": "Bearer hf_ada"}
TESTS = Path(__file__).parents[1]


class Server:
    """The Space as a process that can be killed and started again on the same port and folder."""

    def __init__(self, folder: Path, hub_url: str, token: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = [str(self.port), str(folder), hub_url]
        self._environment = {
            **os.environ,
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "ratings.serve_counting", *self._arguments]
        self.process = subprocess.Popen(command, env=self._environment)
        while self.process.poll() is None and not self.answers():
            time.sleep(0.05)
        assert self.process.poll() is None

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, sign: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(sign)
        self.process.wait()


class Client(threading.Thread):
    """Rates until told to stop; a rating without an answer may or may not be kept."""

    def __init__(self, server: Server, number: int, target: int) -> None:
        super().__init__(daemon=True)
        self._server, self._number, self._target = server, number, target
        self.acknowledged: set[str] = set()
        self.unknown: set[str] = set()

    def run(self) -> None:
        count = 0
        with httpx.Client(headers=ADA, timeout=10) as http:
            while len(self.acknowledged) < self._target:
                count += 1
                try:
                    self._rate_once(http, f"client {self._number} text {count}")
                except httpx.HTTPError:
                    time.sleep(0.05)

    def _rate_once(self, http: httpx.Client, text: str) -> None:
        asked = http.post(f"{self._server.url}/ask", json={"text": text})
        if asked.status_code != 200:
            return
        body = {"generation_id": asked.json()["ticket"], "rating": "wrong", "answer": "<b>&none"}
        self.unknown.add(text)
        answer = http.post(f"{self._server.url}/rate", json=body)
        if random.random() < 0.1:  # some clients send again, as after a lost answer
            assert http.post(f"{self._server.url}/rate", json=body).json() == answer.json()
        if answer.status_code == 200:
            self.unknown.discard(text)
            self.acknowledged.add(text)


def _drained(server: Server, limit_seconds: float = 90.0) -> None:
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        if httpx.get(f"{server.url}/health", timeout=10).json()["ratings"]["waiting"] == 0:
            return
        time.sleep(0.2)
    raise AssertionError("ratings still wait after the faults have stopped")


def _published(hub: Hub, folder: Path) -> Counter[str]:
    """Texts in the dataset, each as often as a shard holds it."""
    repo = Repo("admin/ratings", "dataset")
    sha = hub.resolve(repo)
    names = [parse_shard_path(file.path) for file in hub.list_files(repo, sha)]
    held = sum(name.last - name.first + 1 for name in names if name)
    rows = read_shards(hub.download(repo, sha, allow=[SHARDS], into=folder))
    assert held == len(rows), "a rating is in two shards"
    return Counter(row["row"]["text"] for row in rows)


def _trial(
    folder: Path, *, clients: int, ratings: int, kills: int, share: float, seed: int
) -> None:
    rng = random.Random(seed)
    with LocalHub() as local, FaultyHub(local.url, share=share, seed=seed) as faulty:
        hub = Hub(local.url, local.token)
        hub.create_repo(Repo("admin/ratings", "dataset"))
        server = Server(folder / "store", faulty.url, local.token)
        server.start()
        crowd = [Client(server, number, ratings // clients) for number in range(clients)]
        for client in crowd:
            client.start()
        killed = 0
        while killed < kills and any(client.is_alive() for client in crowd):
            time.sleep(rng.uniform(0.2, 1.5))
            server.stop(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            killed += 1
            server.start()
        for client in crowd:
            client.join(300)
            assert not client.is_alive()
        faulty.share = 0.0
        _drained(server)
        server.stop(signal.SIGTERM)
        acknowledged = set().union(*(client.acknowledged for client in crowd))
        unknown = set().union(*(client.unknown for client in crowd))
        found = _published(hub, folder / "dataset")
    summary = (
        f"{len(acknowledged)} acknowledged, {len(unknown)} unknown, {killed} kills, "
        f"faults {dict(faulty.seen)}, {len(found)} in the dataset"
    )
    print(summary)
    assert acknowledged - set(found) == set(), f"lost: {summary}"
    assert set(found) - acknowledged - unknown == set(), f"never sent: {summary}"
    assert [text for text, count in found.items() if count > 1] == [], f"twice: {summary}"
    assert len(acknowledged) >= ratings - clients


def test_ratings_when_the_server_is_killed_and_the_hub_fails_arrive_once(tmp_path: Path) -> None:
    _trial(tmp_path, clients=4, ratings=120, kills=1, share=0.3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2))
def test_ratings_when_many_are_sent_through_many_kills_arrive_once(
    tmp_path: Path, seed: int
) -> None:
    ratings = int(os.environ.get("RATINGS", "10000"))
    kills = int(os.environ.get("KILLS", "25"))
    _trial(tmp_path, clients=16, ratings=ratings, kills=kills, share=0.2, seed=seed)


@pytest.mark.slow
def test_rating_when_many_rate_at_once_is_fast(tmp_path: Path) -> None:
    """Prints how long an acknowledgement takes; says nothing of how long it may."""
    with LocalHub() as local:
        Hub(local.url, local.token).create_repo(Repo("admin/ratings", "dataset"))
        server = Server(tmp_path, local.url, local.token)
        server.start()
        tickets = [
            httpx.post(f"{server.url}/ask", json={"text": f"t {n}"}, headers=ADA).json()["ticket"]
            for n in range(1000)
        ]
        seconds: list[float] = []

        def rate(ticket: str) -> None:
            began = time.perf_counter()
            body = {"generation_id": ticket, "rating": "right"}
            answer = http.post(f"{server.url}/rate", json=body)
            seconds.append(time.perf_counter() - began)
            assert answer.status_code == 200

        began = time.perf_counter()
        with httpx.Client(headers=ADA, timeout=30) as http, ThreadPoolExecutor(32) as pool:
            list(pool.map(rate, tickets))
        rate_per_second = len(tickets) / (time.perf_counter() - began)
        server.stop(signal.SIGTERM)
    seconds.sort()
    print(f"{rate_per_second:.0f} ratings/s, p50 {seconds[500]:.4f} s, p99 {seconds[989]:.4f} s")
