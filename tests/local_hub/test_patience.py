"""Clients that hold a connection and send next to nothing; and honest ones that are slow."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub, patience, protocol


@pytest.fixture
def impatient(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """The hub with a second of patience."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(patience, "BODY_SECONDS", 1.0)
    return hub


@pytest.fixture
def connect(hub: LocalHub) -> Iterator[Callable[[], socket.socket]]:
    opened: list[socket.socket] = []

    def make() -> socket.socket:
        address = httpx.URL(hub.url)
        opened.append(socket.create_connection((address.host, address.port or 0), timeout=20))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def head(hub: LocalHub, path: str, length: int, method: str = "PUT") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {httpx.URL(hub.url).netloc.decode()}"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def upload_path(http: httpx.Client, repo_id: str, content: bytes) -> str:
    wanted = [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}]
    body = {"operation": "upload", "objects": wanted}
    answer = http.post(f"/{repo_id}.git/info/lfs/objects/batch", json=body).json()
    return httpx.URL(answer["objects"][0]["actions"]["upload"]["href"]).path


def read_all(client: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    found = b""
    with suppress(ConnectionResetError):
        while data := client.recv(65536):
            found += data
    return found


@pytest.mark.parametrize("start", [b"", b"GET /api/models HTTP/1.1\r\nX-Slow: "])
def test_headers_when_they_never_end_then_the_connection_is_closed(
    impatient: LocalHub, connect: Callable[[], socket.socket], start: bytes
) -> None:
    client = connect()
    client.sendall(start)
    assert read_all(client) == b""


def test_headers_when_a_second_request_on_the_connection_breaks_off_then_closed(
    impatient: LocalHub, connect: Callable[[], socket.socket]
) -> None:
    client = connect()
    host = f"Host: {httpx.URL(impatient.url).netloc.decode()}\r\n\r\n".encode()
    client.sendall(b"GET /api/models?limit=1 HTTP/1.1\r\n" + host)
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    client.sendall(b"GET /api/mo")
    assert b"200" not in read_all(client)


def test_body_when_it_stops_coming_then_408_and_nothing_is_left(
    impatient: LocalHub,
    connect: Callable[[], socket.socket],
    http: httpx.Client,
    repo_id: str,
) -> None:
    client = connect()
    path = upload_path(http, repo_id, b"x" * 1000)
    client.sendall(head(impatient, path, 1000) + b"x" * 10)
    answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"slower than 100 bytes per second" in answer
    assert list((impatient.data_dir / "lfs" / "incoming").glob("*")) == []


def test_body_when_one_byte_comes_now_and_then_then_408(
    impatient: LocalHub, connect: Callable[[], socket.socket]
) -> None:
    client = connect()
    client.sendall(head(impatient, "/api/validate-yaml", 1000, "POST"))
    client.settimeout(0.05)
    answer = b""
    for _ in range(100):
        with suppress(TimeoutError, ConnectionError):
            client.send(b"x")
            answer = client.recv(4096)
        if answer:
            break
    assert answer.startswith(b"HTTP/1.1 408")


def test_body_when_honest_and_slow_then_it_is_taken(
    impatient: LocalHub, connect: Callable[[], socket.socket], http: httpx.Client, repo_id: str
) -> None:
    content = b"y" * 2000
    client = connect()
    client.sendall(head(impatient, upload_path(http, repo_id, content), len(content)))
    for start in range(0, len(content), 100):  # longer than the patience, but steady
        client.sendall(content[start : start + 100])
        time.sleep(0.08)
    assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_download_when_it_takes_longer_than_the_patience_then_it_goes_on(
    impatient: LocalHub, api: HfApi, connect: Callable[[], socket.socket], repo_id: str
) -> None:
    content = b"z" * 30_000_000
    api.upload_file(path_or_fileobj=content, path_in_repo="w.bin", repo_id=repo_id)
    client = connect()
    host = f"Host: {httpx.URL(impatient.url).netloc.decode()}\r\n\r\n".encode()
    client.sendall(f"GET /{repo_id}/resolve/main/w.bin HTTP/1.1\r\n".encode() + host)
    found = client.recv(1000)
    time.sleep(1.2)
    while len(found) < len(content):
        data = client.recv(1 << 20)
        assert data, f"closed after {len(found)} bytes"
        found += data
    assert found.endswith(content[-1000:])


def test_headers_when_giant_then_4xx_and_the_server_goes_on(
    hub: LocalHub, connect: Callable[[], socket.socket], anyone: httpx.Client, tmp_path: Path
) -> None:
    client = connect()
    with suppress(ConnectionError):  # refused before all of it was sent
        client.sendall(b"GET / HTTP/1.1\r\nX-Giant: ")
        for _ in range(200):
            client.sendall(b"a" * 65536)
    answer = read_all(client)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert anyone.get("/api/models").status_code == 200
