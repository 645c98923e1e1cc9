"""Votes between two models, from the ratings of blind pairs."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hub_trainer.stats import PairVote


def pair_votes(shard_rows: Iterable[Mapping[str, Any]], *, task: str) -> list[PairVote]:
    """What raters of this task said of pairs, oldest first; a pair without its models is none."""
    votes = []
    for row in shard_rows:
        if row["kind"] not in ("prefer", "tie") or row["task"] != task:
            continue
        other = (json.loads(row["rival"]) if row.get("rival") else {}).get("model")
        if row["model"] and isinstance(other, str):
            tied = row["kind"] == "tie"
            votes.append(PairVote(row["rater"], row["generation_id"], row["model"], other, tied))
    return votes
