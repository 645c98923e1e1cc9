"""What `curate` says to people: what it proposes of how many ratings, else why it does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub_trainer import loop
from hub_trainer.hub import Hub, Repo
from tests.cli.conftest import Cli
from tests.cli.seeded import OWNER, commit, parquet, write_recipe
from tests.stages.ratings_on_hub import numbered, send, votes
from tests.tasks.factory import text_rows


@pytest.fixture(autouse=True)
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """No round has to be published to see what becomes of ratings."""
    monkeypatch.setattr(loop, "_newest_round_dir", lambda *_: Path("rounds/walkers/round-001"))


def _recipe(cli: Cli, hub: Hub, name: str, said: list[Any], **curate: Any) -> Path:
    """A recipe of a dataset with such ratings."""
    data = f"{OWNER}/{name}-data"
    commit(hub, Repo(data, "dataset"), {"train.parquet": parquet(text_rows(30))})
    send(hub, f"{OWNER}/{name}-ratings", "text-classification", "text", said)
    return write_recipe(
        cli.folder / f"{name}.yaml",
        "text",
        collect={"datasets": [data], "ratings": f"{OWNER}/{name}-ratings"},
        prepare={"test_split": None},
        curate=curate,
    )


def _anonymous(*said: Any) -> list[Any]:
    return [
        replace(one, rating=replace(one.rating, rater_tier="anonymous", source="network"))
        for one in said
    ]


def test_curate_when_all_raters_are_anonymous_then_said_once_with_what_can_be_done(
    cli: Cli, hub: Hub
) -> None:
    said = _anonymous(*numbered(votes({"text": "the new card"}, "red", "red", "red")))
    path = _recipe(cli, hub, "walkers", said)
    told = cli("curate", path, "--json")
    assert told.code == 0, told.err
    reason = "No new example: 3 ratings are anonymous and without weight."
    assert told.err.count(reason) == 1
    assert "3 anonymous ratings of 1 source weigh nothing (curate.anonymous: none).\n" in told.err
    assert "Nothing shows that anonymous ratings are of several people." in told.err
    assert "or rate with a token (docs/local-hub.md); or set curate.anonymous=capped" in told.err
    assert "A Space sends its ratings every 30 seconds unless its FLUSH_SECONDS says" in told.err
    assert told.json["rows"] == 0


def test_curate_when_it_proposes_then_says_of_how_many_ratings_and_no_more_than_that(
    cli: Cli, hub: Hub
) -> None:
    *agreed, last = numbered(votes({"text": "the newest card"}, "red", "red", "red", "red"))
    said = [*agreed, *_anonymous(last)]
    told = cli("curate", _recipe(cli, hub, "signed", said))
    assert told.code == 0, told.err
    assert "adds 1 example, from 3 ratings of 3 raters: http" in told.err
    assert "1 anonymous rating of 1 source weighs nothing (curate.anonymous: none).\n" in told.err
    assert "several people" not in told.err
    assert "A Space sends" not in told.err


def test_curate_when_raters_are_too_few_then_says_how_many_it_takes(cli: Cli, hub: Hub) -> None:
    groups = [votes({"text": f"the card {n}"}, "red") for n in range(2)]
    both = votes({"text": "one more card"}, "red", "blue")
    told = cli("curate", _recipe(cli, hub, "lone", numbered(*groups, both), min_raters=2))
    assert told.code == 0, told.err
    assert (
        "No new example: 2 examples have too few raters (2 are needed), "
        "1 example is without agreement." in told.err
    )
    assert "its /health says how many wait.\n" in told.err
    assert "anonymous" not in told.err
