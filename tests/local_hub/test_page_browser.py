"""The pages in a real browser: nothing breaks, nothing runs, nothing is asked of another host."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub
from tests.local_hub.hostile import spread
from tests.local_hub.test_page import CARD, PNG, commit

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
PROBES = """() => ({
  pwned: window.pwned,
  wide: document.documentElement.scrollWidth > window.innerWidth,
  h1: document.querySelectorAll('h1').length,
  lang: document.documentElement.lang,
  unlabelled: [...document.querySelectorAll('input:not([type=hidden]), textarea, select')]
    .filter(e => !e.labels.length).length,
  broken: [...document.querySelectorAll('button, .button')]
    .filter(e => e.offsetHeight > 48).length,
  nameless: [...document.querySelectorAll('a, button')]
    .filter(e => !e.textContent.trim()).length,
})"""


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub() as running:
        api = HfApi(endpoint=running.url, token=running.token)
        api.create_repo("dataset", repo_type="dataset")
        commit(api, "admin/dataset", {"train.csv": b"text,n\na,1\n"}, repo_type="dataset")
        api.create_repo("model")
        files = {"README.md": CARD.format(dataset="admin/dataset").encode()}
        commit(api, "admin/model", {**files, "plots/curve.png": PNG, "a/b.txt": b"x\n" * 300})
        num = api.create_pull_request("admin/model", title="Better").num
        commit(api, "admin/model", {"a/b.txt": b"y\n"}, revision=f"refs/pr/{num}")
        api.change_discussion_status("admin/model", num, "open")
        api.create_repo("hostile", repo_type="dataset")
        spread(api, "admin/hostile")
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


class Visit:
    """A browser window that keeps a list of everything that should not have happened."""

    def __init__(self, chromium: Any, hub: LocalHub, width: int = 1200) -> None:
        self.url = hub.url
        self.wrong: list[str] = []
        context = chromium.new_context(viewport={"width": width, "height": 800})
        self.tab = context.new_page()
        self.tab.on("console", lambda said: self.wrong.append(f"{self.tab.url}: {said.text}"))
        self.tab.on("pageerror", lambda error: self.wrong.append(f"{self.tab.url}: {error}"))
        self.tab.on("dialog", lambda box: self.wrong.append(f"{self.tab.url}: {box.message}"))
        self.tab.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith((f"{self.url}/", "data:image/")):
            self.wrong.append(f"{self.tab.url} asked for {request.url}")

    def look(self, path: str) -> None:
        self.tab.goto(self.url + path)
        found = self.tab.evaluate(PROBES)
        assert found == {
            "pwned": None,
            "wide": False,
            "h1": 1,
            "lang": "en",
            "unlabelled": 0,
            "broken": 0,
            "nameless": 0,
        }, path


PAGES = [
    "/",
    "/models",
    "/admin",
    "/login",
    "/admin/model",
    "/datasets/admin/dataset",
    "/datasets/admin/dataset/viewer/main",
    "/admin/model/tree/main",
    "/admin/model/tree/main/a",
    "/admin/model/blob/main/a/b.txt",
    "/admin/model/blob/main/plots/curve.png",
    "/admin/model/commits/main",
    "/admin/model/commit/main",
    "/admin/model/refs",
    "/admin/model/discussions",
    "/admin/model/discussions/1",
]


@pytest.mark.parametrize("width", [1200, 390])
def test_every_page_when_opened_then_sound_and_quiet(
    chromium: Any, hub: LocalHub, width: int
) -> None:
    visit = Visit(chromium, hub, width)
    for path in PAGES:
        visit.look(path)
    assert visit.wrong == []


@pytest.mark.parametrize("width", [1200, 390])
def test_hostile_repo_when_opened_then_nothing_runs(
    chromium: Any, hub: LocalHub, width: int
) -> None:
    visit = Visit(chromium, hub, width)
    url = "/datasets/admin/hostile"
    for rest in ("", "/viewer/main", "/tree/main", "/commits/main", "/discussions", "/refs"):
        visit.look(url + rest)
    for rest in ("/blob/main/all.txt", "/commit/main", "/discussions/1", "/discussions/66"):
        visit.look(url + rest)
    for num in range(2, 65, 4):
        visit.look(f"{url}/discussions/{num}")
    # A card may name a picture of its own repo that is not there.
    assert [each for each in visit.wrong if "status of 404" not in each] == []


def test_person_when_signed_in_then_can_comment_merge_and_sign_out(
    chromium: Any, hub: LocalHub
) -> None:
    visit = Visit(chromium, hub)
    tab = visit.tab
    visit.look("/admin/model/discussions/1")
    tab.get_by_role("link", name="Sign in", exact=True).first.click()
    tab.get_by_label("Token").fill(hub.token)
    tab.get_by_role("main").get_by_role("button", name="Sign in").click()
    assert tab.url.endswith("/admin/model/discussions/1")
    tab.get_by_label("Comment").fill("Looks **good**.")
    tab.get_by_role("button", name="Comment").click()
    assert tab.locator(".comment strong").inner_text() == "good"
    tab.get_by_role("button", name="Merge").click()
    assert tab.locator(".status").inner_text() == "merged"
    assert tab.evaluate("document.cookie") == ""
    tab.get_by_role("button", name="Sign out").click()
    assert tab.get_by_role("link", name="Sign in").is_visible()
    assert visit.wrong == []


def test_pages_when_scripts_are_off_then_they_look_the_same(chromium: Any, hub: LocalHub) -> None:
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{hub.url}/admin/model/tree/main")
    tab.locator(".menu summary").click()
    tab.get_by_role("link", name="main", exact=True).click()
    assert tab.url == f"{hub.url}/admin/model/tree/main"
    assert tab.locator(".files").is_visible()
