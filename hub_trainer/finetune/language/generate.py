"""Answers from a causal model: batched by length, finished ones leave the batch, each seeded.

Legend: B prompts in the batch, T tokens so far, V vocabulary.
"""

import inspect
import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.evaluation import evaluation_mode
from hub_trainer.finetune.language.scoring import EXACT_TOLERANCE, TOLERANCE, bare

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Way:
    """How a model is asked for token after token so that it answers as it does alone."""

    together: bool = True
    """Prompts of different lengths in one batch, padded."""
    remembers: bool = True
    """What it has read is kept in a cache; else it reads everything again for each token."""


@torch.no_grad()
def way_of(model: Any) -> Way:
    """The quickest way that gives the logits of prompts alone, read whole; tried, not assumed.

    Padding goes into the state of some recurrent models, and some keep theirs in another cache.
    """
    size = model.config.get_text_config().vocab_size
    prompts = [[n % size for n in range(start, end)] for start, end in ((5, 8), (20, 27))]
    said = [[1 % size, 2 % size], [3 % size, 4 % size]]
    whole = [_probed(model, [p], [s], remembers=False) for p, s in zip(prompts, said, strict=True)]
    expected = torch.cat(whole, dim=1)
    if _matches(model, prompts, said, expected, together=True):
        return Way()
    if _matches(model, prompts, said, expected, together=False):
        return Way(together=False)
    log.warning(
        "%s keeps nothing of what it has read that can be used here: it reads everything again for "
        "each token of an answer, which takes its time.",
        type(model).__name__,
    )
    return Way(together=False, remembers=False)


def _matches(
    model: Any,
    prompts: Sequence[Sequence[int]],
    said: Sequence[Sequence[int]],
    expected: torch.Tensor,
    *,
    together: bool,
) -> bool:
    cuts = [slice(None)] if together else [slice(n, n + 1) for n in range(len(prompts))]
    try:
        found = torch.cat([_probed(model, prompts[cut], said[cut]) for cut in cuts], dim=1)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    tolerance = TOLERANCE.get(found.dtype, EXACT_TOLERANCE)
    return bool((found - expected).abs().max() <= tolerance * expected.float().std())


def _probed(
    model: Any,
    prompts: Sequence[Sequence[int]],
    said: Sequence[Sequence[int]],
    *,
    remembers: bool = True,
) -> torch.Tensor:
    """(S + 1, B, V) logits before and after each of S tokens that are put into its mouth."""
    asked = _Asked(model, prompts, remembers=remembers)
    found = [asked.logits()]
    for tokens in zip(*said, strict=True):
        asked.go_on(range(len(prompts)), tokens)
        found.append(asked.logits())
    return torch.stack(found)


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    batch_size: int = 16,
    way: Way = Way(),
) -> list[list[int]]:
    """An answer for each prompt; it depends on its prompt and the seed, on no other prompt.

    A prompt that leaves no room for an answer gets none.
    """
    batch_size = batch_size if way.together else 1
    _check(prompts)
    answers: list[list[int]] = [[] for _ in prompts]
    asked = [i for i, prompt in enumerate(prompts) if _room(prompt, sampling) > 0]
    order = sorted(asked, key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        for index, token in _decode(model, prompts, chosen, sampling, remembers=way.remembers):
            answers[index].append(token)
    return answers


def stream(
    model: Any, prompt: Sequence[int], sampling: Sampling, *, way: Way = Way()
) -> Generator[int, None, bool]:
    """The tokens of one answer as they come; the same ones as from `generate`.

    Returns whether the answer came to its own end.
    """
    _check([prompt])
    finished = False
    if _room(prompt, sampling) > 0:
        for _, token in _decode(model, [prompt], [0], sampling, remembers=way.remembers):
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
                "An answer needs a prompt of at least one token.",
                where=f"prompt {index}",
                do="write a prompt, or leave the row out",
            )


def _decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    indices: Sequence[int],
    sampling: Sampling,
    *,
    remembers: bool = True,
) -> Iterator[tuple[int, int]]:
    """(index, token) pairs, step by step."""
    rows = list(indices)
    rooms = {i: _room(prompts[i], sampling) for i in rows}
    randoms = {i: np.random.default_rng([sampling.seed, *prompts[i]]) for i in rows}
    asked = _Asked(model, [prompts[i] for i in rows], remembers=remembers)
    for step in range(max(rooms.values())):
        logits = asked.logits()
        uniforms = [randoms[i].random() for i in rows] if sampling.temperature else []
        tokens = _next(logits, sampling, uniforms).tolist()
        yield from zip(rows, tokens, strict=True)
        going = [
            row
            for row, token in enumerate(tokens)
            if token not in sampling.stops and step + 1 < rooms[rows[row]]
        ]
        if not going:
            return
        asked.go_on(going, [tokens[row] for row in going])
        rows = [rows[row] for row in going]


class _Asked:
    """Prompts in a batch with what has been answered so far, and what the model keeps of them."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], *, remembers: bool = True
    ) -> None:
        evaluation_mode(model)
        self._model = model
        device = next(model.parameters()).device
        self._ids, self._mask = _padded(prompts, device)
        self._positions = (self._mask.cumsum(1) - 1).clamp_min(0)
        # Without padding there is nothing to mask, which is the faster way.
        self._padded = bool((self._mask == 0).any())
        self._cache = DynamicCache(config=model.config) if remembers else None
        takes = inspect.signature(bare(model).forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in takes else "cache_params"

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        """(B, V) of the next token."""
        if self._cache is None:
            return self._model(input_ids=self._ids, use_cache=False).logits[:, -1]
        outputs = self._model(
            input_ids=self._ids,
            attention_mask=self._mask if self._padded else None,
            position_ids=self._positions,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: self._cache},
        )
        return outputs.logits[:, -1]

    def go_on(self, kept: Sequence[int], tokens: Sequence[int]) -> None:
        """Leave the other rows; these have each said one token."""
        chosen = torch.tensor(kept, device=self._ids.device)
        said = torch.tensor(tokens, device=self._ids.device)[:, None]
        if len(kept) < len(self._ids):
            self._mask, self._positions = self._mask[chosen], self._positions[chosen]
            if self._cache is not None:
                self._cache.batch_select_indices(chosen)
        self._ids = said if self._cache is not None else torch.cat([self._ids[chosen], said], 1)
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        self._positions = self._positions[:, -1:] + 1


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
