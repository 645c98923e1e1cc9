"""Votes between two models, from the ratings of blind pairs."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hub_trainer.stats import PairVote


def pair_votes(counted_rows: Iterable[Mapping[str, Any]]) -> list[PairVote]:
    """What the ratings that count say of pairs, oldest first; a pair without its models is none."""
    votes = []
    for row in counted_rows:
        if row["kind"] not in ("prefer", "tie"):
            continue
        other = (json.loads(row["rival"]) if row.get("rival") else {}).get("model")
        if row["model"] and isinstance(other, str):
            tied = row["kind"] == "tie"
            votes.append(PairVote(row["rater"], row["generation_id"], row["model"], other, tied))
    return votes
