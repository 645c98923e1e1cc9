"""Nonsense at every route: whatever comes, the answer is not 5xx."""

import json
import random
import re
from urllib.parse import quote

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub.routes import ROUTES

FIELDS = """
name type organization private visibility sdk secrets variables fromRepo toRepo gated files
repository startingPoint tag message title description pullRequest comment content status
user requestId namespace theme position note item url watched domains secret key value
seconds flavor sleepTimeSeconds operation objects oid size transfers hash_algo parts paths
expand deletions target gitIgnore repoType license tier enabled discussionsDisabled
"""
VALUES: list[object] = [None, True, -1, 0, 2**70, 1.5, "", "x", "é\0\ud800", "../..", "a" * 10_000]
VALUES += [[], [None], [[]], {}, {"": 1}, [{}], [{"path": 1}], {"sha": ["x"]}, ["a", 1]]
VALUES += [{"type": [], "id": {}}]
PARTS = ["main", "refs%2Fpr%2F1", "refs%2Fheads%2Fmain", "%2e%2e", "é", "%F0%9F%98%80", "a%20b"]
PARTS += ["a" * 300, "%25", "'", '"', "-1", "main%00", "%0d%0a", "..%5Cx", "HEAD", "@%7B0%7D", "*"]
QUERIES = ["", "?expand=x", "?limit=-1", "?limit=99999999999", "?p=1e9", "?cursor=W10=", "?%ff=%ff"]
QUERIES += ["?recursive=1&expand=true", "?blobs=1", "?diff=1", "?sort=%00", "?service=x"]


@pytest.mark.parametrize("seed", range(3))
def test_routes_when_asked_nonsense_then_never_5xx(
    http: httpx.Client, api: HfApi, repo_id: str, seed: int
) -> None:
    rng = random.Random(seed)
    api.create_pull_request(repo_id, title="A pull request")
    failed = []
    for entry in [each for each in ROUTES for _ in range(6)]:
        path = nonsense_path(entry.path, repo_id, rng)
        body = {rng.choice(FIELDS.split()): rng.choice(VALUES) for _ in range(rng.randrange(40))}
        content = None if entry.method == "GET" else nonsense_json(body, rng)
        answer = http.request(entry.method, path + rng.choice(QUERIES), content=content)
        if answer.status_code >= 500:
            failed.append((entry.method, path, body, answer.status_code))
    assert failed == []


def nonsense_path(path: str, repo_id: str, rng: random.Random) -> str:
    """A route's path with a real repo, and anything else in the other places."""
    namespace, name = repo_id.split("/")
    known = {"ns": namespace, "name": name, "prefix": "", "kind": "models"}
    known |= {"dotgit": rng.choice(["", ".git"]), "num": rng.choice("129")}
    if "{kind:space}" in path:
        known["kind"] = "spaces"
    filled = re.sub(
        r"\{(\w+)(?::\w+)?\}", lambda found: known.get(found[1]) or rng.choice(PARTS), path
    )
    return quote(filled, safe="/%.*'\"")


def nonsense_json(body: dict[str, object], rng: random.Random) -> bytes:
    """JSON as it should be, or cut off."""
    text = json.dumps(body).encode()
    return text if rng.random() < 0.9 else text[: len(text) // 2]
