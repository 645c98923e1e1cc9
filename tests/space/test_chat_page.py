"""The conversation in a browser: ask, stop, rate, edit, report, choose between two answers."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.local_hub import LocalHub
from tests.space.browser import NEEDS_BROWSER, SIZES, UNNAMED, opened_page, running_browser
from tests.space.factory import QUIET, SHA
from tests.space.writing import OTHER_SHA, RunningChat, rival, running_chat

pytestmark = [*QUIET, *NEEDS_BROWSER]
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=document.title='owned'> "
    "![a](https://evil.example/x.png) [b](javascript:alert(1)) ${document.title='owned'} "
    "{{constructor}} @children `x` \\u0041 &lt; \u202eright to left"
)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def one(local: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningChat]:
    with running_chat(tmp_path_factory.mktemp("one"), local) as running:
        yield running


@pytest.fixture(scope="module")
def two(local: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningChat]:
    with running_chat(tmp_path_factory.mktemp("two"), local, **rival()) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture
def page(browser: Any, one: RunningChat) -> Iterator[Any]:
    with opened_page(browser, one.url, "desktop") as page:
        yield page


@pytest.fixture
def pairs(browser: Any, two: RunningChat) -> Iterator[Any]:
    with opened_page(browser, two.url, "phone") as page:
        yield page


def _say(page: Any, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.get_by_label("Your message").press("Enter")


def _press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def _latest(space: RunningChat) -> tuple[str, str]:
    """Kind and text of the newest rating in the store."""
    rows = space.store._read("SELECT kind, answer FROM rating ORDER BY seq DESC LIMIT 1")
    return (rows[0][0], rows[0][1]) if rows else ("", "")


def _screenshot(page: Any, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        width = page.viewport_size["width"]
        page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


def test_answer_when_rated_up_and_down_is_saved_and_says_so(page: Any, one: RunningChat) -> None:
    _say(page, "one two")
    page.get_by_role("button", name="Good answer").wait_for()
    assert page.get_by_label("Your message").input_value() == ""
    _press(page, "Good answer")
    page.get_by_text("a good answer.").wait_for()
    assert _latest(one) == ("up", "")
    _press(page, "Bad answer")
    page.get_by_text("a bad answer.").wait_for()
    assert _latest(one) == ("down", "")
    page.locator("#status").get_by_text("kept").wait_for()


def test_conversation_when_longer_than_its_place_then_shows_its_end_and_scrolls(
    browser: Any, one: RunningChat
) -> None:
    with opened_page(browser, one.url, "phone") as page:
        for number in range(2):
            _say(page, "one two three " * 8)
            page.locator("#chat .assistant").nth(number).wait_for(timeout=30_000)
            page.get_by_role("button", name="Good answer").wait_for()
        place = page.locator("#chat")
        assert place.evaluate("e => e.querySelector('[role=log]').offsetHeight > e.clientHeight")
        place.evaluate("e => { e.scrollTop = 0 }")  # the end, in a reversed column
        ends = [box["y"] + box["height"] for box in (_box(place), _box(_last_answer(page)))]
        assert ends[1] <= ends[0] + 1
        place.evaluate("e => { e.scrollTop = -e.scrollHeight }")
        assert _box(page.locator("#chat .user").first)["y"] >= _box(place)["y"] - 1


def _box(locator: Any) -> dict[str, float]:
    return dict(locator.bounding_box())


def _last_answer(page: Any) -> Any:
    return page.locator("#chat .assistant").last


def test_answer_when_edited_is_saved_as_it_should_be(page: Any, one: RunningChat) -> None:
    _say(page, "one two")
    _press(page, "Edit the answer")
    form = page.get_by_label("The answer as it should be")
    form.wait_for()
    assert form.input_value().endswith(": ONE TWO")
    page.wait_for_function("document.activeElement.closest('#edit-form') !== null")
    form.fill("Better <b>so</b>.")
    _press(page, "Send the edited answer")
    page.get_by_text("Thank you for the better answer.").wait_for()
    assert _latest(one) == ("edit", "Better <b>so</b>.")


def test_answer_when_an_earlier_one_is_chosen_then_that_is_rated_and_marked(
    page: Any, one: RunningChat
) -> None:
    _say(page, "the first")
    page.get_by_role("button", name="Good answer").wait_for()
    assert page.get_by_label("Answer 1").count() == 0
    _say(page, "second")
    page.get_by_text("LOUD 3").wait_for()
    page.get_by_label("Answer 1").check()
    _press(page, "Edit the answer")
    form = page.get_by_label("The answer as it should be")
    form.wait_for()
    assert form.input_value().endswith(": THE FIRST")
    page.get_by_label("Answer 2").check()
    form.wait_for(state="hidden")
    page.get_by_label("Answer 1").check()
    _press(page, "Bad answer")
    page.get_by_text("You found it bad.").wait_for()
    assert _latest(one) == ("down", "")
    assert page.get_by_label("Answer 1").is_checked()
    _say(page, "third")
    page.get_by_text("LOUD 5").wait_for()
    assert page.get_by_label("Answer 3").is_checked()
    assert page.get_by_text("You found it bad.").count() == 1
    _screenshot(page, "chat-earlier")


def test_answer_when_cut_by_its_length_then_says_so(page: Any, pairs: Any) -> None:
    _say(page, "one two")
    page.get_by_role("button", name="Good answer").wait_for()
    _say(page, "cut it")
    page.get_by_text("It was cut here").wait_for()
    assert page.get_by_text("It was cut here").count() == 1
    _say(pairs, "cut it")
    pairs.get_by_role("button", name="Report").wait_for()
    assert pairs.locator(".side .mark").count() == 2


def test_answer_when_reported_needs_a_reason(page: Any, one: RunningChat) -> None:
    before = one.store.counts().kept
    _say(page, "one two")
    _press(page, "Report")
    _press(page, "Send the report")
    page.get_by_text("Not saved. The reason is missing. Write one first.").wait_for()
    assert one.store.counts().kept == before
    page.get_by_label("What is wrong with it").fill("It shouts.")
    _press(page, "Send the report")
    page.get_by_text("the report is kept.").wait_for()
    assert _latest(one) == ("report", "It shouts.")


def test_conversation_when_gone_on_with_and_left_begins_anew(page: Any) -> None:
    _say(page, "the first")
    page.get_by_role("button", name="Good answer").wait_for()
    _say(page, "second")
    page.get_by_text("LOUD 3").wait_for()
    assert page.get_by_role("log").get_by_text("the first").count() == 2
    page.get_by_role("button", name="Good answer").wait_for()
    _press(page, "New conversation")
    page.get_by_text("Write a message below.").wait_for()
    assert page.get_by_role("button", name="Good answer").is_hidden()
    _say(page, "third")
    page.get_by_text("LOUD 1").wait_for()


def test_answer_when_asked_again_is_another_one_in_its_place(page: Any) -> None:
    _say(page, "the same")
    page.get_by_role("button", name="Another answer").wait_for()
    log = page.get_by_role("log")
    first = log.inner_text()
    _press(page, "Another answer")
    for _ in range(3):  # one seed of a hundred looks the same
        page.get_by_role("button", name="Another answer").wait_for()
        if log.inner_text() != first:
            break
        _press(page, "Another answer")
    assert log.inner_text() != first
    assert log.inner_text().count("LOUD 1") == 1


def test_answer_when_stopped_is_kept_as_far_as_it_was(page: Any, one: RunningChat) -> None:
    one.task.gate.clear()
    _say(page, "now wait for ever")
    page.get_by_text("NOW WAIT").wait_for()
    assert page.get_by_role("button", name="Good answer").is_hidden()
    _press(page, "Stop")
    one.task.gate.set()
    _press(page, "Bad answer")
    page.get_by_text("a bad answer.").wait_for()
    [(text, sampling)] = one.store._read(
        "SELECT prediction, sampling FROM generation ORDER BY created DESC LIMIT 1"
    )
    assert "FOR EVER" not in text
    assert json.loads(sampling)["stopped"] is True


def test_answer_when_the_visitor_leaves_is_given_up(browser: Any, one: RunningChat) -> None:
    one.task.ended.clear()
    with opened_page(browser, one.url, "desktop") as page:
        _say(page, "now slowly" + " on" * 100)
        page.get_by_text("LOUD 1").wait_for()
        page.close()
    with opened_page(browser, one.url, "desktop") as page:
        _say(page, "next")
        page.get_by_text("LOUD 1").wait_for()
    assert one.task.ended[0] == "cut"


def test_message_when_unusable_says_what_to_do_and_keeps_it(page: Any) -> None:
    _press(page, "Send")
    page.get_by_text("The message is missing. Write one first.").wait_for()
    long = "x" * 600
    _say(page, long)
    page.get_by_text("The prompt leaves no room for an answer. Shorten it.").wait_for()
    assert page.get_by_label("Your message").input_value() == long
    assert page.get_by_role("button", name="Good answer").is_hidden()


def test_page_when_text_looks_like_markup_shows_it_as_text(page: Any, pairs: Any) -> None:
    for shown, quiet in ((page, False), (pairs, True)):
        title = shown.title()
        _say(shown, HOSTILE)
        name = "Left is better" if quiet else "Good answer"
        shown.get_by_role("button", name=name, exact=True).wait_for()
        assert shown.get_by_text(HOSTILE, exact=False).first.is_visible()
        assert shown.locator("#chat img, #chat script, #chat a, #sides img, #sides a").count() == 0
        assert shown.title() == title


@pytest.mark.parametrize("size", list(SIZES))
def test_page_when_shown_fits_its_width_and_names_its_fields(
    size: str, browser: Any, one: RunningChat, two: RunningChat
) -> None:
    for space in (one, two):
        with opened_page(browser, space.url, size) as page:
            _say(page, "w" * 400)
            page.get_by_role("button", name="Report", exact=True).click()
            page.get_by_label("What is wrong with it").wait_for()
            _screenshot(page, "chat-pair" if space is two else "chat")
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            assert page.evaluate(UNNAMED) == 0
            assert page.get_by_role("log").get_attribute("aria-live") == "polite"
            assert page.locator("#said").get_attribute("aria-live") == "polite"


def test_page_when_an_example_is_clicked_fills_the_input(page: Any) -> None:
    page.get_by_text("Tell me of the sea").click()
    page.wait_for_function("document.querySelector('textarea').value === 'Tell me of the sea'")


def test_page_when_loaded_again_is_a_new_conversation(page: Any) -> None:
    _say(page, "one two")
    page.get_by_text("ONE TWO").wait_for()
    page.reload()
    page.get_by_text("Write a message below.").wait_for()
    _say(page, "again")
    page.get_by_text("LOUD 1").wait_for()


def test_pair_when_the_left_is_better_goes_on_with_it(pairs: Any, two: RunningChat) -> None:
    _say(pairs, "one two")
    left = pairs.get_by_label("Left answer")
    pairs.get_by_role("button", name="Left is better").wait_for()
    text = left.locator("p").inner_text()
    pairs.get_by_role("button", name="Left is better").focus()
    pairs.keyboard.press("Enter")
    pairs.get_by_text("the left answer is better.").wait_for()
    assert _latest(two) == ("prefer", "")
    left.wait_for(state="hidden")
    assert pairs.get_by_role("log").get_by_text(text).is_visible()
    _say(pairs, "go on")
    pairs.get_by_role("button", name="Equally good").click()
    pairs.get_by_text("both are equally good.").wait_for()
    assert _latest(two) == ("tie", "")
    [(fields,)] = two.store._read("SELECT fields FROM generation ORDER BY created DESC LIMIT 1")
    assert [t["content"] for t in json.loads(json.loads(fields)["prompt"])] == [
        "one two",
        text,
        "go on",
    ]


def test_pair_when_not_rated_is_asked_for_before_the_next(pairs: Any) -> None:
    _say(pairs, "one")
    pairs.get_by_role("button", name="Left is better").wait_for()
    _say(pairs, "two")
    pairs.get_by_text("Which answer is better? Say it, then go on.").wait_for()
    pairs.get_by_role("button", name="Right is better").click()
    pairs.get_by_text("the right answer is better.").wait_for()


def test_pair_when_the_right_one_is_reported_keeps_that(pairs: Any, two: RunningChat) -> None:
    _say(pairs, "one")
    pairs.get_by_role("button", name="Report", exact=True).click()
    pairs.get_by_label("the right one").check()
    pairs.get_by_label("What is wrong with it").fill("rude")
    pairs.get_by_role("button", name="Send the report").click()
    pairs.get_by_text("the report is kept.").wait_for()
    assert _latest(two) == ("report", "rude")


def test_pair_when_looked_into_tells_nothing_of_the_models(browser: Any, two: RunningChat) -> None:
    with opened_page(browser, two.url, "desktop") as page:
        _say(page, "one two")
        page.get_by_role("button", name="Left is better").wait_for()
        seen = [page.content(), json.dumps(page.evaluate("window.gradio_config"))]
        page.get_by_role("button", name="Left is better").click()
        page.get_by_text("Saved.").wait_for()
        seen.append(page.content())
    assert "quiet 1" in seen[0]
    assert "LOUD 1" in seen[0]
    assert "components" in seen[1]
    for name in ("org/model", "org/rival", SHA[:7], OTHER_SHA[:7]):
        assert name not in "".join(seen)


def test_visitors_when_two_speak_at_once_have_conversations_of_their_own(
    browser: Any, one: RunningChat
) -> None:
    with (
        opened_page(browser, one.url, "desktop") as ada,
        opened_page(browser, one.url, "phone") as bob,
    ):
        _say(ada, "from ada")
        _say(bob, "from bob")
        for page, own, other in ((ada, "from ada", "from bob"), (bob, "from bob", "from ada")):
            _press(page, "Good answer")
            page.get_by_text("Saved.").wait_for()
            assert page.get_by_role("log").get_by_text(own).count() == 2
            assert page.get_by_text(other).count() == 0
    raters = one.store._read("SELECT rater FROM rating ORDER BY seq DESC LIMIT 2")
    assert len(set(raters)) == 2
