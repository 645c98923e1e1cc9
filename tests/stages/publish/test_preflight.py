"""What would keep a round from being published is found before anything is trained."""

import itertools
import json
from collections.abc import Iterator

import pytest

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import PinnedRepo
from hub_trainer.local_hub import LocalHub
from hub_trainer.stages.publish import publish_problems
from hub_trainer.stages.publish.sources import (
    contributors,
    has_chat_template,
    languages,
    machine_annotated,
)
from tests.cards.evidence import recipe
from tests.stages.publish import rounds

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def own() -> Iterator[LocalHub]:
    with LocalHub() as running:
        rounds.seed_hub(Hub(running.url, running.add_user("ada")))
        yield running


@pytest.fixture
def ada(own: LocalHub) -> Hub:
    return Hub(own.url, own.add_token("ada"))


def new_data(hub: Hub, name: str, card: str) -> str:
    repo = Repo(f"ada/{name}", "dataset")
    hub.create_repo(repo)
    hub.commit(repo, Changes({"README.md": card.encode()}), message="Card", run_id=name)
    return repo.repo_id


def test_check_when_all_is_well_then_no_problem(ada: Hub) -> None:
    assert publish_problems(recipe(), ada) == []


def test_check_when_the_token_may_only_read_then_the_repo_is_named(own: LocalHub) -> None:
    reader = Hub(own.url, own.add_token("ada", role="read"))
    (problem,) = publish_problems(recipe(), reader)
    assert problem.key == "publish.repo_id"
    assert problem.message.startswith("publish.repo_id: The token may only read.")
    assert "Set HF_TOKEN" in str(problem.do)


def test_check_when_the_repo_is_somebody_elses_then_said(own: LocalHub, ada: Hub) -> None:
    own.add_user("bob")
    (problem,) = publish_problems(recipe(publish={"repo_id": "bob/model"}), ada)
    assert problem.message.endswith("The token may not create a model under bob.")
    assert "token of ada" in str(problem.got)
    assert "Name a repo of yours" in str(problem.do)


def test_check_when_the_data_forbids_the_licence_then_said(ada: Hub) -> None:
    data = new_data(ada, "nc", "---\nlicense: cc-by-nc-4.0\n---\n")
    asked = recipe(collect={"datasets": [data]}, publish={"repo_id": "ada/model", "license": "mit"})
    (problem,) = publish_problems(asked, ada)
    assert problem.key == "publish.license"
    assert problem.message == (
        "publish.license: mit will not do: dataset ada/nc is cc-by-nc-4.0, which forbids "
        "commercial use, and mit does not. Name another licence, or leave that source out."
    )


def test_check_when_the_licence_is_none_that_the_hub_knows_then_said(ada: Hub) -> None:
    asked = recipe(publish={"repo_id": "ada/model", "license": "apache2"})
    (problem,) = publish_problems(asked, ada)
    assert problem.key == "publish.license"
    assert "'apache2' is no licence that the Hub knows" in problem.message
    assert "publish.license_name" in problem.message


def test_check_when_a_source_is_missing_then_left_to_other_checks(ada: Hub) -> None:
    assert publish_problems(recipe(collect={"datasets": ["ada/nothing"]}), ada) == []


def test_contributors_when_commits_have_co_authors_then_all_are_named(
    own: LocalHub, ada: Hub
) -> None:
    repo = Repo("ada/together", "dataset")
    ada.create_repo(repo)
    message = "Merge pull request 3\n\nCo-authored-by: carol <carol@users.noreply.example>"
    made = ada.commit(repo, Changes({"a.csv": b"a"}), message=message, run_id="t")
    later = ada.commit(repo, Changes({"b.csv": b"b"}), message="B\n\nCo-authored-by: x", run_id="u")
    pinned = PinnedRepo("ada/together", "dataset", "main", made.commit_sha)
    assert contributors(ada, [pinned]) == ["ada", "carol"]
    tip = PinnedRepo("ada/together", "dataset", "main", later.commit_sha)
    assert contributors(ada, [tip]) == ["ada", "carol", "x"]


def test_languages_when_cards_name_them_then_each_once(ada: Hub) -> None:
    cards = {"de": "---\nlanguage: de\n---\n", "both": "---\nlanguage: [en, de]\n---\n"}
    pinned = []
    for name, card in cards.items():
        repo_id = new_data(ada, name, card)
        sha = ada.resolve(Repo(repo_id, "dataset"))
        pinned.append(PinnedRepo(repo_id, "dataset", "main", sha))
    assert languages(ada, pinned) == ["de", "en"]


def test_machine_annotated_when_cards_say_so_then_only_those_without_people(ada: Hub) -> None:
    cards = {
        "machine": "---\nannotations_creators:\n- machine-generated\n---\n",
        "mixed": "---\nannotations_creators: [machine-generated, crowdsourced]\n---\n",
        "silent": "---\nlicense: mit\n---\n",
    }
    pinned = []
    for name, card in cards.items():
        repo_id = new_data(ada, name, card)
        sha = ada.resolve(Repo(repo_id, "dataset"))
        pinned.append(PinnedRepo(repo_id, "dataset", "main", sha))
    assert machine_annotated(ada, pinned) == [pinned[0].repo_id]


@pytest.mark.parametrize(
    ("files", "has_one"),
    [
        ({"chat_template.jinja": b"{{ messages }}"}, True),
        ({"tokenizer_config.json": json.dumps({"chat_template": "{{ x }}"}).encode()}, True),
        ({"tokenizer_config.json": b"{}"}, False),
        ({"tokenizer_config.json": b"{broken"}, False),
        ({"config.json": b"{}"}, False),
    ],
)
def test_chat_template_when_the_base_has_one_then_known(
    ada: Hub, files: dict[str, bytes], has_one: bool
) -> None:
    repo = Repo(f"ada/base-{next(NUMBERS)}")
    ada.create_repo(repo)
    made = ada.commit(repo, Changes(files), message="Files", run_id=str(files))
    assert has_chat_template(ada, PinnedRepo(repo.repo_id, "model", "main", made.commit_sha)) == (
        has_one
    )


def test_chat_template_when_there_is_no_base_then_none(ada: Hub) -> None:
    assert not has_chat_template(ada, None)
