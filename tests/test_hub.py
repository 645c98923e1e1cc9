"""The door to the Hub against a Local Hub: one intent is one commit, and errors say what to do."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session

from hub_trainer import hub_client
from hub_trainer.errors import ExitCode, HubError
from hub_trainer.hub import Changes, FileCopy, Hub, Repo
from hub_trainer.local_hub import LocalHub

MODEL = Repo("ada/model")
DATA = Repo("ada/data", "dataset")


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture
def hub(local: LocalHub) -> Hub:
    token = local.add_user("ada")
    return Hub(local.url, token)


@pytest.fixture
def model(hub: Hub, request: pytest.FixtureRequest) -> Repo:
    repo = Repo(f"ada/{abs(hash(request.node.name))}")
    hub.create_repo(repo)
    return repo


def test_commit_when_made_then_files_and_history_show_it(hub: Hub, model: Repo) -> None:
    made = hub.commit(
        model, Changes({"a.json": b"{}", "w.safetensors": b"\0" * 64}), message="One", run_id="r1"
    )
    files = {file.path: file for file in hub.list_files(model, made.commit_sha)}
    assert files["a.json"].lfs_sha256 is None
    assert files["w.safetensors"].lfs_sha256 is not None
    assert hub.read_file(model, "a.json", made.commit_sha) == b"{}"
    assert hub.read_file(model, "b.json", made.commit_sha) is None
    assert hub.history(model)[0].commit_sha == made.commit_sha == hub.resolve(model)


def test_commit_when_repeated_with_the_same_run_id_then_made_once(hub: Hub, model: Repo) -> None:
    first = hub.commit(model, Changes({"a.txt": b"1"}), message="One", run_id="same")
    again = hub.commit(model, Changes({"a.txt": b"1"}), message="One", run_id="same")
    assert again.commit_sha == first.commit_sha
    assert len(hub.history(model)) == 2


def test_repo_when_private_or_gated_then_not_everybody_can_read_it(hub: Hub) -> None:
    made = {}
    for name, private in (("ada/closed", True), ("ada/gated", False), ("ada/public", False)):
        made[name] = Repo(name, "dataset")
        hub.create_repo(made[name], private=private)
    hub._api.update_repo_settings("ada/gated", repo_type="dataset", gated="auto")
    assert {name: hub.is_open(repo) for name, repo in made.items()} == {
        "ada/closed": False,
        "ada/gated": False,
        "ada/public": True,
    }


def test_run_when_looked_for_then_only_its_own_commit_is_found(hub: Hub, model: Repo) -> None:
    assert hub.find_commit(model, "wanted") is None
    made = hub.commit(model, Changes({"a.txt": b"1"}), message="One", run_id="wanted")
    hub.commit(model, Changes({"a.txt": b"2"}), message="Two", run_id="another")
    found = hub.find_commit(model, "wanted")
    assert found is not None
    assert found.commit_sha == made.commit_sha
    assert found.url.endswith(f"/{model.repo_id}/commit/{made.commit_sha}")
    with pytest.raises(HubError, match="history of model ada/no-such"):
        hub.find_commit(Repo("ada/no-such"), "wanted")


def test_commit_when_the_answer_is_lost_then_made_once(
    hub: Hub, model: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    real, calls = hub._api.create_commit, []

    def lossy(*args: Any, **kwargs: Any) -> Any:
        calls.append(real(*args, **kwargs))
        raise ConnectionResetError("answer lost")

    monkeypatch.setattr(hub._api, "create_commit", lossy)
    made = hub.commit(model, Changes({"a.txt": b"1"}), message="One", run_id="lost")
    assert len(calls) == 1
    assert made.commit_sha == calls[0].oid


def test_pull_request_when_the_answer_is_lost_then_opened_once(
    hub: Hub, model: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    real = hub._api.create_commit

    def lossy(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        raise ConnectionResetError("answer lost")

    monkeypatch.setattr(hub._api, "create_commit", lossy)
    made = hub.commit(
        model, Changes({"a.txt": b"1"}), message="Two", run_id="pr", pull_request="Why"
    )
    requests = hub.pull_requests(model)
    assert [(r.number, r.head_sha) for r in requests] == [(made.pull_request, made.commit_sha)]


def test_commit_when_main_has_moved_then_says_so(hub: Hub, model: Repo) -> None:
    parent = hub.resolve(model)
    hub.commit(model, Changes({"a.txt": b"1"}), message="One", run_id="a")
    with pytest.raises(HubError, match="Somebody else has written before") as caught:
        hub.commit(model, Changes({"b.txt": b"1"}), message="Two", run_id="b", parent_commit=parent)
    assert "Run the command again" in str(caught.value)


def test_copy_when_from_a_pull_request_then_exactly_that_sha_is_merged(
    hub: Hub, model: Repo
) -> None:
    asked = hub.commit(
        model, Changes({"x.txt": b"new"}), message="Add", run_id="c", pull_request="Please"
    )
    copies = [FileCopy("x.txt", asked.commit_sha)]
    hub.commit(model, Changes(copies=copies), message="Merge", run_id="d")
    assert hub.read_file(model, "x.txt", hub.resolve(model)) == b"new"
    assert asked.pull_request is not None
    hub.close(model, asked.pull_request, "Merged by value.")
    assert hub.pull_requests(model) == []
    assert hub.pull_request(model, asked.pull_request).status == "closed"


def test_comment_when_written_then_read_back(hub: Hub, model: Repo) -> None:
    asked = hub.commit(
        model, Changes({"x.txt": b"1"}), message="Add", run_id="e", pull_request="Please"
    )
    assert asked.pull_request is not None
    hub.comment(model, asked.pull_request, "Looks good")
    assert hub.comments(model, asked.pull_request)[-1] == ("ada", "Looks good")


def test_repo_when_missing_then_says_what_to_check(hub: Hub) -> None:
    with pytest.raises(HubError, match="The Hub has no dataset ada/nothing at main") as caught:
        hub.resolve(Repo("ada/nothing", "dataset"))
    assert "HF_TOKEN" in str(caught.value)
    assert caught.value.exit_code == ExitCode.HUB


def test_revision_when_missing_then_named(hub: Hub, model: Repo) -> None:
    with pytest.raises(HubError, match="at no-such-branch"):
        hub.resolve(model, "no-such-branch")


def test_name_when_malformed_then_says_so(hub: Hub) -> None:
    with pytest.raises(HubError, match="The Hub has no such name"):
        hub.resolve(Repo("not a name"))


def test_token_when_it_may_only_read_then_write_is_refused_before_work(local: LocalHub) -> None:
    reader = Hub(local.url, local.add_user("reader", role="read"))
    with pytest.raises(HubError, match="The token may only read"):
        reader.assert_can_write(Repo("reader/model"))


def test_token_when_of_somebody_else_then_write_is_refused(hub: Hub, local: LocalHub) -> None:
    other = Hub(local.url, local.add_user("bob"))
    with pytest.raises(HubError, match="may not create a model under ada") as found:
        other.assert_can_write(Repo("ada/new"))
    hub.create_repo(Repo("ada/open"), private=False)
    with pytest.raises(HubError, match="does not allow permission to write"):
        other.assert_can_write(Repo("ada/open"))
    hub.assert_can_write(Repo("ada/open"))
    assert found.value.got == "a token of bob, who writes to no organisation"
    local.add_org("quay", {"bob": "write"})
    with pytest.raises(HubError) as found:
        other.assert_can_write(Repo("ada/model"))
    assert found.value.got == "a token of bob, who writes to quay"


def test_token_when_invalid_then_says_so(local: LocalHub) -> None:
    with pytest.raises(HubError, match="does not know the token"):
        Hub(local.url, "hft_wrong").user()


def test_hub_when_gone_then_says_where_it_should_be() -> None:
    with pytest.raises(HubError, match="does not answer") as caught:
        Hub("http://127.0.0.1:9", "x").resolve(MODEL)
    assert "127.0.0.1:9" in str(caught.value)


def test_hub_when_it_accepts_and_says_nothing_then_it_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_client, "WAITS", (0.5, 0.3, 0.3, None))
    close_session()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(HubError, match=f"The Hub at {url} does not answer for") as caught:
            Hub(url, "x").create_repo(Repo("ada/model"))
    close_session()
    assert "timed out" in str(caught.value.got)


def test_download_when_files_are_not_allowed_then_they_never_arrive(
    hub: Hub, model: Repo, tmp_path: Path
) -> None:
    files = {"config.json": b"{}", "evil.py": b"1", "w.bin": b"\x80", "w.pkl": b"\x80"}
    made = hub.commit(model, Changes(files), message="One", run_id="f")
    folder = hub.download(model, made.commit_sha, allow=["*.json"], into=tmp_path)
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == [
        "config.json"
    ]


def test_file_when_larger_than_asked_for_then_refused(hub: Hub, model: Repo) -> None:
    made = hub.commit(model, Changes({"a.txt": b"x" * 100}), message="One", run_id="g")
    with pytest.raises(HubError, match="larger than 10 bytes(.|\n)*do:    Make the file smaller"):
        hub.read_file(model, "a.txt", made.commit_sha, max_bytes=10)


def test_hub_when_printed_then_no_token_shows(local: LocalHub) -> None:
    token = local.add_user("carol")
    hub = Hub(local.url, token)
    hub.user()
    assert token not in repr(hub)


def test_card_when_its_metadata_is_wrong_then_the_hub_says_what(hub: Hub) -> None:
    assert hub.card_problems("---\nlicense: mit\n---\n") == []
    problems = hub.card_problems("---\nlicense: no-such-licence\n---\n")
    assert any("license" in problem for problem in problems)


def test_hub_when_the_answer_is_no_json_then_it_is_an_error_of_the_hub(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(*args: Any, **kwargs: Any) -> None:
        json.loads("<html>502</html>")

    monkeypatch.setattr(hub._api, "_validate_yaml", page)
    with pytest.raises(HubError, match="checking the metadata of a card"):
        hub.card_problems("---\nlicense: mit\n---\n")


def test_token_when_it_stands_in_bytes_then_it_is_seen(local: LocalHub) -> None:
    token = local.add_user("carol")
    assert Hub(local.url, token).holds_token(b"before " + token.encode() + b" after")
    assert not Hub(local.url, token).holds_token(b"nothing")


def test_card_data_when_the_card_changes_then_each_commit_has_its_own(
    hub: Hub, model: Repo
) -> None:
    def write(text: bytes, run_id: str) -> str:
        changes = Changes({"README.md": text})
        return hub.commit(model, changes, message=run_id, run_id=run_id).commit_sha

    assert hub.card_data(model, hub.resolve(model)) == {}
    first = write(b"---\nlicense: mit\n---\n# A", "card 1")
    second = write(b"---\nlicense: apache-2.0\n---\n# A", "card 2")
    assert hub.card_data(model, first) == {"license": "mit"}
    assert hub.card_data(model, second) == {"license": "apache-2.0"}
