"""What strangers write can never run on a page, wherever they write it."""

from collections import deque
from urllib.parse import unquote

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.page.markdown_html import Base, render_card, render_markdown
from tests.local_hub.hostile import PAYLOADS, faults_of, spread

MAX_PAGES = 260


def test_payloads_when_counted_then_more_than_fifty_different() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) > 50


def test_inspector_when_given_what_runs_then_it_sees_it() -> None:
    for html in ("<script>", "<img src=x onerror=y>", "<a href='javascript:x'>", "<p style=x>"):
        assert faults_of(html)[0], html
    for html in ("<form action='//evil'>", "<img src='//evil/x.png'>", "<a href='java\tscript:x'>"):
        assert faults_of(html)[0], html


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_when_it_holds_a_payload_then_nothing_in_it_runs(payload: str) -> None:
    base = Base("/a/b", "main")
    for text in (payload, f"# {payload}", f"| {payload} |\n|---|\n| {payload} |", f"> - {payload}"):
        for html in (render_card(text, base), render_markdown(text)):
            faults, _ = faults_of(html)
            assert faults == [], html


def test_pages_when_full_of_payloads_then_none_runs_and_none_breaks() -> None:
    with LocalHub() as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        hub.add_token("mallory")
        hub.core.store.read().execute(
            "UPDATE account SET fullname = ? WHERE name = 'mallory'", (PAYLOADS[0],)
        )
        api.create_repo("hostile", repo_type="dataset")
        spread(api, "admin/hostile")
        with httpx.Client(base_url=hub.url, timeout=60) as browser:
            browser.post("/login", data={"token": hub.token})
            visited = crawl(browser, ["/", "/mallory", "/datasets/admin/hostile"])
    for kind in (
        "viewer/main",
        "tree/main",
        "blob/main/",
        "commits/main",
        "commit/",
        "discussions/",
    ):
        assert any(f"hostile/{kind}" in path for path in visited), kind
    assert len(visited) == MAX_PAGES


def crawl(browser: httpx.Client, starts: list[str]) -> list[str]:
    """Follow every link that stays in the hostile repo; every page must be clean."""
    waiting = deque(starts)
    seen = set(starts)
    visited = []
    while waiting and len(visited) < MAX_PAGES:
        path = waiting.popleft()
        answer = browser.get(path)
        assert answer.status_code in (200, 404), f"{answer.status_code} {path}"
        kind = answer.headers["Content-Type"]
        assert kind.startswith(("text/html", "text/plain", "application/octet-stream")), path
        visited.append(path)
        if not kind.startswith("text/html"):
            assert "sandbox" in answer.headers["Content-Security-Policy"], path
            assert answer.headers["Content-Disposition"].startswith("attachment"), path
            continue
        faults, links = faults_of(answer.text)
        assert faults == [], f"{unquote(path)}: {faults}"
        new = [link for link in links if "hostile" in link and link not in seen]
        waiting.extend(new)
        seen.update(new)
    return visited


def test_markdown_when_it_is_very_long_then_cut_and_said_so() -> None:
    html = render_markdown("a " * 100_000)
    assert html.endswith("<p><em>The rest is too long to show here.</em></p>\n")
    assert len(html) < 150_000
