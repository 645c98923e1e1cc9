"""Language models of a few thousand parameters as folders, and rows of each kind for them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub_trainer.answers import Likelihood, Prediction
from hub_trainer.recipe import GenerationSection
from hub_trainer.rows.language_rows import canonical_examples
from hub_trainer.tasks import Asked, ModelFolders
from hub_trainer.tasks.text_generation import TASK
from tests.finetune.language.tiny import llama, tokenizer

WORDS = ["red", "green", "blue", "cat", "dog"]


def language_base(
    folder: Path, *, template: str | None = None, seed: int = 0, max_length: int = 96
) -> Path:
    shape = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = llama(**shape, intermediate_size=128, max_position_embeddings=max_length, seed=seed)
    model.generation_config.eos_token_id = tokenizer().eos_token_id
    model.save_pretrained(folder)
    tokenizer(template, model_max_length=max_length).save_pretrained(folder)
    return folder


def rows_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    made = canonical_examples(rows, "test")
    assert not [row for row in made if isinstance(row, str)]
    return made  # type: ignore[return-value]


def demonstrations(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    names = [rng.choice(WORDS) for _ in range(count)]
    return rows_of(
        [{"prompt": f"{i}: {n}", "completion": f" {n}{n}!"} for i, n in enumerate(names)]
    )


def preferences(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    names = [rng.choice(WORDS) for _ in range(count)]
    return rows_of(
        [
            {"prompt": f"{i}: {n}", "chosen": f" {n}!", "rejected": f" {n[::-1]}?"}
            for i, n in enumerate(names)
        ]
    )


def ratings(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    names = [rng.choice(WORDS) for _ in range(count)]
    return rows_of(
        [
            {"prompt": f"{i}: {n}", "completion": f" {n}{'!?'[i % 2]}", "label": i % 2 == 0}
            for i, n in enumerate(names)
        ]
    )


KINDS = {"sft": demonstrations, "dpo": preferences, "kto": ratings}


def answers(
    folders: ModelFolders, rows: Sequence[dict[str, Any]], sampling: GenerationSection, *, seed: int
) -> list[Prediction]:
    """What a model writes to the prompt of each row."""
    return TASK.predict(folders, rows, Asked(sampling, seed))


def likelihoods(folders: ModelFolders, rows: Sequence[dict[str, Any]]) -> list[Likelihood]:
    """How likely each row's own answer is to a model."""
    found = TASK.predict(folders, rows, Asked(answered=(), weighed=range(len(rows))))
    return [one.likelihood for one in found if one.likelihood]
