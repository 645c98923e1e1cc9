import pytest

from hub_trainer.errors import DataError
from hub_trainer.finetune.language.ratings import mismatch, with_mismatched
from tests.finetune.language.tiny import token_rows


def test_each_gets_the_one_before_it_in_its_block() -> None:
    assert mismatch(list("abcdefg"), 3) == [2, 0, 1, 5, 3, 4, 5]


def test_neighbour_with_the_same_prompt_is_passed_over() -> None:
    prompts = list("aabb")
    found = mismatch(prompts, 4)
    assert all(prompts[j] != prompt for prompt, j in zip(prompts, found, strict=True))
    assert found == [3, 3, 1, 1]


def test_block_of_one_prompt_borrows_from_the_others() -> None:
    prompts = list("aaabbb")
    found = mismatch(prompts, 3)
    assert all(prompts[j] != prompt for prompt, j in zip(prompts, found, strict=True))


def test_ratings_of_one_prompt_are_refused() -> None:
    with pytest.raises(DataError, match="more than one prompt") as caught:
        mismatch(["a", "a"], 8)
    assert "apo_zero_unpaired" in str(caught.value.do)


def test_answer_to_another_prompt_is_cut_to_fit_behind_this_one() -> None:
    rows = token_rows([(6, 2), (2, 9)])
    found = with_mismatched(rows, block=8, max_length=10)
    assert found[0]["mismatched"] == rows[1]["answers"][0][:4]
    assert found[1]["mismatched"] == rows[0]["answers"][0]
