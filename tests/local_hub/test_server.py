import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub


def test_local_hub_when_started_twice_then_token_and_repos_are_kept(tmp_path: Path) -> None:
    with LocalHub(tmp_path) as hub:
        first = hub.token
        HfApi(endpoint=hub.url, token=first).create_repo("kept")
    with LocalHub(tmp_path) as hub:
        assert hub.token == first
        assert HfApi(endpoint=hub.url, token=first).repo_exists("admin/kept")


def test_token_file_when_made_then_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with LocalHub(tmp_path) as hub:
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
        database = b"".join(path.read_bytes() for path in tmp_path.glob("hub.sqlite3*"))
        assert hub.token.encode() not in database
    assert stat.S_IMODE((tmp_path / "hub.sqlite3").stat().st_mode) == 0o600


def test_local_hub_when_data_is_temporary_then_it_is_removed() -> None:
    with LocalHub() as hub:
        folder = hub.data_dir
        assert folder.exists()
    assert not folder.exists()


def test_local_hub_when_port_is_taken_then_error_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*--port"):
            LocalHub(port=port).__enter__()


def test_local_hub_when_folder_is_in_use_then_error_names_it(tmp_path: Path) -> None:
    with (
        LocalHub(tmp_path),
        pytest.raises(RuntimeError, match="in use by another Local Hub.*--data"),
    ):
        LocalHub(tmp_path).__enter__()


def test_accounts_when_given_then_users_orgs_and_roles_exist() -> None:
    accounts = {
        "users": [
            {
                "name": "ann",
                "fullname": "Ann A",
                "token": "hf_ann",
                "role": "write",
                "orgs": [{"name": "team", "fullname": "The Team", "role": "admin"}],
            },
            {"name": "bob", "token": "hf_bob", "role": "read"},
        ],
        "orgs": [{"name": "team", "new_repos_are_private": True}],
    }
    with LocalHub(accounts=accounts) as hub:
        assert (hub.user, hub.token) == ("ann", "hf_ann")
        ann = HfApi(endpoint=hub.url, token="hf_ann")
        me = ann.whoami()
        assert (me["fullname"], me["orgs"][0]["name"]) == ("Ann A", "team")
        assert me["orgs"][0]["fullname"] == "The Team"
        assert ann.model_info(ann.create_repo("team/model").repo_id).private
        answer = httpx.post(
            f"{hub.url}/api/repos/create",
            json={"name": "mine"},
            headers={"Authorization": "Bearer hf_bob"},
        )
        assert answer.status_code == 403
        assert "role read" in answer.json()["error"]


def test_accounts_when_role_is_unknown_then_error_names_the_known_ones() -> None:
    accounts = {"users": [{"name": "ann", "token": "hf_ann", "role": "king"}]}
    with pytest.raises(Exception, match="Invalid token role 'king'. Use read, write"):
        LocalHub(accounts=accounts).__enter__()


def test_serve_when_run_then_it_answers_and_stops_on_signal(tmp_path: Path) -> None:
    program = (
        "import json, sys, pathlib\n"
        "from hub_trainer.local_hub import serve\n"
        "def ready(hub):\n"
        "    print(json.dumps({'url': hub.url, 'token': hub.token}), flush=True)\n"
        "serve(pathlib.Path(sys.argv[1]), on_ready=ready)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert HfApi(endpoint=told["url"], token=told["token"]).whoami()["name"] == "admin"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    process.stdout.close()
