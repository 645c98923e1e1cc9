import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_trainer.local_hub import Limits, LocalHub

Post = Callable[..., httpx.Response]


def header(**fields: Any) -> dict[str, Any]:
    return {"key": "header", "value": {"summary": "A commit", **fields}}


def file(path: Any, data: bytes = b"1", **fields: Any) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    return {"key": "file", "value": {"path": path, "content": text, "encoding": "base64", **fields}}


def ndjson(*lines: Any) -> bytes:
    return b"\n".join(json.dumps(line).encode() for line in lines)


@pytest.fixture
def post(http: httpx.Client, repo_id: str) -> Post:
    def send(*lines: Any, query: str = "", body: bytes | None = None) -> httpx.Response:
        url = f"/api/models/{repo_id}/commit/main{query}"
        return http.post(url, content=ndjson(*lines) if body is None else body)

    return send


def test_commit_when_whole_then_files_and_message(api: HfApi, post: Post, repo_id: str) -> None:
    answer = post(header(description="Why"), file("a.txt"), file("b.txt", encoding="utf-8"))
    assert answer.json()["success"]
    assert answer.json()["commitUrl"].endswith(f"{repo_id}/commit/{answer.json()['commitOid']}")
    newest = api.list_repo_commits(repo_id)[0]
    assert (newest.title, newest.message) == ("A commit", "Why")


LINES: list[tuple[bytes, int, str]] = [
    (b"", 400, "no header line"),
    (ndjson(file("a")), 400, "no header line"),
    (ndjson(file("a"), header()), 400, "must be the first line"),
    (ndjson(header(), header()), 400, "must be the first line"),
    (ndjson(header(summary="  ")), 400, "needs a summary"),
    (ndjson(header(summary=1)), 400, "needs a summary"),
    (ndjson(header(parentCommit=1)), 400, "parentCommit must be"),
    (ndjson(header())[:-5], 400, "Line 1 of the commit is not JSON"),
    (ndjson(header()) + b"\n{", 400, "Line 2 of the commit is not JSON"),
    (ndjson(header(), [1]), 400, "Line 2 of the commit is not an object with key and value"),
    (ndjson(header(), {"key": "file"}), 400, "not an object with key and value"),
    (ndjson(header(), {"key": "file", "value": {}}), 400, "A file line has no path"),
    (ndjson(header(), {"key": "move", "value": {"path": "a"}}), 400, "Add a line with the key"),
    (ndjson(header(), file("a", content="%%%")), 400, "not valid base64"),
    (ndjson(header(), file("a", content=5)), 400, "is not text"),
    (ndjson(header(), file("a", encoding="rot13")), 400, "Unknown encoding"),
    (ndjson(header(), file("a"), file("a/b")), 400, "both a file and a folder"),
    (ndjson(header(), file(".gitattributes/b")), 400, ".gitattributes is a file"),
    (ndjson(header(), {"key": "deletedFile", "value": {"path": "x"}}), 404, "x does not exist"),
    (ndjson(header(), {"key": "deletedFile", "value": {"path": "x/y"}}), 404, "x does not exist"),
    (ndjson(header(parentCommit="a" * 40), file("a")), 412, "The branch was updated"),
    (ndjson(header(parentCommit=""), file("a")), 412, "The branch was updated"),
]


@pytest.mark.parametrize(("body", "status", "message"), LINES, ids=range(len(LINES)))
def test_commit_when_malformed_then_error_and_nothing_changes(
    api: HfApi, post: Post, repo_id: str, body: bytes, status: int, message: str
) -> None:
    answer = post(body=body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]
    assert len(api.list_repo_commits(repo_id)) == 1


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "./a", "..\\a", "\\a", "a\nb", "a\0b"]
    + [".git/config", "a/.GIT/x", ".git ", "git~1/x", "x" * 256, "a/" * 2100 + "b", "\ud800"],
)
def test_path_when_it_could_escape_then_422(
    api: HfApi, post: Post, repo_id: str, path: str
) -> None:
    for line in (file(path), {"key": "deletedFile", "value": {"path": path or "/"}}):
        answer = post(header(), line)
        if not path.endswith("/"):
            assert answer.status_code == 422, answer.text
            assert "Invalid path in repo" in answer.json()["error"]
    assert api.list_repo_files(repo_id) == [".gitattributes"]


def test_folder_when_a_file_takes_its_place_then_it_must_be_deleted_first(
    api: HfApi, post: Post, repo_id: str
) -> None:
    assert post(header(), file("a/b")).is_success
    assert "a is a folder" in post(header(), file("a")).json()["error"]
    gone = {"key": "deletedFolder", "value": {"path": "a/"}}
    assert post(header(), gone, file("a")).is_success
    assert api.list_repo_files(repo_id) == [".gitattributes", "a"]


def test_path_when_named_twice_then_the_last_content_wins(
    http: httpx.Client, post: Post, repo_id: str
) -> None:
    assert post(header(), file("a", b"1"), file("a", b"2")).is_success
    assert http.get(f"/{repo_id}/resolve/main/a").content == b"2"


def test_large_file_when_its_content_was_never_sent_then_400(post: Post) -> None:
    value = {"path": "w.bin", "algo": "sha256", "oid": "a" * 64, "size": 3}
    for wrong in (value, {**value, "size": None}):
        answer = post(header(), {"key": "lfsFile", "value": wrong})
        assert answer.status_code == 400
        assert "LFS pointer pointed to a file that does not exist" in answer.json()["error"]
        assert "Offending file: w.bin" in answer.json()["error"]
    answer = post(header(), {"key": "lfsFile", "value": {**value, "oid": "nope"}})
    assert "The oid of w.bin is not a sha256" in answer.json()["error"]


def test_pointer_when_committed_as_text_then_its_content_must_be_here(post: Post) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 3\n" % (b"a" * 64)
    assert "Offending file: p" in post(header(), file("p", pointer)).json()["error"]


def test_limits_when_exceeded_then_413() -> None:
    limits = Limits(regular_file_bytes=1000, commit_bytes=300_000, commit_operations=50)
    with LocalHub(limits=limits) as hub:
        headers = {"Authorization": f"Bearer {hub.token}"}
        HfApi(endpoint=hub.url, token=hub.token).create_repo("m")
        with httpx.Client(base_url=hub.url, headers=headers) as client:
            for body, message in (
                (ndjson(header(), file("a", b"x" * 1001)), "a is larger than 10 MB"),
                (ndjson(header(), file("a", b"x" * 100_000)), "larger than 10 MB"),
                (ndjson(header(), *[file(f"{n}") for n in range(60)]), "may name 50 files"),
                (b" " * 300_001, "larger than 300000 bytes"),
            ):
                answer = client.post("/api/models/admin/m/commit/main", content=body)
                assert answer.status_code == 413
                assert message in answer.json()["error"]


def test_commit_when_parent_is_stale_then_412_and_short_parents_work(
    api: HfApi, repo_id: str
) -> None:
    first = api.model_info(repo_id).sha
    add = [CommitOperationAdd("a", b"1")]
    second = api.create_commit(repo_id, add, commit_message="m", parent_commit=str(first)[:8]).oid
    with pytest.raises(HfHubHTTPError, match="The branch was updated since you opened this page"):
        api.create_commit(
            repo_id, [CommitOperationAdd("b", b"1")], commit_message="m", parent_commit=first
        )
    assert api.model_info(repo_id).sha == second


def test_commit_when_to_a_tag_or_sha_then_404(api: HfApi, http: httpx.Client, repo_id: str) -> None:
    api.create_tag(repo_id, tag="v1")
    for revision in ("v1", api.model_info(repo_id).sha, "refs%2Fpr%2F7", "refs%2Ftags%2Fv1"):
        answer = http.post(
            f"/api/models/{repo_id}/commit/{revision}", content=ndjson(header(), file("a"))
        )
        assert answer.status_code == 404
        assert answer.headers["X-Error-Code"] == "RevisionNotFound"


def test_commit_when_by_a_stranger_then_told_to_open_a_pull_request(
    other: HfApi, repo_id: str
) -> None:
    add = [CommitOperationAdd("a", b"1")]
    with pytest.raises(HfHubHTTPError, match="pass `create_pr=1`"):
        other.create_commit(repo_id, add, commit_message="m")
    assert other.create_commit(repo_id, add, commit_message="m", create_pr=True).pr_num == 1


def test_preupload_when_asked_then_mode_ignore_and_known_hash(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    api.upload_file(path_or_fileobj=b"x\n", path_in_repo="a.txt", repo_id=repo_id)
    api.upload_file(
        path_or_fileobj=b"*.log\n!keep.log\n", path_in_repo=".gitignore", repo_id=repo_id
    )
    names = ("a.txt", "w.bin", "x.log", "keep.log", "zero.dat", "big.txt")
    files = [{"path": name, "size": 3, "sample": ""} for name in names]
    files[4]["sample"] = base64.b64encode(b"a\0b").decode()
    files[5]["size"] = 11 * 1024 * 1024
    url = f"/api/models/{repo_id}/preupload/main"
    found = {each["path"]: each for each in http.post(url, json={"files": files}).json()["files"]}
    assert [found[name]["uploadMode"] for name in names] == ["regular", "lfs"] + [
        "regular",
        "regular",
        "lfs",
        "lfs",
    ]
    assert [name for name in names if found[name]["shouldIgnore"]] == ["x.log"]
    assert found["a.txt"]["oid"] == "587be6b4c3f93f93c489c0111bba5596147a26cb"
    told = http.post(url, json={"files": files, "gitIgnore": "*.txt"}).json()["files"]
    assert [each["path"] for each in told if each["shouldIgnore"]] == ["a.txt", "big.txt"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "files must be a list"),
        ({"files": [{}]}, "needs a path and a size"),
        ({"files": [{"path": "a", "size": 1, "sample": "%"}]}, "A sample is not base64"),
    ],
)
def test_preupload_when_malformed_then_400(
    http: httpx.Client, repo_id: str, body: Any, message: str
) -> None:
    answer = http.post(f"/api/models/{repo_id}/preupload/main", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
