"""Rows that repeat what is sealed."""

from hub_trainer.rows.leakage import find_sealed


def row(prompt: str, answer: str) -> dict[str, str]:
    return {"text": prompt + answer, "prompt": prompt}


def test_sealed_when_a_prompt_has_another_answer_then_the_row_is_found() -> None:
    sealed = [row("Who is Lily? ", "A girl who likes to play in the park with her dog.")]
    rows = [row("Who is Tom? ", "A boy."), row("Who is Lily? ", "Nobody knows.")]
    [match] = find_sealed(rows, sealed, "prompt", 0.85)
    assert (match.row, match.kind) == (1, "exact")


def test_sealed_when_prompts_are_nearly_alike_then_the_row_stays() -> None:
    sealed = [row("Write a story about a girl named Lily who goes to the park. ", "Once.")]
    rows = [row("Write a story about a girl named Lucy who goes to the park. ", "A long day.")]
    assert find_sealed(rows, sealed, "prompt", None) == []


def test_sealed_when_a_whole_row_repeats_then_it_is_found_once() -> None:
    sealed = [row("a ", "b"), {"text": "c"}]
    found = find_sealed([row("a ", "b"), {"text": "c"}, {"text": "d"}], sealed, "prompt", None)
    assert sorted(match.row for match in found) == [0, 1]


def test_sealed_when_texts_have_a_column_called_prompt_then_it_asks_for_nothing() -> None:
    sealed = [{"text": "a long walk", "prompt": "radio"}]
    rows = [{"text": "a short walk", "prompt": "radio"}]
    assert find_sealed(rows, sealed, "text", None) == []
