"""The `hf` command in processes of its own: repos, files, discussions and the cache."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.local_hub.test_clients import environment, run

assert environment  # a fixture of this module too
HF = str(Path(sys.executable).parent / "hf")
pytestmark = pytest.mark.slow


def told(environment: dict[str, str], *words: str) -> Any:
    """What `hf ... --json` prints last."""
    out = run(environment, HF, *words, "--json")
    return json.loads(out[min(at for at in (out.find("{"), out.find("[")) if at >= 0) :])


def test_discussions_when_led_by_hand_then_commented_diffed_and_merged(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "words.txt"
    run(environment, HF, "repos", "create", "talked")
    file.write_text("one\n")
    run(environment, HF, "upload", "admin/talked", str(file), "words.txt")
    file.write_text("two\n")
    run(environment, HF, "upload", "admin/talked", str(file), "words.txt", "--create-pr")
    run(environment, HF, "discussions", "rename", "admin/talked", "1", "Better words")
    run(environment, HF, "discussions", "comment", "admin/talked", "1", "--body", "Why *two*?")
    diff = run(environment, HF, "discussions", "diff", "admin/talked", "1")
    assert "-one" in diff
    assert "+two" in diff
    info = told(environment, "discussions", "info", "admin/talked", "1")
    assert "Better words" in json.dumps(info)
    assert "Why *two*?" in json.dumps(info)
    run(environment, HF, "discussions", "close", "admin/talked", "1", "--yes")
    run(environment, HF, "discussions", "reopen", "admin/talked", "1", "--yes")
    run(environment, HF, "discussions", "merge", "admin/talked", "1", "--yes")
    listed = json.dumps(told(environment, "discussions", "list", "admin/talked", "--status", "all"))
    assert "merged" in listed
    run(
        environment, HF, "download", "admin/talked", "words.txt", "--local-dir", str(tmp_path / "d")
    )
    assert (tmp_path / "d" / "words.txt").read_text() == "two\n"


def test_repos_when_managed_by_hand_then_branches_tags_moves_and_the_end(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0" * 2000)
    (tmp_path / "b.txt").write_text("b")
    run(environment, HF, "repos", "create", "managed", "--private")
    run(environment, HF, "upload", "admin/managed", str(tmp_path), ".")
    run(environment, HF, "repos", "branch", "create", "admin/managed", "side")
    run(environment, HF, "repos", "tag", "create", "admin/managed", "v1")
    run(environment, HF, "repos", "delete-files", "admin/managed", "b.txt")
    run(environment, HF, "download", "admin/managed", "--revision", "v1")
    run(environment, HF, "cache", "verify", "admin/managed", "--revision", "v1")
    cached = json.dumps(told(environment, "cache", "list"))
    assert "admin/managed" in cached
    run(environment, HF, "repos", "settings", "admin/managed", "--public")
    run(environment, HF, "repos", "move", "admin/managed", "admin/moved")
    found = json.dumps(told(environment, "models", "info", "admin/managed"))
    assert "admin/moved" in found
    run(environment, HF, "repos", "duplicate", "admin/moved", "admin/copied")
    listed = json.dumps(told(environment, "models", "list", "--author", "admin"))
    assert "admin/copied" in listed
    for name in ("admin/moved", "admin/copied"):
        run(environment, HF, "repos", "delete", name, "--yes")
    assert "admin/copied" not in json.dumps(
        told(environment, "models", "list", "--author", "admin")
    )
