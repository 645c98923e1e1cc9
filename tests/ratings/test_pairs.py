"""Ratings of blind pairs as votes between two models."""

import json
from typing import Any

from hub_trainer.ratings.pairs import pair_votes
from hub_trainer.stats import PairVote


def rating(kind: str = "prefer", **changes: Any) -> dict[str, Any]:
    rival = {"model": "ada/m@1", "completion": "No.", "sampling": {}}
    row = {"kind": kind, "rater": "ann", "generation_id": "p1", "model": "ada/m@2"}
    return {**row, "task": "text-generation", "rival": json.dumps(rival), **changes}


def votes(*rows: dict[str, Any]) -> list[PairVote]:
    return pair_votes(rows)


def test_pairs_when_preferred_or_tied_then_votes_in_order() -> None:
    assert votes(rating(), rating("tie", rater="bob")) == [
        PairVote("ann", "p1", "ada/m@2", "ada/m@1", is_tie=False),
        PairVote("bob", "p1", "ada/m@2", "ada/m@1", is_tie=True),
    ]


def test_pairs_when_rated_otherwise_then_no_votes() -> None:
    others = [rating(kind, rival=None) for kind in ("up", "down", "edit", "report")]
    assert votes(*others) == []


def test_pairs_when_a_model_is_not_named_then_no_vote() -> None:
    nameless = json.dumps({"completion": "No."})
    numbered = json.dumps({"model": 3, "completion": "No."})
    spoilt = [rating(rival=one) for one in (nameless, numbered, None)]
    assert votes(*spoilt, rating(model="")) == []
