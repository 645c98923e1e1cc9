"""Which rules and which model a review goes by: the recipe's, or the owner's own model's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.checks import inspection
from hub_trainer.checks.policy import find_policy
from hub_trainer.errors import DataError, HubError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import RoundRecord
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.stages import review
from tests.space.published import publish_model, table_recipe, table_rows
from tests.stages.review_hub import call_here


class Parcels:
    """A Local Hub with the parcels, their sealed test rows in a private repo, and a model."""

    def __init__(self, local: LocalHub, folder: Path) -> None:
        self.local = local
        self.owner = Hub(local.url, local.token)
        self.alice = Hub(local.url, local.add_user("alice"))
        self.dataset_id = f"{local.user}/parcels"
        self.recipe = parcels_recipe(local.user)
        self.owner.create_repo(Repo(self.dataset_id, "dataset"), private=False)
        self.record = publish_model(self.owner, self.recipe, folder)
        self.model = Repo(self.recipe.publish.repo_id)
        self.round_sha = self.owner.resolve(self.model)
        card = f"---\ndatasets:\n- {self.dataset_id}\n---\n".encode()
        self.owner.commit(self.model, Changes({"README.md": card}), message="Card", run_id="card")
        sealed = Repo(f"{self.dataset_id}-sealed", "dataset")
        self.owner.create_repo(sealed, private=True)
        rows = {"test.jsonl": lines(table_rows(200, seed=7))}
        self.owner.commit(sealed, Changes(rows), message="Sealed", run_id="sealed")

    def propose(self, rows: list[dict[str, Any]], run_id: str, name: str) -> int:
        """A pull request of alice's."""
        made = self.alice.commit(
            Repo(self.dataset_id, "dataset"), Changes({name: lines(rows)}),
            message="Rows", run_id=run_id, pull_request="Rows",
        )  # fmt: skip
        assert made.pull_request is not None
        return made.pull_request


def parcels_recipe(owner: str, **changes: Any) -> Recipe:
    sealed = {"repo_id": f"{owner}/parcels-sealed", "split": "test"}
    values = {"prepare": {"test_split": sealed}, "review": {"max_rows": 400}}
    return table_recipe(owner, **{**values, **changes})


def lines(rows: list[dict[str, Any]]) -> bytes:
    kept = ({k: v for k, v in row.items() if k != "_row_id"} for row in rows)
    return "".join(json.dumps(row) + "\n" for row in kept).encode()


@pytest.fixture(scope="module")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parcels]:
    with LocalHub() as local:
        yield Parcels(local, tmp_path_factory.mktemp("parcels"))


def test_policy_when_a_recipe_is_given_then_its_rules_and_model(parcels: Parcels) -> None:
    policy = find_policy(parcels.owner, parcels.dataset_id, parcels.recipe)
    assert policy.task == "tabular-classification"
    assert policy.review.max_rows == 400
    assert policy.test_split is not None
    assert policy.test_split.repo_id == f"{parcels.dataset_id}-sealed"
    assert policy.model is not None
    assert policy.model.commit_sha == parcels.round_sha
    assert policy.model.label_names == tuple(parcels.record.label_names)


def test_policy_when_no_recipe_then_that_of_the_owners_model(parcels: Parcels) -> None:
    policy = find_policy(parcels.owner, parcels.dataset_id)
    assert policy.origin == f"round 1 of {parcels.model.repo_id}"
    assert policy.review.max_rows == 400
    assert policy.model is not None


def test_policy_when_only_a_stranger_names_the_dataset_then_not_believed() -> None:
    with LocalHub() as local:
        owner, mallory = (
            Hub(local.url, token) for token in (local.token, local.add_user("mallory"))
        )
        dataset_id = f"{local.user}/parcels"
        owner.create_repo(Repo(dataset_id, "dataset"), private=False)
        model = Repo("mallory/parcel-model")
        mallory.create_repo(model, private=False)
        card = f"---\ndatasets:\n- {dataset_id}\n---\n".encode()
        recipe = table_recipe("mallory", collect={"datasets": [dataset_id]}, review={"max_rows": 9})
        record = {"round.json": json.dumps(_record(recipe).to_json()).encode()}
        mallory.commit(model, Changes({"README.md": card, **record}), message="Trap", run_id="t")
        assert owner.models_trained_on(dataset_id, author="mallory") == [model.repo_id]
        policy = find_policy(owner, dataset_id)
        assert policy.model is None
        assert policy.review.max_rows == 50_000
        assert policy.origin == "the dataset itself; no recipe and no model name it"


def _record(recipe: Recipe) -> RoundRecord:
    from tests.space import published

    return published._record(recipe, "0" * 40, "mit")


def test_policy_when_the_record_is_of_another_dataset_then_not_taken(parcels: Parcels) -> None:
    other = Repo(f"{parcels.local.user}/other", "dataset")
    parcels.owner.create_repo(other)
    model = Repo(f"{parcels.local.user}/other-model")
    parcels.owner.create_repo(model)
    files = {
        "README.md": f"---\ndatasets:\n- {other.repo_id}\n---\n".encode(),
        "round.json": json.dumps(parcels.record.to_json()).encode(),
    }
    parcels.owner.commit(model, Changes(files), message="x", run_id="other")
    assert find_policy(parcels.owner, other.repo_id).model is None


def test_recipe_when_it_does_not_use_the_dataset_then_error_names_those_it_uses(
    parcels: Parcels,
) -> None:
    with pytest.raises(DataError) as caught:
        find_policy(parcels.owner, "o/elsewhere", parcels.recipe)
    assert caught.value.what == "The recipe does not use the dataset o/elsewhere."
    assert caught.value.got == parcels.dataset_id


@pytest.mark.parametrize(
    ("path", "content"), [("round.json", b'{"round": '), ("model.skops", b"PK other weights")]
)
def test_policy_when_main_is_not_what_the_round_published_then_its_model_is_not_asked(
    parcels: Parcels, path: str, content: bytes
) -> None:
    head = parcels.owner.resolve(parcels.model)
    before = parcels.owner.read_file(parcels.model, path, head)
    planted = Changes({path: content})
    parcels.owner.commit(parcels.model, planted, message="Better", run_id=f"plant {path}")
    try:
        policy = find_policy(parcels.owner, parcels.dataset_id, parcels.recipe)
        assert policy.model is None
        assert policy.review.max_rows == 400
        said = "its published model is not asked: Main of the model repo is not what round 1"
        assert said in policy.origin
        with pytest.raises(HubError, match="The rules of the review would come from") as caught:
            find_policy(parcels.owner, parcels.dataset_id)
        assert f"{path} changed in" in str(caught.value.got)
        assert "--recipe FILE" in str(caught.value.do)
        assert caught.value.exit_code == 4
    finally:
        again = Changes({path: before or b""})
        parcels.owner.commit(parcels.model, again, message="Back", run_id=f"back {path}")
    assert find_policy(parcels.owner, parcels.dataset_id).model is not None


def test_review_when_a_model_is_published_then_it_judges_in_the_sandbox(parcels: Parcels) -> None:
    flipped = table_rows(150, seed=2)
    for row in flipped[:30]:
        row["label"] = {"light": "heavy", "heavy": "light"}[row["label"]]
    number = parcels.propose(flipped, "bad", "train-bad.jsonl")
    [answer] = review.run(parcels.owner, parcels.dataset_id, number=number).to_dict()[
        "pull_requests"
    ]
    assert answer["verdict"] == "refuse"
    quality, by_label = answer["reasons"]
    assert quality.startswith("label quality: the published model disagrees with")
    assert by_label.startswith("labels one by one: ")
    assert set(range(1, 31)) & set(answer["checks"][-2]["rows"])


def test_model_when_it_cannot_be_asked_then_a_probe_judges(
    parcels: Parcels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_model(function: str, arguments: Any, *, folder: Path, limits: Any) -> Any:
        if function.endswith("score_answers") and arguments["model"]:
            raise DataError("Reading the data crashed the reader (SIGSEGV).")
        return call_here(function, arguments, folder=folder, limits=limits)

    monkeypatch.setattr(inspection, "run_sandboxed", no_model)
    number = parcels.propose(table_rows(100, seed=5), "good", "train-good.jsonl")
    policy = find_policy(parcels.owner, parcels.dataset_id)
    verdict = review.review_pull_request(
        parcels.owner, parcels.dataset_id, number, policy, tmp_path
    )
    assert verdict.verdict == "merge", verdict.reasons
    judged = next(check for check in verdict.checks if check.name == "label quality")
    assert judged.detail.startswith("a probe of the dataset disagrees with")
