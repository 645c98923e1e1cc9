"""Models of a few thousand parameters and rows that they can learn, without a download."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    EvalPrediction,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hub_trainer.finetune.plan import FitData

LABELS = 3


def bert(*, dropout: float = 0.1, seed: int = 0) -> PreTrainedModel:
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=LABELS,
    )
    torch.manual_seed(seed)
    return BertForSequenceClassification(config)


def distilbert() -> PreTrainedModel:
    config = DistilBertConfig(
        vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=32
    )
    config.num_labels = LABELS
    torch.manual_seed(0)
    return DistilBertForSequenceClassification(config)


def _llama_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=0,
        num_labels=LABELS,
    )


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForSequenceClassification(_llama_config())


def language_model() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(_llama_config())


def vit() -> PreTrainedModel:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=LABELS,
    )
    torch.manual_seed(0)
    return ViTForImageClassification(config)


def convnext() -> PreTrainedModel:
    config = ConvNextConfig(
        num_channels=1,
        hidden_sizes=[8, 16],
        depths=[1, 2],
        num_stages=2,
        patch_size=2,
        image_size=8,
        num_labels=LABELS,
    )
    torch.manual_seed(0)
    return ConvNextForImageClassification(config)


def resnet() -> PreTrainedModel:
    config = ResNetConfig(
        num_channels=1,
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 2],
        layer_type="basic",
        num_labels=LABELS,
    )
    torch.manual_seed(0)
    return ResNetForImageClassification(config)


TEXT_MODELS = {"bert": bert, "distilbert": distilbert, "llama": llama}
IMAGE_MODELS = {"vit": vit, "convnext": convnext, "resnet": resnet}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {**TEXT_MODELS, **IMAGE_MODELS}


def text_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Sequences of 3 to 20 ids whose second id tells the label."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        label = int(rng.integers(LABELS))
        ids = rng.integers(5, 50, size=rng.integers(3, 21)).tolist()
        ids[:2] = [1, label + 2]
        rows.append({"input_ids": ids, "labels": label})
    return rows


def image_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Noisy images whose brightness tells the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(LABELS, size=count)
    return [
        {"pixel_values": rng.normal(label, 0.3, size=(1, 8, 8)).astype("float32"), "labels": label}
        for label in labels.tolist()
    ]


def collate_text(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) for row in rows]
    mask = [kept + [0] * (width - len(kept)) for kept in mask]
    labels = [row["labels"] for row in rows]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def collate_images(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.tensor(np.stack([row["pixel_values"] for row in rows])),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def text_data(train: int = 96, validation: int | None = 32, **changes: Any) -> FitData:
    rows = text_rows(train)
    held = None if validation is None else text_rows(validation, seed=1)
    known = {"lengths": [len(row["input_ids"]) for row in rows], **changes}
    return FitData(rows, held, collate_text, **known)


def image_data(train: int = 96, validation: int = 32) -> FitData:
    return FitData(image_rows(train), image_rows(validation, seed=1), collate_images)


def accuracy(predicted: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)
