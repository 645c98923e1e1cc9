"""Answers from a causal model: batched by length, finished ones leave the batch, each seeded.

Legend: B prompts in the batch, T tokens so far, V vocabulary.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.evaluation import evaluation_mode


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen and when to stop."""

    max_new_tokens: int = 128
    temperature: float | None = None
    """None: always the likeliest token."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that together have this probability."""
    top_k: int | None = None
    seed: int = 0
    stops: tuple[int, ...] = ()
    """Ids that end an answer; the last id of an answer that was not cut is one of them."""
    max_length: int | None = None
    """Tokens of a prompt and its answer together; None where the model has no limit."""

    def __post_init__(self) -> None:
        wrong = {
            "max_new_tokens": self.max_new_tokens < 1,
            "temperature": self.temperature is not None and not self.temperature > 0,
            "top_p": not 0 < self.top_p <= 1,
            "top_k": self.top_k is not None and self.top_k < 1,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise TrainingError(
                    "This is not a way to sample.",
                    where=name,
                    got=str(getattr(self, name)),
                    do="use max_new_tokens and top_k from 1, top_p in (0, 1], temperature above 0,"
                    " or no temperature for the likeliest token",
                )


def stop_ids(generation_config: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end an answer, by the tokenizer and by how the model generates."""
    given = getattr(generation_config, "eos_token_id", None)
    listed = given if isinstance(given, list) else [given]
    return tuple(sorted({tokenizer.eos_token_id, *listed} - {None}))


def generate(
    model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, *, batch_size: int = 16
) -> list[list[int]]:
    """An answer for each prompt; it depends on its prompt and the seed, on no other prompt.

    A prompt that leaves no room for an answer gets none.
    """
    _check(prompts)
    answers: list[list[int]] = [[] for _ in prompts]
    asked = [i for i, prompt in enumerate(prompts) if _room(prompt, sampling) > 0]
    order = sorted(asked, key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        for index, token in _decode(model, prompts, chosen, sampling):
            answers[index].append(token)
    return answers


def stream(model: Any, prompt: Sequence[int], sampling: Sampling) -> Generator[int, None, bool]:
    """The tokens of one answer as they come; the same ones as from `generate`.

    Returns whether the answer came to its own end.
    """
    _check([prompt])
    finished = False
    if _room(prompt, sampling) > 0:
        for _, token in _decode(model, [prompt], [0], sampling):
            finished = token in sampling.stops
            yield token
    return finished


def _room(prompt: Sequence[int], sampling: Sampling) -> int:
    """Tokens that an answer may have."""
    if sampling.max_length is None:
        return sampling.max_new_tokens
    return min(sampling.max_new_tokens, sampling.max_length - len(prompt))


def _check(prompts: Sequence[Sequence[int]]) -> None:
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise DataError(
                "An answer needs a prompt of at least one token.", where=f"prompt {index}"
            )


def _decode(
    model: Any, prompts: Sequence[Sequence[int]], indices: Sequence[int], sampling: Sampling
) -> Iterator[tuple[int, int]]:
    """(index, token) pairs, step by step."""
    evaluation_mode(model)
    device = next(model.parameters()).device
    rows = list(indices)
    rooms = {i: _room(prompts[i], sampling) for i in rows}
    randoms = {i: np.random.default_rng([sampling.seed, *prompts[i]]) for i in rows}
    ids, mask = _padded([prompts[i] for i in rows], device)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    # Without padding there is nothing to mask, which is the faster way.
    padded = bool((mask == 0).any())
    cache = DynamicCache(config=model.config)
    for step in range(max(rooms.values())):
        with torch.no_grad():
            outputs = model(
                input_ids=ids,
                attention_mask=mask if padded else None,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        uniforms = [randoms[i].random() for i in rows] if sampling.temperature else []
        tokens = _next(outputs.logits[:, -1], sampling, uniforms).tolist()
        yield from zip(rows, tokens, strict=True)
        going = [
            row
            for row, token in enumerate(tokens)
            if token not in sampling.stops and step + 1 < rooms[rows[row]]
        ]
        if not going:
            return
        if len(going) < len(rows):
            kept = torch.tensor(going, device=device)
            cache.batch_select_indices(kept)
            mask, positions = mask[kept], positions[kept]
            rows, tokens = [rows[row] for row in going], [tokens[row] for row in going]
        ids = torch.tensor(tokens, device=device)[:, None]
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        positions = positions[:, -1:] + 1


def _padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) ids and mask, padded before the prompts."""
    width = max(map(len, prompts))
    ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _next(logits: torch.Tensor, sampling: Sampling, uniforms: Sequence[float]) -> torch.Tensor:
    """(B, V) to (B,): the likeliest, or where each row's random number falls."""
    if sampling.temperature is None:
        return logits.argmax(-1)
    logits = logits.float() / sampling.temperature
    values, order = logits.sort(dim=-1, descending=True)
    shares = values.softmax(-1)
    before = shares.cumsum(-1) - shares
    left = before < sampling.top_p
    if sampling.top_k is not None:
        left[:, sampling.top_k :] = False
    ends = (shares * left).double().cumsum(-1)
    picked = torch.tensor(uniforms, dtype=torch.float64, device=ends.device)[:, None]
    rank = torch.searchsorted(ends, picked * ends[:, -1:], right=True)
    return order.gather(1, rank.clamp_max(left.sum(-1, keepdim=True) - 1))[:, 0]
