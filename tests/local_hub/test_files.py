from collections.abc import Callable

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

AWKWARD = ["a b.txt", "ü/é.txt", "50%.txt", "q?.txt", "h#.txt", "a&b=c.txt", "日本/x.bin"]


def _add(api: HfApi, repo_id: str, files: dict[str, bytes]) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return str(api.create_commit(repo_id, operations, commit_message="Add").oid)


def test_files_when_names_are_awkward_then_they_come_back(api: HfApi, repo_id: str) -> None:
    _add(api, repo_id, {path: path.encode() for path in AWKWARD})
    assert set(AWKWARD) < set(api.list_repo_files(repo_id))
    for path in AWKWARD:
        local = api.hf_hub_download(repo_id, path)
        with open(local, "rb") as file:
            assert file.read() == path.encode()
    assert {each.path for each in api.get_paths_info(repo_id, AWKWARD)} == set(AWKWARD)


def test_resolve_when_regular_then_headers_name_commit_and_blob(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    sha = _add(api, repo_id, {"a.txt": b"hello"})
    answer = http.get(f"/{repo_id}/resolve/main/a.txt")
    assert answer.headers["X-Repo-Commit"] == sha
    assert answer.headers["ETag"] == '"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"'
    assert answer.headers["Content-Length"] == "5"
    head = http.head(f"/{repo_id}/resolve/main/a.txt")
    assert (head.content, head.headers["Content-Length"]) == (b"", "5")
    cached = http.get(
        f"/{repo_id}/resolve/main/a.txt", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert cached.status_code == 304


def test_resolve_when_large_then_headers_link_the_content(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    _add(api, repo_id, {"w.bin": b"weights"})
    answer = http.get(f"/{repo_id}/resolve/main/w.bin")
    assert answer.content == b"weights"
    assert answer.headers["X-Linked-Size"] == "7"
    assert answer.headers["X-Linked-Etag"] == answer.headers["ETag"]
    assert b"oid sha256:" in http.get(f"/{repo_id}/raw/main/w.bin").content


def test_user_content_when_served_then_a_browser_will_not_run_it(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    _add(api, repo_id, {'x"é.html': b"<script>alert(1)</script>", "x.bin": b"<svg onload=1>"})
    for path in ("x%22%C3%A9.html", "x.bin"):
        for kind in ("resolve", "raw"):
            headers = http.get(f"/{repo_id}/{kind}/main/{path}").headers
            assert headers["Content-Disposition"].startswith("attachment")
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
            assert headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=8-", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=5-500", 206, b"56789"),
        ("bytes=-500", 206, b"0123456789"),
        ("bytes=3-1", 200, b"0123456789"),
        ("bytes=a-b", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("items=0-1", 200, b"0123456789"),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
@pytest.mark.parametrize("path", ["a.txt", "a.bin"])
def test_range_when_asked_then_those_bytes(
    ten_bytes: str, http: httpx.Client, path: str, asked: str, status: int, content: bytes | None
) -> None:
    answer = http.get(f"/{ten_bytes}/resolve/main/{path}", headers={"Range": asked})
    assert answer.status_code == status
    if content is None:
        assert answer.headers["Content-Range"] == "bytes */10"
        assert "outside of the 10 bytes" in answer.json()["error"]
    else:
        assert answer.content == content


def test_range_when_the_file_has_changed_then_all_of_it(ten_bytes: str, http: httpx.Client) -> None:
    headers = {"Range": "bytes=5-", "If-Range": '"other"'}
    answer = http.get(f"/{ten_bytes}/resolve/main/a.bin", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"0123456789")


@pytest.fixture(scope="module")
def ten_bytes(api: HfApi) -> str:
    repo_id = str(api.create_repo("ten-bytes").repo_id)
    _add(api, repo_id, {"a.txt": b"0123456789", "a.bin": b"0123456789"})
    return repo_id


def test_empty_file_when_resolved_then_empty(api: HfApi, http: httpx.Client, repo_id: str) -> None:
    _add(api, repo_id, {"empty.txt": b""})
    answer = http.get(f"/{repo_id}/resolve/main/empty.txt")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["missing", "dir", "a.txt/b", ".git/config", "%2e%2e/x"])
def test_resolve_when_not_a_file_then_404_that_can_be_cached(
    api: HfApi, http: httpx.Client, repo_id: str, path: str
) -> None:
    sha = _add(api, repo_id, {"dir/a.txt": b"1", "a.txt": b"1"})
    answer = http.get(f"/{repo_id}/resolve/main/{path}")
    assert answer.status_code == 404
    assert answer.headers["X-Error-Code"] == "EntryNotFound"
    assert answer.headers["X-Repo-Commit"] == sha


@pytest.mark.parametrize(
    "path", ["tree/none", "revision/none", "commits/none", "tree/refs%2Fpr%2F9"]
)
def test_revision_when_missing_then_404_names_it(
    http: httpx.Client, repo_id: str, path: str
) -> None:
    answer = http.get(f"/api/models/{repo_id}/{path}")
    assert answer.status_code == 404
    assert answer.headers["X-Error-Code"] == "RevisionNotFound"
    assert answer.json()["error"].startswith("Invalid rev id: ")


def test_revision_when_branch_with_slash_then_found_quoted(api: HfApi, repo_id: str) -> None:
    api.create_branch(repo_id, branch="feature/one")
    _add(api, repo_id, {"later.txt": b"1"})
    assert api.list_repo_files(repo_id, revision="feature/one") == [".gitattributes"]
    assert api.list_repo_files(repo_id, revision="refs/heads/feature/one") == [".gitattributes"]


def test_tree_when_longer_than_a_page_then_links_keep_the_commit(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    _add(api, repo_id, {f"d/{number:03}.txt": b"x" for number in range(25)})
    url, found = f"/api/models/{repo_id}/tree/main?recursive=true&limit=10", []
    while url:
        answer = http.get(url)
        found += [each["path"] for each in answer.json()]
        if len(found) == 10:
            api.create_commit(
                repo_id, [CommitOperationDelete("d/", is_folder=True)], commit_message="Delete"
            )
        url = answer.links.get("next", {}).get("url", "")
    assert len(found) == len(set(found)) == 27


def test_tree_when_large_file_then_pointer_oid_and_content_size(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    _add(api, repo_id, {"w.bin": b"weights"})
    (entry,) = [
        e for e in http.get(f"/api/models/{repo_id}/tree/main").json() if e["path"] == "w.bin"
    ]
    assert entry["size"] == entry["lfs"]["size"] == 7
    assert len(entry["oid"]) == 40
    assert len(entry["lfs"]["oid"]) == 64
    assert entry["lfs"]["pointerSize"] > 100


def test_last_commit_when_expanded_then_the_one_that_changed_the_path(
    api: HfApi, repo_id: str
) -> None:
    first = _add(api, repo_id, {"a/x.txt": b"1", "b.txt": b"1"})
    second = _add(api, repo_id, {"a/y.txt": b"1"})
    entries = api.get_paths_info(repo_id, ["a", "a/x.txt", "b.txt"], expand=True)
    found = {entry.path: entry.last_commit.oid for entry in entries}
    assert found == {"a": second, "a/x.txt": first, "b.txt": first}


def test_commits_when_more_than_a_page_then_all_are_listed(api: HfApi, repo_id: str) -> None:
    for number in range(60):
        _add(api, repo_id, {"n.txt": str(number).encode()})
    assert len(api.list_repo_commits(repo_id)) == 61


def test_history_when_squashed_then_one_commit_and_the_same_files(api: HfApi, repo_id: str) -> None:
    _add(api, repo_id, {"a.txt": b"1"})
    api.super_squash_history(repo_id, commit_message="One")
    assert [each.title for each in api.list_repo_commits(repo_id)] == ["One"]
    assert "a.txt" in api.list_repo_files(repo_id)


def test_compare_when_asked_then_a_patch(api: HfApi, http: httpx.Client, repo_id: str) -> None:
    before = api.model_info(repo_id).sha
    _add(api, repo_id, {"a.txt": b"hello\n"})
    for dots in ("..", "..."):
        assert "+hello" in http.get(f"/api/models/{repo_id}/compare/{before}{dots}main").text


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        ("refs/pr/5", "Invalid reference for a branch"),
        ("a..b", "Invalid reference for a branch"),
        ("a b", "Invalid reference for a branch"),
        ("a" * 201, "Invalid reference for a branch"),
        ("main", "Reference refs/heads/main already exists"),
        ("main/sub", "conflicts with another branch"),
    ],
)
def test_branch_when_impossible_then_error_says_why(
    http: httpx.Client, repo_id: str, branch: str, message: str
) -> None:
    quoted = branch.replace("/", "%2F").replace(" ", "%20")
    answer = http.post(f"/api/models/{repo_id}/branch/{quoted}", json={})
    assert answer.status_code in (400, 409)
    assert message in answer.json()["error"]


def test_main_when_deleted_then_403(http: httpx.Client, repo_id: str) -> None:
    answer = http.delete(f"/api/models/{repo_id}/branch/main")
    assert (answer.status_code, answer.json()["error"]) == (403, "Cannot delete refs/heads/main")


def test_tag_when_invalid_then_400_and_when_taken_then_409(
    http: httpx.Client, repo_id: str
) -> None:
    url = f"/api/models/{repo_id}/tag/main"
    assert "Invalid tag name" in http.post(url, json={"tag": "a b"}).json()["error"]
    assert http.post(url, json={"tag": "v1", "message": "m"}).is_success
    assert http.post(url, json={"tag": "v1"}).status_code == 409


def test_paths_info_when_sent_as_json_then_the_same(
    api: HfApi, http: httpx.Client, new_repo: Callable[..., str]
) -> None:
    repo_id = new_repo()
    _add(api, repo_id, {"a.txt": b"1"})
    url = f"/api/models/{repo_id}/paths-info/main"
    as_json = http.post(url, json={"paths": ["a.txt", "none"], "expand": True}).json()
    as_form = http.post(url, data={"paths": ["a.txt", "none"], "expand": "true"}).json()
    assert as_json == as_form
    assert [entry["path"] for entry in as_json] == ["a.txt"]


def test_commits_when_listed_then_a_header_counts_them_all(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    def counted(revision: str) -> str:
        answer = http.get(f"/api/models/{repo_id}/commits/{revision}", params={"limit": 1})
        return str(answer.headers["X-Total-Count"])

    def add(path: str, revision: str = "main") -> str:
        done = api.upload_file(
            path_or_fileobj=b"1", path_in_repo=path, repo_id=repo_id, revision=revision
        )
        return str(done.oid)

    first = add("a")
    assert counted("main") == "2"
    add("b")
    assert [counted(each) for each in ("main", first, "main")] == ["3", "2", "3"]
    api.create_branch(repo_id, branch="dev", revision=first)
    add("c", "dev")
    assert [counted(each) for each in ("dev", "main")] == ["3", "3"]
    api.super_squash_history(repo_id)
    assert counted("main") == "1"
