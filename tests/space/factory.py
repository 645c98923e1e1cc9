"""A Space with a model that counts words, served on a free port of this machine."""

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.errors import DataError, HubError
from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import Outbox, RatingStore
from hub_trainer.ratings.outbox import Destination
from hub_trainer.space.application import form_app
from hub_trainer.space.raters import Raters
from hub_trainer.space.rating_intake import RatingIntake
from hub_trainer.space.routes import until_leaving
from hub_trainer.space.service import Loaded, SpaceService
from hub_trainer.space.settings import SpaceSettings
from hub_trainer.space.shown_rows import ShownRows
from hub_trainer.space.view import View
from hub_trainer.tasks import ModelFolders, Widgets, load_task

LABELS = ["few", "many", "<b>&none"]
SHA = "0123456789abcdef0123456789abcdef01234567"
ACCOUNTS = {"hf_ada": {"type": "user", "id": "id-ada", "name": "ada"}, "hf_org": {"type": "org"}}
KEY = b"a key of the tests"
QUIET = [
    # What Gradio and its client leave behind is not ours: they count their requests with pandas
    # (gradio/queueing.py) and leave sockets and event loops to the garbage collector.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""Marks for tests that run a Space in this process, or a client of one."""


class WordTask:
    """Says whether a text has many words."""

    name = "text-classification"
    modality = "text"
    answer = load_answer("label")

    def predict(self, folders: ModelFolders, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        many = [min(len(row["text"].split()) / 10, 1.0) for row in rows]
        return [
            Prediction("many" if m > 0.3 else "few", {"few": 1 - m, "many": m, "<b>&none": 0.0})
            for m in many
        ]

    def problems(self, row: Mapping[str, Any]) -> list[str]:
        return [] if row["text"].strip() else ["text is empty"]

    def widgets(self, examples: Sequence[Any]) -> Widgets:
        return replace(_own_widgets(), to_row=_row)


def _row(values: Sequence[Any]) -> dict[str, Any]:
    if not values[0]:
        raise DataError("There is no text to classify.", do="write one first")
    return _own_widgets().to_row(values)


def _own_widgets() -> Widgets:
    """The inputs of the real task, without a model's limit."""
    widgets = load_task("text-classification").widgets([])
    assert widgets is not None
    return replace(widgets, unread=None)


Whoami = Callable[[str], Mapping[str, Any]]


def whoami(token: str) -> Mapping[str, Any]:
    if token == "hf_down":
        raise HubError("The Hub at x does not answer for who the token belongs to.")
    if token not in ACCOUNTS:
        raise HubError("The Hub does not show who the token belongs to to this token.")
    return ACCOUNTS[token]


class Clock:
    """Wall clock that the tests move."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@dataclass
class RunningSpace:
    url: str
    service: SpaceService
    store: RatingStore
    clock: Clock


def settings_of(**changes: Any) -> SpaceSettings:
    values: dict[str, Any] = {
        "space_repo_id": "org/space",
        "task": "text-classification",
        "model_repo_id": "org/model",
        "commit_sha": SHA,
        "ratings_repo_id": "admin/ratings",
        "label_names": LABELS,
        "license": "cc0-1.0",
        "flush_seconds": 0.2,
        "predictions_per_minute": 10_000,
        "predictions_per_day": 100_000,
    }
    return SpaceSettings(**{**values, **changes})


def service_of(
    folder: Path,
    hub: Hub,
    settings: SpaceSettings,
    *,
    needs_account: bool = False,
    task: Any = None,
    examples: Sequence[Any] = (),
) -> tuple[SpaceService, Clock]:
    """A service over a new store in `folder`."""
    task = task or WordTask()
    destination = Destination(settings.ratings_repo_id, "org/space", task.name, task.modality)
    outbox = Outbox(RatingStore(folder), hub, destination, flush_seconds=settings.flush_seconds)
    clock = Clock()
    loaded = Loaded(task, ModelFolders(folder), task.widgets(examples))
    intake = RatingIntake(settings, outbox, key=KEY, needs_account=needs_account, now=clock)
    return SpaceService(loaded, intake), clock


def raters(asked: Whoami = whoami) -> Raters:
    return Raters(KEY, asked, time.monotonic)


@contextmanager
def running_space(
    folder: Path,
    local: LocalHub,
    *,
    sign_in: bool = False,
    task: Any = None,
    shown: ShownRows | None = None,
    asked: Whoami = whoami,
    **changes: Any,
) -> Iterator[RunningSpace]:
    """Serve a Space in a thread; its ratings go to `local`, `asked` says whose a token is."""
    shown = shown or ShownRows([{"text": "one two"}, {"text": "one two three four five six"}])
    hub = Hub(local.url, local.token)
    settings = settings_of(**changes)
    hub.create_repo(Repo(settings.ratings_repo_id, "dataset"))
    service, clock = service_of(
        folder, hub, settings, needs_account=sign_in, task=task, examples=shown.examples
    )
    view = View("https://example.org/m", shown.examples, sign_in, shown.ranges)
    with event_loop():
        app = form_app(service, raters(asked), view)
        with served(app) as url:
            yield RunningSpace(url, service, service.intake.outbox.store, clock)
    service.intake.outbox.store.close()
    gc.collect()


@contextmanager
def event_loop() -> Iterator[None]:
    """The loop that Gradio looks for while it builds a page; it would leave one of its own open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = until_leaving(app, lambda: server.should_exit)
    # As the server does away from the Hub: no header says who is at the other end.
    config = uvicorn.Config(
        app, log_level="error", timeout_graceful_shutdown=1, proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()
