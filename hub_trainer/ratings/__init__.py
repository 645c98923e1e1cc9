"""Ratings: kept durably where they are given, then packed into a dataset on the Hub."""

from hub_trainer.ratings.outbox import Outbox, OutboxStatus
from hub_trainer.ratings.records import Generation, NewRating, RatedGeneration, RatingRefused
from hub_trainer.ratings.shards import ratings_card, read_shards
from hub_trainer.ratings.store import RatingStore

__all__ = [
    "Generation",
    "NewRating",
    "Outbox",
    "OutboxStatus",
    "RatedGeneration",
    "RatingRefused",
    "RatingStore",
    "ratings_card",
    "read_shards",
]
