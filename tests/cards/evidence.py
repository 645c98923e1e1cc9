"""What the stages of a round have put out, made by hand, and the facts of a card from it."""

import random
from collections.abc import Mapping
from typing import Any

from hub_trainer.cards import BaseModel, CardFacts, LicenceDecision, Presentation
from hub_trainer.recipe import Recipe
from hub_trainer.reports import CollectReport, FitReport, PrepareReport, Results

LABELS = ["card arrival", "lost_card", "top up"]
MODEL_REPO = "ada/support-model"
BASE_REPO = "ada/base"
DATA_REPO = "ada/support-data"
SHAS = {DATA_REPO: "d" * 40, BASE_REPO: "b" * 40}


def recipe(**changes: Any) -> Recipe:
    """A recipe for the tiny model."""
    content: dict[str, Any] = {
        "task": "text-classification",
        "base_model": BASE_REPO,
        "collect": {"datasets": [DATA_REPO]},
        "prepare": {"test_split": {"repo_id": DATA_REPO, "split": "test"}},
        "train": {"method": "full", "arguments": {"learning_rate": 2.0e-4}},
        "evaluate": {"metrics": ["accuracy", "f1_macro"], "primary": "accuracy"},
        "publish": {"repo_id": MODEL_REPO},
        "serve": {"repo_id": "ada/support-demo", "ratings_repo_id": "ada/support-ratings"},
    }
    return Recipe.model_validate({**content, **changes})


def estimate(value: float, spread: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - spread), "high": min(1.0, value + spread)}


def results(verdict: str = "promote", **changes: Any) -> dict[str, Any]:
    """results.json as evaluate wrote it in its first form, which is read still."""
    rng = random.Random(1)
    counts = [[31, 2, 1], [0, 29, 4], [3, 0, 30]]
    per_label = [
        {
            "label": label,
            "precision": estimate(rng.uniform(0.8, 0.95)),
            "recall": estimate(rng.uniform(0.8, 0.95)),
            "f1": estimate(rng.uniform(0.8, 0.95)),
            "support": sum(row),
        }
        for label, row in zip(LABELS, counts, strict=True)
    ]
    content: dict[str, Any] = {
        "metrics": {"accuracy": estimate(0.900173), "f1_macro": estimate(0.897651)},
        "published": {"accuracy": estimate(0.812345), "f1_macro": estimate(0.801234)},
        "base": {
            "description": "the label whose training rows have the nearest mean embedding",
            "metrics": {"accuracy": estimate(0.512345), "f1_macro": estimate(0.501234)},
        },
        "primary": "accuracy",
        "per_label": per_label,
        "confusion": {"labels": LABELS, "counts": counts},
        "calibration": {"ece": 0.0712},
        "num_examples": 100,
        "comparison": {
            "p_value": 0.0123,
            "mcnemar_p_value": 0.0211,
            "difference": {"value": 0.087828, "low": 0.021, "high": 0.155},
        },
        "gate": {
            "verdict": verdict,
            "reasons": ["accuracy 0.9002 against 0.8123", "better: one-sided p = 0.012"],
            "alpha": 0.05,
            "alpha_spent": 0.0167,
            "required_num_examples": 90,
            "minimum_detectable_effect": 0.0612,
            "slices": [],
        },
        "examples": [
            {"text": "where is my card", "reference": LABELS[0], "prediction": LABELS[0]},
            {"text": "top up failed again", "reference": LABELS[2], "prediction": LABELS[1]},
        ],
    }
    return {**content, **changes}


COLLECTED = {
    "config": None,
    "license": "cc-by-4.0",
    "card_url": "",
}
FIT = {
    "method": "full",
    "rows": 300,
    "tokens": 4200,
    "seconds": 12.5,
    "rows_per_second": 24.0,
    "tokens_per_second": 336.0,
    "peak_mb": 812.0,
    "trainable_parameters": 5123,
    "epochs": 3.0,
    "num_processes": 1,
    "steps": 60,
    "bit_reproducible": True,
    "resumed_from": None,
    "history": [],
}


def collected(shas: Mapping[str, str], data_repo: str = DATA_REPO) -> dict[str, Any]:
    """collect's outputs."""
    common = {"repo_id": data_repo, "commit_sha": shas[data_repo], **COLLECTED}
    entries = [
        {**common, "split": "train", "role": "train", "rows": 320},
        {**common, "split": "test", "role": "test", "rows": 100},
    ]
    return {"label_names": LABELS, "datasets": entries, "features": {}}


PREPARED = {
    "label_names": LABELS,
    "counts": {
        "train": {LABELS[0]: 200, LABELS[1]: 60, LABELS[2]: 40},
        "validation": {LABELS[0]: 5, LABELS[1]: 5, LABELS[2]: 5},
        "test": {LABELS[0]: 34, LABELS[1]: 33, LABELS[2]: 33},
    },
    "rows": {"train": 300, "validation": 15, "test": 100},
    "dropped": {"empty": 1},
    "leakage": {
        "train in test": {"exact": 3, "near": 1, "sealed_rows": 2},
        "train in validation": {"exact": 0, "near": 1, "sealed_rows": 1},
        "validation in test": {"exact": 0, "near": 0, "sealed_rows": 0},
    },
    "duplicates": {"train": {"exact": 0, "near": 1}, "test": {"exact": 0, "near": 0}},
    "warnings": ["12 rows have a content that carries several labels"],
    "personal_data": {"train": {"email": 2}, "test": {}},
}


def facts(**changes: Any) -> CardFacts:
    """The facts of a promoted first round; `results` and others may be replaced."""
    content: dict[str, Any] = {
        "recipe": recipe(),
        "round_index": 2,
        "parent": "a" * 40,
        "base_model": BaseModel(BASE_REPO, SHAS[BASE_REPO], "finetune", BASE_REPO),
        "collected": collected(SHAS),
        "prepared": PREPARED,
        "fit": FitReport.from_json(FIT),
        "results": results(),
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
        "licence": LicenceDecision("apache-2.0", "The recipe asks for apache-2.0."),
        "presentation": presentation(),
    }
    given = {**content, **changes}
    read = {"results": Results, "collected": CollectReport, "prepared": PrepareReport}
    return CardFacts(**{**given, **{name: of.from_json(given[name]) for name, of in read.items()}})


def presentation(**changes: Any) -> Presentation:
    content: dict[str, Any] = {
        "endpoint": "https://huggingface.co",
        "library_name": "transformers",
        "usage": 'model = load("{repo_id}", revision="{commit_sha}")\nprint({1: 2})',
        "tags": ("text-classification",),
        "languages": ("en",),
        "contributors": ("ada", "bob"),
        "reload": {"rows": 8, "max_difference": 1.2e-7, "loaded_with": "a pipeline"},
    }
    return Presentation(**{**content, **changes})
