"""The pages of models that predict a number or a set of labels, rated in a browser."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.local_hub import LocalHub
from hub_trainer.tasks import ModelFolders
from tests.space.browser import NEEDS_BROWSER, SIZES, UNNAMED, opened_page, running_browser
from tests.space.factory import QUIET, RunningSpace, WordTask, running_space

pytestmark = [*QUIET, *NEEDS_BROWSER]
COLOURS = ["blue", "green", "red"]
Row = Mapping[str, Any]


class CountTask(WordTask):
    """Says how many words a text has, and a half."""

    answer = load_answer("number")

    def predict(self, folders: ModelFolders, rows: Sequence[Row]) -> list[Prediction]:
        return [Prediction(len(row["text"].split()) + 0.5) for row in rows]


class ColoursTask(WordTask):
    """Says which colours a text names."""

    answer = load_answer("labels")

    def predict(self, folders: ModelFolders, rows: Sequence[Row]) -> list[Prediction]:
        named = [frozenset(COLOURS) & frozenset(row["text"].split()) for row in rows]
        return [
            Prediction(found, {name: 0.9 if name in found else 0.1 for name in COLOURS})
            for found in named
        ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module", params=["number", "labels"])
def space(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, RunningSpace]]:
    task = CountTask() if request.param == "number" else ColoursTask()
    names = [] if request.param == "number" else COLOURS
    folder = tmp_path_factory.mktemp("space")
    with (
        LocalHub() as local,
        running_space(folder, local, task=task, answer=request.param, label_names=names) as running,
    ):
        yield request.param, running


def _say_number(page: Any) -> None:
    page.get_by_label("The right number").fill("3")


def _say_labels(page: Any) -> None:
    page.get_by_role("checkbox", name="blue").check()
    page.get_by_role("checkbox", name="green").check()


CORRECTIONS: Mapping[str, tuple[Callable[[Any], None], Any, Any, str]] = {
    "number": (_say_number, 3.5, 3, "Is this about right?"),
    "labels": (_say_labels, ["red"], ["blue", "green"], "Are these the labels that fit?"),
}
"""How a rater mends an answer; the answer, the mended one, and what is asked."""


@pytest.mark.parametrize("size", list(SIZES))
def test_answer_when_rated_in_a_browser_then_both_words_are_kept(
    browser: Any, space: tuple[str, RunningSpace], size: str
) -> None:
    kind, running = space
    mend, predicted, mended, question = CORRECTIONS[kind]
    with opened_page(browser, running.url, size) as page:
        for button, answer in (("Right", predicted), ("Wrong", mended)):
            page.get_by_label("Text", exact=True).fill("one red card" + " " * (button == "Wrong"))
            page.get_by_role("button", name="Ask the model").click()
            page.get_by_role("heading", name=question).wait_for()
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            page.get_by_role("button", name=button, exact=True).click()
            if button == "Wrong":
                mend(page)
                assert page.evaluate(UNNAMED) == 0
                page.get_by_role("button", name="Send the right answer").click()
            page.get_by_text("Saved.").wait_for()
            rows = running.store._read("SELECT kind, answer FROM rating ORDER BY seq DESC LIMIT 1")
            assert (rows[0][0], json.loads(rows[0][1])) == (button.lower(), answer)
            page.get_by_role("button", name="Try another").click()
            page.get_by_role("heading", name=question).wait_for(state="hidden")
