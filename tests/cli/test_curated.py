"""What `curate` says to people: its summary once, and which ratings weigh nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from hub_trainer import loop
from hub_trainer.hub import Hub, Repo
from tests.cli.conftest import Cli
from tests.cli.seeded import OWNER, commit, parquet, write_recipe
from tests.stages.ratings_on_hub import numbered, send, votes
from tests.tasks.factory import text_rows


def test_curate_when_all_raters_are_anonymous_then_said_once_with_what_can_be_done(
    cli: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = f"{OWNER}/walkers-data"
    commit(hub, Repo(data, "dataset"), {"train.parquet": parquet(text_rows(30))})
    path = write_recipe(
        cli.folder / "walkers.yaml",
        "text",
        collect={"datasets": [data]},
        prepare={"test_split": None},
    )
    said = [
        replace(one, rating=replace(one.rating, rater_tier="anonymous", source="network"))
        for one in numbered(votes({"text": "the new card"}, "red", "red", "red"))
    ]
    send(hub, f"{OWNER}/walkers-ratings", "text-classification", "text", said)
    # No round has to be published to see what becomes of ratings.
    monkeypatch.setattr(loop, "_newest_round_dir", lambda *_: Path("rounds/walkers/round-001"))
    told = cli("curate", path, "--json")
    assert told.code == 0, told.err
    assert told.err.count("No new example: 3 anonymous, which weigh nothing.") == 1
    assert (
        "3 anonymous ratings of 1 source weigh nothing (curate.anonymous: none), as nothing shows "
        "that they are of several people" in told.err
    )
    assert "set curate.anonymous=capped" in told.err
    assert told.json["rows"] == 0
