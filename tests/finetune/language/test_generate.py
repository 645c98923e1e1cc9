from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.language.decoding import Ending
from hub_trainer.finetune.language.generate import Sampling, _next, generate, stop_ids, stream
from tests.finetune.language.tiny import STORIES, llama, needs_stories, token_rows, tokenizer

PROMPTS = [row["prompt"] for row in token_rows([(5, 1), (19, 1), (5, 1), (1, 1), (40, 1)])]


def theirs(model: Any, prompt: list[int], tokens: int, stop: int | None = None) -> list[int]:
    """`model.generate`, alone in its batch."""
    ids = torch.tensor([prompt])
    found = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=0,
    )
    return found[0, len(prompt) :].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_likeliest_answers_are_those_of_generate_one_by_one(batch_size: int) -> None:
    model = llama().eval()
    stop = theirs(model, PROMPTS[1], 6)[3]
    found = generate(model, PROMPTS, Sampling(12, stops=(stop,)), batch_size=batch_size)
    assert found == [theirs(model, prompt, 12, stop) for prompt in PROMPTS]
    assert {len(answer) for answer in found} != {12}


@needs_stories
def test_stories_go_on_as_generate_tells_them() -> None:
    model = AutoModelForCausalLM.from_pretrained(STORIES).eval()
    made = AutoTokenizer.from_pretrained(STORIES)
    texts = ["Once upon a time", "Lily had a red ball. She", "The dog"]
    prompts = [made(text)["input_ids"] for text in texts]
    stops = stop_ids(model.generation_config, made)
    assert stops == (2,)
    found = generate(model, prompts, Sampling(40, stops=stops))
    assert found == [theirs(model, prompt, 40, 2) for prompt in prompts]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_sampled_answers_depend_on_seed_and_prompt_alone(batch_size: int) -> None:
    model = llama().eval()
    sampling = Sampling(8, temperature=1.0, top_p=0.9, seed=3)
    found = generate(model, PROMPTS, sampling, batch_size=batch_size)
    assert found == generate(model, PROMPTS, sampling)
    assert found != generate(model, PROMPTS, Sampling(8, temperature=1.0, top_p=0.9, seed=4))
    assert found[0] != found[2]
    assert generate(model, PROMPTS[::-1], sampling, batch_size=batch_size) == found[::-1]


def test_stream_gives_the_same_tokens() -> None:
    model = llama().eval()
    sampling = Sampling(8, temperature=0.7)
    assert [*stream(model, PROMPTS[0], sampling)] == generate(model, PROMPTS[:1], sampling)[0]


def test_stream_says_at_its_end_whether_the_answer_had_one() -> None:
    model = llama().eval()
    first, second = generate(model, PROMPTS[:1], Sampling(2))[0]
    for stops, finished in ((), False), ((second,), True), ((first,), True):
        ending = Ending(stream(model, PROMPTS[0], Sampling(2, stops=stops)))
        assert list(ending)[0] == first
        assert ending.finished is finished


def test_tokens_are_drawn_by_their_probability() -> None:
    shares = torch.tensor([0.1, 0.6, 0.0, 0.3])
    logits = shares.log().expand(1000, 4)
    uniforms = ((torch.arange(1000) + 0.5) / 1000).tolist()
    counts = _next(logits, Sampling(temperature=1.0), uniforms).bincount(minlength=4)
    assert counts.tolist() == pytest.approx([100, 600, 0, 300], abs=1)
    nucleus = _next(logits, Sampling(temperature=1.0, top_p=0.8), uniforms).bincount(minlength=4)
    assert nucleus.tolist() == pytest.approx([0, 667, 0, 333], abs=1)
    best = _next(logits, Sampling(temperature=1.0, top_k=1), uniforms)
    assert best.unique().tolist() == [1]
    cold = _next(logits, Sampling(temperature=1e-3), uniforms)
    assert cold.unique().tolist() == [1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_new_tokens", 0), ("temperature", 0.0), ("top_p", 0.0), ("top_p", 1.1), ("top_k", 0)],
)
def test_impossible_sampling_is_refused(name: str, value: float) -> None:
    with pytest.raises(TrainingError, match="not a way to sample") as caught:
        Sampling(**{name: value})  # type: ignore[arg-type]
    assert (caught.value.where, caught.value.got) == (name, str(value))


def test_empty_prompt_is_refused() -> None:
    with pytest.raises(DataError, match="at least one token") as caught:
        generate(llama(), [[1], []], Sampling())
    assert caught.value.where == "prompt 1"


def test_stops_are_of_the_tokenizer_and_of_the_model() -> None:
    model, made = llama(), tokenizer()
    model.generation_config.eos_token_id = [3, 5]
    assert stop_ids(model.generation_config, made) == (3, 5, made.eos_token_id)
