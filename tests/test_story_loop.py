"""The pieces of the story loop that need no model; the loop itself, where a model is at hand."""

import os
from pathlib import Path

import pytest

from tests.benchmarks.story_loop import CHARACTERS, THINGS, Request, deal, requests_kept, run_loop

STORY = "Once upon a time, there was a little girl named Lily. She had a red ball."


def test_judge_when_a_word_is_missing_then_the_request_is_not_kept() -> None:
    assert Request("Lily", "ball").is_kept(STORY)
    assert not Request("Lily", "dog").is_kept(STORY)
    assert not Request("Li", "ball").is_kept(STORY)


def test_stories_when_dealt_then_no_sealed_request_is_open_or_trained_on() -> None:
    every = [Request(character, thing) for character in CHARACTERS for thing in THINGS]
    stories = [STORY.replace("Lily", one.character).replace("ball", one.thing) for one in every]
    rows, open_to = deal(requests_kept(stories, 0), 100, 0)
    sealed = {row["prompt"] for row in rows["test"]}
    assert (len(sealed), len(open_to), len(rows["train"])) == (100, 400, 400)
    assert sealed.isdisjoint(row["prompt"] for row in rows["train"])
    assert sealed.isdisjoint(request.prompt for request in open_to)
    assert all(word in row["completion"] for row in rows["train"] for word in row["expected"])


@pytest.mark.slow
def test_loop_when_raters_like_kept_requests_then_the_second_round_wins(tmp_path: Path) -> None:
    base = os.environ.get("STORIES_MODEL")
    if base is None:
        pytest.skip("STORIES_MODEL names no folder with a model of small stories")
    told = run_loop(Path(base), tmp_path, stories=2500, ratings=500, sealed=200)
    assert [one["verdict"] for one in told["rounds"]] == ["promote", "promote"]
    assert told["win_rate"]["low"] > 0.5
