"""Sizes of a model in training, counted on one without memory: parameters and their bytes."""

from collections.abc import Mapping
from pathlib import Path

import torch
import transformers
from torch import nn

from hub_trainer.finetune.auto_classes import auto_class
from hub_trainer.finetune.language.folders import training_dtype
from hub_trainer.finetune.methods import apply_method, base_of, blocks_of, same_adapter
from hub_trainer.ranks import Sharding
from hub_trainer.recipe import TrainSection

BYTES_OF_QUANTIZED = {"4bit": 0.516, "8bit": 1.0}
"""Per weight. Four bits have a scale for each 64 weights, itself in eight bits."""
LEARNED_BYTES = 4
ADAM_STATES = 2


def count_parameters(
    auto_name: str, model_dir: Path, base_dir: Path | None, train: TrainSection, *, num_labels: int
) -> dict[str, int]:
    """Parameters in all, those that learn, and those held in few bits; an adapter needs a base."""
    model, quantized = _without_memory(auto_name, model_dir, base_dir, train, num_labels)
    return {
        "total": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "quantized": quantized,
    }


def gathered_fraction(
    auto_name: str, model_dir: Path, base_dir: Path | None, train: TrainSection, *, num_labels: int
) -> float:
    """Share of a split model's weights that are whole on each device at once.

    That is what stands beside the blocks, the block that is computed and the one after it.
    """
    model, _ = _without_memory(auto_name, model_dir, base_dir, train, num_labels)
    sizes = sorted(sum(p.numel() for p in block.parameters()) for block in blocks_of(model))
    total = sum(p.numel() for p in model.parameters())
    return float(total - sum(sizes[:-2])) / float(total)


def _without_memory(
    auto_name: str, model_dir: Path, base_dir: Path | None, train: TrainSection, num_labels: int
) -> tuple[nn.Module, int]:
    """The model to train on the meta device, and how many of its weights are held in few bits."""
    config = transformers.AutoConfig.from_pretrained(base_dir or model_dir, trust_remote_code=False)
    if num_labels:
        config.num_labels = num_labels
    with torch.device("meta"):
        model = auto_class(auto_name).from_config(config, trust_remote_code=False)
        quantized = _quantizable(model) if train.method_facts.quantized else 0
        if base_dir is not None:
            model = same_adapter(model, model_dir)
        model, _ = apply_method(model, train.method, **train.method_settings)
    return model, quantized


def estimate_memory(
    parameters: Mapping[str, int], train: TrainSection, *, in_own_dtype: bool
) -> dict[str, float]:
    """MiB of weights, gradients and Adam's two moments; activations come on top.

    `in_own_dtype`: frozen weights are held in the dtype of the processor, else in float32; so is
    what a quantized base holds beside its layers in few bits.
    """
    frozen = parameters["total"] - parameters["trainable"] - parameters["quantized"]
    named = train.arguments.get("bf16")
    as_it_is = in_own_dtype and not train.method_facts.quantized
    dtype = training_dtype(train.method, bfloat16=named) if as_it_is else torch.float32
    bits = train.language.quantization if train.language else "4bit"
    learned = parameters["trainable"] * LEARNED_BYTES / 2**20
    weights = frozen * dtype.itemsize + parameters["quantized"] * BYTES_OF_QUANTIZED[bits]
    parts = {
        "weights": weights / 2**20 + learned,
        "gradients": learned,
        "optimizer": ADAM_STATES * learned,
    }
    return {name: round(value, 1) for name, value in {**parts, "sum": sum(parts.values())}.items()}


def split_memory(
    memory: Mapping[str, float], gathered_fraction: float, sharding: Sharding
) -> dict[str, float]:
    """MiB of one device when FSDP splits a model that takes so much on one.

    With offload all shards wait in the memory of the CPU, and only what is gathered is here.
    """
    here = 0 if sharding.offload else 1
    parts = {name: here * memory[name] / sharding.shards for name in memory if name != "sum"}
    gathered = gathered_fraction if sharding.reshard_after_forward else 1.0
    parts["gathered"] = gathered * memory["weights"]
    return {name: round(value, 1) for name, value in {**parts, "sum": sum(parts.values())}.items()}


def _quantizable(model: nn.Module) -> int:
    """Weights of the body's linear layers; embeddings, norms and output layer stay as they are."""
    layers = [module for module in base_of(model).modules() if isinstance(module, nn.Linear)]
    return sum(layer.weight.numel() for layer in layers)
