import pytest
from transformers import AutoTokenizer

from hub_trainer.finetune.language.decoding import UNFINISHED, answer_text, text_pieces
from tests.finetune.language.tiny import STORIES, needs_stories, tokenizer

TEXTS = ["plain words", "Zürich, 東京 and 🦊🦊", "", " leading and trailing ", "a\n\nb"]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_when_joined_then_they_are_the_text(text: str) -> None:
    made = tokenizer()
    ids = made(text)["input_ids"]
    pieces = [*text_pieces(made, made("Ask: ")["input_ids"], ids)]
    assert "".join(pieces) == text
    # A token is a byte here: each character comes as soon as its last byte does.
    assert pieces == list(text)


def test_end_of_turn_when_it_comes_then_it_is_not_text() -> None:
    made = tokenizer()
    ids = [*made("yes")["input_ids"], made.eos_token_id]
    assert [*text_pieces(made, [5], ids)] == ["y", "e", "s"]


def test_character_when_it_is_cut_then_what_there_is_of_it_comes_last() -> None:
    made = tokenizer()
    ids = made("a東")["input_ids"][:-1]
    pieces = [*text_pieces(made, [], ids)]
    assert pieces[0] == "a"
    assert set("".join(pieces[1:])) == {UNFINISHED}


def test_bytes_that_are_no_character_when_words_follow_then_the_words_come() -> None:
    made = tokenizer()
    stray = made("東")["input_ids"][1]
    ids = [stray, *made("ok")["input_ids"]]
    assert answer_text(made, [], ids) == f"{UNFINISHED}ok"


@needs_stories
@pytest.mark.parametrize("text", ["Lily was 很好 é. She said: “no” 🦊!", "One day, the dog  ran."])
def test_words_of_another_tokenizer_when_joined_then_they_keep_their_spaces(text: str) -> None:
    made = AutoTokenizer.from_pretrained(STORIES)
    prompt = made("Once upon a time,")["input_ids"]
    whole = made(f"Once upon a time, {text}")["input_ids"]
    assert whole[: len(prompt)] == prompt
    pieces = [*text_pieces(made, prompt, whole[len(prompt) :])]
    assert "".join(pieces) == f" {text}"
    assert len(pieces) > 5
    assert not any(UNFINISHED in piece for piece in pieces)
