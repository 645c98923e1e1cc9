"""Generations and ratings for the tests."""

from typing import Any

from hub_trainer.ratings import Generation, NewRating, Pair, RatingStore

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


SAMPLING = {"max_new_tokens": 8, "temperature": 0.7, "top_k": None, "top_p": 1.0, "seed": 5}


def answer(generation_id: str = "a1", **changes: Any) -> Generation:
    """A generation that is a text."""
    values: dict[str, Any] = {
        "row": {"text": "user: Hi", "prompt": '[{"role": "user", "content": "Hi"}]'},
        "prediction": f"answer {generation_id}",
        "scores": {},
        "sampling": SAMPLING,
    }
    return generation(generation_id, **{**values, **changes})


def keep_pair(store: RatingStore, name: str = "p", **changes: Any) -> Pair:
    """A pair of answers, of the model and of its rival."""
    pair = Pair(name, f"{name}-left", f"{name}-right")
    rival = {**changes, "model": "org/rival@" + "b" * 40, "sampling": {**SAMPLING, "seed": 6}}
    sides = (answer(pair.left_id, **changes), answer(pair.right_id, **rival))
    store.add_pair(pair, sides).result()
    return pair
