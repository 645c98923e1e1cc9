"""Generations and ratings for the tests."""

from typing import Any

from hub_trainer.ratings import Generation, NewRating

CREATED = 1_700_000_000.0


def generation(generation_id: str = "g1", **changes: Any) -> Generation:
    values: dict[str, Any] = {
        "generation_id": generation_id,
        "row": {"text": f"text of {generation_id}"},
        "row_id": f"row-{generation_id}",
        "model": "org/model@" + "a" * 40,
        "prediction": "cat",
        "scores": {"cat": 0.75, "dog": 0.25},
        "rater": "ada",
        "created": CREATED,
    }
    return Generation(**{**values, **changes})


def rating(generation_id: str = "g1", rating_id: str | None = None, **changes: Any) -> NewRating:
    values: dict[str, Any] = {
        "rating_id": rating_id or f"rating-{generation_id}",
        "generation_id": generation_id,
        "rater": "ada",
        "rater_tier": "account",
        "kind": "wrong",
        "answer": "dog",
        "consent": "v1",
        "created": CREATED,
    }
    return NewRating(**{**values, **changes})
