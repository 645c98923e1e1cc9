"""A language model of the tests: it says again what it was asked, word by word, with its seed."""

import gc
import json
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.hub import Hub, Repo
from hub_trainer.inputs.language_examples import Example, example_of
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import Outbox, RatingStore
from hub_trainer.ratings.outbox import Destination
from hub_trainer.recipe import GenerationSection
from hub_trainer.rows.formats import detect_format
from hub_trainer.rows.language_rows import example_row
from hub_trainer.space.application import chat_app
from hub_trainer.space.chat.chat_service import ChatModel, ChatService
from hub_trainer.space.rating_intake import RatingIntake
from hub_trainer.space.settings import SpaceSettings
from hub_trainer.space.view import View
from hub_trainer.tasks import ModelFolders
from tests.space.factory import KEY, SHA, Clock, event_loop, raters, served, settings_of

LIMIT = 500
"""Characters that the model takes."""
OTHER_SHA = "f" * 40
KNOWN = detect_format({"prompt", "completion"})


@dataclass
class RunningChat:
    url: str
    service: ChatService
    store: RatingStore
    clock: Clock

    @property
    def task(self) -> Any:
        """The model."""
        return self.service._converses


class WordyTask:
    """Answers with the name of its folder's voice, the number of turns, and the last message.

    It stops at the word `wait`, and takes its time after the word `slowly`.
    """

    name = "text-generation"
    modality = "prompt"

    @property
    def converses(self) -> "WordyTask":
        return self

    def __init__(self) -> None:
        self.gate = threading.Event()
        """While it is not set, the word `wait` is the last that is written."""
        self.gate.set()
        self.ended: list[str] = []
        """How each answer ended: whole, or cut."""

    def prompt_row(
        self, folders: ModelFolders, turns: Sequence[Mapping[str, str]]
    ) -> Mapping[str, Any]:
        if folders.model.name == "plain":
            return example_row(KNOWN, Example(turns[-1]["content"], ("",)))
        if sum(len(turn["content"]) for turn in turns) > LIMIT:
            raise DataError("The prompt leaves no room for an answer.", do="shorten it")
        return example_row(KNOWN, Example(tuple(turns), ((),)))

    def stream(
        self, folders: ModelFolders, row: Any, sampling: GenerationSection, *, seed: int
    ) -> Generator[str, None, bool]:
        asked = example_of(row).prompt
        turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
        voice = "quiet" if folders.model.name == "quiet" else "loud"
        luck = f"{seed % 100}" if sampling.temperature else "sure"
        words = f"{voice} {len(turns)} {luck}: {turns[-1]['content']}".split(" ")
        ended = "cut"
        try:
            for number, word in enumerate(words):
                yield (" " if number else "") + (word.upper() if voice == "loud" else word)
                if word == "wait":
                    self.gate.wait(10)
                if "slowly" in words[:number]:
                    time.sleep(0.05)
            ended = "whole"
            return "cut" not in words
        finally:
            self.ended.append(ended)


def chat_settings(**changes: Any) -> SpaceSettings:
    values: dict[str, Any] = {
        "task": "text-generation",
        "label_names": [],
        "generation": GenerationSection(max_new_tokens=50, temperature=0.8),
    }
    return settings_of(**{**values, **changes})


def rival() -> dict[str, Any]:
    """Settings of a Space with blind pairs."""
    return {"rival": {"repo_id": "org/rival", "commit_sha": OTHER_SHA}}


def chat_service_of(
    folder: Path, hub: Any, settings: SpaceSettings, *, voice: str = "loud", **options: Any
) -> tuple[ChatService, Clock]:
    """A service over a new store in `folder`."""
    destination = Destination(settings.ratings_repo_id, "org/space", "text-generation", "prompt")
    outbox = Outbox(RatingStore(folder), hub, destination, flush_seconds=settings.flush_seconds)
    clock = Clock()
    needs_account = options.pop("needs_account", False)
    intake = RatingIntake(settings, outbox, key=KEY, needs_account=needs_account, now=clock)
    models = [ChatModel(f"org/model@{SHA}", ModelFolders(folder / voice))]
    if settings.rival:
        models.append(ChatModel(f"org/rival@{OTHER_SHA}", ModelFolders(folder / "quiet")))
    task: Any = WordyTask()
    return ChatService(task, models, intake, key=KEY, **options), clock


def prompt_of(generation: Any) -> Any:
    """The prompt of a kept generation."""
    return json.loads(generation.row["prompt"])


@contextmanager
def running_chat(
    folder: Path, local: LocalHub, *, voice: str = "loud", sign_in: bool = False, **changes: Any
) -> Iterator[RunningChat]:
    """Serve a Space of a language model in a thread; its ratings go to `local`."""
    hub = Hub(local.url, local.token)
    settings = chat_settings(**changes)
    hub.create_repo(Repo(settings.ratings_repo_id, "dataset"))
    service, clock = chat_service_of(folder, hub, settings, voice=voice, needs_account=sign_in)
    examples = [{"text": "Tell me of the sea"}, {"text": "one two three"}]
    with event_loop():
        app = chat_app(service, raters(), View("https://example.org/m", examples, sign_in))
        with served(app) as url:
            yield RunningChat(url, service, service.intake.outbox.store, clock)
    service.intake.outbox.store.close()
    gc.collect()
