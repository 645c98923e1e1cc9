"""Ratings of any answer of a conversation, asked of the page as a browser asks it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings.rating_store import Shard
from hub_trainer.space.chat.bubbles import MARKS, conversation
from hub_trainer.space.chat.chat_events import rated_turn
from tests.space.factory import QUIET
from tests.space.writing import RunningChat, running_chat

pytestmark = QUIET
NOTHING = None
"""What a browser sends for what the server keeps."""


class Page:
    """A page of the Space, by the requests that its script makes."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, headers={"Authorization": "Bearer hf_ada"})
        config = self._client.get("/config").json()
        self._prefix = config["api_prefix"]
        components = {one["id"]: one for one in config["components"]}
        self._events: dict[str, int] = {}
        for event in config["dependencies"]:
            for target, trigger in event["targets"]:
                name = components[target]["props"].get("value") if target in components else None
                if trigger == "click" and isinstance(name, str):
                    self._events[name] = event["id"]
            self._events.setdefault(event["api_name"], event["id"])

    def press(self, name: str, *data: Any) -> Any:
        """What a handler that waits for no model gives back, or why it is refused."""
        found = self._client.post(f"{self._prefix}/run/predict", json=self._asked(name, data))
        content = found.json()
        return content["data"] if found.status_code == 200 else content["error"]

    def say(self, text: str) -> Any:
        """Ask the model; the last thing that its handler gives back, with what is left as it is."""
        self._client.post(
            f"{self._prefix}/queue/join", json=self._asked("answer", (text, NOTHING, NOTHING))
        )
        asked = f"{self._prefix}/queue/data"
        with self._client.stream("GET", asked, params={"session_hash": "s"}) as stream:
            seen = [json.loads(line[5:]) for line in stream.iter_lines() if line[:5] == "data:"]
        return [one for one in seen if one["msg"] == "process_completed"][-1]["output"]["data"]

    def looks(self) -> str:
        """The conversation, with what was said of its answers."""
        (html,) = self.press("_show_marks", NOTHING, NOTHING)
        return str(html)

    def _asked(self, name: str, data: tuple[Any, ...]) -> dict[str, Any]:
        return {"data": list(data), "fn_index": self._events[name], "session_hash": "s"}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningChat]:
    folder = tmp_path_factory.mktemp("one")
    with LocalHub() as local, running_chat(folder, local, ratings_per_hour=100) as running:
        yield running


def test_page_when_an_earlier_answer_is_chosen_then_that_one_is_rated_and_marked(
    one: RunningChat,
) -> None:
    page = Page(one.url)
    offered = [page.say(text)[3] for text in ("one two", "three", "four")]
    assert [one["visible"] for one in offered] == [False, True, True]
    assert offered[2]["choices"] == [[f"Answer {n + 1}", n] for n in range(3)]
    assert offered[2]["value"] == 2
    (said, _) = page.press("Good answer", *[NOTHING] * 3, 0, NOTHING)
    assert said == "**Saved.** Thank you: a good answer."
    assert page.press("Edit the answer", NOTHING, 1)[2].endswith(": THREE")
    page.press("Send the edited answer", NOTHING, "Better.", NOTHING, 1, NOTHING)
    page.press("Send the report", NOTHING, "Rude.", NOTHING, 2, NOTHING)
    rated = one.store.rated(Shard(1, 3))
    assert [(r.rating.kind, r.rating.answer, r.generation.prediction[-5:]) for r in rated] == [
        ("up", "", "E TWO"),
        ("edit", "Better.", "THREE"),
        ("report", "Rude.", " FOUR"),
    ]
    looks = page.looks()
    marks = [looks.index(MARKS[kind]) for kind in ("up", "edit", "report")]
    numbers = [looks.index(f"Answer {n}") for n in (1, 2, 3)]
    assert numbers[0] < marks[0] < numbers[1] < marks[1] < numbers[2] < marks[2]
    kept = one.store.counts().kept
    assert "not in the list of choices" in page.press("Bad answer", *[NOTHING] * 3, 7, NOTHING)
    assert one.store.counts().kept == kept


def test_rated_turn_when_no_place_is_chosen_then_it_is_the_latest() -> None:
    turns = [{"ticket": "a"}, {"ticket": "b"}]
    assert [rated_turn(turns, place)["ticket"] for place in (0, 1, None, 7, -1)] == list("abbbb")


def test_conversation_when_there_is_one_answer_then_it_has_no_number() -> None:
    turn = {"user": "Hi", "assistant": "Ho", "ticket": "t"}
    assert "Answer 1" not in conversation([turn], marks={})
    assert "Answer 2" in conversation([turn, turn], marks={})
    assert "Answer" not in conversation([turn, turn])
    assert MARKS["down"] in conversation([turn], marks={"t": "down"})
    assert MARKS["down"] not in conversation([turn], marks={"other": "down"})
