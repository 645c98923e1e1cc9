"""Clients that hold a connection and send or take next to nothing; and honest slow ones."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hub_trainer.local_hub import LocalHub, patience, protocol


@pytest.fixture
def impatient(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """The hub with a second of patience."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "READER_SECONDS", 1.0)
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


def test_download_when_it_takes_longer_than_the_patience_with_bodies_then_it_goes_on(
    impatient: LocalHub,
    api: HfApi,
    connect: Callable[[], socket.socket],
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "READER_SECONDS", 60.0)
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


def get(hub: LocalHub, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {httpx.URL(hub.url).netloc.decode()}\r\n\r\n".encode()


def open_files(hub: LocalHub) -> set[str]:
    """What this process holds open of the hub's data, by name."""
    opened = set()
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            opened.add(str(handle.readlink()))
    return {name for name in opened if name.startswith(str(hub.data_dir / "lfs"))}


def wait_until(happened: Callable[[], bool]) -> bool:
    for _ in range(400):
        if happened():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_download_when_readers_stop_then_their_connections_and_files_are_let_go_of(
    impatient: LocalHub,
    api: HfApi,
    connect: Callable[[], socket.socket],
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 20.0)  # all connect before the first one asks
    content = b"z" * 30_000_000
    api.upload_file(path_or_fileobj=content, path_in_repo="w.bin", repo_id=repo_id)
    threads = threading.active_count()
    stuck = [connect() for _ in range(20)]
    for client in stuck:
        client.sendall(get(impatient, f"/{repo_id}/resolve/main/w.bin"))
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert open_files(impatient)
    assert threading.active_count() <= threads + 1  # none of them holds a thread
    assert wait_until(lambda: not open_files(impatient))
    assert all(len(read_all(client)) < len(content) for client in stuck)


def test_download_when_a_reader_is_slow_but_reads_then_it_gets_everything(
    impatient: LocalHub, api: HfApi, connect: Callable[[], socket.socket], repo_id: str
) -> None:
    content = b"s" * 9_000_000
    api.upload_file(path_or_fileobj=content, path_in_repo="w.txt", repo_id=repo_id)
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.sendall(get(impatient, f"/{repo_id}/resolve/main/w.txt"))
    came = 0
    for _ in range(40):  # longer than the patience, but steady
        came += len(client.recv(100_000))
        time.sleep(0.05)
    client.settimeout(20)
    while came < len(content):
        data = client.recv(1 << 20)
        assert data, f"closed after {came} bytes"
        came += len(data)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux's /proc")
def test_clone_when_the_reader_stops_then_its_git_process_ends(
    impatient: LocalHub,
    api: HfApi,
    connect: Callable[[], socket.socket],
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "READER_SECONDS", 4.0)  # long enough to be seen at work
    noise = [CommitOperationAdd(f"{n}.txt", os.urandom(4_000_000).hex().encode()) for n in range(3)]
    sha = api.create_commit(repo_id, noise, commit_message="Much").oid
    wanted = f"want {sha} ofs-delta\n".encode()
    body = b"%04x%s00000009done\n" % (len(wanted) + 4, wanted)
    client = connect()
    client.sendall(head(impatient, f"/{repo_id}.git/git-upload-pack", len(body), "POST") + body)
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    git_path = str(impatient.data_dir / "repos")

    def running() -> bool:
        found = [path.read_bytes() for path in processes() if path.exists()]
        return any(b"upload-pack" in words and git_path.encode() in words for words in found)

    assert wait_until(running)
    assert wait_until(lambda: not running())


def processes() -> list[Path]:
    """The command lines of the processes that this one has started."""
    children = Path("/proc/self/task").glob("*/children")
    return [Path(f"/proc/{pid}/cmdline") for path in children for pid in path.read_text().split()]


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
