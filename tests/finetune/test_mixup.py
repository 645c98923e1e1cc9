"""Mixup: what a model sees of two rows, what it is held to, and on what the mixture depends."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BartConfig, BartForSequenceClassification

from hub_trainer.finetune.batches import WEIGHT
from hub_trainer.finetune.classifier_objective import LabelObjective
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.features import cached_features
from hub_trainer.finetune.mixup import (
    LABEL_SHARE,
    PARTNER,
    PARTNER_IDS,
    PARTNER_LABELS,
    SHARE,
    MixedCollate,
    MixedRows,
    MixupObjective,
    mixed_data,
    mixup_problems,
)
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.recipe import TrainSection
from tests.finetune.tiny import (
    accuracy,
    bert,
    collate_images,
    collate_text,
    image_data,
    image_rows,
    largest_difference,
    resnet,
    text_data,
    text_rows,
    weights_of,
)

PLAN = FitPlan(
    "full",
    {"learning_rate": 3e-3, "num_train_epochs": 4, "per_device_train_batch_size": 16},
    compute_metrics=accuracy,
    metric_for_best="accuracy",
    mixup=0.4,
)


def drawn(rows: Any, count: int) -> list[dict[str, Any]]:
    """The first rows with their partners, as the engine would draw them."""
    random.seed(5)
    return [{k: v for k, v in rows[i].items() if k != "weight"} for i in range(count)]


def test_pictures_when_mixed_then_are_the_weighted_sum_of_both() -> None:
    mixed = drawn(MixedRows(image_rows(20), 1.0), 6)
    batch = MixedCollate(collate_images)(mixed)
    for place, row in enumerate(mixed):
        share, other = row[SHARE], row[PARTNER]
        wanted = share * row["pixel_values"] + (1 - share) * other["pixel_values"]
        assert np.allclose(batch["pixel_values"][place], wanted, atol=1e-6)
        assert batch["labels"][place] == row["labels"]
        assert batch[PARTNER_LABELS][place] == other["labels"]


def test_loss_when_labels_are_mixed_then_is_that_of_the_mixed_distribution() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, others = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2])
    share = torch.tensor([0.9, 0.3, 0.5, 1.0])
    batch = {"labels": labels, PARTNER_LABELS: others, LABEL_SHARE: share}
    outputs = type("Outputs", (), {"logits": logits})
    wanted = share[:, None] * functional.one_hot(labels, 3)
    wanted = wanted + (1 - share)[:, None] * functional.one_hot(others, 3)
    found = MixupObjective(LabelObjective()).losses(outputs, batch)
    assert torch.allclose(found, functional.cross_entropy(logits, wanted, reduction="none"))


def test_texts_when_mixed_then_the_model_sees_the_mean_of_their_vectors() -> None:
    model = bert(dropout=0.0).eval()
    with torch.no_grad():  # else an untrained model says the same of every text
        for parameter in model.parameters():
            parameter.mul_(8)
    batch = dict(MixedCollate(collate_text)(drawn(MixedRows(text_rows(20), 1.0), 5)))
    layer, share = model.get_input_embeddings(), batch[SHARE][:, None, None]
    mixed = share * layer(batch["input_ids"]) + (1 - share) * layer(batch[PARTNER_IDS])
    wanted = model(inputs_embeds=mixed, attention_mask=batch["attention_mask"]).logits
    found = MixupObjective(LabelObjective()).outputs(model, batch).logits
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)
    plain = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert not torch.allclose(found, plain, atol=1e-3)
    # and afterwards it looks texts up as before
    again = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert torch.equal(again, plain)


def test_weights_when_rows_differ_then_each_counts_by_its_own() -> None:
    """(share of a) (weight of a) (loss of a) and the same of b, as if both stood alone."""
    rows = [{**row, "weight": weight} for row, weight in zip(image_rows(8), range(8), strict=True)]
    random.seed(1)
    for index in range(8):
        row = MixedRows(rows, 1.0)[index]
        if not row["weight"]:
            continue
        other = next(
            w for w, r in enumerate(rows) if r["pixel_values"] is row[PARTNER]["pixel_values"]
        )
        share = row[SHARE]
        assert row["weight"] * row[LABEL_SHARE] == pytest.approx(share * index)
        assert row["weight"] * (1 - row[LABEL_SHARE]) == pytest.approx((1 - share) * other)


def test_training_when_the_batch_is_cut_otherwise_then_the_same_rows_are_mixed(
    tmp_path: Path,
) -> None:
    found = []
    for size, steps in ((16, 1), (8, 2)):
        arguments = {
            **PLAN.arguments,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": steps,
        }
        fit = replace(PLAN, arguments=arguments)
        tuned, _ = fine_tune(bert(dropout=0.0), text_data(), fit, out_dir=tmp_path / str(size))
        found.append(weights_of(tuned))
    assert largest_difference(*found) < 2e-3


@pytest.mark.parametrize("kind", ["text", "pictures", "head"])
def test_training_when_rows_are_mixed_then_learns_and_says_how(kind: str, tmp_path: Path) -> None:
    model, data = (resnet(), image_data()) if kind == "pictures" else (bert(), text_data(192))
    arguments = {**PLAN.arguments, "num_train_epochs": 12 if kind == "text" else 4}
    fit = replace(PLAN, method="head" if kind == "head" else "full", arguments=arguments)
    _, report = fine_tune(model, data, fit, out_dir=tmp_path)
    said = [note for note in report.notes if "train.mixup" in note]
    assert said == ["each row was mixed with another by a share from Beta(0.4, 0.4), train.mixup"]
    assert report.best_metric is not None
    assert report.best_metric > (0.3 if kind == "head" else 0.8)


def test_head_when_features_are_kept_then_those_are_mixed() -> None:
    from hub_trainer.finetune.training_arguments import training_arguments

    model, data = bert(dropout=0.0), text_data()
    args = training_arguments({}, output_dir=Path("unused"), seed=0, evaluates=True)
    with cached_features(model, data, args) as cached:
        assert cached is not None
        mixed = mixed_data(cached.data, 1.0)
        rows = drawn(mixed.train, 4)
        batch = mixed.collate(rows)
    for place, row in enumerate(rows):
        wanted = row[SHARE] * row["features"] + (1 - row[SHARE]) * row[PARTNER]["features"]
        assert torch.allclose(batch["input_ids"][place], wanted, atol=1e-6)
    assert PARTNER_IDS not in batch
    assert batch["num_tokens"] == sum(row["num_tokens"] for row in rows)


def test_evaluation_when_rows_are_mixed_in_training_then_sees_them_whole() -> None:
    data, model = mixed_data(text_data(), 1.0), bert(dropout=0.0).eval()
    held = data.validation
    assert held is not None
    batch = dict(data.collate([dict(held[i]) for i in range(4)]))
    batch[WEIGHT] = torch.ones(4)
    inner = LabelObjective()
    losses, logits = MixupObjective(inner).evaluated(model, batch)
    plain = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    assert torch.equal(logits, plain.logits)
    assert torch.equal(losses, inner.losses(plain, batch))


def test_problems_when_a_model_reads_and_writes_then_says_so() -> None:
    with torch.device("meta"):
        model = BartForSequenceClassification(
            BartConfig(
                vocab_size=20,
                d_model=8,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=1,
                decoder_attention_heads=1,
            )
        )
    found = [problem.message for problem in mixup_problems(TrainSection(mixup=0.2), model)]
    assert found == [
        "train.mixup: texts of Bart, which both reads and writes, are not mixed; remove it"
    ]
    assert mixup_problems(TrainSection(), model) == []
