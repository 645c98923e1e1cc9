"""The Space of a model of spans: the text is shown with them, and a rater mends their lines."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.answers.span_reading import tagged
from hub_trainer.hub import Hub
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import RatingRefused
from hub_trainer.space.raters import Rater
from hub_trainer.space.routes import MAX_BODY_BYTES
from hub_trainer.space.service import SpaceService
from hub_trainer.space.shown_rows import ShownRows
from hub_trainer.tasks import ModelFolders, Widgets, load_task
from tests.space.browser import NEEDS_BROWSER, opened_page, running_browser
from tests.space.factory import QUIET, running_space, service_of, settings_of

pytestmark = QUIET

ADA = Rater("ada", "account")
SETTINGS = {"answer": "spans", "label_names": ["name", "place"]}


class NameTask:
    """Says that every word with a capital is a name."""

    name = "token-classification"
    modality = "text"
    answer = load_answer("spans")

    def predict(self, folders: ModelFolders, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        found = []
        for row in rows:
            words = row["text"].split()
            spans = [(n, n + 1, "name") for n, word in enumerate(words) if word[0].isupper()]
            found.append(Prediction(tagged(words, spans), {"name": 0.9, "place": 0.0}))
        return found

    def problems(self, row: Mapping[str, Any]) -> list[str]:
        return load_task(self.name).problems(row)

    def widgets(self, examples: Sequence[Any]) -> Widgets:
        return load_task(self.name).widgets(examples)  # type: ignore[union-attr]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SpaceService]:
    nowhere = Hub("http://127.0.0.1:9", "hf_none")
    made, _ = service_of(tmp_path, nowhere, settings_of(**SETTINGS), task=NameTask())
    yield made
    made.intake.outbox.store.close()


def rate(service: SpaceService, ticket: str, answer: str) -> dict[str, Any]:
    """The answer that is kept."""
    asyncio.run(service.rate(ticket, "wrong", answer, ADA))
    kept = service.intake.outbox.store._read("SELECT answer FROM rating ORDER BY seq DESC LIMIT 1")
    found: dict[str, Any] = json.loads(kept[0][0])
    return found


def test_rating_when_lines_are_mended_then_kept_by_characters(service: SpaceService) -> None:
    shown = service.predict(["Ann lives in Rome, Ann says."], ADA)
    assert service.draft(shown.ticket) == {"value": "Ann -> name\nRome -> name\nAnn -> name"}
    kept = rate(service, shown.ticket, "Rome -> Place\nAnn #2 -> name")
    assert kept == {
        "text": "Ann lives in Rome , Ann says .",
        "spans": [
            {"start": 13, "end": 17, "label": "place"},
            {"start": 20, "end": 23, "label": "name"},
        ],
    }
    assert rate(service, shown.ticket, "none")["spans"] == []


def test_rating_when_a_line_names_nothing_then_says_how_to_write_it(service: SpaceService) -> None:
    ticket = service.predict(["Ann lives in Rome"], ADA).ticket
    with pytest.raises(RatingRefused) as error:
        rate(service, ticket, "Paris -> place")
    assert "does not stand in the text" in str(error.value)
    assert "Write a line for each span" in str(error.value)


def test_ticket_when_the_text_is_the_longest_then_it_can_be_rated(service: SpaceService) -> None:
    words = [f"{chr(0x100 + n % 80)}{n}" for n in range(1, 3000)]
    text = " ".join(words)[:9_990].rsplit(" ", 1)[0]
    ticket = service.predict([text], ADA).ticket
    assert len(json.dumps({"generation_id": ticket})) < MAX_BODY_BYTES
    assert rate(service, ticket, "none")["text"] == text


@pytest.mark.skipif(NEEDS_BROWSER[0].args[0], reason="chromium is not installed")
@pytest.mark.skipif(NEEDS_BROWSER[1].args[0], reason="playwright is not installed")
def test_page_when_the_model_is_wrong_then_its_spans_are_there_to_mend(tmp_path: Path) -> None:
    shown = ShownRows([{"text": "Ann lives in Rome"}])
    with (
        LocalHub() as local,
        running_space(tmp_path, local, task=NameTask(), shown=shown, **SETTINGS) as space,
        running_browser() as browser,
        opened_page(browser, space.url, "desktop") as page,
    ):
        page.get_by_label("Text", exact=True).fill("Ann lives in Rome")
        page.get_by_role("button", name="Ask the model").click()
        page.locator("#prediction").get_by_text("Rome", exact=True).wait_for()
        page.get_by_role("button", name="Wrong", exact=True).click()
        box = page.get_by_label("The right spans")
        page.wait_for_function(
            "document.activeElement.value === 'Ann -> name\\nRome -> name'", timeout=20_000
        )
        box.fill("Ann -> name\nRome -> place")
        page.get_by_role("button", name="Send the right answer").click()
        page.get_by_text("the right answer is Ann -> name; Rome -> place").wait_for()
        kept = space.store._read("SELECT answer FROM rating ORDER BY seq DESC LIMIT 1")[0][0]
        assert [one["label"] for one in json.loads(kept)["spans"]] == ["name", "place"]
