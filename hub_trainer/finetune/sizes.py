"""Sizes of a model in training, counted on one without memory: parameters and their bytes."""

from collections.abc import Mapping
from pathlib import Path

import torch
import transformers
from torch import nn

from hub_trainer.finetune.auto_classes import auto_class
from hub_trainer.finetune.language.folders import training_dtype
from hub_trainer.finetune.methods import apply_method, base_of, same_adapter
from hub_trainer.recipe import TrainSection

BYTES_OF_QUANTIZED = {"4bit": 0.516, "8bit": 1.0}
"""Per weight. Four bits have a scale for each 64 weights, itself in eight bits."""
LEARNED_BYTES = 4
ADAM_STATES = 2


def count_parameters(
    auto_name: str, model_dir: Path, base_dir: Path | None, train: TrainSection, *, num_labels: int
) -> dict[str, int]:
    """Parameters in all, those that learn, and those held in few bits; an adapter needs a base."""
    config = transformers.AutoConfig.from_pretrained(base_dir or model_dir, trust_remote_code=False)
    if num_labels:
        config.num_labels = num_labels
    with torch.device("meta"):
        model = auto_class(auto_name).from_config(config, trust_remote_code=False)
        quantized = _quantizable(model) if train.method_facts.quantized else 0
        if base_dir is not None:
            model = same_adapter(model, model_dir)
        model, _ = apply_method(model, train.method, **train.method_settings)
    return {
        "total": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "quantized": quantized,
    }


def estimate_memory(
    parameters: Mapping[str, int], train: TrainSection, *, is_language: bool
) -> dict[str, float]:
    """MiB of weights, gradients and Adam's two moments; activations come on top."""
    frozen = parameters["total"] - parameters["trainable"] - parameters["quantized"]
    dtype = training_dtype(train.method) if is_language else torch.float32
    bits = train.language.quantization if train.language else "4bit"
    learned = parameters["trainable"] * LEARNED_BYTES / 2**20
    weights = frozen * dtype.itemsize + parameters["quantized"] * BYTES_OF_QUANTIZED[bits]
    parts = {
        "weights": weights / 2**20 + learned,
        "gradients": learned,
        "optimizer": ADAM_STATES * learned,
    }
    return {name: round(value, 1) for name, value in {**parts, "sum": sum(parts.values())}.items()}


def _quantizable(model: nn.Module) -> int:
    """Weights of the body's linear layers; embeddings, norms and output layer stay as they are."""
    layers = [module for module in base_of(model).modules() if isinstance(module, nn.Linear)]
    return sum(layer.weight.numel() for layer in layers)
