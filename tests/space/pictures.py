"""Pictures of the Spaces for docs/images: `python -m tests.space.pictures docs/images`.

With `--all` each page at three widths, light and dark, for somebody who looks at the design.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hub_trainer.local_hub import LocalHub
from tests.space.browser import SIZES, opened_page, running_browser
from tests.space.factory import running_space
from tests.space.kinds import DIGITS, SPECIES, BillTask, DarkTask, drawings, penguins
from tests.space.writing import rival, running_chat

TITLES: dict[str, dict[str, Any]] = {
    "text": {
        "title": "Is it spam?",
        "description": "Tells unwanted text messages from wanted ones, for makers of mail apps.",
        "label_names": ["few", "many", "<b>&none"],
    },
    "image": {
        "title": "Handwritten digits",
        "description": "Reads a handwritten digit, for people who digitise forms.",
        "label_names": DIGITS,
    },
    "table": {
        "title": "Which penguin is it?",
        "description": "Names a penguin from its measurements, for field biologists.",
        "label_names": SPECIES,
        "notice": "Measured on three islands only. Do not use it for birds from elsewhere.",
    },
    "chat": {"notice": "It was trained on stories. What it says of facts may be wrong."},
    "pair": {},
}
IN_DOCS = {
    ("image", "desktop", "light"): "space.png",
    ("table", "desktop", "dark"): "space-dark.png",
    ("text", "phone", "light"): "space-phone.png",
    ("chat", "desktop", "light"): "chat.png",
}


def use_text(page: Any) -> None:
    page.get_by_label("Text", exact=True).fill("Win a free cruise now, call before noon")
    page.get_by_label("Text", exact=True).press("Enter")
    page.get_by_role("button", name="Wrong", exact=True).click()
    page.get_by_role("radio", name="few").check()


def use_image(page: Any) -> None:
    page.locator("#asked button:has(img), #asked .gallery-item").nth(2).click()
    page.locator("#inputs img").first.wait_for()
    page.get_by_role("button", name="Ask the model").click()
    page.get_by_role("button", name="Wrong", exact=True).click()
    page.get_by_role("radio", name="4", exact=True).check()


def use_table(page: Any) -> None:
    page.wait_for_timeout(500)  # the values that stand in the form at first come after it
    page.get_by_label("mass_g").fill("9000")
    page.get_by_label("mass_g").press("Enter")
    page.get_by_text("unusual").wait_for()
    page.get_by_role("button", name="Right", exact=True).click()
    page.get_by_role("button", name="Try another").wait_for()


def use_chat(page: Any) -> None:
    for text in ("Tell me of the sea", "And of the wind, in one sentence"):
        page.get_by_label("Your message").fill(text)
        page.get_by_label("Your message").press("Enter")
        page.get_by_role("button", name="Good answer").wait_for()
    page.get_by_role("button", name="Edit the answer").click()


def use_pair(page: Any) -> None:
    page.get_by_label("Your message").fill("Tell me of the sea")
    page.get_by_label("Your message").press("Enter")
    page.get_by_role("button", name="Left is better").wait_for()


USES: dict[str, Callable[[Any], None]] = {
    "text": use_text,
    "image": use_image,
    "table": use_table,
    "chat": use_chat,
    "pair": use_pair,
}


@contextmanager
def spaces(folder: Path, local: LocalHub, names: set[str]) -> Iterator[dict[str, str]]:
    """Name -> address of each Space."""
    starts: dict[str, Any] = {
        "text": lambda place: running_space(place, local, **TITLES["text"]),
        "image": lambda place: running_space(
            place, local, task=DarkTask(), shown=drawings(), **TITLES["image"]
        ),
        "table": lambda place: running_space(
            place, local, task=BillTask(), shown=penguins(), **TITLES["table"]
        ),
        "chat": lambda place: running_chat(place, local, **TITLES["chat"]),
        "pair": lambda place: running_chat(place, local, **rival()),
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(starts[name](folder / name)).url
            for name in starts
            if name in names
        }


def take(into: Path, wanted: dict[tuple[str, str, str], str]) -> None:
    """Use each page as a visitor would, and photograph it."""
    into.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalHub() as local,
        running_browser() as browser,
    ):
        names = {name for name, _, _ in wanted}
        for name in names:
            (Path(scratch) / name).mkdir()
        with spaces(Path(scratch), local, names) as urls:
            for (name, size, scheme), file in wanted.items():
                with opened_page(browser, urls[name], size, scheme) as page:
                    if file.startswith("empty-"):
                        page.wait_for_timeout(500)
                    else:
                        USES[name](page)
                    page.wait_for_timeout(600)
                    page.screenshot(path=into / file)


def every_page() -> dict[tuple[str, str, str], str]:
    """Each page at each width, in both schemes."""
    return {
        (name, size, scheme): f"{name}-{size}-{scheme}.png"
        for name in USES
        for size in SIZES
        for scheme in ("light", "dark")
    }


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--all"]
    take(Path(arguments[0]), every_page() if "--all" in sys.argv else IN_DOCS)
