"""The page in a browser: ask, rate, see that it is saved; nothing from other hosts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.local_hub import LocalHub
from tests.space.browser import NEEDS_BROWSER, SIZES, UNNAMED, opened_page, running_browser
from tests.space.factory import QUIET, RunningSpace, running_space
from tests.space.kinds import DIGITS, DarkTask, drawings

pytestmark = [*QUIET, *NEEDS_BROWSER]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSpace]:
    with LocalHub() as local, running_space(tmp_path_factory.mktemp("space"), local) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture(params=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, space: RunningSpace) -> Iterator[Any]:
    """The page at a width, with what it complained of and whom it asked."""
    with opened_page(browser, space.url, request.param) as page:
        yield page


def _ask(page: Any, text: str) -> None:
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Ask the model").click()


def _latest(space: RunningSpace) -> tuple[str, str]:
    """Kind and answer of the newest rating in the store."""
    rows = space.store._read("SELECT kind, answer FROM rating ORDER BY seq DESC LIMIT 1")
    return (rows[0][0], rows[0][1]) if rows else ("", "")


def test_page_when_the_model_is_right_saves_and_says_so(page: Any, space: RunningSpace) -> None:
    _ask(page, "one two three four five six")
    page.get_by_role("button", name="Right", exact=True).click()
    page.get_by_text("the model was right").wait_for()
    assert page.get_by_text("Saved.").is_visible()
    assert _latest(space) == ("right", "many")
    page.locator("#status").get_by_text("kept").wait_for()


def test_page_when_the_model_is_wrong_takes_the_right_answer(
    page: Any, space: RunningSpace
) -> None:
    _ask(page, "one two three four five six")
    page.get_by_role("button", name="Wrong", exact=True).click()
    page.get_by_role("radio", name="<b>&none").check()
    assert page.locator("#correction input[type=radio]").count() == 2
    assert page.get_by_role("radio", name="many").count() == 0
    page.get_by_role("button", name="Send the right answer").click()
    page.get_by_text("the right answer is <b>&none").wait_for()
    assert _latest(space) == ("wrong", "<b>&none")
    _ask(page, "one")
    page.get_by_text("Saved.").wait_for(state="hidden")
    page.get_by_role("button", name="Wrong", exact=True).click()
    page.get_by_role("radio", name="many").wait_for()
    assert page.get_by_role("radio", name="few").count() == 0


def test_page_when_no_answer_is_chosen_says_so_and_saves_nothing(
    page: Any, space: RunningSpace
) -> None:
    before = space.store.counts().kept
    _ask(page, "one two three four five six")
    page.get_by_role("button", name="Wrong", exact=True).click()
    page.get_by_role("button", name="Send the right answer").click()
    page.get_by_text(
        "Not saved. The right answer is missing. Choose one of the labels first."
    ).wait_for()
    assert space.store.counts().kept == before


def test_page_when_the_input_is_empty_says_what_to_do_and_asks_no_question(page: Any) -> None:
    _ask(page, "one two three")
    page.get_by_text("Is this right?").wait_for()
    _ask(page, "")
    page.get_by_text("There is no text to classify. Write one first.").wait_for()
    page.get_by_text("Is this right?").wait_for(state="hidden")


def test_page_when_a_long_text_is_pasted_says_so_and_cuts_nothing_silently(page: Any) -> None:
    _ask(page, "a" * 320_000)
    page.get_by_text(
        "The text has 320,000 characters, and 20,000 is the limit. Shorten it."
    ).wait_for()


def test_page_when_text_looks_like_markup_shows_it_as_text(page: Any) -> None:
    hostile = "<img src=x onerror=document.title='owned'> **bold** <script>alert(1)</script>"
    _ask(page, hostile)
    page.get_by_role("button", name="Right", exact=True).click()
    page.get_by_text("Saved.").wait_for()
    assert page.title() == "model"
    assert page.get_by_text("<b>&none").first.is_visible()


@pytest.mark.parametrize("size", list(SIZES))
def test_page_when_shown_fits_its_width_and_names_its_fields(
    browser: Any, space: RunningSpace, size: str
) -> None:
    with opened_page(browser, space.url, size) as page:
        _ask(page, "one two three")
        page.get_by_text("Is this right?").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.evaluate(UNNAMED) == 0
        assert page.locator("#said").get_attribute("aria-live") == "polite"


def test_page_when_asked_by_keyboard_leads_from_the_answer_to_the_next_input(
    page: Any, space: RunningSpace
) -> None:
    """No mouse: Enter asks, focus goes to the answer in view, Tab to the rating, on to the next."""
    page.get_by_label("Text", exact=True).focus()
    page.keyboard.type("one two three four five six")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'answered'")
    page.wait_for_timeout(500)  # the page is on its way there
    box = page.locator("#prediction").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= page.viewport_size["height"]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "right"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.type === 'radio'")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowLeft")  # one group: the last chip follows the first
    page.wait_for_function("document.activeElement.value === '<b>&none'")
    page.wait_for_timeout(300)
    page.keyboard.press("Enter")  # on the chosen chip it sends
    page.wait_for_function("document.activeElement.id === 'another'")
    assert _latest(space) == ("wrong", "<b>&none")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.tagName === 'TEXTAREA'")
    assert page.get_by_label("Text", exact=True).input_value() in (
        "one two",
        "one two three four five six",
    )
    page.get_by_text("Is this right?").wait_for(state="hidden")


def test_terms_when_a_visitor_has_rated_are_remembered_and_one_click_away(page: Any) -> None:
    line = page.get_by_text("kept under a pseudonym and may be published under cc0-1.0")
    _ask(page, "one two")
    line.wait_for()
    whole = page.get_by_text("By rating you agree that")
    assert whole.is_hidden()
    page.get_by_text("Details", exact=True).click()
    whole.wait_for()
    page.get_by_role("button", name="Right", exact=True).click()
    line.wait_for(state="hidden")
    page.reload()
    _ask(page, "one two")
    page.get_by_text("What happens to what I rate?").wait_for()
    assert line.is_hidden()


def test_page_when_an_example_is_clicked_fills_the_input(page: Any) -> None:
    text = "one two three four five six"
    page.get_by_text(text).click()
    page.wait_for_function("text => document.querySelector('textarea').value === text", arg=text)
    page.get_by_role("button", name="Ask the model").click()
    page.get_by_text("Is this right?").wait_for()


def test_examples_when_they_are_pictures_then_each_button_has_a_name_of_its_own(
    browser: Any, tmp_path: Path
) -> None:
    shown = drawings()
    with (
        LocalHub() as local,
        running_space(
            tmp_path, local, task=DarkTask(), shown=shown, label_names=DIGITS
        ) as pictures,
        opened_page(browser, pictures.url, "desktop") as page,
    ):
        for number in range(1, len(shown.examples) + 1):
            page.get_by_role("button", name=f"Example picture {number}", exact=True).wait_for()
        page.get_by_role("button", name="Example picture 3", exact=True).click()
        page.locator("#inputs img").first.wait_for()
