from collections.abc import Callable

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError


def test_repo_when_created_then_it_holds_only_gitattributes(api: HfApi, repo_id: str) -> None:
    assert api.list_repo_files(repo_id) == [".gitattributes"]
    commits = api.list_repo_commits(repo_id)
    assert [(each.title, each.authors) for each in commits] == [("initial commit", ["admin"])]


def test_repo_when_it_exists_then_409_with_its_url(http: httpx.Client, repo_id: str) -> None:
    answer = http.post("/api/repos/create", json={"name": repo_id.split("/")[1].upper()})
    assert answer.status_code == 409
    assert answer.json()["url"].endswith(repo_id)


@pytest.mark.parametrize(
    "name", ["a..b", "a--b", "x.git", "-x-", "a b", "é", "a/b/c", "", "x" * 97, "..", "../../etc"]
)
def test_repo_name_when_invalid_then_400(http: httpx.Client, name: str) -> None:
    answer = http.post("/api/repos/create", json={"name": name})
    assert answer.status_code in (400, 403), answer.text
    assert "Invalid name" in answer.text or "namespace" in answer.text


def test_repo_when_in_a_foreign_namespace_then_403(other: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="rights to create a repo under the namespace"):
        other.create_repo("admin/not-mine")


def test_space_when_created_then_it_has_a_readme_with_its_sdk(
    api: HfApi, new_repo: Callable[..., str]
) -> None:
    space = new_repo(
        repo_type="space", space_sdk="gradio", space_variables=[{"key": "A", "value": "1"}]
    )
    assert api.space_info(space).sdk == "gradio"
    assert api.get_space_variables(space)["A"].value == "1"


def test_space_when_sdk_is_unknown_then_400(http: httpx.Client) -> None:
    answer = http.post("/api/repos/create", json={"name": "s", "type": "space", "sdk": "cobol"})
    assert answer.status_code == 400
    assert "sdk must be one of gradio" in answer.json()["error"]


def test_repo_when_deleted_then_gone_and_its_name_free(api: HfApi, repo_id: str) -> None:
    api.delete_repo(repo_id)
    assert not api.repo_exists(repo_id)
    api.create_repo(repo_id)


def test_repo_when_moved_then_the_old_name_redirects(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=repo_id)
    api.move_repo(repo_id, f"{repo_id}-new")
    assert api.model_info(repo_id).id == f"{repo_id}-new"
    answer = http.get(f"/{repo_id}/resolve/main/a.txt?x=1")
    assert answer.status_code == 307
    assert answer.headers["Location"] == f"/{repo_id}-new/resolve/main/a.txt?x=1"
    api.create_repo(repo_id)
    assert api.model_info(repo_id).id == repo_id


def test_move_when_target_exists_then_409_names_it(
    api: HfApi, new_repo: Callable[..., str]
) -> None:
    one, two = new_repo(), new_repo()
    with pytest.raises(HfHubHTTPError, match="A model repository called .* already exists"):
        api.move_repo(one, two)


def test_renamed_private_repo_when_asked_by_a_stranger_then_looks_missing(
    api: HfApi, other: HfApi, new_repo: Callable[..., str]
) -> None:
    old = new_repo(private=True)
    api.move_repo(old, f"{old}-moved")
    with pytest.raises(RepositoryNotFoundError):
        other.model_info(old)


def test_settings_when_wrong_then_400(http: httpx.Client, repo_id: str) -> None:
    url = f"/api/models/{repo_id}/settings"
    assert "gated must be" in http.put(url, json={"gated": "yes"}).json()["error"]
    assert "visibility must be" in http.put(url, json={"visibility": "x"}).json()["error"]


def test_list_when_filtered_then_only_what_matches(
    api: HfApi, http: httpx.Client, new_repo: Callable[..., str]
) -> None:
    card = (
        "---\npipeline_tag: text-classification\ndatasets: [x/y]\ntags: [t1]\nlicense: mit\n---\n"
    )
    model = new_repo()
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=model)
    for options in (
        {"filter": ["dataset:x/y", "t1"]},
        {"filter": "license:mit", "author": "admin"},
        {"pipeline_tag": "text-classification"},
        {"search": model.split("/")[1].upper(), "filter": "t1"},
    ):
        assert model in [each.id for each in api.list_models(**options)], options
    assert list(api.list_models(filter="t1", author="somebody-else")) == []
    assert list(api.list_models(filter="t2")) == []
    assert '"sort" must be one of' in http.get("/api/models?sort=size").json()["error"]


def test_list_when_longer_than_a_page_then_links_lead_through(
    api: HfApi, http: httpx.Client, new_repo: Callable[..., str]
) -> None:
    made = {new_repo(repo_type="dataset") for _ in range(5)}
    url, found = "/api/datasets?limit=2&author=admin", []
    while url:
        answer = http.get(url)
        assert len(answer.json()) <= 2
        found += [each["id"] for each in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert made <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("cursor", ["x", "!!", "WzFd", "WyJhIiwtMV0=", "é"])
def test_cursor_when_not_ours_then_400(http: httpx.Client, cursor: str) -> None:
    answer = http.get("/api/models", params={"cursor": cursor})
    assert answer.status_code == 400
    assert answer.json()["error"] == "The cursor is not one of ours."


def test_expand_when_unknown_then_400_names_the_known(http: httpx.Client, repo_id: str) -> None:
    answer = http.get(f"/api/models/{repo_id}?expand=foo")
    assert answer.status_code == 400
    assert '"expand" must be one of' in answer.json()["error"]


def test_expand_when_given_then_only_those_fields(http: httpx.Client, repo_id: str) -> None:
    answer = http.get(f"/api/models/{repo_id}?expand[]=author&expand[]=gated")
    assert set(answer.json()) == {"_id", "id", "modelId", "author", "gated"}


def test_duplicate_when_made_then_files_and_large_files_are_there(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    api.upload_file(path_or_fileobj=b"large", path_in_repo="w.bin", repo_id=repo_id)
    target = f"{repo_id}-copy"
    assert http.post(f"/api/models/{repo_id}/duplicate", json={"repository": target}).is_success
    api.delete_repo(repo_id)
    assert http.get(f"/{target}/resolve/main/w.bin").content == b"large"
    again = http.post(f"/api/models/{target}/duplicate", json={"repository": target})
    assert again.status_code == 409
    assert "already exists" in again.json()["error"]


def test_download_counter_when_sent_then_counted(
    hub: object, api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    url = f"/{repo_id}/resolve/main/.gitattributes"
    http.get(url, headers={"X-HF-Download-Counter": "1"})
    http.get(url)
    hub.core.flush_downloads()  # type: ignore[attr-defined]
    assert api.model_info(repo_id).downloads == 1
