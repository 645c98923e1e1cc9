"""A headless browser, and pages of it that keep what they complained of and whom they asked."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]
SIZES = {"desktop": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}
NEEDS_BROWSER = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]
UNNAMED = """[...document.querySelectorAll('input, textarea, select')].filter(e => e.offsetParent
 && !e.labels?.length && !e.ariaLabel && !e.getAttribute('aria-labelledby')).length"""
"""How many inputs that are seen have no name for those who hear the page."""


@contextmanager
def running_browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@contextmanager
def opened_page(browser: Any, url: str, size: str, scheme: str = "light") -> Iterator[Any]:
    """A page of this size; at the end it has not complained, and asked nobody but its server."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    hosts: set[str] = set()
    page.on(
        "request", lambda asked: hosts.add(asked.url.split("/")[2]) if "//" in asked.url else None
    )
    page.goto(url)
    yield page
    assert hosts == {url.split("/")[2]}
    assert [text for text in complaints if not text.startswith(("log:", "info:", "debug:"))] == []
    page.close()
