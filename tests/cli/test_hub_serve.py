"""What `hub serve` prints: a user, where their token lies, and which accounts have none."""

import json
import stat
from pathlib import Path
from typing import Any

from hub_trainer.hub import Hub
from hub_trainer.local_hub import LocalHub
from tests.cli.conftest import Cli


def _served(cli: Cli, data: Path, *options: str) -> tuple[dict[str, Any], str, str]:
    """The JSON line, whose token lies in the folder, and the lines for people."""
    process = cli.start("hub", "serve", "--data", data, *options)
    assert process.stdout is not None
    assert process.stderr is not None
    told = json.loads(process.stdout.readline())
    said = [process.stderr.readline() for _ in range(5 if options else 4)]
    kept = (data / "token").read_text().strip()
    whose = str(Hub(told["url"], kept).user()["name"])
    process.terminate()
    process.communicate(timeout=60)
    return told, whose, "".join(said)


def _accounts(folder: Path, *users: dict[str, str]) -> str:
    file = folder / "accounts.json"
    file.write_text(json.dumps({"users": users}))
    return str(file)


def test_accounts_when_the_folder_is_fresh_then_the_first_token_lies_in_it(
    cli: Cli, tmp_path: Path
) -> None:
    ann, silent = {"name": "ann", "token": "hf_ann"}, [{"name": "bob"}, {"name": "eve"}]
    file = _accounts(tmp_path, silent[0], ann, silent[1])
    told, whose, said = _served(cli, tmp_path / "hub", "--accounts", file)
    assert (told["user"], told["token"], whose) == ("ann", "hf_ann", "ann")
    assert stat.S_IMODE((tmp_path / "hub" / "token").stat().st_mode) == 0o600
    assert f"export HF_TOKEN=$(cat {tmp_path}/hub/token)\n" in said
    assert (
        f'bob, eve have no token and cannot sign in: write "token" beside the name in {file}.\n'
        in said
    )


def test_accounts_when_the_folder_has_a_token_then_its_user_is_printed(
    cli: Cli, tmp_path: Path
) -> None:
    with LocalHub(tmp_path / "hub") as local:
        admin = local.token
    file = _accounts(tmp_path, {"name": "ann", "token": "hf_ann"}, {"name": "bob"})
    told, whose, said = _served(cli, tmp_path / "hub", "--accounts", file)
    assert (told["user"], told["token"], whose) == ("admin", admin, "admin")
    assert "bob has no token and cannot sign in" in said


def test_token_when_revoked_then_the_next_start_writes_another(tmp_path: Path) -> None:
    with LocalHub(tmp_path) as local:
        first = local.token
        local.revoke_token(first)
    with LocalHub(tmp_path) as local:
        assert local.token != first
        assert (tmp_path / "token").read_text().strip() == local.token
        assert Hub(local.url, local.token).user()["name"] == local.user == "admin"
