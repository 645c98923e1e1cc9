"""git itself against the Local Hub: clone, fetch, push, and what the gate refuses."""

import gzip
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.repo_rows import find_repo

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
Git = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }

    def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", *words],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def address(hub: LocalHub, repo_id: str, token: str | None = None) -> str:
    return f"{hub.url.replace('://', f'://user:{token or hub.token}@')}/{repo_id}"


@pytest.fixture
def work(hub: LocalHub, git: Git, repo_id: str, tmp_path: Path) -> Path:
    """A clone of the repo."""
    cloned = git("clone", address(hub, repo_id), str(tmp_path / "work"))
    assert cloned.returncode == 0, cloned.stderr
    return tmp_path / "work"


def commit(git: Git, work: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git("add", "--all", cwd=work)
    assert git("commit", "-m", "By hand", cwd=work).returncode == 0


def test_push_when_allowed_then_the_api_sees_it_and_the_repo_is_sound(
    hub: LocalHub, api: HfApi, git: Git, work: Path, repo_id: str
) -> None:
    card = "---\ntags: [pushed]\n---\n"
    commit(git, work, {"a/b.txt": "x" * 50_000, "README.md": card})
    assert git("push", "origin", "main", cwd=work).returncode == 0
    assert set(api.list_repo_files(repo_id)) == {".gitattributes", "a/b.txt", "README.md"}
    info = api.model_info(repo_id)
    assert info.sha == git("rev-parse", "HEAD", cwd=work).stdout.strip()
    assert "pushed" in (info.tags or [])
    repo = find_repo(hub.core.store, "model", repo_id)
    assert repo is not None
    assert git("fsck", "--full", "--strict", cwd=hub.core.git_path(repo.id)).returncode == 0
    api.upload_file(path_or_fileobj=b"1", path_in_repo="later.txt", repo_id=repo_id)
    assert git("pull", cwd=work).returncode == 0
    assert (work / "later.txt").exists()


def test_clone_when_anonymous_then_public_only(
    hub: LocalHub, git: Git, new_repo: Callable[..., str], tmp_path: Path
) -> None:
    public, private = new_repo(), new_repo(private=True)
    assert git("clone", f"{hub.url}/{public}.git", str(tmp_path / "a")).returncode == 0
    refused = git("clone", f"{hub.url}/{private}", str(tmp_path / "b"))
    assert "could not read Username" in refused.stderr
    wrong = git("clone", address(hub, private, "hf_wrong"), str(tmp_path / "c"))
    assert "Authentication failed" in wrong.stderr


def test_clone_when_dataset_or_space_then_under_its_prefix(
    hub: LocalHub, git: Git, new_repo: Callable[..., str], tmp_path: Path
) -> None:
    dataset = new_repo(repo_type="dataset")
    assert git("clone", f"{hub.url}/datasets/{dataset}", str(tmp_path / "d")).returncode == 0
    space = new_repo(repo_type="space", space_sdk="static")
    assert git("clone", f"{hub.url}/spaces/{space}", str(tmp_path / "s")).returncode == 0


def test_clone_when_repo_was_renamed_then_followed(
    hub: LocalHub, api: HfApi, git: Git, repo_id: str, tmp_path: Path
) -> None:
    api.move_repo(repo_id, f"{repo_id}-moved")
    assert git("clone", address(hub, repo_id), str(tmp_path / "a")).returncode == 0


@pytest.mark.parametrize("wanted", ["blob:none", "blob:limit=10", "tree:0"])
def test_clone_when_partial_then_what_is_left_out_comes_when_it_is_looked_at(
    git: Git, hub: LocalHub, api: HfApi, repo_id: str, tmp_path: Path, wanted: str
) -> None:
    for text in (b"first text", b"second text"):
        api.upload_file(path_or_fileobj=text, path_in_repo="a.txt", repo_id=repo_id)
    partial = tmp_path / "partial"
    git("clone", f"--filter={wanted}", address(hub, repo_id), str(partial))
    left_out = git("rev-list", "--objects", "--missing=print", "--all", cwd=partial)
    assert "?" in left_out.stdout
    assert (partial / "a.txt").read_text() == "second text"
    assert "first text" in git("log", "-p", cwd=partial).stdout


def test_clone_when_the_filter_is_costly_then_refused(
    git: Git, hub: LocalHub, api: HfApi, repo_id: str, tmp_path: Path
) -> None:
    api.upload_file(path_or_fileobj=b"d/", path_in_repo="paths", repo_id=repo_id)
    wanted = "--filter=sparse:oid=main:paths"
    done = git("clone", wanted, address(hub, repo_id), str(tmp_path / "x"))
    assert done.returncode != 0
    assert not (tmp_path / "x").exists()


def test_clone_when_shallow_then_one_commit(
    hub: LocalHub, api: HfApi, git: Git, repo_id: str, tmp_path: Path
) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo_id)
    git("clone", "--depth", "1", address(hub, repo_id), str(tmp_path / "a"))
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "a").stdout == "1\n"


def refused(git: Git, work: Path, *words: str) -> str:
    done = git("push", *words, cwd=work)
    assert done.returncode != 0, done.stderr
    return done.stderr


REFUSED: list[tuple[dict[str, str | bytes], str]] = [
    ({"big.dat": b"x" * (10 * 1024 * 1024 + 1)}, "big.dat is larger than 10 MB"),
    ({"w.bin": POINTER.format("a" * 64, 3)}, "LFS pointer pointed to a file that does not exist"),
    ({"a\nb": "1"}, "Invalid path in repo"),
]


@pytest.mark.parametrize(("files", "message"), REFUSED, ids=["size", "pointer", "path"])
def test_push_when_content_breaks_a_rule_then_refused_and_nothing_moves(
    api: HfApi, git: Git, work: Path, repo_id: str, files: dict[str, str | bytes], message: str
) -> None:
    before = api.model_info(repo_id).sha
    commit(git, work, files)
    assert message in refused(git, work, "origin", "main")
    assert api.model_info(repo_id).sha == before


def test_push_when_it_holds_a_link_or_submodule_then_refused(git: Git, work: Path) -> None:
    (work / "link").symlink_to("/etc/passwd")
    git("add", "link", cwd=work)
    git("commit", "-m", "link", cwd=work)
    assert "is a symbolic link" in refused(git, work, "origin", "HEAD:refs/heads/link")
    git("reset", "--hard", "HEAD~1", cwd=work)
    head = git("rev-parse", "HEAD", cwd=work).stdout.strip()
    git("update-index", "--add", "--cacheinfo", f"160000,{head},sub", cwd=work)
    git("commit", "-m", "sub", cwd=work)
    assert "is a submodule" in refused(git, work, "origin", "HEAD:refs/heads/sub")


def remote(told: str) -> list[str]:
    """What git shows of the Hub's own words."""
    return [line[8:].strip() for line in told.splitlines() if line.startswith("remote: ")]


SIGN_IN = "Sign in with any user name and, as the password, a token of this Hub:"


def test_push_when_nobody_or_an_unknown_token_pushes_then_told_how_to_sign_in(
    hub: LocalHub, http: httpx.Client, git: Git, work: Path, repo_id: str
) -> None:
    commit(git, work, {"a": "1"})
    told = refused(git, work, address(hub, repo_id, "hf_wrong"), "main")
    assert remote(told)[0] == "Invalid credentials in Authorization header"
    assert remote(told)[1].startswith(SIGN_IN)
    assert f"or write {hub.url.replace('://', '://USER:TOKEN@')}/... Who" in remote(told)[2]
    path = f"/{repo_id}/info/refs?service=git-receive-pack"
    answer = httpx.get(f"{hub.url}{path}")
    assert answer.status_code == 401
    assert answer.headers["content-type"].partition(";")[0] == "text/plain"
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.text.startswith(f"Invalid username or password.\n{SIGN_IN}")


def test_push_when_the_token_only_reads_then_told_which_is_needed(
    hub: LocalHub, git: Git, work: Path, repo_id: str
) -> None:
    commit(git, work, {"a": "1"})
    told = refused(git, work, address(hub, repo_id, hub.add_user("admin", "read")), "main")
    assert remote(told)[0] == "This token has the role read. Use a token with the role write."
    assert remote(told)[-1].endswith(f"can open a pull request: hf upload {repo_id} . --create-pr")


def test_push_when_the_repo_is_hidden_or_missing_then_told_the_same(
    hub: LocalHub, api: HfApi, other_token: str, git: Git, work: Path
) -> None:
    api.create_repo("admin/cellar", private=True, exist_ok=True)
    commit(git, work, {"a": "1"})
    hidden, missing = (
        remote(refused(git, work, address(hub, name, other_token), "main"))
        for name in ("admin/cellar", "admin/nowhere")
    )
    assert hidden == missing
    assert hidden[0] == "Repository not found"
    assert "Make a repo before the first push (hf repos create)" in " ".join(hidden)


def test_push_when_to_anothers_main_then_told_how_to_propose(
    hub: LocalHub, api: HfApi, other_token: str, git: Git, work: Path, repo_id: str
) -> None:
    commit(git, work, {"a": "1"})
    told = refused(git, work, address(hub, repo_id, other_token), "main")
    who = HfApi(hub.url, other_token).whoami()["name"]
    assert remote(told) == [
        f"{who} may not write to {repo_id}",
        f"Open a pull request: hf upload {repo_id} . --create-pr",
        "More commits for it go to its own ref: git push origin HEAD:refs/pr/NUMBER",
    ]
    assert f"({who} may not write to {repo_id})" in told
    told = refused(git, work, address(hub, repo_id, other_token), "main:refs/pr/77")
    assert remote(told)[0] == "there is no pull request 77"
    api.create_repo("admin/shelf", repo_type="dataset", exist_ok=True)
    told = refused(git, work, address(hub, "datasets/admin/shelf", other_token), "main:new")
    assert "hf upload admin/shelf . --repo-type dataset --create-pr" in told


def test_push_when_refused_for_what_it_holds_then_told_what_to_do(git: Git, work: Path) -> None:
    (work / "link").symlink_to("a")
    git("add", "link", cwd=work)
    git("commit", "-m", "link", cwd=work)
    assert remote(refused(git, work, "origin", "main"))[-1].startswith("Put the file itself in its")
    git("reset", "--hard", "HEAD~1", cwd=work)
    commit(git, work, {"w.bin": POINTER.format("a" * 64, 3)})
    assert remote(refused(git, work, "origin", "main"))[-1].startswith("Send the large files first")
    assert remote(refused(git, work, "origin", ":main"))[-1].startswith("Delete the repo, or push")


def test_push_when_the_bad_file_is_only_in_history_then_refused_too(git: Git, work: Path) -> None:
    commit(git, work, {"big.dat": b"x" * (10 * 1024 * 1024 + 1)})
    (work / "big.dat").unlink()
    git("add", "--all", cwd=work)
    git("commit", "-m", "gone", cwd=work)
    assert "big.dat is larger" in refused(git, work, "origin", "main")


def test_push_when_main_would_go_back_then_refused_but_other_branches_may(
    api: HfApi, git: Git, work: Path
) -> None:
    commit(git, work, {"a": "1"})
    git("push", "origin", "main", cwd=work)
    git("commit", "--amend", "-m", "rewritten", cwd=work)
    assert "main only goes forward" in refused(git, work, "--force", "origin", "main")
    assert "main cannot be deleted" in refused(git, work, "origin", ":main")
    assert git("push", "origin", "HEAD~1:refs/heads/dev", cwd=work).returncode == 0
    git("commit", "--amend", "-m", "again", cwd=work)
    assert git("push", "--force", "origin", "HEAD:refs/heads/dev", cwd=work).returncode == 0
    assert git("push", "origin", ":dev", cwd=work).returncode == 0


def test_push_when_the_ref_moved_then_fetch_first(
    api: HfApi, git: Git, work: Path, repo_id: str
) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="other", repo_id=repo_id)
    commit(git, work, {"a": "1"})
    assert "fetch first" in refused(git, work, "origin", "main")


@pytest.mark.parametrize(
    "ref", ["refs/pr/1", "refs/convert/x", "refs/notes/x", "refs/heads/main/x"]
)
def test_push_when_the_ref_is_not_for_pushing_then_refused(git: Git, work: Path, ref: str) -> None:
    commit(git, work, {"a": "1"})
    refused(git, work, "origin", f"HEAD:{ref}")


def test_push_when_atomic_then_all_or_nothing(
    api: HfApi, git: Git, work: Path, repo_id: str
) -> None:
    commit(git, work, {"a": "1"})
    told = refused(git, work, "--atomic", "origin", "HEAD:refs/heads/new", ":main")
    assert "atomic" in told
    assert [each.name for each in api.list_repo_refs(repo_id).branches] == ["main"]


def test_push_when_tag_is_annotated_then_it_names_the_commit(
    api: HfApi, git: Git, work: Path, repo_id: str
) -> None:
    git("tag", "-a", "v1", "-m", "One", cwd=work)
    assert git("push", "origin", "v1", cwd=work).returncode == 0
    (tag,) = api.list_repo_refs(repo_id).tags
    assert (tag.name, tag.target_commit) == ("v1", api.model_info(repo_id).sha)
    assert git("push", "origin", ":v1", cwd=work).returncode == 0


@pytest.fixture
def clients(api: HfApi, other: HfApi) -> tuple[HfApi, HfApi]:
    return api, other


@pytest.fixture
def theirs(hub: LocalHub, repo_id: str, other_token: str) -> str:
    """The repo's address for somebody who does not own it."""
    return address(hub, repo_id, other_token)


def test_pull_request_when_pushed_by_its_author_then_it_grows(
    clients: tuple[HfApi, HfApi], theirs: str, git: Git, repo_id: str, tmp_path: Path
) -> None:
    api, other = clients
    pull = other.create_pull_request(repo_id, title="Mine")
    work = tmp_path / "theirs"
    git("clone", theirs, str(work))
    commit(git, work, {"a": "1"})
    assert "Open a pull request" in refused(git, work, "origin", "main")
    assert git("push", "origin", f"HEAD:{pull.git_reference}", cwd=work).returncode == 0
    details = api.get_discussion_details(repo_id, pull.num)
    assert details.events[-1].type == "commit"
    assert "a" in api.list_repo_files(repo_id, revision=pull.git_reference)
    mine = api.create_pull_request(repo_id, title="Not theirs")
    told = refused(git, work, "origin", f"HEAD:{mine.git_reference}")
    assert "Only its author and the owners" in told


def test_pointer_when_its_object_was_uploaded_then_pushed_and_served(
    http: httpx.Client, git: Git, work: Path, repo_id: str
) -> None:
    oid = hashlib.sha256(b"weights").hexdigest()
    body = {"operation": "upload", "objects": [{"oid": oid, "size": 7}]}
    answer = http.post(f"/{repo_id}.git/info/lfs/objects/batch", json=body)
    httpx.put(answer.json()["objects"][0]["actions"]["upload"]["href"], content=b"weights")
    commit(git, work, {"w.bin": POINTER.format(oid, 7)})
    assert git("push", "origin", "main", cwd=work).returncode == 0
    assert http.get(f"/{repo_id}/resolve/main/w.bin").content == b"weights"


PUSHES = [
    (b"zzzz", 400, "not in git's protocol"),
    (b"00ffabc", 400, "breaks off"),
    (b"0009nope\n", 400, "not a command"),
]


@pytest.mark.parametrize(("body", "status", "message"), PUSHES)
def test_push_when_not_gits_protocol_then_400(
    http: httpx.Client, repo_id: str, body: bytes, status: int, message: str
) -> None:
    answer = http.post(f"/{repo_id}/git-receive-pack", content=body)
    assert (answer.status_code, message in answer.text) == (status, True)


def test_push_when_the_pack_is_broken_then_unpack_error_and_nothing_moves(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    old = str(api.model_info(repo_id).sha)
    line = f"{old} {'a' * 40} refs/heads/main\0report-status\n".encode()
    body = f"{len(line) + 4:04x}".encode() + line + b"0000" + b"PACK\0\0\0\x02garbage"
    for content, headers in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        answer = http.post(f"/{repo_id}/git-receive-pack", content=content, headers=headers)
        assert b"unpack error" in answer.content
        assert b"ng refs/heads/main unpacker error" in answer.content
    assert api.model_info(repo_id).sha == old
    bad = http.post(
        f"/{repo_id}/git-receive-pack", content=b"x", headers={"Content-Encoding": "gzip"}
    )
    assert (bad.status_code, "not valid gzip" in bad.text) == (400, True)


def test_push_when_empty_then_empty_answer(http: httpx.Client, repo_id: str) -> None:
    answer = http.post(f"/{repo_id}/git-receive-pack", content=b"0000")
    assert (answer.status_code, answer.content) == (200, b"")


def test_info_refs_when_the_protocol_is_dumb_then_400(http: httpx.Client, repo_id: str) -> None:
    answer = http.get(f"/{repo_id}/info/refs")
    assert (answer.status_code, "smart protocol only" in answer.text) == (400, True)


def test_locks_when_asked_then_404_so_that_git_lfs_goes_on(
    http: httpx.Client, repo_id: str
) -> None:
    assert http.post(f"/{repo_id}.git/info/lfs/locks/verify", json={}).status_code == 404
