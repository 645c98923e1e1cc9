"""Adapters of several checkpoints as one, by PEFT's TIES and DARE.

TIES: Yadav et al. 2023, arXiv 2306.01708. DARE: Yu et al. 2024, arXiv 2311.03099.
What an adapter adds to a layer is the product of two factors. Both methods work on those products,
layer by layer: on factors alone, signs and sizes would mean nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch

AdapterMethod = Literal["ties", "dare"]
ADAPTER_METHODS: tuple[str, ...] = get_args(AdapterMethod)
COMBINATIONS: Mapping[str, str] = {"ties": "ties_svd", "dare": "dare_linear_svd"}
"""Our name -> PEFT's. TIES takes the mean of what agrees in sign, DARE a weighted sum."""
OWN, FUSED = "default", "fused"
FACTOR = re.compile(rf"\.(lora_\w+)\.{OWN}(?=\.|$)")

Weights = Mapping[str, torch.Tensor]


def fused_adapters(
    model: Any, parts: Sequence[Weights], method: str, *, density: float, seed: int
) -> dict[str, torch.Tensor]:
    """The adapter's factors of all parts as one adapter of the same rank, by their names in the
    model; `density` is the share of each part's changes that is kept. The model is left as it was.
    """
    with _beside(model, parts) as names, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        share = 1.0 if method == "ties" else 1 / len(parts)
        model.base_model.add_weighted_adapter(
            names,
            [share] * len(parts),
            FUSED,
            combination_type=COMBINATIONS[method],
            density=density,
            svd_full_matrices=False,
        )
        made = dict(model.named_parameters())
        found = {}
        for name in parts[0]:
            if FACTOR.search(name):
                factor = made[_renamed(name, FUSED)].detach().clone()
                found[name] = factor / _scaling(model, name)
    return found


@contextmanager
def _beside(model: Any, parts: Sequence[Weights]) -> Iterator[list[str]]:
    """Within, the model has the adapter of each part beside its own, under these names."""
    names = [f"part_{place}" for place in range(len(parts))]
    # Layers that learned whole are no adapter, and PEFT fuses none.
    config = replace(model.peft_config[OWN], modules_to_save=None)
    try:
        for name, weights in zip(names, parts, strict=True):
            model.add_adapter(name, config)
            made = dict(model.named_parameters())
            with torch.no_grad():
                for own, tensor in weights.items():
                    if FACTOR.search(own):
                        made[_renamed(own, name)].copy_(tensor)
        yield names
    finally:
        for name in (*names, FUSED):
            if name in model.peft_config:
                model.delete_adapter(name)
        model.set_adapter(OWN)


def _renamed(name: str, adapter: str) -> str:
    return FACTOR.sub(rf".\1.{adapter}", name)


def _scaling(model: Any, name: str) -> float:
    """What the second factor is to be divided by: the fused product is scaled already."""
    layer, factor = FACTOR.split(name)[:2]
    if factor not in ("lora_B", "lora_embedding_B"):
        return 1.0
    return float(model.get_submodule(layer).scaling[OWN])
