"""What curate proposes before review: a liar's rows stay out, the honest ones are merged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.stages import curate, review
from tests.stages.ratings_on_hub import numbered, send, votes

TASK = "text-classification"
WORDS = ["river", "stone", "cloud", "lamp", "bread", "horse"]
WORDS += ["violin", "winter", "garden", "letter", "market", "bridge"]


def _texts(first: int, count: int) -> list[str]:
    """Short texts of which no two are alike."""
    return [
        f"{WORDS[n % 12]} {n * 7919} {WORDS[n // 12 % 12]} by {WORDS[n * 5 % 12]}{n}"
        for n in range(first, first + count)
    ]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with LocalHub() as running:
        yield Hub(running.url, running.token)


@pytest.fixture
def recipe(hub: Hub) -> Recipe:
    for name, texts in (("data", _texts(0, 60)), ("sealed", _texts(100, 20))):
        repo = Repo(f"admin/{name}", "dataset")
        hub.create_repo(repo)
        lines = [f"{text},{'ab'[n % 2]}" for n, text in enumerate(texts)]
        content = "\n".join(["text,label", *lines, ""]).encode()
        split = "test" if name == "sealed" else "train"
        hub.commit(repo, Changes({f"{split}.csv": content}), message="Rows", run_id=name)
    return Recipe.model_validate(
        {
            "task": TASK,
            "collect": {"datasets": ["admin/data"], "ratings": "admin/ratings"},
            "prepare": {"test_split": {"repo_id": "admin/sealed", "split": "test"}},
            "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
            "publish": {"repo_id": "admin/model"},
        }
    )


HONEST = [votes({"text": t}, *("ab"[n % 2] * 3)) for n, t in enumerate(_texts(200, 14))]
UNFIT = {
    "my key is sk-abcdEFGH1234ijklMNOP5678": "with a secret",
    "see http://ann:hunter2@example.org/": "with a secret",
    "write to ann.smith@gmail.com": "with personal data",
    "turn \u202esdrawkcab\u202c it": "with hidden text",
    "<script>alert(1)</script>": "with hidden text",
    _texts(100, 1)[0].upper() + " ": "sealed for the test",
    "w " * 60_000: "too long",
}


def _run(recipe: Recipe, folder: Path, hub: Hub) -> dict[str, Any]:
    return curate.run(recipe, folder, hub).outputs


@pytest.mark.slow
def test_curated_rows_when_some_are_unfit_are_merged_without_them(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    unfit = [votes({"text": text}, "a", "a", "a") for text in UNFIT]
    send(hub, "admin/ratings", TASK, "text", numbered(*HONEST, *unfit))
    first = _run(recipe, tmp_path, hub)
    assert first["rows"] == 14
    assert first["left_out"] == {
        "with a secret": 2,
        "with personal data": 1,
        "with hidden text": 2,
        "too long": 1,
    }
    assert first["skipped_rows"] == {"sealed for the test": 1}
    assert first["review"]["verdict"] == "merge"
    dataset = Repo("admin/data", "dataset")
    [(_, text)] = hub.comments(dataset, first["pull_request"])[:1]
    assert "| left out: with a secret " in text
    assert "sk-abcd" not in text
    [verdict] = review.run(hub, "admin/data", recipe=recipe).to_dict()["pull_requests"]
    assert (verdict["verdict"], verdict["rows"], verdict["reasons"]) == ("merge", 14, [])


@pytest.mark.slow
def test_proposal_when_open_is_updated_and_when_closed_is_not_repeated(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    dataset = Repo("admin/data", "dataset")
    send(hub, "admin/ratings", TASK, "text", numbered(*HONEST[:6]))
    first = _run(recipe, tmp_path, hub)
    sha = send(hub, "admin/ratings", TASK, "text", numbered(*HONEST[:9]))
    second = _run(recipe, tmp_path, hub)
    assert (first["rows"], second["rows"]) == (6, 9)
    assert second["pull_request"] == first["pull_request"]
    assert len(hub.pull_requests(dataset, status=None)) == 1
    request = hub.pull_request(dataset, second["pull_request"])
    assert request.head_sha == second["commit_sha"] != first["commit_sha"]
    names = {file.path for file in hub.list_files(dataset, second["commit_sha"])}
    assert names - {"train.csv", ".gitattributes"} == {second["path"]}
    assert sha in hub.comments(dataset, second["pull_request"])[-1][1]

    hub.close(dataset, second["pull_request"], "These are wrong.")
    third = _run(recipe, tmp_path, hub)
    assert (third["rows"], third["pull_request"]) == (0, None)
    assert third["left_out"] == {"refused in pull request 1": 9}
    assert third["summary"] == "No new example: 9 examples are refused in pull request 1."
    send(hub, "admin/ratings", TASK, "text", numbered(*HONEST))
    fourth = _run(recipe, tmp_path, hub)
    assert (fourth["rows"], fourth["left_out"]) == (5, {"refused in pull request 1": 9})
    assert fourth["pull_request"] == 2


@pytest.mark.slow
def test_proposal_when_refused_for_one_bad_row_is_made_again_without_it(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    """As earlier versions proposed it, and were refused in every round."""
    rows = [(one[0].generation.row["text"], one[0].rating.answer) for one in HONEST[:5]]
    rows.append((next(iter(UNFIT)), "a"))
    content = "".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows]).encode()
    dataset = Repo("admin/data", "dataset")
    hub.commit(
        dataset,
        Changes({"train_ratings-0123456789ab.csv": content}),
        message="Add examples that raters agree on",
        run_id="curate-earlier",
        pull_request="6 examples",
    )
    hub.close(dataset, 1, "refused")
    send(hub, "admin/ratings", TASK, "text", numbered(*HONEST[:5]))
    told = _run(recipe, tmp_path, hub)
    assert (told["rows"], told["pull_request"], told["left_out"]) == (5, 2, {})


@pytest.mark.slow
def test_proposal_when_review_would_refuse_it_is_not_made(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    strict = recipe.model_copy(update={"review": recipe.review.model_copy(update={"max_rows": 3})})
    send(hub, "admin/ratings", TASK, "text", numbered(*HONEST[:5]))
    told = _run(strict, tmp_path, hub)
    assert (told["rows"], told["pull_request"]) == (0, None)
    said = "5 examples are not proposed, as review would refuse: readable"
    assert told["summary"].startswith(said)
    assert hub.pull_requests(Repo("admin/data", "dataset"), status=None) == []
