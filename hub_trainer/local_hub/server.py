"""Runs the Local Hub: in a thread of this process for tests, or in the foreground for the CLI."""

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from hub_trainer.local_hub import accounts as account_rows
from hub_trainer.local_hub.app import build_app
from hub_trainer.local_hub.core import Core, Limits, open_core
from hub_trainer.local_hub.delivery import Deliverer
from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.housekeeping import Housekeeper
from hub_trainer.local_hub.job_runner import JobRunner
from hub_trainer.local_hub.lifecycle import empty_trash
from hub_trainer.local_hub.protocol import HubProtocol
from hub_trainer.local_hub.refs import reconcile
from hub_trainer.local_hub.scheduled_jobs import Scheduler

ADMIN = "admin"
TOKEN_FILE = "token"  # noqa: S105 - a file name


class LocalHub:
    """A Local Hub as a context manager.

    `with LocalHub() as hub:` serves on a free loopback port until the block ends. Without a data
    folder it keeps everything in a temporary one and removes it at the end.
    """

    def __init__(  # noqa: PLR0913 - settings of a server
        self,
        data_dir: Path | str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        accounts: dict[str, Any] | None = None,
        *,
        limits: Limits | None = None,
        allowed_hosts: tuple[str, ...] = (),
        allow_jobs: bool = False,
    ) -> None:
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._address = (host, port)
        self._accounts = accounts
        self._limits = limits
        self._allowed_hosts = allowed_hosts
        self._allow_jobs = allow_jobs
        self._ended = threading.Event()
        self.url = ""
        self.user = ""
        self.token = ""

    def __enter__(self) -> "LocalHub":
        """Bind the port, open the data, and serve."""
        self._socket = _bind(*self._address)
        try:
            self._temporary = None if self._data_dir else tempfile.mkdtemp(prefix="local-hub-")
            self.data_dir = self._data_dir or Path(str(self._temporary))
            durable = self._data_dir is not None
            self.core = open_core(self.data_dir, self._limits, durable=durable)
        except BaseException:
            self._socket.close()
            raise
        try:
            empty_trash(self.core)
            reconcile(self.core)
            self.user, self.token = _first_user(self.core, self.data_dir, self._accounts)
        except BaseException:
            self._socket.close()
            self.core.close()
            raise
        self.url = _url_of(self._socket, self._address[0])
        app = build_app(self.core, (self._address[0], *self._allowed_hosts))
        self._server = _server_for(app)
        self._beside: list[Deliverer | Housekeeper | Scheduler] = [
            Deliverer(self.core),
            Housekeeper(self.core),
        ]
        if self._allow_jobs:
            self.core.jobs = JobRunner(self.data_dir.resolve() / "jobs", self.core.store)
            self._beside.append(Scheduler(self.core.store, self.core.jobs))
        self._thread = threading.Thread(target=self._run, name="local-hub", daemon=True)
        self._thread.start()
        self._wait_until_started()
        for each in self._beside:
            each.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving and let go of the data."""
        self.stop()

    def stop(self) -> None:
        """Finish the requests in progress, then let go of port and data."""
        for each in self._beside:
            each.stop()
        if self.core.jobs is not None:
            self.core.jobs.stop()
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()
        self.core.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def wait(self) -> None:
        """Block until the server stops."""
        # Not by joining the thread: CPython 3.11 takes it for ended once a signal broke the join.
        self._ended.wait()

    def add_user(self, name: str, role: str = "write", *, fullname: str | None = None) -> str:
        """Add a user (or take the one there is) and give them a new token with this role."""
        user = account_rows.add_user(self.core.store, name, fullname)
        return account_rows.add_token(self.core.store, user, role=role)

    def add_org(
        self, name: str, members: dict[str, str] | None = None, *, private: bool = False
    ) -> None:
        """Add an organisation; `members` maps user names to read, contributor, write or admin."""
        org = account_rows.add_org(self.core.store, name, private=private)
        for member, role in (members or {}).items():
            user = account_rows.add_user(self.core.store, member)
            account_rows.set_member(self.core.store, org, user, role)

    def add_token(
        self, name: str, role: str = "write", scopes: list[dict[str, Any]] | None = None
    ) -> str:
        """Another token for a user. `fine-grained` needs scopes: [{"entity": "user-or-org" or
        "datasets/user/name", "permissions": ["read", "write"]}]."""
        user = account_rows.add_user(self.core.store, name)
        return account_rows.add_token(self.core.store, user, role=role, scopes=scopes)

    def revoke_token(self, token: str) -> None:
        """Refuse a token from now on."""
        account_rows.revoke_token(self.core.store, token)

    def without_token(self, names: Sequence[str]) -> list[str]:
        """Those of these users who have no token, and so cannot sign in."""
        return [name for name in names if not account_rows.has_token(self.core.store, name)]

    def environment(self) -> dict[str, str]:
        """What a client's environment needs to talk to this Hub as its first user."""
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": self.token, "HF_HUB_DISABLE_XET": "1"}

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ended.set()

    def _wait_until_started(self) -> None:
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"The Local Hub at {self.url} stopped while it was starting.")
            self._thread.join(timeout=0.005)


def serve(
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    accounts_file: Path | None = None,
    on_ready: Callable[[LocalHub], None] | None = None,
    *,
    allow_jobs: bool = False,
) -> None:
    """Serve until interrupted or terminated; `on_ready` is called once it answers."""
    accounts = json.loads(accounts_file.read_text()) if accounts_file else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = LocalHub(data_dir, host, port, accounts, allow_jobs=allow_jobs)
    with running as hub, suppress(KeyboardInterrupt):
        if on_ready is not None:
            on_ready(hub)
        hub.wait()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only where the protocol is spelled out.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise RuntimeError(
            f"The Local Hub cannot listen on {host}:{port}: {error.strerror}. "
            "Choose another --port, or 0 for a free one."
        ) from error
    return listener


def _url_of(listener: socket.socket, host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{listener.getsockname()[1]}"


def _server_for(app: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=HubProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="warning",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=65536,
    )
    return uvicorn.Server(config)


def _first_user(core: Core, folder: Path, accounts: dict[str, Any] | None) -> tuple[str, str]:
    """Name and token of the user whose token lies in the folder, where only its owner reads it.

    Where none lies there it is that of the first account with a token, else of an administrator.
    """
    if accounts is not None:
        try:
            account_rows.load_accounts(core.store, accounts)
        except WireError as error:
            raise ValueError(f"The accounts cannot be loaded: {error.message}") from None
    path = folder / TOKEN_FILE
    if (kept := _kept_user(core, path)) is not None:
        return kept
    given = [one for one in (accounts or {}).get("users", []) if one.get("token")]
    if given:
        name, token = str(given[0]["name"]), str(given[0]["token"])
    else:
        user = account_rows.add_user(core.store, ADMIN)
        name, token = user.name, account_rows.add_token(core.store, user, role="write")
    _write_private(path, token + "\n")
    return name, token


def _kept_user(core: Core, path: Path) -> tuple[str, str] | None:
    """The user of the token in a file; None where there is no file, or its token is not valid."""
    token = path.read_text().strip() if path.is_file() else ""
    try:
        name = account_rows.actor_of_token(core.store, token).name
    except WireError:
        return None
    return (name, token) if name else None


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
