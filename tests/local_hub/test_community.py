"""Likes, collections, Spaces' settings, people."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_trainer.local_hub import LocalHub


def test_like_when_given_and_taken_back_then_counted_once(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    for _ in range(2):
        assert http.post(f"/api/models/{repo_id}/like").is_success
    assert api.model_info(repo_id).likes == 1
    assert [each.username for each in api.list_repo_likers(repo_id)] == ["admin"]
    assert repo_id in api.list_liked_repos().models
    api.unlike(repo_id)
    assert api.model_info(repo_id).likes == 0


def test_likes_when_the_repo_is_private_then_strangers_do_not_see_them(
    api: HfApi, other: HfApi, http: httpx.Client, new_repo: Callable[..., str]
) -> None:
    repo_id = new_repo(private=True)
    http.post(f"/api/models/{repo_id}/like")
    assert repo_id in api.list_liked_repos("admin").models
    assert repo_id not in other.list_liked_repos("admin").models


def test_likes_when_the_user_is_unknown_then_404(http: httpx.Client) -> None:
    assert "does not exist: ghost" in http.get("/api/users/ghost/likes").json()["error"]


def test_collection_when_items_are_hidden_then_strangers_do_not_see_them(
    api: HfApi, other: HfApi, new_repo: Callable[..., str]
) -> None:
    private = new_repo(private=True)
    slug = api.create_collection("My list").slug
    api.add_collection_item(slug, private, "model")
    assert [item.item_id for item in api.get_collection(slug).items] == [private]
    assert other.get_collection(slug).items == []
    api.move_repo(private, f"{private}-new")
    assert [item.item_id for item in api.get_collection(slug).items] == [f"{private}-new"]
    listed = list(api.list_collections(owner="admin", item=f"models/{private}-new"))
    assert [each.slug for each in listed] == [slug]
    api.delete_collection(slug)


def test_collection_when_changed_by_a_stranger_then_403(api: HfApi, other: HfApi) -> None:
    slug = api.create_collection("Hands off").slug
    with pytest.raises(HfHubHTTPError, match="rights to change this collection"):
        other.update_collection_metadata(slug, title="Mine now")
    api.delete_collection(slug)


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("PATCH", "", {"title": " "}, "The title of a collection must be text"),
        ("PATCH", "", {"title": "x" * 101}, "is too long"),
        ("PATCH", "", {"theme": "beige"}, "theme must be one of"),
        ("POST", "/items", {}, "item must be {type, id}"),
        ("POST", "/items", {"item": {"type": "paper", "id": "1"}}, "must be model, dataset"),
        ("POST", "/items", {"item": {"type": "model", "id": "a/b"}}, "model a/b does not exist"),
        ("DELETE", "/items/none", {}, "is not in this collection"),
    ],
)
def test_collection_when_malformed_then_error_says_why(
    api: HfApi, http: httpx.Client, method: str, path: str, body: Any, message: str
) -> None:
    slug = api.create_collection("Strict").slug
    answer = http.request(method, f"/api/collections/{slug}{path}", json=body)
    assert answer.status_code in (400, 404)
    assert message in answer.json()["error"]
    api.delete_collection(slug)


@pytest.fixture
def space(new_repo: Callable[..., str]) -> str:
    return new_repo(repo_type="space", space_sdk="gradio")


def test_space_settings_when_set_then_secrets_never_come_back(
    api: HfApi, http: httpx.Client, space: str
) -> None:
    api.add_space_variable(space, "COLOUR", "red", description="Of the page")
    api.add_space_variable(space, "COLOUR", "blue")
    assert {key: each.value for key, each in api.get_space_variables(space).items()} == {
        "COLOUR": "blue"
    }
    api.add_space_secret(space, "PASSWORD", "hunter2")
    shown = http.get(f"/api/spaces/{space}/secrets")
    assert "PASSWORD" in shown.json()
    assert "hunter2" not in shown.text
    api.delete_space_secret(space, "PASSWORD")
    api.delete_space_variable(space, "COLOUR")
    answer = http.request("DELETE", f"/api/spaces/{space}/variables", json={"key": "COLOUR"})
    assert (answer.status_code, "has no variable COLOUR" in answer.text) == (404, True)


@pytest.mark.parametrize(
    ("body", "message"),
    [({"key": "1A", "value": "x"}, "Invalid key"), ({"key": "A", "value": 1}, "must be text")],
)
def test_space_variable_when_malformed_then_400(
    http: httpx.Client, space: str, body: Any, message: str
) -> None:
    answer = http.post(f"/api/spaces/{space}/variables", json=body)
    assert (answer.status_code, message in answer.text) == (400, True)


def test_space_runtime_when_asked_for_then_remembered(api: HfApi, space: str) -> None:
    assert api.get_space_runtime(space).stage == "STOPPED"
    assert api.pause_space(space).stage == "PAUSED"
    assert api.request_space_hardware(space, "cpu-upgrade").requested_hardware == "cpu-upgrade"
    assert api.set_space_sleep_time(space, 300).sleep_time == 300
    assert api.restart_space(space).stage == "STOPPED"


def test_space_when_its_card_names_a_model_then_the_model_lists_it(
    api: HfApi, repo_id: str, space: str
) -> None:
    readme = f"---\nsdk: gradio\nmodels: [{repo_id}]\n---\n".encode()
    api.upload_file(
        path_or_fileobj=readme, path_in_repo="README.md", repo_id=space, repo_type="space"
    )
    assert api.model_info(repo_id).spaces == [space]
    assert [each.id for each in api.list_spaces(models=repo_id)] == [space]


def test_people_when_asked_for_then_overviews_and_members(api: HfApi, http: httpx.Client) -> None:
    overview = api.get_user_overview("admin")
    assert (overview.username, [org.name for org in overview.orgs]) == ("admin", ["lab"])
    assert api.get_organization_overview("lab").num_users == 3
    members = {each.username for each in api.list_organization_members("lab")}
    assert members == {"admin", "reader", "member"}
    assert list(api.list_user_followers("admin")) == []
    assert "This user does not exist: lab" in http.get("/api/users/lab/overview").json()["error"]


def test_storage_when_asked_for_then_ones_own_repos_with_their_sizes(
    hub: LocalHub,
) -> None:
    ann = HfApi(endpoint=hub.url, token=hub.add_user("stores"))
    large = ann.create_repo("large", private=True, repo_type="dataset").repo_id
    ann.create_repo("small")
    ann.upload_file(
        path_or_fileobj=bytes(5000), path_in_repo="a.bin", repo_id=large, repo_type="dataset"
    )
    found = {each.id: each for each in ann.list_user_repos()}
    assert set(found) == {"stores/large", "stores/small"}
    assert (found[large].type, found[large].visibility) == ("dataset", "private")
    assert (found[large].storage, found[large].storage_percent) == (5000, 1.0)
    assert found["stores/small"].storage == 0


def test_storage_when_there_are_many_repos_then_it_comes_in_pages(hub: LocalHub) -> None:
    many = HfApi(endpoint=hub.url, token=hub.add_user("hoards"))
    for number in range(101):
        many.create_repo(f"m{number}")
    assert len({each.id for each in many.list_user_repos()}) == 101


def test_storage_when_of_an_organisation_then_only_its_members_see_it(
    api: HfApi, other: HfApi
) -> None:
    api.create_repo("lab/stored", exist_ok=True)
    assert "lab/stored" in {each.id for each in api.list_user_repos("lab")}
    with pytest.raises(HfHubHTTPError, match="not a member of lab"):
        list(other.list_user_repos("lab"))
    with pytest.raises(HfHubHTTPError, match="This org does not exist: admin"):
        list(api.list_user_repos("admin"))
    api.delete_repo("lab/stored")


def test_collections_when_searched_then_title_and_description_count(
    api: HfApi, http: httpx.Client
) -> None:
    slug = api.create_collection("Ripe apples", description="and some pears").slug

    def found(**query: str) -> list[str]:
        answer = http.get("/api/collections", params={"owner": "admin", **query})
        return [each["slug"] for each in answer.json()]

    assert found(q="PEARS ripe", sort="upvotes") == [slug]
    assert found(q="pears plums") == []
    assert '"sort" must be one of' in http.get("/api/collections?sort=taste").json()["error"]
    api.delete_collection(slug)


def test_collection_when_made_with_an_item_then_it_holds_it_or_is_not_made(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    wanted = {"title": "Begun", "namespace": "admin", "item": {"type": "model", "id": repo_id}}
    slug = http.post("/api/collections", json=wanted).json()["slug"]
    assert [item.item_id for item in api.get_collection(slug).items] == [repo_id]
    api.delete_collection(slug)
    missing = {**wanted, "item": {"type": "model", "id": "a/b"}}
    assert http.post("/api/collections", json=missing).status_code == 404
    assert http.get("/api/collections?owner=admin&q=begun").json() == []


def test_models_when_somebody_must_run_them_then_none(api: HfApi, repo_id: str) -> None:
    assert list(api.list_models(author="admin", inference_provider="all")) == []
    assert list(api.list_models(author="admin", inference="warm")) == []
