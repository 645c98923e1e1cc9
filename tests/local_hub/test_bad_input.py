"""Broken protocol: cut or mutated pushes and commits. Never 5xx or a hang, nothing half done."""

import base64
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.push import MAX_FOLDER_BYTES, packet
from hub_trainer.local_hub.repo_rows import find_repo

RECEIVE = {"Content-Type": "application/x-git-receive-pack-request"}


def git(folder: Path, *words: str, data: bytes = b"") -> bytes:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, input=data, capture_output=True, check=True, timeout=60
    )
    return done.stdout


def tip(api: HfApi, repo_id: str) -> str:
    return str(api.model_info(repo_id).sha)


def git_path(hub: LocalHub, repo_id: str) -> Path:
    repo = find_repo(hub.core.store, "model", repo_id)
    assert repo is not None
    return hub.core.git_path(repo.id)


def sound(hub: LocalHub, repo_id: str) -> bool:
    words = ["git", "fsck", "--full", "--strict"]
    done = subprocess.run(words, cwd=git_path(hub, repo_id), capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def push(hub: LocalHub, api: HfApi, repo_id: str, tmp_path: Path) -> bytes:
    """The body of a push of one commit with a few files, as git would send it."""
    work = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", f"{hub.url}/{repo_id}", str(work))
    for number in range(5):
        (work / f"{number}.txt").write_text("a line\n" * 20 * number + str(number))
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "To be pushed")
    old = tip(api, repo_id)
    new = git(work, "rev-parse", "HEAD").decode().strip()
    pack = git(work, "pack-objects", "--revs", "--stdout", "-q", data=f"{new}\n^{old}\n".encode())
    command = f"{old} {new} refs/heads/main\0report-status side-band-64k".encode()
    return packet(command) + b"0000" + pack


def mutants(body: bytes, rng: random.Random) -> Iterator[bytes]:
    """Versions of a body with bits turned, pieces cut out, doubled, moved or random."""
    while True:
        data = bytearray(body)
        for _ in range(rng.choice((1, 1, 1, 3, 20))):
            at = rng.randrange(len(data)) if rng.random() < 0.7 else rng.randrange(100)
            size = rng.choice((1, 1, 4, 40))
            piece = data[at : at + size]
            made = {
                "turn": bytes(byte ^ 1 << rng.randrange(8) for byte in piece),
                "cut": b"",
                "double": bytes(piece + piece),
                "random": rng.randbytes(size),
                "zero": b"0" * len(piece),
                "end": b"",
            }
            kind = rng.choice(list(made))
            data[at : len(data) if kind == "end" else at + size] = made[kind]
            if not data:
                break
        yield bytes(data)


def push_mutants(
    hub: LocalHub, http: httpx.Client, repo_id: str, body: bytes, number: int
) -> list[int]:
    rng = random.Random(number)
    answers = []
    for data in itertools.islice(mutants(body, rng), number):
        url = f"/{repo_id}.git/git-receive-pack"
        answers.append(http.post(url, content=data, headers=RECEIVE).status_code)
    assert list((hub.data_dir / "tmp").iterdir()) == []
    assert sound(hub, repo_id)
    return answers


def test_push_when_mutated_then_never_5xx_and_the_repo_stays_sound(
    hub: LocalHub, api: HfApi, http: httpx.Client, repo_id: str, push: bytes
) -> None:
    answers = push_mutants(hub, http, repo_id, push, 60)
    assert max(answers) < 500
    assert {200, 400} <= set(answers)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_push_when_mutated_2000_times_then_never_5xx_and_the_repo_stays_sound(
    hub: LocalHub, http: httpx.Client, repo_id: str, push: bytes
) -> None:
    answers = push_mutants(hub, http, repo_id, push, 2000)
    print(f"{len(answers)} mutated pushes, {sum(status >= 500 for status in answers)} answers 5xx")
    assert max(answers) < 500


def test_push_when_untouched_then_accepted(
    api: HfApi, http: httpx.Client, repo_id: str, push: bytes
) -> None:
    """Without this, the tests of mutants could pass on a body that is never any good."""
    answer = http.post(f"/{repo_id}.git/git-receive-pack", content=push, headers=RECEIVE)
    assert b"ok refs/heads/main" in answer.content
    assert "4.txt" in api.list_repo_files(repo_id)


def test_push_when_its_lines_are_of_odd_lengths_then_400(http: httpx.Client, repo_id: str) -> None:
    zeros, ones = "0" * 40, "1" * 40
    for body in (
        b"zzzz",
        b"00",
        b"0001",
        b"0003",
        b"0004",
        b"fff0abc",
        b"-001abc",
        b"00_9abcde",
        packet(b"\0\0\0"),
        packet(f"{zeros} {ones}".encode()),
        packet(f"{zeros} {'g' * 40} refs/heads/x".encode()),
    ):
        answer = http.post(f"/{repo_id}.git/git-receive-pack", content=body, headers=RECEIVE)
        assert answer.status_code == 400, (body, answer.content)
        assert "The push" in answer.text


def bomb(work: Path, new: str, old: str) -> bytes:
    """The body of a push of all that `new` brings in."""
    pack = git(work, "pack-objects", "--revs", "--stdout", "-q", data=f"{new}\n^{old}\n".encode())
    assert len(pack) < 1_000_000
    return (
        packet(f"{old} {new} refs/heads/main\0report-status side-band-64k".encode())
        + b"0000"
        + pack
    )


def test_push_when_its_pack_unpacks_to_far_more_then_refused(
    hub: LocalHub, api: HfApi, http: httpx.Client, repo_id: str, tmp_path: Path
) -> None:
    work, old = tmp_path / "work", tip(api, repo_id)
    git(tmp_path, "clone", "--quiet", f"{hub.url}/{repo_id}", str(work))
    text = git(work, "cat-file", "commit", "HEAD") + b"a" * (MAX_FOLDER_BYTES + 1)
    giant = git(work, "hash-object", "-t", "commit", "-w", "--stdin", data=text).decode().strip()
    with (work / "zeros.txt").open("wb") as file:
        file.truncate(40_000_000)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "A bomb")
    zeros = git(work, "rev-parse", "HEAD").decode().strip()
    url = f"/{repo_id}.git/git-receive-pack"
    for new, message in ((giant, b"and is not a file"), (zeros, b"zeros.txt is larger than 10 MB")):
        answer = http.post(url, content=bomb(work, new, old), headers=RECEIVE)
        assert message in answer.content
    assert tip(api, repo_id) == old


def test_fetch_when_mutated_then_never_5xx(http: httpx.Client, api: HfApi, repo_id: str) -> None:
    sha = tip(api, repo_id)
    first = f"want {sha} multi_ack_detailed side-band-64k thin-pack ofs-delta agent=git/2\n"
    body = packet(first.encode()) + b"0000" + packet(f"have {'1' * 40}\n".encode())
    body += packet(b"done\n")
    url = f"/{repo_id}.git/git-upload-pack"
    assert b"PACK" in http.post(url, content=body).content
    rng = random.Random(5)
    for data in itertools.islice(mutants(body, rng), 40):
        headers = {"Git-Protocol": "version=2"} if rng.random() < 0.3 else {}
        assert http.post(url, content=data, headers=headers).status_code < 500
    assert http.post(url, content=body[:20]).status_code < 500


COMMIT = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in (
        {"key": "header", "value": {"summary": "A title", "description": "é"}},
        {"key": "file", "value": {"path": "a.txt", "content": "YQ==", "encoding": "base64"}},
        {"key": "file", "value": {"path": "d/b.txt", "content": "text"}},
    )
)


def test_commit_when_cut_anywhere_in_a_line_then_400_and_no_commit(
    http: httpx.Client, api: HfApi, repo_id: str
) -> None:
    old = tip(api, repo_id)
    ends = {index for index, byte in enumerate(COMMIT) if byte == ord("\n")}
    inside = [end for end in range(1, len(COMMIT)) if not {end, end - 1} & ends]
    for end in inside[::4]:
        answer = http.post(f"/api/models/{repo_id}/commit/main", content=COMMIT[:end])
        assert answer.status_code == 400, (end, answer.text)
        assert "is not JSON" in answer.json()["error"]
    assert tip(api, repo_id) == old


def test_commit_when_mutated_then_never_5xx(
    hub: LocalHub, http: httpx.Client, repo_id: str
) -> None:
    url = f"/api/models/{repo_id}/commit/main"
    for data in itertools.islice(mutants(COMMIT, random.Random(6)), 150):
        answer = http.post(url, content=data)
        assert answer.status_code < 500, (data, answer.text)
    assert sound(hub, repo_id)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"path": "a", "content": "!!!", "encoding": "base64"}, "not valid base64"),
        ({"path": "a", "content": "YQ", "encoding": "base64"}, "not valid base64"),
        ({"path": "a", "content": "é", "encoding": "base64"}, "not valid base64"),
        ({"path": "a", "content": "x", "encoding": "rot13"}, "Unknown encoding"),
        ({"path": "a", "content": 5}, "is not text"),
        ({"content": "x"}, "has no path"),
    ],
)
def test_commit_when_a_file_cannot_be_decoded_then_400(
    http: httpx.Client, repo_id: str, value: dict[str, object], message: str
) -> None:
    lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "file", "value": value}]
    body = "\n".join(json.dumps(line) for line in lines)
    answer = http.post(f"/api/models/{repo_id}/commit/main", content=body)
    assert (answer.status_code, message in answer.json()["error"]) == (400, True)


SERVER = (
    "import json, pathlib, sys\n"
    "from hub_trainer.local_hub import serve\n"
    "ready = lambda hub: print(json.dumps([hub.url, hub.token]), flush=True)\n"
    "serve(pathlib.Path(sys.argv[1]), on_ready=ready)\n"
)


def million_lines(key: str) -> Iterator[bytes]:
    yield json.dumps({"key": "header", "value": {"summary": "Many"}}).encode() + b"\n"
    for start in range(0, 1_000_000, 1000):
        yield b"".join(
            b'{"key":"%s","value":{"path":"d%d/f%d","content":""}}\n' % (key.encode(), n % 997, n)
            for n in range(start, start + 1000)
        )


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize("key", ["file", "deletedFile"])
def test_commit_when_it_names_a_million_files_then_413_in_little_memory(
    tmp_path: Path, key: str
) -> None:
    words = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, token = json.loads(process.stdout.readline())
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=240) as client:
            client.post("/api/repos/create", json={"name": "m"})
            path = "/api/models/admin/m/commit/main"
            answer = client.post(path, content=million_lines(key))
            used = peak_mb(process.pid)
        process.terminate()
    assert answer.status_code == 413
    assert "may name 100000 files" in answer.json()["error"]
    print(f"a million operations ({key}): 413, the server used {used:.0f} MB at most")
    assert used < 300


def test_headers_when_odd_then_never_5xx(http: httpx.Client, repo_id: str) -> None:
    odd = ["", "a" * 30_000, "\x7f", "bytes=0-1,3-4", "bytes=-" + "9" * 18, 'W/"x"', "gzip"]
    names = ["Range", "If-None-Match", "If-Range", "Content-Encoding", "Git-Protocol", "Accept"]
    names += ["X-Request-Id", "Authorization", "Content-Type", "Cookie"]
    for name, value in itertools.product(names, odd):
        for path in (f"/{repo_id}/resolve/main/.gitattributes", f"/api/models/{repo_id}"):
            assert http.get(path, headers={name: value}).status_code < 500, (name, value)
    many = [(f"X-{number}", "v") for number in range(1500)]
    assert http.get("/api/models", headers=many).status_code < 500
    secret = base64.b64encode(os.urandom(300)).decode()
    assert http.get("/api/models", headers={"Authorization": f"Basic {secret}"}).status_code == 401
