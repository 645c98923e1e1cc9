"""Clients of other makers: git-lfs, and the JavaScript client @huggingface/hub."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub

Run = Callable[..., str]
JS_FOLDER = Path(os.environ.get("HUGGINGFACE_JS", "/nowhere"))

needs_git_lfs = pytest.mark.skipif(
    shutil.which("git-lfs") is None, reason="git-lfs is not installed"
)
needs_js_client = pytest.mark.skipif(
    shutil.which("node") is None
    or not (JS_FOLDER / "node_modules" / "@huggingface" / "hub").is_dir(),
    reason="needs node, and HUGGINGFACE_JS=DIR after `npm install --prefix DIR @huggingface/hub`",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "home").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }

    def call(*words: str, cwd: Path | None = None, fails: bool = False, **more: str) -> str:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout[-1000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    call("git", "config", "--global", "user.name", "ann")
    call("git", "config", "--global", "user.email", "ann@example.org")
    return call


@needs_git_lfs
def test_git_lfs_when_cloned_pushed_and_pulled_then_large_files_go_both_ways(
    hub: LocalHub, api: HfApi, new_repo: Callable[..., str], run: Run, tmp_path: Path
) -> None:
    repo_id = new_repo(private=True)
    first, second = os.urandom(300_000), os.urandom(2_000_000)
    api.upload_file(path_or_fileobj=first, path_in_repo="w.bin", repo_id=repo_id)
    run("git", "lfs", "install")
    address = f"{hub.url.replace('://', f'://user:{hub.token}@')}/{repo_id}"
    work, other = tmp_path / "work", tmp_path / "other"
    run("git", "clone", address, str(work))
    run("git", "clone", address, str(other))
    assert (work / "w.bin").read_bytes() == first
    (work / "deep").mkdir()
    (work / "deep" / "v.bin").write_bytes(second)
    run("git", "lfs", "track", "*.dat", cwd=work)
    (work / "x.dat").write_bytes(first)
    run("git", "add", "--all", cwd=work)
    run("git", "commit", "-m", "Large files", cwd=work)
    run("git", "push", "origin", "main", cwd=work)
    down = api.hf_hub_download(repo_id, "deep/v.bin", cache_dir=tmp_path / "cache")
    assert Path(down).read_bytes() == second
    run("git", "pull", cwd=other)
    assert (other / "deep" / "v.bin").read_bytes() == second
    assert (other / "x.dat").read_bytes() == first
    assert "OK" in run("git", "lfs", "fsck", cwd=other)


@needs_git_lfs
def test_git_lfs_when_the_object_was_not_uploaded_then_the_push_is_refused(
    hub: LocalHub, repo_id: str, run: Run, tmp_path: Path
) -> None:
    run("git", "lfs", "install")
    work = tmp_path / "work"
    run("git", "clone", f"{hub.url.replace('://', f'://user:{hub.token}@')}/{repo_id}", str(work))
    (work / "v.bin").write_bytes(b"\0never sent")
    run("git", "add", "--all", cwd=work)
    run("git", "commit", "-m", "Large", cwd=work)
    shutil.rmtree(work / ".git" / "lfs" / "objects")
    (work / ".git" / "hooks" / "pre-push").unlink()
    told = run("git", "push", "origin", "main", cwd=work, fails=True)
    assert "LFS pointer pointed to a file that does not exist" in told


@needs_git_lfs
def test_git_lfs_when_the_token_may_only_read_then_the_push_is_refused(
    hub: LocalHub, api: HfApi, repo_id: str, run: Run, tmp_path: Path
) -> None:
    run("git", "lfs", "install")
    token = hub.add_token("admin", role="read")
    work = tmp_path / "work"
    run("git", "clone", f"{hub.url.replace('://', f'://user:{token}@')}/{repo_id}", str(work))
    (work / "v.bin").write_bytes(b"\0not for here")
    run("git", "add", "--all", cwd=work)
    run("git", "commit", "-m", "Large", cwd=work)
    run("git", "push", "origin", "main", cwd=work, fails=True)
    assert "v.bin" not in api.list_repo_files(repo_id)


@needs_js_client
@pytest.mark.parametrize("num_bytes", [20_000, 500_000])
def test_javascript_client_when_used_for_everything_then_it_works(
    hub: LocalHub, run: Run, num_bytes: int
) -> None:
    token = hub.add_user(f"js-{num_bytes}")
    script = str(Path(__file__).parent / "clients" / "hub.mjs")
    told = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HUGGINGFACE_JS": str(JS_FOLDER)}
    assert "all of it worked" in run("node", script, **told, LARGE_BYTES=str(num_bytes))


@needs_js_client
def test_javascript_client_when_it_reads_lists_and_counts_then_it_works(
    hub: LocalHub, run: Run
) -> None:
    script = str(Path(__file__).parent / "clients" / "reading.mjs")
    token = hub.add_user("js-reader")
    told = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HUGGINGFACE_JS": str(JS_FOLDER)}
    assert "all of it worked" in run("node", script, **told)
