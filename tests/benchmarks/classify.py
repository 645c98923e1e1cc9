"""Fine-tuning a text classifier here and with `transformers.Trainer`, in turns on one machine.

    python tests/benchmarks/classify.py DATASET_FOLDER ENCODER_FOLDER --rows 1500 --turns 2

One epoch, batch 32, the same model, rows and learning rate on both sides: rows per second of the
training loop (start-up and evaluation excluded) and accuracy on the test rows. Then method head,
ten epochs, with cached features and behind the whole frozen body.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from hub_trainer.finetune import engine
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitData, FitPlan

BATCH, LEARNING_RATE = 32, 5e-4


class Work:
    """The rows, and a fresh model for each turn."""

    def __init__(self, dataset: str, encoder: str, num_rows: int) -> None:
        rows = load_dataset(dataset)
        self.encoder, self.tokenizer = encoder, AutoTokenizer.from_pretrained(encoder)

        def encode(batch: dict[str, Any]) -> dict[str, Any]:
            return dict(self.tokenizer(batch["text"], truncation=True, max_length=128))

        shuffled = {split: rows[split].shuffle(seed=0) for split in ("train", "test")}
        self.train = shuffled["train"].select(range(num_rows)).map(encode, batched=True)
        self.test = shuffled["test"].select(range(600)).map(encode, batched=True)
        self.num_labels = rows["train"].features["label"].num_classes
        self.collate = DataCollatorWithPadding(self.tokenizer)

    def model(self) -> Any:
        torch.manual_seed(0)
        return AutoModelForSequenceClassification.from_pretrained(
            self.encoder, num_labels=self.num_labels
        )

    def columns(self, split: Any) -> Any:
        kept = ("input_ids", "attention_mask", "label")
        return split.remove_columns([name for name in split.column_names if name not in kept])

    def accuracy(self, model: Any) -> float:
        model.eval()
        right = 0
        with torch.no_grad():
            for start in range(0, len(self.test), 100):
                rows = self.columns(self.test.select(range(start, start + 100)))
                batch = self.collate([rows[i] for i in range(len(rows))])
                labels = batch.pop("labels")
                right += int((model(**batch).logits.argmax(-1) == labels).sum())
        return right / len(self.test)


def peer(work: Work, **arguments: Any) -> dict[str, float]:
    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        report_to="none",
        save_strategy="no",
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        logging_strategy="no",
        seed=0,
        **arguments,
    )
    trainer = Trainer(
        model=work.model(), args=args, train_dataset=work.train, data_collator=work.collate
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    return figures(len(work.train) / seconds, work.accuracy(trainer.model))


def ours(work: Work, method: str = "full", **arguments: Any) -> dict[str, float]:
    rows = work.columns(work.train)
    data = FitData(rows, None, work.collate, lengths=[len(ids) for ids in rows["input_ids"]])
    known = {
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "save_strategy": "no",
        **arguments,
    }
    fit = FitPlan(method, known)  # type: ignore[arg-type]
    model, report = fine_tune(work.model(), data, fit, out_dir=Path(tempfile.mkdtemp()))
    return figures(report.rows_per_second, work.accuracy(model))


def figures(rows_per_second: float, accuracy: float) -> dict[str, float]:
    return {"rows_per_second": round(rows_per_second, 1), "accuracy": round(accuracy, 4)}


def head(work: Work, *, cached: bool) -> dict[str, float]:
    may_cache = engine._may_cache
    try:
        if not cached:
            engine._may_cache = lambda data, plan: False
        return ours(work, "head", num_train_epochs=10, learning_rate=5e-3)
    finally:
        engine._may_cache = may_cache


def in_turns(turns: int, sides: dict[str, Callable[[], dict[str, float]]]) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, run in sides.items():
            found[name].append(run())
    medians = {
        name: {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
        for name, runs in found.items()
    }
    print(json.dumps({"runs": found, "medians": medians}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("encoder")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("full", "head"), default=None)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = Work(options.dataset, options.encoder, options.rows)
    if options.only != "head":
        sides = {
            "trainer": lambda: peer(work),
            "ours": lambda: ours(work),
            "trainer bf16": lambda: peer(work, bf16=True),
            "ours bf16": lambda: ours(work, bf16=True),
        }
        in_turns(options.turns, sides)
    if options.only != "full":
        in_turns(
            options.turns,
            {
                "head, cached": lambda: head(work, cached=True),
                "head, plain": lambda: head(work, cached=False),
            },
        )


if __name__ == "__main__":
    main()
