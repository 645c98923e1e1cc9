"""The pages as a stranger and as a signed-in user meet them, over plain HTTP."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hub_trainer.local_hub import LocalHub

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63f8cfc0f01f0005000"
    "1ff56c72f0d0000000049454e44ae426082"
)
CARD = """---
license: mit
datasets: [{dataset}]
model-index:
- name: m
  results:
  - dataset: {{name: held out}}
    metrics: [{{type: accuracy, value: 0.93125}}]
---
# A title
Look at ![the curve](plots/curve.png), ![elsewhere](https://example.com/a.png)
and [the notes](docs/notes.md). <!-- not for eyes -->

| a | b |
|---|---:|
| 1 | 2 |
"""


def commit(api: HfApi, repo_id: str, files: dict[str, bytes], **options: Any) -> Any:
    operations = [CommitOperationAdd(path, io.BytesIO(data)) for path, data in files.items()]
    return api.create_commit(repo_id, operations, commit_message="Add files", **options)


def proof_of(html: str) -> str:
    found = re.search(r'name="proof" value="([0-9a-f]{64})"', html)
    assert found is not None
    return found[1]


@pytest.fixture
def signed_in(hub: LocalHub) -> Iterator[Callable[[str], httpx.Client]]:
    """A browser in which the holder of a token has signed in."""
    clients = []

    def open_client(token: str) -> httpx.Client:
        client = httpx.Client(base_url=hub.url, timeout=30)
        clients.append(client)
        answer = client.post("/login", data={"token": token, "next": "/models"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/models")
        return client

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def shown(api: HfApi, new_repo: Callable[..., str]) -> str:
    """A model with a card, a picture, a text file, a large file and a second commit."""
    dataset = new_repo(repo_type="dataset")
    repo_id = new_repo()
    files = {
        "README.md": CARD.format(dataset=dataset).encode(),
        "plots/curve.png": PNG,
        "docs/notes.md": b"# Notes",
        "docs/names.txt": b"first\nsecond & last\n",
        "weights.bin": b"\0" * 3000,
    }
    commit(api, repo_id, files)
    return repo_id


def test_front_when_opened_then_repos_of_three_types_and_a_search(
    anyone: httpx.Client, new_repo: Callable[..., str]
) -> None:
    found = {kind: new_repo(repo_type=kind) for kind in ("model", "dataset")}
    found["space"] = new_repo(repo_type="space", space_sdk="static")
    html = anyone.get("/").text
    assert f'href="/{found["model"]}"' in html
    assert f'href="/datasets/{found["dataset"]}"' in html
    assert f'href="/spaces/{found["space"]}"' in html
    searched = anyone.get("/", params={"search": found["model"].split("/")[1]}).text
    assert f'href="/{found["model"]}"' in searched
    assert f'href="/datasets/{found["dataset"]}"' not in searched
    assert "Nothing of that name" in searched


def test_list_when_filtered_and_long_then_pages_and_the_filter_stay(
    anyone: httpx.Client, api: HfApi, hub: LocalHub
) -> None:
    hub.add_org("many", {"admin": "admin"})
    for number in range(31):
        api.create_repo(f"many/listed-{number}")
    first = anyone.get("/models", params={"search": "many/listed", "sort": "likes"}).text
    assert len(re.findall(r'<li class="row model">', first)) == 30
    onward = re.search(r'rel="next" href="(\?[^"]*)"', first)
    assert onward is not None
    second = anyone.get("/models" + onward[1].replace("&amp;", "&")).text
    assert len(re.findall(r'<li class="row model">', second)) == 1
    assert "Nothing here" in anyone.get("/models", params={"filter": "license:none"}).text


def test_card_when_shown_then_rendered_with_chips_results_and_own_pictures(
    anyone: httpx.Client, shown: str
) -> None:
    html = anyone.get(f"/{shown}").text
    assert "<h2>A title</h2>" in html
    assert f'<img src="/{shown}/image/main/plots/curve.png" alt="the curve">' in html
    assert "[elsewhere, on example.com]" in html
    assert f'href="/{shown}/blob/main/docs/notes.md"' in html
    assert "not for eyes" not in html
    assert '<td class="right">2</td>' in html
    assert '<span class="key">license</span>mit' in html
    assert "0.9313" in html or "0.9312" in html
    linked = re.search(r'href="(/datasets/admin/[^"]+)"><span class="key">dataset</span>', html)
    assert linked is not None
    assert anyone.get(linked[1]).status_code == 200
    picture = anyone.get(f"/{shown}/image/main/plots/curve.png")
    assert (picture.content, picture.headers["Content-Type"]) == (PNG, "image/png")
    assert "sandbox" in picture.headers["Content-Security-Policy"]
    assert anyone.get(f"/{shown}/image/main/docs/names.txt").status_code == 404


def test_files_when_browsed_then_folders_text_pictures_and_downloads(
    anyone: httpx.Client, shown: str
) -> None:
    tree = anyone.get(f"/{shown}/tree/main").text
    assert tree.index("docs") < tree.index("weights.bin")
    assert "Add files" in tree
    assert f'href="/{shown}/download/main/weights.bin"' in tree
    assert "names.txt" in anyone.get(f"/{shown}/tree/main/docs").text
    text = anyone.get(f"/{shown}/blob/main/docs/names.txt").text
    assert '<span class="l">second &amp; last\n</span>' in text
    assert "<h2>Notes</h2>" in anyone.get(f"/{shown}/blob/main/docs/notes.md").text
    assert "# Notes" in anyone.get(f"/{shown}/blob/main/docs/notes.md?plain=1").text
    assert "A large file" in anyone.get(f"/{shown}/blob/main/weights.bin").text
    assert f"/{shown}/image/main/" in anyone.get(f"/{shown}/blob/main/plots/curve.png").text
    download = anyone.get(f"/{shown}/download/main/weights.bin")
    assert download.content == b"\0" * 3000
    assert download.headers["Content-Disposition"].startswith("attachment")
    missing = anyone.get(f"/{shown}/blob/main/none.txt")
    assert (missing.status_code, "none.txt does not exist" in missing.text) == (404, True)


def test_history_when_read_then_commits_diffs_and_refs(
    anyone: httpx.Client, api: HfApi, shown: str
) -> None:
    before = api.repo_info(shown).sha
    sha = commit(api, shown, {"docs/names.txt": b"first\nthird\n", "weights.bin": b"\1" * 40}).oid
    api.create_tag(shown, tag="v1", revision=before)
    log = anyone.get(f"/{shown}/commits/main").text
    assert f"/{shown}/commit/{sha}" in log
    assert "initial commit" in log
    html = anyone.get(f"/{shown}/commit/{sha}").text
    assert '<td class="code">second &amp; last</td>' in html
    assert '<td class="code">third</td>' in html
    assert "A large file of 40 bytes" in html
    first = api.list_repo_commits(shown)[-1].commit_id
    assert ".gitattributes" in anyone.get(f"/{shown}/commit/{first}").text
    refs = anyone.get(f"/{shown}/refs").text
    assert f'href="/{shown}/tree/v1"' in refs
    assert "second &amp; last" in anyone.get(f"/{shown}/blob/v1/docs/names.txt").text
    assert anyone.get(f"/{shown}/tree/nowhere").status_code == 404


def test_account_when_opened_then_repos_and_members(anyone: httpx.Client, shown: str) -> None:
    assert f'href="/{shown}"' in anyone.get("/admin").text
    assert "reader" in anyone.get("/lab").text
    nobody = anyone.get("/nobody-at-all")
    assert (nobody.status_code, "nobody of that name" in nobody.text) == (404, True)


def test_pages_when_a_repo_is_private_then_it_looks_missing_until_signed_in(
    anyone: httpx.Client,
    hub: LocalHub,
    new_repo: Callable[..., str],
    api: HfApi,
    signed_in: Callable[[str], httpx.Client],
    other_token: str,
) -> None:
    hidden = new_repo(private=True)
    commit(api, hidden, {"plots/curve.png": PNG})
    for client in (anyone, signed_in(other_token)):
        for rest in ("", "/tree/main", "/discussions", "/image/main/plots/curve.png"):
            there = client.get(f"/{hidden}{rest}")
            nowhere = client.get(f"/admin/no-such-repo{rest}")
            assert there.status_code == nowhere.status_code in (401, 404)
            same = there.text.replace(hidden.split("/")[1], "no-such-repo")
            assert same == nowhere.text
            assert "WWW-Authenticate" not in there.headers
        assert hidden not in client.get("/").text + client.get("/admin").text
    owner = signed_in(hub.token)
    assert "private" in owner.get(f"/{hidden}").text
    assert owner.get(f"/{hidden}/image/main/plots/curve.png").content == PNG
    assert owner.get(f"/{hidden}/download/main/plots/curve.png").content == PNG
    assert owner.get(f"/api/models/{hidden}").status_code == 401  # a cookie is for pages only


def test_gated_repo_when_shown_then_no_card_but_the_way_to_ask(
    anyone: httpx.Client,
    api: HfApi,
    shown: str,
    signed_in: Callable[[str], httpx.Client],
    other_token: str,
) -> None:
    api.update_repo_settings(shown, gated="auto")
    html = anyone.get(f"/{shown}").text
    assert "Access is restricted" in html
    assert "A title" not in html
    refused = anyone.get(f"/{shown}/tree/main")
    assert (refused.status_code, "Please sign in" in refused.text) == (401, True)
    other = signed_in(other_token)
    page = other.get(f"/{shown}").text
    answer = other.post(f"/{shown}/access", data={"proof": proof_of(page)})
    assert answer.status_code == 303
    assert "A title" in other.get(f"/{shown}").text


def test_moved_repo_when_its_old_page_is_asked_for_then_redirected(
    anyone: httpx.Client, api: HfApi, shown: str
) -> None:
    api.move_repo(shown, f"{shown}-moved")
    answer = anyone.get(f"/{shown}/tree/main?p=0")
    assert answer.status_code == 307
    assert answer.headers["Location"] == f"/{shown}-moved/tree/main?p=0"


def test_clients_when_they_ask_as_before_then_they_get_json(
    anyone: httpx.Client, http: httpx.Client, shown: str
) -> None:
    for path in ("/api/nothing", "/api/models/admin/none", "/gpt2/resolve/main/config.json"):
        answer = anyone.get(path, headers={"Accept": "text/html"})
        assert answer.headers["Content-Type"].startswith("application/json"), path
    plain = anyone.get(f"/{shown}/resolve/main/docs/names.txt")
    assert plain.content == b"first\nsecond & last\n"
    assert http.get(f"/{shown}").headers["Content-Type"] == "text/html; charset=utf-8"
