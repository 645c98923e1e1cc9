"""The cards that serving writes for data under terms of its own: tried by check."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_trainer.cards import CardLicence
from hub_trainer.errors import HubError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.preflight import check_recipe
from hub_trainer.recipe import Recipe
from hub_trainer.stages import serve
from hub_trainer.stages.curate.new_dataset import Origin, created_card, created_card_problems
from tests.space.factory import QUIET
from tests.space.published import prepared_round, publish_model, table_recipe

pytestmark = QUIET
OWN = "license: other\nlicense_name: x\nlicense_link: https://example.org/x\n"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.token)


@pytest.fixture(scope="module")
def recipe(hub: Hub, local: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A published round whose record says `x`, as collect writes it for that card."""
    recipe = table_recipe(local.user)
    card = f"---\n{OWN}---\n"
    publish_model(hub, recipe, tmp_path_factory.mktemp("fit"), card=card, license_name="x")
    return recipe


def _front(hub: Hub, repo: Repo) -> dict[str, Any]:
    text = (hub.read_file(repo, "README.md", hub.resolve(repo)) or b"").decode()
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_serve_when_the_data_has_terms_of_its_own_names_them(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    serve.run(recipe, prepared_round(tmp_path), hub)
    assert recipe.serve is not None
    front = _front(hub, Repo(recipe.serve.ratings_repo_id, "dataset"))
    assert (front["license"], front["license_name"]) == ("other", "x")
    assert front["license_link"] == "https://example.org/x"
    space = Repo(recipe.serve.repo_id, "space")
    readme = (hub.read_file(space, "README.md", hub.resolve(space)) or b"").decode()
    assert "under the licence x, and" in readme
    settings = json.loads(hub.read_file(space, "space.json", hub.resolve(space)) or b"")
    assert settings["license"] == "x"


def test_cards_when_tried_before_a_round_are_those_that_the_hub_takes(
    hub: Hub, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert serve.card_problems(recipe, hub) == []
    asked = []
    monkeypatch.setattr(Hub, "card_problems", lambda self, text, kind: asked.append(kind) or ["no"])
    keys = [problem.key for problem in serve.card_problems(recipe, hub)]
    assert keys == ["serve.repo_id", "serve.ratings_repo_id"]
    assert asked == ["space", "dataset"]


def test_check_when_a_licence_is_none_of_the_hub_says_which_key_and_what_to_write(
    hub: Hub, local: LocalHub, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    path = tmp_path / "parcels.yaml"
    path.write_text(yaml.safe_dump({**values, "publish": {**values["publish"], "license": "my"}}))
    monkeypatch.chdir(tmp_path)
    report = check_recipe(path, [], hub)
    assert [problem.message for problem in report.problems] == [
        "publish.license: 'my' is no licence that the Hub knows; write license: other, and its "
        "name in publish.license_name"
    ]
    assert report.exit_code == 2
    named = ["publish.license=other", "publish.license_name=my"]
    assert check_recipe(path, named, hub).problems == []


def test_card_when_the_hub_refuses_it_at_a_commit_says_so_without_a_traceback(
    hub: Hub, local: LocalHub
) -> None:
    repo = Repo(f"{local.user}/cards", "dataset")
    hub.create_repo(repo)
    card: dict[str, bytes | Path] = {"README.md": b"---\nlicense: x\n---\n"}
    with pytest.raises(HubError, match="The Hub refuses the card in the commit to") as caught:
        hub.commit(repo, Changes(card), message="Card", run_id="card")
    assert '"license" must be one of' in str(caught.value)


def test_created_dataset_when_the_ratings_have_terms_of_their_own_names_them(hub: Hub) -> None:
    card = created_card("sft", Origin("o/r@1", CardLicence(("other",), "x", "LICENSE")))
    assert yaml.safe_load(card.split("---\n")[1])["license_name"] == "x"
    assert hub.card_problems(card, "dataset") == []
    assert "license" not in yaml.safe_load(created_card("sft", Origin("o/r", None)).split("---")[1])


def test_created_dataset_when_no_answers_are_rated_has_no_card_to_try(
    hub: Hub, recipe: Recipe
) -> None:
    assert created_card_problems(recipe, hub) == []
