"""Ratings: kept durably where they are given, then packed into a dataset on the Hub."""

from hub_trainer.ratings.counting import ANONYMOUS, Anonymous, Counted, count_ratings, last_about
from hub_trainer.ratings.outbox import FLUSH_SECONDS, Outbox, OutboxStatus
from hub_trainer.ratings.rating_records import (
    Generation,
    NewRating,
    Pair,
    RatedGeneration,
    RatingRefused,
    facet_of,
)
from hub_trainer.ratings.rating_store import RatingStore
from hub_trainer.ratings.ratings_card import ratings_card
from hub_trainer.ratings.shards import read_shards

__all__ = [
    "ANONYMOUS",
    "FLUSH_SECONDS",
    "Anonymous",
    "Counted",
    "Generation",
    "NewRating",
    "Outbox",
    "OutboxStatus",
    "Pair",
    "RatedGeneration",
    "RatingRefused",
    "RatingStore",
    "count_ratings",
    "facet_of",
    "last_about",
    "ratings_card",
    "read_shards",
]
