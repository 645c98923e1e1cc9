import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.names import RESERVED
from hub_trainer.local_hub.routes import ROUTES
from hub_trainer.local_hub.store import VERSION


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


def test_data_when_of_an_older_version_then_it_is_brought_up_to_date(tmp_path: Path) -> None:
    with LocalHub(tmp_path) as hub:
        HfApi(endpoint=hub.url, token=hub.token).create_repo("kept")
    with closing(sqlite3.connect(tmp_path / "hub.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == VERSION
        db.execute("DROP TABLE page_session")
        db.execute("PRAGMA user_version = 0")
    with LocalHub(tmp_path) as hub:
        assert HfApi(endpoint=hub.url, token=hub.token).repo_exists("admin/kept")
    with closing(sqlite3.connect(tmp_path / "hub.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == VERSION
        assert db.execute("SELECT count(*) FROM page_session").fetchone() == (0,)


def test_data_when_of_a_newer_version_then_error_says_what_to_do(tmp_path: Path) -> None:
    with LocalHub(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "hub.sqlite3")) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    for _ in range(2):  # the folder is let go of, so the second error is the same
        with pytest.raises(RuntimeError, match=f"data version is {VERSION + 1}.*Update"):
            LocalHub(tmp_path).__enter__()


def test_data_when_a_table_is_of_something_else_then_error_names_it(tmp_path: Path) -> None:
    with LocalHub(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "hub.sqlite3")) as db:
        db.execute("ALTER TABLE repo DROP COLUMN facts")
    with pytest.raises(RuntimeError, match="hub.sqlite3 .* table repo has no facts.*--data folder"):
        LocalHub(tmp_path).__enter__()


def test_data_when_the_file_is_no_database_then_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "hub.sqlite3").write_text("something else entirely" * 100)
    with pytest.raises(RuntimeError, match="hub.sqlite3 cannot be used.*not a database.*--data"):
        LocalHub(tmp_path).__enter__()


@pytest.mark.parametrize("name", ["api", "Datasets", "login", "uploads"])
def test_accounts_when_a_name_is_reserved_then_error_names_it(name: str) -> None:
    for accounts in ({"users": [{"name": name}]}, {"orgs": [{"name": name}]}):
        with pytest.raises(ValueError, match=f"accounts cannot be loaded: The name '{name}' is re"):
            LocalHub(accounts=accounts).__enter__()


def test_names_when_a_path_of_the_server_starts_with_one_then_it_is_reserved() -> None:
    first_parts = {entry.path.split("/")[1] for entry in ROUTES}
    fixed = {part for part in first_parts if part and "{" not in part}
    assert {"api", "uploads", "lfs-upload", "login", "assets"} <= fixed
    assert fixed <= RESERVED


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
    with pytest.raises(ValueError, match="Invalid token role 'king'. Use read, write"):
        LocalHub(accounts=accounts).__enter__()


PROGRAM = (
    "import json, sys, pathlib\n"
    "from hub_trainer.local_hub import serve\n"
    "def ready(hub):\n"
    "    print(json.dumps({'url': hub.url, 'token': hub.token}), flush=True)\n"
    "serve(pathlib.Path(sys.argv[1]), on_ready=ready)\n"
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as process:
        yield process
        process.kill()


def test_serve_when_run_then_it_answers_and_stops_on_signal(
    served: subprocess.Popen[str],
) -> None:
    assert served.stdout is not None
    told = json.loads(served.stdout.readline())
    assert HfApi(endpoint=told["url"], token=told["token"]).whoami()["name"] == "admin"
    os.kill(served.pid, signal.SIGTERM)
    assert served.communicate(timeout=20) == ("", "")
    assert served.returncode == 0


def test_serve_when_stopped_while_a_request_comes_in_then_it_is_answered_first(
    served: subprocess.Popen[str],
) -> None:
    assert served.stdout is not None
    told = json.loads(served.stdout.readline())
    address = httpx.URL(told["url"])
    body = b'{"content": "---\\nlicense: mit\\n---\\n"}'
    lines = ["POST /api/validate-yaml HTTP/1.1", f"Host: {address.netloc.decode()}"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    with socket.create_connection((address.host, address.port or 0), timeout=20) as client:
        client.sendall(head + body[:9])
        assert HfApi(endpoint=told["url"], token=told["token"]).whoami()["name"] == "admin"
        os.kill(served.pid, signal.SIGTERM)
        while is_listening(address):
            pass
        client.sendall(body[9:])
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert served.communicate(timeout=20) == ("", "")
    assert served.returncode == 0


def is_listening(address: httpx.URL) -> bool:
    """Whether a server that was told to stop still takes connections."""
    time.sleep(0.05)
    try:
        socket.create_connection((address.host, address.port or 0), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
