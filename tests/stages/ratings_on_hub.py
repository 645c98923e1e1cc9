"""Ratings on a Local Hub, as a Space would have sent them."""

from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.ratings import Generation, NewRating, RatedGeneration
from hub_trainer.ratings.shards import pack_shard, shard_path

DAY = 1_700_000_000.0


def rated(
    seq: int, row: Mapping[str, Any], rater: str, answer: str, generation_id: str | None = None
) -> RatedGeneration:
    """One rating; each has a generation of its own unless one is named."""
    name = generation_id or f"generation-{seq}"
    rating = NewRating(f"rating-{seq}", name, rater, "account", "wrong", answer, "v1", DAY)
    generation = Generation(name, row, "row", "org/model@0", "none", {"none": 1.0}, rater, DAY)
    return RatedGeneration(seq, rating, generation)


def votes(row: Mapping[str, Any], *answers: str, first: int = 1) -> list[RatedGeneration]:
    """One rating of a row by each of as many raters as there are answers."""
    return [
        rated(first + number, row, f"rater-{number}", answer)
        for number, answer in enumerate(answers)
    ]


def numbered(*groups: Sequence[RatedGeneration]) -> list[RatedGeneration]:
    """All of them, each with a number and ids of its own."""
    flat = [one for group in groups for one in group]
    return [
        rated(seq, one.generation.row, one.rating.rater, one.rating.answer)
        for seq, one in enumerate(flat, start=1)
    ]


def send(hub: Hub, repo_id: str, task: str, modality: str, all_rated: Any) -> str:
    """Commit ratings as one shard; returns the commit sha."""
    hub.create_repo(Repo(repo_id, "dataset"))
    content = pack_shard(all_rated, modality=modality, task=task, epoch="e")
    path = shard_path("org/space", "e", all_rated[0].seq, all_rated[-1].seq, content)
    made = hub.commit(
        Repo(repo_id, "dataset"), Changes({path: content}), message="Ratings", run_id=path
    )
    return made.commit_sha
