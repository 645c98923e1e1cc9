"""A run of a language model: canonical rows and the recipe's settings in, a model folder out."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn
from transformers import AutoConfig

from hub_trainer.artifacts import digest_of
from hub_trainer.finetune.classifier import quiet_transformers
from hub_trainer.finetune.language.encode import Encoded, Reading, encode, encode_unchecked
from hub_trainer.finetune.language.folders import (
    generation_config,
    load_language_model,
    merge_language_adapter,
    new_language_model,
    save_adapter,
)
from hub_trainer.finetune.language.generate import stop_ids
from hub_trainer.finetune.language.serving import load_tokenizer
from hub_trainer.finetune.language.tune import (
    LanguageData,
    LanguagePlan,
    fine_tune_language_model,
)
from hub_trainer.finetune.plan import EarlyStopping, FitPlan, Fuse
from hub_trainer.finetune.positions import longest_input
from hub_trainer.inputs.language_examples import Row
from hub_trainer.recipe import TrainSection
from hub_trainer.recipe.schema import LanguageSection
from hub_trainer.reports import FitReport
from hub_trainer.rows.language_rows import examples_of

DEFAULT_MAX_LENGTH = 1024
"""Where neither the recipe nor the model says."""
MERGE_EXAMPLES = 4
MERGE_TOKENS = 128
"""Tokens of each example that a merged model is checked on."""


@dataclass(frozen=True)
class LanguageFit:
    """How a language model is fitted: from which folders, and by which settings."""

    model_dir: Path
    base_dir: Path | None
    """The base of the model when that is an adapter; training goes on from it."""
    train: TrainSection
    max_length: int | None
    progress: Callable[[float, str], None]

    @property
    def language(self) -> LanguageSection:
        """What the recipe says of language, or the usual."""
        return self.train.language or LanguageSection()

    def tokenizer(self) -> Any:
        """The tokenizer, with the chat template that the recipe names where it names one."""
        tokenizer = load_tokenizer(self.model_dir, self.base_dir)
        if self.language.chat_template is not None:
            tokenizer.chat_template = self.language.chat_template
        return tokenizer


def fit_language_model(
    train: Sequence[Row], validation: Sequence[Row], fit: LanguageFit, *, out_dir: Path
) -> FitReport:
    """Learn from the rows by the loss of their kind; `out_dir/model` is then whole or an adapter.

    An adapter is saved without the name of its base: only the caller knows it.
    """
    tokenizer = fit.tokenizer()
    reading = reading_of(fit, tokenizer)
    # Both splits in tokens; what training rows could not teach is refused.
    known, examples = examples_of([*train, *validation])
    held = encode_unchecked(examples[len(train) :], tokenizer, known, reading)
    learned = encode(examples[: len(train)], tokenizer, known, reading)
    data = LanguageData(learned, held if held.rows else None)
    model = _start(fit)
    notes = [*_precision(model, fit.train), *_notes(data)]
    tuned, report = fine_tune_language_model(
        model,
        data,
        plan_of(fit, reading.max_length),
        out_dir=out_dir,
        run_digest=_run_digest(train, validation, fit),
        on_progress=lambda now: fit.progress(now.step / max(now.max_steps, 1), now.doing),
    )
    notes = [*report.notes, *notes]
    if PartialState().is_main_process:
        notes += _save(tuned, tokenizer, data.train, fit, out_dir)
    return replace(report, notes=tuple(notes))


def reading_of(fit: LanguageFit, tokenizer: Any) -> Reading:
    """How this run reads examples, by the recipe and by what the model's small files say."""
    folder = fit.base_dir or fit.model_dir
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    length = fit.max_length or longest_input(tokenizer, config) or DEFAULT_MAX_LENGTH
    return Reading(
        length,
        fit.language.train_on,
        stop_ids(generation_config(folder), tokenizer),
        names_template=fit.language.chat_template is not None,
    )


def _start(fit: LanguageFit) -> Any:
    """The model that training begins with."""
    train = fit.train
    with quiet_transformers():
        if not train.method_facts.needs_weights:
            return new_language_model(fit.model_dir, seed=train.seed)
        return load_language_model(
            fit.base_dir or fit.model_dir,
            train.method,
            quantization=fit.language.quantization if train.method_facts.quantized else None,
            adapter_dir=fit.model_dir if fit.base_dir else None,
            bfloat16=train.arguments.get("bf16"),
        )


def plan_of(fit: LanguageFit, max_length: int) -> LanguagePlan:
    """The recipe's settings in plain values."""
    train, language, stopping = fit.train, fit.language, fit.train.early_stopping
    plan = FitPlan(
        method=train.method,
        arguments=train.arguments,
        seed=train.seed,
        **train.method_settings,
        unfreeze_epochs=train.hybrid.unfreeze_epochs if train.hybrid else None,
        layer_decay=train.layer_decay,
        l1=train.l1,
        early_stopping=EarlyStopping(stopping.patience, stopping.min_change) if stopping else None,
        profile=train.profile,
        fuse=Fuse(**train.fuse.model_dump()) if train.fuse else None,
    )
    return LanguagePlan(
        plan,
        loss_type=language.loss_type,
        beta=language.beta,
        label_smoothing=language.label_smoothing,
        desirable_weight=language.desirable_weight,
        undesirable_weight=language.undesirable_weight,
        max_length=max_length,
    )


def _run_digest(train: Sequence[Row], validation: Sequence[Row], fit: LanguageFit) -> str:
    """Stands for all that goes in: a run with the same one resumes."""
    rows = [[row["example"] for row in split] for split in (train, validation)]
    settings = fit.train.model_dump(mode="json")
    folders = [str(fit.model_dir), str(fit.base_dir)]
    return digest_of({"rows": rows, "train": settings, "length": fit.max_length, "from": folders})


def _precision(model: Any, train: TrainSection) -> list[str]:
    """In what the frozen weights under an adapter are kept and multiplied, and who chose it."""
    if not train.method_facts.adapter:
        return []
    named = "bf16" in train.arguments
    why = "as train.arguments.bf16 says" if named else "the faster one on this machine"
    return [f"the frozen weights are {str(model.dtype).removeprefix('torch.')}, {why}"]


def _notes(data: LanguageData) -> list[str]:
    splits = {"training": data.train, "validation": data.validation}
    return [
        f"{count:,} of {len(split.rows) + split.num_dropped:,} {name} examples {what}"
        for name, split in splits.items()
        if split is not None
        for count, what in (
            (split.num_truncated, "were cut at their end"),
            (split.num_dropped, "had nothing left to learn and were left out"),
        )
        if count
    ]


# The folder


def _save(
    tuned: nn.Module, tokenizer: Any, learned: Encoded, fit: LanguageFit, out_dir: Path
) -> list[str]:
    """Write the model, and say what there is to say of it."""
    folder, notes, saved = out_dir / "model", [], tuned
    with quiet_transformers():
        if not fit.train.method_facts.adapter:
            saved.config._name_or_path = ""
            saved.save_pretrained(folder)
        elif fit.language.merge:
            notes = [_merge(saved, learned, fit, out_dir)]
        else:
            save_adapter(saved, folder, base_model="", commit_sha="")
        tokenizer.save_pretrained(folder)
    return notes


def _merge(model: Any, learned: Encoded, fit: LanguageFit, out_dir: Path) -> str:
    adapter_dir = out_dir / "adapter"
    save_adapter(model, adapter_dir, base_model="", commit_sha="")
    # Beginnings of training examples, cut to the same length.
    texts = [row["prompt"] + row["answers"][0] for row in learned.rows[:MERGE_EXAMPLES]]
    size = min([MERGE_TOKENS, *map(len, texts)])
    report = merge_language_adapter(
        fit.base_dir or fit.model_dir,
        adapter_dir,
        out_dir / "model",
        examples={"input_ids": torch.tensor([text[:size] for text in texts])},
    )
    shutil.rmtree(adapter_dir)
    return (
        f"the adapter was merged into its base in {report.dtype}: logits differ from the model"
        f" with its adapter by at most {report.max_difference:.2g}, the adapter moved them by up"
        f" to {report.moved:.2g}"
    )
