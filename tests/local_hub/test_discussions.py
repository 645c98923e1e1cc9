from collections.abc import Callable

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError


def _propose(api: HfApi, repo_id: str, path: str, content: bytes, **options: object) -> int:
    done = api.create_commit(
        repo_id,
        [CommitOperationAdd(path, content)],
        commit_message=f"Change {path}",
        create_pr=True,
        **options,  # type: ignore[arg-type]
    )
    assert done.pr_num is not None
    return int(done.pr_num)


def test_pull_request_when_merged_then_main_has_it_and_says_by_whom(
    api: HfApi, other: HfApi, repo_id: str
) -> None:
    num = _propose(other, repo_id, "a.txt", b"one\n")
    details = api.get_discussion_details(repo_id, num)
    assert (details.status, details.is_pull_request, details.author) == ("open", True, "somebody")
    assert "+one" in str(details.diff)
    api.merge_pull_request(repo_id, num, comment="Thanks")
    merged = api.get_discussion_details(repo_id, num)
    assert (merged.status, merged.merge_commit_oid) == ("merged", api.model_info(repo_id).sha)
    assert "+one" in str(merged.diff)
    assert [event.type for event in merged.events] == ["commit", "comment", "status-change"]
    newest = api.list_repo_commits(repo_id)[0]
    assert newest.title == f"Change a.txt (#{num})"
    assert "Co-authored-by: somebody" in newest.message


def test_pull_request_when_main_moved_then_both_changes_stay(api: HfApi, repo_id: str) -> None:
    num = _propose(api, repo_id, "a.txt", b"1")
    api.upload_file(path_or_fileobj=b"2", path_in_repo="b.txt", repo_id=repo_id)
    api.merge_pull_request(repo_id, num)
    assert {"a.txt", "b.txt"} < set(api.list_repo_files(repo_id))


def test_pull_request_when_it_conflicts_then_409_names_the_files(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    api.upload_file(path_or_fileobj=b"0", path_in_repo="a.txt", repo_id=repo_id)
    num = _propose(api, repo_id, "a.txt", b"1")
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=repo_id)
    assert api.get_discussion_details(repo_id, num).conflicting_files == ["a.txt"]
    answer = http.post(f"/api/models/{repo_id}/discussions/{num}/merge", json={})
    assert answer.status_code == 409
    assert answer.json()["filesWithConflicts"] == ["a.txt"]
    assert "conflicts with the branch in: a.txt" in answer.json()["error"]


def test_pull_request_when_the_file_was_deleted_then_conflict(api: HfApi, repo_id: str) -> None:
    api.upload_file(path_or_fileobj=b"0", path_in_repo="a.txt", repo_id=repo_id)
    num = _propose(api, repo_id, "a.txt", b"1")
    api.create_commit(repo_id, [CommitOperationDelete("a.txt")], commit_message="Delete")
    with pytest.raises(HfHubHTTPError, match="conflicts with the branch"):
        api.merge_pull_request(repo_id, num)


def test_pull_request_when_draft_closed_or_merged_then_not_mergeable(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    pull = api.create_pull_request(repo_id, title="A draft")
    url = f"/api/models/{repo_id}/discussions/{pull.num}"
    assert "is draft. Only an open one" in http.post(f"{url}/merge", json={}).json()["error"]
    api.change_discussion_status(repo_id, pull.num, "open")
    api.change_discussion_status(repo_id, pull.num, "closed", comment="No")
    assert "is closed. Only an open one" in http.post(f"{url}/merge", json={}).json()["error"]
    api.change_discussion_status(repo_id, pull.num, "open")
    api.merge_pull_request(repo_id, pull.num)
    assert "is merged. Only an open one" in http.post(f"{url}/merge", json={}).json()["error"]
    status = http.post(f"{url}/status", json={"status": "open"})
    assert "A merged pull request stays merged" in status.json()["error"]
    with pytest.raises(HfHubHTTPError, match="is merged already"):
        api.upload_file(
            path_or_fileobj=b"1", path_in_repo="a", repo_id=repo_id, revision=pull.git_reference
        )


def test_discussion_when_merged_then_400(api: HfApi, http: httpx.Client, repo_id: str) -> None:
    num = api.create_discussion(repo_id, title="A question").num
    answer = http.post(f"/api/models/{repo_id}/discussions/{num}/merge", json={})
    assert (answer.status_code, "is not a pull request" in answer.text) == (400, True)


def test_pull_request_when_someone_elses_then_only_owners_may_touch_it(
    api: HfApi, other: HfApi, hub: object, repo_id: str
) -> None:
    num = _propose(api, repo_id, "a.txt", b"1")
    with pytest.raises(HfHubHTTPError, match="Only its author and the owners"):
        other.upload_file(
            path_or_fileobj=b"2", path_in_repo="a", repo_id=repo_id, revision=f"refs/pr/{num}"
        )
    with pytest.raises(HfHubHTTPError, match="rights to write"):
        other.merge_pull_request(repo_id, num)
    with pytest.raises(HfHubHTTPError, match="Only its author and the owners"):
        other.change_discussion_status(repo_id, num, "closed")
    theirs = _propose(other, repo_id, "b.txt", b"1")
    api.upload_file(
        path_or_fileobj=b"2", path_in_repo="b.txt", repo_id=repo_id, revision=f"refs/pr/{theirs}"
    )
    other.change_discussion_status(repo_id, theirs, "closed")


def test_pull_request_when_base_is_a_branch_then_merged_there(api: HfApi, repo_id: str) -> None:
    api.create_branch(repo_id, branch="dev")
    num = _propose(api, repo_id, "a.txt", b"1", revision="dev")
    assert api.get_discussion_details(repo_id, num).target_branch == "refs/heads/dev"
    api.merge_pull_request(repo_id, num)
    assert "a.txt" in api.list_repo_files(repo_id, revision="dev")
    assert "a.txt" not in api.list_repo_files(repo_id)


def test_pull_request_when_parent_is_older_then_it_starts_there(api: HfApi, repo_id: str) -> None:
    first = api.model_info(repo_id).sha
    api.upload_file(path_or_fileobj=b"2", path_in_repo="b.txt", repo_id=repo_id)
    num = _propose(api, repo_id, "a.txt", b"1", parent_commit=first)
    assert "b.txt" not in api.list_repo_files(repo_id, revision=f"refs/pr/{num}")
    api.create_branch(repo_id, branch="side", revision=first)
    side = api.upload_file(
        path_or_fileobj=b"1", path_in_repo="s", repo_id=repo_id, revision="side"
    ).oid
    with pytest.raises(HfHubHTTPError, match="is not on the branch"):
        _propose(api, repo_id, "c.txt", b"1", parent_commit=side)


def test_comment_when_edited_and_hidden_then_history_and_then_silence(
    api: HfApi, other: HfApi, http: httpx.Client, repo_id: str
) -> None:
    num = other.create_discussion(repo_id, title="A question").num
    said = other.comment_discussion(repo_id, num, "first")
    edited = other.edit_discussion_comment(repo_id, num, said.id, "second")
    assert (edited.content, edited.edited) == ("second", True)
    with pytest.warns(UserWarning, match="irreversible"):
        hidden = api.hide_discussion_comment(repo_id, num, said.id)
    assert (hidden.hidden, "second" in hidden.content) == (True, False)
    raw = http.get(f"/api/models/{repo_id}/discussions/{num}").text
    assert "first" not in raw
    assert "second" not in raw
    with pytest.raises(HfHubHTTPError, match="A hidden comment cannot be edited"):
        api.edit_discussion_comment(repo_id, num, said.id, "third")
    mine = api.comment_discussion(repo_id, num, "mine")
    with pytest.raises(HfHubHTTPError, match="may change a comment"):
        other.edit_discussion_comment(repo_id, num, mine.id, "x")
    with pytest.raises(HfHubHTTPError, match="does not exist in discussion"):
        api.edit_discussion_comment(repo_id, num, "nope", "x")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("", {"title": "x"}, "The title must have 3 to 250 characters"),
        ("/1/comment", {"comment": " "}, "The comment is empty"),
        ("/1/comment", {"comment": "x" * 65_537}, "longer than 65536"),
        ("/1/title", {"title": 5}, "The title must have"),
        ("/1/status", {"status": "merged"}, "Use open or closed"),
        ("/1/status", {"status": "open", "comment": 5}, "comment must be text"),
        ("/9/comment", {"comment": "x"}, "Discussion 9 does not exist"),
    ],
)
def test_discussion_when_malformed_then_error_says_why(
    api: HfApi, http: httpx.Client, repo_id: str, path: str, body: object, message: str
) -> None:
    api.create_discussion(repo_id, title="A question")
    answer = http.post(f"/api/models/{repo_id}/discussions{path}", json=body)
    assert answer.status_code in (400, 404)
    assert message in answer.json()["error"]


def test_discussions_when_disabled_then_403(api: HfApi, http: httpx.Client, repo_id: str) -> None:
    http.put(f"/api/models/{repo_id}/settings", json={"discussionsDisabled": True})
    with pytest.raises(HfHubHTTPError, match="Discussions are disabled"):
        api.create_discussion(repo_id, title="A question")


def test_discussions_when_many_then_all_pages_newest_first(
    api: HfApi, new_repo: Callable[..., str]
) -> None:
    repo_id = new_repo(repo_type="dataset")
    for number in range(55):
        api.create_discussion(repo_id, title=f"Question {number}", repo_type="dataset")
    found = list(api.get_repo_discussions(repo_id, repo_type="dataset"))
    assert [each.num for each in found] == list(range(55, 0, -1))
