"""The Local Hub measured: big files against a plain file server, and a repo whose history grows.

    python tests/benchmarks/local_hub.py files --gigabytes 2 --turns 3
    python tests/benchmarks/local_hub.py curve --files 10000 --commits 100 300 1000 --each 1

`files` starts the Local Hub and Python's own http.server (with a PUT that only writes) as processes
of their own, and sends and fetches one file with the same raw-socket client, in turns. Nothing is
measured while another transfer runs. Both print a Markdown table and one line of JSON.
"""

import argparse
import hashlib
import http.server
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

ROOT = Path(__file__).resolve().parents[2]
HUB = (
    "import json, pathlib, sys\n"
    "from hub_trainer.local_hub import serve\n"
    "ready = lambda hub: print(json.dumps([hub.url, hub.token]), flush=True)\n"
    "serve(pathlib.Path(sys.argv[1]), on_ready=ready)\n"
)
PIECE = 1 << 20
TURN_SECONDS = 600


class PlainFiles(http.server.SimpleHTTPRequestHandler):
    """Files of the current folder; PUT writes one, without a hash and without waiting for disk."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        with open(self.path.lstrip("/"), "wb") as file:
            while left:
                data = self.rfile.read(min(PIECE, left))
                file.write(data)
                left -= len(data)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve_plain(folder: str) -> None:
    os.chdir(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PlainFiles)
    print(json.dumps([f"http://127.0.0.1:{server.server_port}", ""]), flush=True)
    server.serve_forever()


@contextmanager
def started(*words: str) -> Iterator[tuple[str, str, int]]:
    """A server as a process of its own: (url, token, process id)."""
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, token = json.loads(process.stdout.readline())
        yield url, token, process.pid
        process.terminate()


# --- the client, the same for both servers


def put(url: str, path: Path, offset: int = 0, length: int | None = None) -> str:
    """Send (a piece of) a file; gives back the ETag."""
    size = path.stat().st_size - offset if length is None else length
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), TURN_SECONDS) as client:
        client.sendall(head("PUT", url, f"Content-Length: {size}"))
        with path.open("rb") as file:
            client.sendfile(file, offset, size)
        answer, _ = read_head(client)
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), answer
    return header(answer, b"etag").strip('"')


def get(url: str, token: str, start: int = 0, stop_after: int | None = None) -> int:
    """Fetch a file from a byte on, or break off; gives back how many bytes came."""
    parts = urlsplit(url)
    wanted = [f"Authorization: Bearer {token}"] if token else []
    wanted += [f"Range: bytes={start}-"] if start else []
    buffer = bytearray(PIECE)
    with socket.create_connection((parts.hostname, parts.port), TURN_SECONDS) as client:
        client.sendall(head("GET", url, *wanted))
        answer, rest = read_head(client)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 206")), answer
        left = int(header(answer, b"content-length")) - len(rest)
        came = len(rest)
        while left and (stop_after is None or came < stop_after):
            done = client.recv_into(buffer)
            assert done, "the server broke off"
            left, came = left - done, came + done
    return came


def head(method: str, url: str, *lines: str) -> bytes:
    parts = urlsplit(url)
    return "\r\n".join(
        [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *lines, "", ""]
    ).encode()


def read_head(client: socket.socket) -> tuple[bytes, bytes]:
    found = b""
    while b"\r\n\r\n" not in found:
        data = client.recv(65536)
        assert data, found
        found += data
    answer, _, rest = found.partition(b"\r\n\r\n")
    return answer, rest


def header(answer: bytes, name: bytes) -> str:
    for line in answer.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode()
    return ""


# --- big files


class Repo:
    """A repo of the Hub that takes the same file again and again: each time under a new hash."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TURN_SECONDS
        )
        self.http.post("/api/repos/create", json={"name": "m"})
        self.oid, self.size = "", 0

    def actions(self, path: Path, *, multipart: bool) -> dict[str, Any]:
        with path.open("r+b") as file:  # other first bytes, so another object
            file.write(os.urandom(16))
        with path.open("rb") as file:
            self.oid = hashlib.file_digest(file, "sha256").hexdigest()
        self.size = path.stat().st_size
        wanted = {
            "operation": "upload",
            "transfers": ["basic", "multipart"] if multipart else ["basic"],
            "objects": [{"oid": self.oid, "size": self.size}],
        }
        answer = self.http.post("/admin/m.git/info/lfs/objects/batch", json=wanted)
        return dict(answer.json()["objects"][0]["actions"])

    def commit(self, name: str) -> str:
        lines = [{"key": "header", "value": {"summary": "Add"}}]
        value = {"path": name, "algo": "sha256", "oid": self.oid, "size": self.size}
        lines.append({"key": "lfsFile", "value": value})
        body = "\n".join(map(json.dumps, lines))
        answer = self.http.post("/api/models/admin/m/commit/main", content=body)
        assert answer.status_code == 200, answer.text
        return f"{self.http.base_url}/admin/m/resolve/main/{name}".replace("//admin", "/admin")

    def drop(self) -> None:
        """Take the object off the disk again."""
        body = {"deletions": {"sha": [self.oid]}}
        assert self.http.post("/api/models/admin/m/lfs-files/batch", json=body).is_success


def send_parts(action: dict[str, Any], http: httpx.Client, path: Path) -> None:
    chunk, size = int(action["header"]["chunk_size"]), path.stat().st_size
    parts = []
    for number in range(1, -(-size // chunk) + 1):
        offset = (number - 1) * chunk
        tag = put(action["header"][f"{number:05d}"], path, offset, min(chunk, size - offset))
        parts.append({"partNumber": number, "etag": tag})
    answer = http.post(action["href"], json={"parts": parts})
    assert answer.status_code == 200, answer.text


def rate(num_bytes: int, work: Callable[[], object]) -> float:
    """Megabytes per second."""
    started_at = time.perf_counter()
    work()
    return num_bytes / (time.perf_counter() - started_at) / 1e6


def measure_files(folder: Path, gigabytes: float, turns: int) -> dict[str, Any]:
    source, size = folder / "source.bin", int(gigabytes * 1e9)
    with source.open("wb") as file:
        for _ in range(size // PIECE):
            file.write(os.urandom(PIECE))
        file.write(bytes(size % PIECE))
    (folder / "plain").mkdir()
    shutil.copyfile(source, folder / "plain" / "f.bin")
    found: dict[str, list[float]] = {}
    with (
        started("-c", HUB, str(folder / "hub")) as (url, token, pid),
        started(__file__, "plain", str(folder / "plain")) as (plain, _, _),
    ):
        repo = Repo(url, token)
        for turn in range(turns):
            for name, value in one_turn(repo, plain, source, token).items():
                found.setdefault(name, []).append(value)
            print(f"turn {turn + 1}: " + describe(found, -1), file=sys.stderr)
        resumed = resume(repo, source, token)
        found["peak_mb"] = [peak_mb(pid)]
    return {"size": size, "resumed": resumed, **found}


def one_turn(repo: Repo, plain: str, source: Path, token: str) -> dict[str, float]:
    size, found = source.stat().st_size, {}
    found["plain up"] = rate(size, lambda: put(f"{plain}/up.bin", source))
    action = repo.actions(source, multipart=False)["upload"]
    found["up"] = rate(size, lambda: put(action["href"], source))
    url = repo.commit("f.bin")
    found["plain down"] = rate(size, lambda: get(f"{plain}/f.bin", ""))
    found["down"] = rate(size, lambda: get(url, token))
    repo.drop()
    found["plain up again"] = rate(size, lambda: put(f"{plain}/up.bin", source))
    action = repo.actions(source, multipart=True)["upload"]
    found["up in parts"] = rate(size, lambda: send_parts(action, repo.http, source))
    repo.drop()
    return found


def resume(repo: Repo, source: Path, token: str) -> bool:
    """Break a download off in the middle, go on from there; the sum of bytes and a hash agree."""
    action = repo.actions(source, multipart=False)["upload"]
    put(action["href"], source)
    url, size = repo.commit("resumed.bin"), source.stat().st_size
    came = get(url, token, stop_after=size // 2)
    assert came < size
    assert came + get(url, token, start=came) == size
    digest = hashlib.sha256()
    for start in (0, size // 3, size // 3 * 2):
        end = min(size, start + size // 3) if start < size // 3 * 2 else size
        with repo.http.stream("GET", url, headers={"Range": f"bytes={start}-{end - 1}"}) as answer:
            for data in answer.iter_bytes():
                digest.update(data)
    return digest.hexdigest() == repo.oid


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024


PAIRS = (("up", "plain up"), ("up in parts", "plain up again"), ("down", "plain down"))


def describe(found: dict[str, list[float]], turn: int) -> str:
    return ", ".join(
        f"{one} {found[one][turn]:.0f} / {other} {found[other][turn]:.0f} MB/s"
        for one, other in PAIRS
    )


def print_files(found: dict[str, Any]) -> None:
    print(f"One file of {found['size'] / 1e9:g} GB, medians of {len(found['up'])} turns:\n")
    print("| | Local Hub, MB/s | plain server, MB/s | ratio (median of the turns) |")
    print("|---|---|---|---|")
    for one, other in PAIRS:
        ratios = [mine / theirs for mine, theirs in zip(found[one], found[other], strict=True)]
        middle = [f"{statistics.median(found[name]):,.0f}" for name in (one, other)]
        print(f"| {one} | {middle[0]} | {middle[1]} | {statistics.median(ratios):.2f} |")
    print(f"\nServer memory at most {found['peak_mb'][0]:.0f} MB; resumed: {found['resumed']}.")


# --- a repo that grows


def ndjson(summary: str, files: dict[str, str]) -> str:
    lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": summary}}]
    lines += [
        {"key": "file", "value": {"path": path, "content": text}} for path, text in files.items()
    ]
    return "\n".join(map(json.dumps, lines))


def measure_curve(
    folder: Path, num_files: int, marks: list[int], each: int
) -> list[dict[str, Any]]:
    paths = [f"d{number % 100:02d}/f{number:05d}.txt" for number in range(num_files)]
    rows = []
    with (
        started("-c", HUB, str(folder / "hub")) as (url, token, _),
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TURN_SECONDS
        ) as client,
    ):
        commit = Committer(client, "m", paths, each)
        for mark in marks:
            while commit.count < mark:
                commit.one()
            fresh = Committer(client, f"fresh-{mark}", paths, each)
            rows.append({"commits": mark, **side_by_side(client, paths, commit, fresh)})
            print(rows[-1], file=sys.stderr)
    return rows


class Committer:
    """Changes `each` files after the others in each commit."""

    def __init__(self, client: httpx.Client, name: str, paths: list[str], each: int) -> None:
        self._client, self.name, self._paths, self.count = client, name, paths, 0
        self._each = each
        client.post("/api/repos/create", json={"name": name})
        self._send({path: path for path in paths})

    def one(self) -> None:
        places = [(self.count * self._each + number) * 7919 for number in range(self._each)]
        changed = [self._paths[place % len(self._paths)] for place in places]
        self._send(dict.fromkeys(changed, f"changed in commit {self.count}"))

    def _send(self, files: dict[str, str]) -> None:
        body = ndjson(f"Commit {self.count}", files)
        answer = self._client.post(f"/api/models/admin/{self.name}/commit/main", content=body)
        assert answer.status_code == 200, answer.text
        self.count += 1


def side_by_side(
    client: httpx.Client, paths: list[str], *repos: Committer
) -> dict[str, list[float]]:
    """Milliseconds, medians of rounds in turns: (in the repo with history, in a fresh one)."""
    taken: dict[str, list[list[float]]] = {}
    for _ in range(15):
        for column, commit in enumerate(repos):
            for name, work in questions(client, paths, commit).items():
                started_at = time.perf_counter()
                work()
                columns = taken.setdefault(name, [[] for _ in repos])
                columns[column].append(1000 * (time.perf_counter() - started_at))
    return {
        name: [round(statistics.median(column), 1) for column in columns]
        for name, columns in taken.items()
    }


def questions(
    client: httpx.Client, paths: list[str], commit: Committer
) -> dict[str, Callable[[], object]]:
    """What clients ask for."""
    api, some = f"/api/models/admin/{commit.name}", paths[:: max(1, len(paths) // 50)]

    def whole_tree() -> None:
        url: str | None = f"{api}/tree/main?recursive=true"
        total = 0
        while url:
            answer = client.get(url)
            total += len(answer.json())
            url = answer.links.get("next", {}).get("url")
        assert total >= len(paths)

    def paths_info() -> None:
        answer = client.post(f"{api}/paths-info/main", json={"paths": some, "expand": True})
        assert len(answer.json()) == len(some)

    return {
        "one more commit": commit.one,
        "resolve HEAD": lambda: client.head(f"/admin/{commit.name}/resolve/main/{paths[7]}"),
        "whole tree, all pages": whole_tree,
        "paths-info of 50, expand": paths_info,
        "folder with last commits": lambda: client.get(f"{api}/tree/main/d07?expand=true"),
    }


def print_curve(rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    print("Milliseconds, beside those of a repo of the same files without history:\n")
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        pairs = [f"{row[name][0]:g} / {row[name][1]:g}" for name in names[1:]]
        print("| " + " | ".join([f"{row['commits']:,}", *pairs]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files")
    files.add_argument("--gigabytes", type=float, default=2)
    files.add_argument("--turns", type=int, default=3)
    curve = commands.add_parser("curve")
    curve.add_argument("--files", type=int, default=10_000)
    curve.add_argument("--commits", type=int, nargs="+", default=[100, 300, 1000])
    curve.add_argument("--each", type=int, default=1, help="files that a commit changes")
    commands.add_parser("plain").add_argument("folder")
    given = parser.parse_args()
    if given.command == "plain":
        serve_plain(given.folder)
        return
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory(prefix="local-hub-benchmark-") as folder:
        if given.command == "files":
            found = measure_files(Path(folder), given.gigabytes, given.turns)
            print_files(found)
            print(json.dumps(found))
        else:
            rows = measure_curve(Path(folder), given.files, given.commits, given.each)
            print_curve(rows)
            print(json.dumps(rows))


if __name__ == "__main__":
    main()
