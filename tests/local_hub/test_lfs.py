import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_trainer.local_hub import Limits, LocalHub
from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.lfs_parts import PartsUploads, Ticket


def batch(
    http: httpx.Client, repo_id: str, content: bytes, operation: str = "upload", **more: Any
) -> dict[str, Any]:
    oid = hashlib.sha256(content).hexdigest()
    body = {"operation": operation, "objects": [{"oid": oid, "size": len(content)}], **more}
    answer = http.post(f"/{repo_id}.git/info/lfs/objects/batch", json=body)
    assert answer.is_success, answer.text
    assert answer.headers["Content-Type"] == "application/vnd.git-lfs+json"
    return dict(answer.json()["objects"][0])


def upload(http: httpx.Client, repo_id: str, content: bytes) -> None:
    href = batch(http, repo_id, content)["actions"]["upload"]["href"]
    assert httpx.put(href, content=content).is_success


def test_file_when_sent_in_parts_then_it_comes_back(api: HfApi, repo_id: str) -> None:
    content = os.urandom(500_000)
    api.upload_file(path_or_fileobj=content, path_in_repo="w.bin", repo_id=repo_id)
    assert Path(api.hf_hub_download(repo_id, "w.bin")).read_bytes() == content


def test_file_when_uploaded_twice_then_the_second_time_is_skipped(
    http: httpx.Client, repo_id: str
) -> None:
    upload(http, repo_id, b"once")
    assert "actions" not in batch(http, repo_id, b"once")


def test_object_when_known_elsewhere_then_it_must_still_be_sent(
    http: httpx.Client, new_repo: Callable[..., str], other_token: str, hub: LocalHub
) -> None:
    private, mine = new_repo(private=True), "somebody/thief"
    upload(http, private, b"the secret weights")
    headers = {"Authorization": f"Bearer {other_token}"}
    with httpx.Client(base_url=hub.url, headers=headers) as thief:
        thief.post("/api/repos/create", json={"name": "thief"})
        assert "actions" in batch(thief, mine, b"the secret weights")
        found = batch(thief, mine, b"the secret weights", "download")
        assert found["error"]["code"] == 404
        oid = hashlib.sha256(b"the secret weights").hexdigest()
        assert thief.get(f"/{mine}.git/info/lfs/objects/{oid}").status_code == 404
        line = '{"key":"header","value":{"summary":"s"}}\n{"key":"lfsFile","value":{"path":"w.bin",'
        body = line + f'"algo":"sha256","oid":"{oid}"}}}}'
        answer = thief.post(f"/api/models/{mine}/commit/main", content=body)
        assert "LFS pointer pointed to a file that does not exist" in answer.json()["error"]
        copied = {"target": {"type": "model", "name": mine}, "files": [{"sha256": oid}]}
        stolen = thief.post(f"/api/models/{private}/lfs-files/duplicate", json=copied)
        assert stolen.status_code == 404


def test_content_when_it_has_another_hash_then_422_and_nothing_is_kept(
    http: httpx.Client, repo_id: str, hub: LocalHub
) -> None:
    href = batch(http, repo_id, b"right")["actions"]["upload"]["href"]
    for wrong, message in (
        (b"wrong", "promised were"),
        (b"rig", "promised"),
        (b"righter", "More than"),
    ):
        answer = httpx.put(href, content=wrong)
        assert answer.status_code == 422
        assert message in answer.json()["error"]
    assert "actions" in batch(http, repo_id, b"right")
    assert not list((hub.data_dir / "lfs" / "incoming").iterdir())


def test_ticket_when_forged_or_expired_then_403(
    http: httpx.Client, repo_id: str, hub: LocalHub
) -> None:
    href = batch(http, repo_id, b"content")["actions"]["upload"]["href"]
    answer = httpx.put(href[:-1] + ("0" if href[-1] != "0" else "1"), content=b"content")
    assert (answer.status_code, "not issued" in answer.text) == (403, True)
    ticket = Ticket("x", "a" * 64, 1, "", 0)
    old = hub.core.lfs.sign(ticket, now=1.0)
    answer = httpx.put(f"{hub.url}/lfs-upload/{old}", content=b"1")
    assert (answer.status_code, "has expired" in answer.text) == (403, True)
    gone = hub.core.lfs.sign(Ticket("x", hashlib.sha256(b"1").hexdigest(), 1, "", 0))
    answer = httpx.put(f"{hub.url}/lfs-upload/{gone}", content=b"1")
    assert (answer.status_code, "has gone" in answer.text) == (404, True)


def test_parts_when_wrong_then_errors_say_which(http: httpx.Client, repo_id: str) -> None:
    content = os.urandom(250_000)
    action = batch(http, repo_id, content, transfers=["basic", "multipart"])["actions"]["upload"]
    urls = [action["header"][f"{number:05d}"] for number in range(1, 5)]
    assert len(urls) == -(-250_000 // 64_000)
    assert "has 64000 bytes; 3 came" in httpx.put(urls[0], content=b"abc").json()["error"]
    assert "More than the 64000" in httpx.put(urls[0], content=content).json()["error"]
    assert httpx.put(urls[0].rsplit("/", 1)[0] + "/9", content=b"").status_code == 404
    tags = [httpx.put(url, content=b"x" * 64_000).headers.get("ETag") for url in urls[:3]]
    parts = [{"partNumber": n + 1, "etag": tag} for n, tag in enumerate(tags)]
    answer = httpx.post(action["href"], json={"parts": parts})
    assert "Part 4 of 4 is missing" in answer.json()["error"]
    parts.append(
        {"partNumber": 4, "etag": httpx.put(urls[3], content=b"x" * 58_000).headers["ETag"]}
    )
    answer = httpx.post(action["href"], json={"parts": parts})
    assert (answer.status_code, "The parts together have" in answer.text) == (422, True)
    assert "parts must be a list" in httpx.post(action["href"], json={"parts": 1}).json()["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"operation": "steal", "objects": []}, "operation must be upload or download"),
        ({"operation": "upload"}, "objects must be a list"),
        ({"operation": "upload", "objects": [{}]}, "needs a sha256 as oid"),
        ({"operation": "upload", "objects": [{"oid": "../x", "size": 1}]}, "needs a sha256"),
        ({"operation": "upload", "objects": [], "hash_algo": "md5"}, "Only sha256"),
    ],
)
def test_batch_when_malformed_then_422(
    http: httpx.Client, repo_id: str, body: Any, message: str
) -> None:
    answer = http.post(f"/{repo_id}.git/info/lfs/objects/batch", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_verify_when_object_is_missing_or_other_then_error(
    http: httpx.Client, repo_id: str
) -> None:
    url = f"/{repo_id}.git/info/lfs/objects/verify"
    oid = hashlib.sha256(b"verified").hexdigest()
    assert http.post(url, json={"oid": oid, "size": 8}).status_code == 404
    upload(http, repo_id, b"verified")
    assert http.post(url, json={"oid": oid, "size": 8}).is_success
    answer = http.post(url, json={"oid": oid, "size": 9})
    assert (answer.status_code, "has 8 bytes, not 9" in answer.text) == (422, True)


def test_download_when_git_lfs_asks_then_the_object(http: httpx.Client, repo_id: str) -> None:
    upload(http, repo_id, b"for git-lfs")
    action = batch(http, repo_id, b"for git-lfs", "download")["actions"]["download"]
    assert httpx.get(action["href"], headers=action["header"]).content == b"for git-lfs"


def test_object_when_its_last_repo_goes_then_it_leaves_the_disk(
    api: HfApi, http: httpx.Client, new_repo: Callable[..., str], hub: LocalHub
) -> None:
    one, two = new_repo(), new_repo()
    path = hub.core.lfs.path_of(hashlib.sha256(b"shared").hexdigest())
    for repo_id in (one, two):
        upload(http, repo_id, b"shared")
    api.delete_repo(one)
    assert path.read_bytes() == b"shared"
    api.delete_repo(two)
    assert not path.exists()


def test_lfs_files_when_deleted_for_good_then_history_forgets_them(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    operations = [CommitOperationAdd(path, path.encode()) for path in ("d/a.bin", "b.bin", "c.txt")]
    api.create_commit(repo_id, operations, commit_message="Add")
    api.create_tag(repo_id, tag="v1")
    api.upload_file(path_or_fileobj=b"later", path_in_repo="d/a.bin", repo_id=repo_id)
    found = list(api.list_lfs_files(repo_id))
    assert sorted(each.filename for each in found) == ["b.bin", "d/a.bin", "d/a.bin"]
    api.permanently_delete_lfs_files(repo_id, [e for e in found if e.filename == "d/a.bin"])
    assert api.list_repo_files(repo_id) == [".gitattributes", "b.bin", "c.txt"]
    assert api.list_repo_files(repo_id, revision="v1") == [".gitattributes", "b.bin", "c.txt"]
    assert [each.filename for each in api.list_lfs_files(repo_id)] == ["b.bin"]
    answer = http.post(f"/api/models/{repo_id}/lfs-files/batch", json={"deletions": {"sha": ["x"]}})
    assert "must be a list of sha256" in answer.json()["error"]


def test_lfs_files_when_copied_then_the_target_may_commit_them(
    api: HfApi, http: httpx.Client, new_repo: Callable[..., str]
) -> None:
    source, target = new_repo(), new_repo()
    upload(http, source, b"copied")
    oid = hashlib.sha256(b"copied").hexdigest()
    body = {
        "target": {"type": "model", "name": target},
        "files": [{"sha256": oid, "filename": "w.bin"}, {"sha256": "b" * 64}],
    }
    answer = http.post(f"/api/models/{source}/lfs-files/duplicate", json=body)
    assert [each["sha256"] for each in answer.json()["failed"]] == ["b" * 64]
    assert "actions" not in batch(http, target, b"copied")


def test_xet_when_asked_for_then_404_that_says_what_to_set(
    http: httpx.Client, repo_id: str
) -> None:
    answer = http.get(f"/api/models/{repo_id}/xet-write-token/main")
    assert (answer.status_code, "HF_HUB_DISABLE_XET=1" in answer.text) == (404, True)


def test_upload_when_the_token_is_a_strangers_then_only_for_a_pull_request(
    other: HfApi, repo_id: str
) -> None:
    with pytest.raises(HfHubHTTPError, match="create_pr=1"):
        other.upload_file(path_or_fileobj=b"\0", path_in_repo="w.bin", repo_id=repo_id)
    done = other.upload_file(
        path_or_fileobj=b"\0", path_in_repo="w.bin", repo_id=repo_id, create_pr=True
    )
    assert done.pr_num == 1


def multipart(http: httpx.Client, repo_id: str, content: bytes) -> tuple[list[str], str]:
    """The addresses of an upload's parts, and the one that completes it."""
    action = batch(http, repo_id, content, transfers=["basic", "multipart"])["actions"]["upload"]
    header = action["header"]
    return [header[name] for name in sorted(header) if name.isdigit()], action["href"]


def test_parts_when_out_of_order_and_one_sent_twice_then_the_last_content_counts(
    http: httpx.Client, repo_id: str
) -> None:
    content = os.urandom(250_000)
    urls, complete = multipart(http, repo_id, content)
    tags: dict[int, str] = {}
    for index in (0, 2, 1, 0, 3):
        part = content[index * 64_000 : (index + 1) * 64_000]
        first_time = index == 0 and not tags
        tags[index] = httpx.put(urls[index], content=part[::-1] if first_time else part).headers[
            "ETag"
        ]
    parts = [{"partNumber": n + 1, "etag": tags[n]} for n in range(4)]
    answer = httpx.post(complete, json={"parts": parts})
    assert answer.is_success, answer.text
    assert "actions" not in batch(http, repo_id, content)


def test_parts_when_the_server_starts_again_in_between_then_they_go_on(tmp_path: Path) -> None:
    content, tags = os.urandom(250_000), []
    limits = Limits(multipart_bytes=200_000, part_bytes=64_000)
    for indexes in ((0, 1), (2, 3)):
        with LocalHub(tmp_path, limits=limits) as hub:
            headers = {"Authorization": f"Bearer {hub.token}"}
            with httpx.Client(base_url=hub.url, headers=headers) as http:
                if not tags:
                    http.post("/api/repos/create", json={"name": "m"})
                    urls, complete = multipart(http, "admin/m", content)
                for index in indexes:
                    part = content[index * 64_000 : (index + 1) * 64_000]
                    path = httpx.URL(urls[index]).path
                    tags.append(http.put(path, content=part).headers["ETag"])
                if len(tags) == 4:
                    parts = [{"partNumber": n + 1, "etag": tag} for n, tag in enumerate(tags)]
                    path = httpx.URL(complete).path
                    assert http.post(path, json={"parts": parts}).is_success
                    assert "actions" not in batch(http, "admin/m", content)


def test_upload_when_completed_while_a_part_comes_in_then_409_and_nothing_can_slip_in(
    tmp_path: Path,
) -> None:
    content = b"a" * 100
    ticket = Ticket("r", hashlib.sha256(content).hexdigest(), 100, "u", 50)
    upload = PartsUploads(tmp_path).of(ticket)
    tags = []
    for number in (1, 2):
        with upload.open_part(number) as stream:
            stream.write(content[:50])
        tags.append({"partNumber": number, "etag": upload.mark(number)})
        upload.close_part()
        upload.follow()
    late = upload.open_part(1)
    with pytest.raises(WireError, match="still coming in"):
        upload.seal(tags)
    late.write(b"b" * 50)
    late.close()
    upload.close_part()
    with pytest.raises(WireError, match="Part 1 of 2 is missing"):
        upload.seal(tags)
    tags[0]["etag"] = upload.mark(1)
    upload.seal(tags)
    with pytest.raises(WireError, match="complete already"):
        upload.open_part(2)
    with pytest.raises(WireError, match="have sha256"):
        upload.content()


def test_download_when_the_client_breaks_off_then_it_can_go_on_from_there(
    hub: LocalHub, api: HfApi, repo_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = os.urandom(1000) * 20_000
    api.upload_file(path_or_fileobj=content, path_in_repo="w.bin", repo_id=repo_id)
    url = f"{hub.url}/{repo_id}/resolve/main/w.bin"
    for _ in range(5):
        with httpx.stream("GET", url) as answer:
            assert next(answer.iter_raw(1000)) == content[:1000]
    rest = httpx.get(url, headers={"Range": "bytes=1000-", "If-Range": answer.headers["ETag"]})
    assert (rest.status_code, rest.content) == (206, content[1000:])
    assert caplog.records == [], caplog.text


def test_object_when_empty_then_it_goes_both_ways(
    http: httpx.Client, api: HfApi, repo_id: str
) -> None:
    upload(http, repo_id, b"")
    action = batch(http, repo_id, b"", "download")["actions"]["download"]
    with httpx.Client(headers=action["header"]) as client:
        assert [client.get(action["href"]).content for _ in range(2)] == [b"", b""]


def test_object_when_its_file_has_gone_then_the_download_ends(
    hub: LocalHub, http: httpx.Client, repo_id: str
) -> None:
    upload(http, repo_id, b"soon gone")
    action = batch(http, repo_id, b"soon gone", "download")["actions"]["download"]
    hub.core.lfs.path_of(hashlib.sha256(b"soon gone").hexdigest()).unlink()
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(action["href"], headers=action["header"])
    assert http.get("/api/models").is_success
