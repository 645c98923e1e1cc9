"""Random stories of one repo, told to the Local Hub and to a model of it in a few dicts."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.repo_rows import find_repo

Files = dict[str, str]
PATHS = ["a.txt", "b.txt", "d/a.txt", "d/b.txt", "d/e/c.txt"]
paths, texts = st.sampled_from(PATHS), st.sampled_from(["one", "two", "three\n"])
branch_names = st.sampled_from(["dev", "x/y", "release"])
tag_names = st.sampled_from(["v1", "v2"])


@dataclass
class Pull:
    """A pull request: what it holds, and the files of main when it was opened."""

    files: Files
    base: Files
    status: str = "open"


@dataclass
class Model:
    """What the repo should hold."""

    refs: dict[str, Files] = field(default_factory=lambda: {"refs/heads/main": {}})
    tags: dict[str, Files] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    acknowledged: dict[str, Files] = field(default_factory=dict)
    """Every commit that was answered with success, and its files."""

    def merged(self, pull: Pull) -> Files | None:
        """Main after the merge, or None if both sides changed the same path differently."""
        main, result = self.refs["refs/heads/main"], dict(self.refs["refs/heads/main"])
        for path in {*pull.files, *pull.base}:
            theirs, before, ours = pull.files.get(path), pull.base.get(path), main.get(path)
            if theirs in (before, ours):
                continue
            if ours != before:
                return None
            if theirs is None:
                result.pop(path)
            else:
                result[path] = theirs
        return result


class HubMachine(RuleBasedStateMachine):
    """Each rule does the same to the Hub and to the model, and compares the answers."""

    stale = Bundle("stale")
    """Commits that were a tip once and may not be any more."""

    @initialize(target=stale)
    def start(self) -> str:
        self.folder = Path(tempfile.mkdtemp(prefix="hub-model-"))
        self.model = Model()
        self._open()
        assert self.send("POST", "/api/repos/create", {"name": "m"}).is_success
        self.send("POST", "/api/models/admin/m/commit/main", lines={".gitattributes": None})
        return self.tip("refs/heads/main")

    def _open(self) -> None:
        self.hub = LocalHub(self.folder)
        self.hub.__enter__()
        headers = {"Authorization": f"Bearer {self.hub.token}"}
        self.http = httpx.Client(base_url=self.hub.url, headers=headers, timeout=60)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        lines: dict[str, str | None] | None = None,
        parent: str | None = None,
    ) -> httpx.Response:
        if lines is None:
            return self.http.request(method, path, json=body)
        return self.http.post(path, content=ndjson(lines, parent))

    def tip(self, ref: str) -> str:
        return str(self.http.get(f"/api/models/admin/m/commits/{quoted(ref)}").json()[0]["id"])

    @rule(target=stale, path=paths, text=texts, data=st.data())
    def commit(self, path: str, text: str, data: st.DataObject) -> str:
        ref = data.draw(st.sampled_from(sorted(self.model.refs)))
        answer = self.send("POST", commit_url(ref), lines={path: text})
        assert answer.is_success, answer.text
        self.model.refs[ref] = {**self.model.refs[ref], path: text}
        return self._acknowledge(answer, self.model.refs[ref])

    @rule(path=paths)
    def delete(self, path: str) -> None:
        main = self.model.refs["refs/heads/main"]
        answer = self.send("POST", commit_url("refs/heads/main"), lines={path: None})
        if path not in main:
            assert answer.status_code == 404, answer.text
            return
        assert answer.is_success, answer.text
        self.model.refs["refs/heads/main"] = {k: v for k, v in main.items() if k != path}
        self._acknowledge(answer, self.model.refs["refs/heads/main"])

    @rule(target=stale, parent=stale, path=paths, text=texts)
    def commit_on_a_parent(self, parent: str, path: str, text: str) -> Any:
        main = "refs/heads/main"
        is_tip = self.tip(main) == parent
        answer = self.send("POST", commit_url(main), lines={path: text}, parent=parent)
        if not is_tip:
            assert answer.status_code == 412, answer.text
            return multiple()
        assert answer.is_success, answer.text
        self.model.refs[main] = {**self.model.refs[main], path: text}
        return self._acknowledge(answer, self.model.refs[main])

    def _acknowledge(self, answer: httpx.Response, files: Files) -> str:
        sha = str(answer.json()["commitOid"])
        self.model.acknowledged[sha] = dict(files)
        return sha

    @rule(name=branch_names)
    def make_branch(self, name: str) -> None:
        answer = self.send("POST", f"/api/models/admin/m/branch/{quoted(name)}", {})
        ref = f"refs/heads/{name}"
        assert answer.status_code == (409 if ref in self.model.refs else 200), answer.text
        self.model.refs.setdefault(ref, dict(self.model.refs["refs/heads/main"]))

    @rule(name=branch_names)
    def drop_branch(self, name: str) -> None:
        answer = self.send("DELETE", f"/api/models/admin/m/branch/{quoted(name)}")
        there = self.model.refs.pop(f"refs/heads/{name}", None) is not None
        assert answer.status_code == (200 if there else 404), answer.text

    @rule(name=tag_names)
    def make_tag(self, name: str) -> None:
        answer = self.send("POST", "/api/models/admin/m/tag/main", {"tag": name})
        assert answer.status_code == (409 if name in self.model.tags else 200), answer.text
        self.model.tags.setdefault(name, dict(self.model.refs["refs/heads/main"]))

    @rule(name=tag_names)
    def drop_tag(self, name: str) -> None:
        answer = self.send("DELETE", f"/api/models/admin/m/tag/{name}")
        there = self.model.tags.pop(name, None) is not None
        assert answer.status_code == (200 if there else 404), answer.text

    @rule(path=paths, text=texts)
    def open_pull(self, path: str, text: str) -> None:
        url = commit_url("refs/heads/main") + "?create_pr=1"
        answer = self.send("POST", url, lines={path: text})
        assert answer.is_success, answer.text
        base = dict(self.model.refs["refs/heads/main"])
        number = int(answer.json()["pullRequestUrl"].rpartition("/")[2])
        assert number == len(self.model.pulls) + 1
        self.model.pulls[number] = Pull({**base, path: text}, base)
        self._acknowledge(answer, {**base, path: text})

    @precondition(lambda self: self.model.pulls)
    @rule(data=st.data(), path=paths, text=texts)
    def add_to_pull(self, data: st.DataObject, path: str, text: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.pulls)))
        pull = self.model.pulls[number]
        answer = self.send("POST", commit_url(f"refs/pr/{number}"), lines={path: text})
        assert answer.is_success == (pull.status != "merged"), answer.text
        if answer.is_success:
            pull.files = {**pull.files, path: text}
            self._acknowledge(answer, pull.files)

    @precondition(lambda self: self.model.pulls)
    @rule(target=stale, data=st.data())
    def merge(self, data: st.DataObject) -> Any:
        number = data.draw(st.sampled_from(sorted(self.model.pulls)))
        pull = self.model.pulls[number]
        answer = self.send("POST", f"/api/models/admin/m/discussions/{number}/merge", {})
        result = self.model.merged(pull) if pull.status == "open" else None
        assert answer.is_success == (result is not None), (answer.text, pull)
        if result is None:
            assert answer.status_code in (400, 409), answer.text
            return multiple()
        pull.status = "merged"
        self.model.refs["refs/heads/main"] = result
        sha = self.tip("refs/heads/main")
        self.model.acknowledged[sha] = dict(result)
        return sha

    @precondition(lambda self: self.model.pulls)
    @rule(data=st.data(), status=st.sampled_from(["open", "closed"]))
    def open_or_close(self, data: st.DataObject, status: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.pulls)))
        pull = self.model.pulls[number]
        url = f"/api/models/admin/m/discussions/{number}/status"
        answer = self.send("POST", url, {"status": status})
        if pull.status != "merged" and answer.is_success:
            pull.status = status
        assert answer.status_code < 500

    @rule(parent=consumes(stale))
    def forget(self, parent: str) -> None:
        """Keep the bundle small."""

    @rule()
    def restart(self) -> None:
        self.http.close()
        self.hub.stop()
        self._open()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        for ref, files in self.model.refs.items():
            assert self._files_at(ref) == files, ref
        refs = self.http.get("/api/models/admin/m/refs").json()
        assert {each["ref"] for each in refs["branches"]} == set(self.model.refs)
        assert {each["name"] for each in refs["tags"]} == set(self.model.tags)
        for name, files in self.model.tags.items():
            assert self._files_at(name) == files, name
        for number, pull in self.model.pulls.items():
            told = self.http.get(f"/api/models/admin/m/discussions/{number}").json()
            assert told["status"] == pull.status

    def _files_at(self, revision: str) -> Files:
        url = f"/api/models/admin/m/tree/{quoted(revision)}?recursive=1"
        listed = [each["path"] for each in self.http.get(url).json() if each["type"] == "file"]
        return {path: self._text(revision, path) for path in listed}

    def _text(self, revision: str, path: str) -> str:
        return self.http.get(f"/admin/m/resolve/{quoted(revision)}/{path}").text

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for sha, files in self.model.acknowledged.items():
            assert self._files_at(sha) == files
        repo = find_repo(self.hub.core.store, "model", "admin/m")
        assert repo is not None
        path = self.hub.core.git_path(repo.id)
        self.http.close()
        self.hub.stop()
        words = ["git", "fsck", "--full", "--strict"]
        done = subprocess.run(words, cwd=path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(self.folder)


def quoted(revision: str) -> str:
    return revision.replace("/", "%2F")


def commit_url(ref: str) -> str:
    return f"/api/models/admin/m/commit/{quoted(ref)}"


def ndjson(changes: dict[str, str | None], parent: str | None = None) -> str:
    """A commit; None deletes."""
    header: dict[str, str] = {"summary": "A change"}
    if parent is not None:
        header["parentCommit"] = parent
    lines: list[dict[str, Any]] = [{"key": "header", "value": header}]
    for path, text in changes.items():
        if text is None:
            lines.append({"key": "deletedFile", "value": {"path": path}})
        else:
            lines.append({"key": "file", "value": {"path": path, "content": text}})
    return "\n".join(map(json.dumps, lines))


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def play(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        HubMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=examples < 20,
            database=None,
            suppress_health_check=QUIET,
            print_blob=False,
        ),
    )


def test_hub_when_a_few_stories_are_told_then_it_agrees_with_the_model() -> None:
    play(examples=4, steps=20)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_hub_when_many_stories_are_told_then_it_agrees_with_the_model() -> None:
    examples = int(os.environ.get("HUB_STORIES", "100"))
    play(examples, steps=50)
    print(f"{examples} stories of up to 50 steps, the Hub and the model agree")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_commits_when_16_write_on_the_tip_they_know_then_all_are_in_a_line(
    hub: LocalHub, repo_id: str
) -> None:
    """Each writer commits on the tip that it last saw, and looks again after a 412."""
    wanted, lock = int(os.environ.get("HUB_COMMITS", "5000")), threading.Lock()
    done: list[str] = []
    stale: list[int] = []
    url = f"/api/models/{repo_id}"

    def write(number: int) -> None:
        headers = {"Authorization": f"Bearer {hub.token}"}
        with httpx.Client(base_url=hub.url, headers=headers, timeout=120) as client:
            tip = client.get(url).json()["sha"]
            for turn in range(1_000_000):
                if len(done) >= wanted:
                    return
                body = ndjson({f"{number}/{turn % 50}.txt": f"{turn}"}, tip)
                answer = client.post(f"{url}/commit/main", content=body)
                with lock:
                    if answer.status_code == 412:
                        stale.append(number)
                    else:
                        assert answer.status_code == 200, answer.text
                        done.append(answer.json()["commitOid"])
                same = answer.status_code == 200
                tip = done[-1] if same else client.get(url).json()["sha"]

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    repo = find_repo(hub.core.store, "model", repo_id)
    assert repo is not None
    words = ["git", "rev-list", "--parents", "refs/heads/main"]
    path = hub.core.git_path(repo.id)
    told = subprocess.run(words, cwd=path, capture_output=True, text=True, check=True).stdout
    line = [entry.split() for entry in told.splitlines()]
    assert all(len(entry) <= 2 for entry in line)
    assert all(one[1] == other[0] for one, other in zip(line, line[1:], strict=False))
    assert len(line) == len(done) + 1
    assert {entry[0] for entry in line[:-1]} == set(done)
    print(f"16 writers: {len(done)} commits in one line, {len(stale)} stale ones answered 412")
    assert stale
