"""Signing in on the pages, taking part there, and what a form from elsewhere gets."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.page.sessions import SESSION_SECONDS, sign_in
from hub_trainer.local_hub.store import rows
from tests.local_hub.test_page import commit, proof_of


@pytest.fixture
def browser(hub: LocalHub) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hub.url, timeout=30) as client:
        yield client


@pytest.fixture
def signed_in(browser: httpx.Client, hub: LocalHub) -> httpx.Client:
    browser.post("/login", data={"token": hub.token, "next": "/"})
    return browser


@pytest.fixture
def pull(api: HfApi, repo_id: str) -> tuple[str, int]:
    """A repo with an open pull request."""
    num = api.create_pull_request(repo_id, title="Better words").num
    commit(api, repo_id, {"words.txt": b"better\n"}, revision=f"refs/pr/{num}")
    api.change_discussion_status(repo_id, num, "open")
    return repo_id, num


def cookie_of(name: str, session: str) -> str:
    return f"{name}={session}"


def test_sign_in_when_the_token_is_good_then_a_cookie_that_no_script_reads(
    browser: httpx.Client, hub: LocalHub
) -> None:
    assert "Sign in" in browser.get("/").text
    answer = browser.post("/login", data={"token": hub.token, "next": "/datasets"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/datasets")
    cookie = answer.headers["Set-Cookie"]
    for word in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={SESSION_SECONDS}"):
        assert word in cookie
    session = next(iter(browser.cookies.values()))
    assert hub.token not in cookie
    kept = [tuple(row) for row in rows(hub.core.store, "SELECT * FROM page_session")]
    assert session not in str(kept)
    assert "Sign out" in browser.get("/").text
    assert hub.token not in browser.get("/").text


def test_sign_in_when_the_token_is_nobodys_then_said_so(browser: httpx.Client) -> None:
    answer = browser.post("/login", data={"token": "hf_wrong", "next": "/"})
    assert answer.status_code == 401
    assert "Nobody here has this token" in answer.text
    assert "hf_wrong" not in answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "onward",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\t//e"],
)
def test_sign_in_when_sent_on_to_another_site_then_to_the_front_page(
    browser: httpx.Client, hub: LocalHub, onward: str
) -> None:
    assert f'value="{onward}"' not in browser.get("/login", params={"next": onward}).text
    answer = browser.post("/login", data={"token": hub.token, "next": onward})
    assert answer.headers["Location"] == "/"


def test_sign_out_when_done_then_the_old_cookie_opens_nothing(
    signed_in: httpx.Client, new_repo: Callable[..., str]
) -> None:
    hidden = new_repo(private=True)
    old = {"Cookie": cookie_of(*next(iter(signed_in.cookies.items())))}
    proof = proof_of(signed_in.get("/").text)
    assert signed_in.post("/logout", data={"proof": "0" * 64}).status_code == 403
    assert signed_in.get(f"/{hidden}").status_code == 200
    assert signed_in.post("/logout", data={"proof": proof}).status_code == 303
    assert signed_in.get(f"/{hidden}", headers=old).status_code == 401


def test_session_when_it_is_over_or_its_token_revoked_then_nobody(
    browser: httpx.Client, hub: LocalHub, new_repo: Callable[..., str]
) -> None:
    hidden = new_repo(private=True)
    token = hub.add_token("admin")
    name = f"local_hub_session_{hub.url.rpartition(':')[2]}"
    long_ago = sign_in(hub.core.store, token, now=time.time() - SESSION_SECONDS - 1)
    assert (
        browser.get(f"/{hidden}", headers={"Cookie": cookie_of(name, long_ago)}).status_code == 401
    )
    fresh = sign_in(hub.core.store, token)
    assert browser.get(f"/{hidden}", headers={"Cookie": cookie_of(name, fresh)}).status_code == 200
    hub.revoke_token(token)
    assert browser.get(f"/{hidden}", headers={"Cookie": cookie_of(name, fresh)}).status_code == 401
    assert browser.get("/", headers={"Cookie": cookie_of(name, "nonsense")}).status_code == 200


def test_discussion_when_started_and_answered_then_shown_as_markdown(
    signed_in: httpx.Client, anyone: httpx.Client, repo_id: str
) -> None:
    proof = proof_of(signed_in.get(f"/{repo_id}/discussions").text)
    form = {"proof": proof, "title": "A <question>", "text": "Is it **so**?"}
    answer = signed_in.post(f"/{repo_id}/discussions", data=form)
    assert answer.headers["Location"] == f"/{repo_id}/discussions/1"
    signed_in.post(f"/{repo_id}/discussions/1/comment", data={"proof": proof, "text": "It is."})
    html = anyone.get(f"/{repo_id}/discussions/1").text
    assert "Is it <strong>so</strong>?" in html
    assert "It is." in html
    assert "A &lt;question&gt;" in html
    assert "<form" not in html
    signed_in.post(f"/{repo_id}/discussions/1/status", data={"proof": proof, "status": "closed"})
    assert "closed this" in anyone.get(f"/{repo_id}/discussions/1").text
    assert "A &lt;question&gt;" in anyone.get(f"/{repo_id}/discussions?status=closed").text
    signed_in.post(f"/{repo_id}/discussions/1/status", data={"proof": proof, "status": "open"})
    assert "A &lt;question&gt;" in anyone.get(f"/{repo_id}/discussions").text
    short = signed_in.post(
        f"/{repo_id}/discussions", data={"proof": proof, "title": "a", "text": "b"}
    )
    assert (short.status_code, "The title must have 3" in short.text) == (400, True)


def test_pull_request_when_merged_on_its_page_then_on_main(
    signed_in: httpx.Client, anyone: httpx.Client, api: HfApi, pull: tuple[str, int]
) -> None:
    repo_id, num = pull
    url = f"/{repo_id}/discussions/{num}"
    html = anyone.get(url).text
    assert '<td class="code">better</td>' in html
    proof = proof_of(signed_in.get(url).text)
    assert signed_in.post(f"{url}/merge", data={"proof": proof}).status_code == 303
    assert api.file_exists(repo_id, "words.txt")
    after = anyone.get(url).text
    assert "merged this" in after
    assert '<td class="code">better</td>' in after


def test_pull_request_when_in_conflict_then_named_and_not_offered(
    signed_in: httpx.Client, api: HfApi, pull: tuple[str, int]
) -> None:
    repo_id, num = pull
    commit(api, repo_id, {"words.txt": b"other\n"})
    html = signed_in.get(f"/{repo_id}/discussions/{num}").text
    assert "In conflict: <code>words.txt</code>" in html
    assert ">Merge<" not in html


def test_merge_when_not_an_owner_then_not_offered_and_refused(
    browser: httpx.Client, other_token: str, pull: tuple[str, int]
) -> None:
    repo_id, num = pull
    browser.post("/login", data={"token": other_token})
    html = browser.get(f"/{repo_id}/discussions/{num}").text
    assert ">Merge<" not in html
    answer = browser.post(f"/{repo_id}/discussions/{num}/merge", data={"proof": proof_of(html)})
    assert answer.status_code == 403
    assert "have the rights to write" in answer.text


def test_form_when_without_the_right_proof_then_refused_and_nothing_done(
    signed_in: httpx.Client, api: HfApi, hub: LocalHub, pull: tuple[str, int]
) -> None:
    repo_id, num = pull
    with httpx.Client(base_url=hub.url) as other:
        other.post("/login", data={"token": hub.token})
        theirs = proof_of(other.get("/").text)
    for proof in ({}, {"proof": ""}, {"proof": "0" * 64}, {"proof": theirs}, {"proof": "ü"}):
        for rest, field in (("comment", "text"), ("status", "status"), ("merge", "x")):
            answer = signed_in.post(
                f"/{repo_id}/discussions/{num}/{rest}", data={**proof, field: "closed"}
            )
            assert answer.status_code == 403
            assert "not from this session" in answer.text
    details = api.get_discussion_details(repo_id, num)
    assert details.status == "open"
    said = [event.content for event in details.events if event.type == "comment"]
    assert "closed" not in said


def test_form_when_another_site_sends_it_then_refused(
    signed_in: httpx.Client, pull: tuple[str, int]
) -> None:
    repo_id, num = pull
    proof = proof_of(signed_in.get("/").text)
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        answer = signed_in.post(
            f"/{repo_id}/discussions/{num}/merge",
            data={"proof": proof},
            headers={"Origin": origin},
        )
        assert answer.status_code == 403
        assert "another site" in answer.text


def test_form_when_sent_by_a_stranger_then_asked_to_sign_in(
    anyone: httpx.Client, repo_id: str
) -> None:
    answer = anyone.post(f"/{repo_id}/discussions", data={"title": "abc", "text": "d"})
    assert answer.status_code == 401
    assert "Please sign in" in answer.text


def test_pages_when_answered_then_a_policy_that_runs_nothing(
    anyone: httpx.Client, repo_id: str
) -> None:
    for path in ("/", f"/{repo_id}", f"/{repo_id}/tree/main", "/login", "/nobody", "/a/b"):
        headers = anyone.get(path).headers
        policy = headers["Content-Security-Policy"]
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert rule in policy, path
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"


def test_host_when_its_port_is_nonsense_then_still_a_page(anyone: httpx.Client) -> None:
    assert anyone.get("/", headers={"Host": "localhost:abc"}).status_code in (200, 400)


def test_folder_when_made_before_there_were_sessions_then_people_can_sign_in(
    tmp_path: Path,
) -> None:
    with LocalHub(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "hub.sqlite3")) as db:
        db.execute("DROP TABLE page_session")
    with LocalHub(tmp_path) as hub, httpx.Client(base_url=hub.url) as browser:
        assert browser.post("/login", data={"token": hub.token}).status_code == 303
        assert "Sign out" in browser.get("/").text
