"""Torch models with a head in common: outputs, weights, one fine-tuning run, one saved folder."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn
from transformers import AutoConfig, AutoModel, EvalPrediction, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hub_trainer.answers import Answer
from hub_trainer.answers.decisions import NOTHING_SOUGHT, THRESHOLDS, Sought, chosen_threshold
from hub_trainer.artifacts import digest_of
from hub_trainer.errors import TrainingError
from hub_trainer.finetune.dropout import dropout_notes, set_dropout
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.heads import HEADS, Head, label_predictions, output_order
from hub_trainer.finetune.label_scores import Batches, label_scores
from hub_trainer.finetune.methods import base_of, merge_adapter, renew
from hub_trainer.finetune.plan import EarlyStopping, FitData, FitPlan, Fuse, Loss, Objective
from hub_trainer.finetune.progress import StepProgress
from hub_trainer.recipe import Recipe, TrainSection
from hub_trainer.reports import FitReport

Progress = Callable[[float, str], None]
Row = Mapping[str, Any]
LABEL_HEAD = HEADS["label"]


@dataclass(frozen=True)
class ClassifierFit:
    """How a classifier is fitted, in plain values and the recipe's train section."""

    train: TrainSection
    primary: str
    """The metric on the validation split by which the best checkpoint is chosen."""
    label_names: Sequence[str]
    """In the order of the model's outputs."""
    run_digest: str
    """Stands for all that goes in: a run with the same one resumes."""
    progress: Progress
    head: Head = LABEL_HEAD
    sought: Sought = NOTHING_SOUGHT
    """The label that is looked for, and how it is decided."""
    positive_weights: tuple[float, ...] | None = None
    """(C,) of sets of labels, how much more having one counts than not having it."""
    objective: Objective | None = None
    """None: the usual one of the head's outputs."""


def labelled_config(
    base_dir: Path,
    label_names: Sequence[str],
    head: Head = LABEL_HEAD,
    *,
    dropout: float | None = None,
) -> PretrainedConfig:
    """The base's config with these labels; in the base's own order if it has the very same ones."""
    config = AutoConfig.from_pretrained(base_dir, trust_remote_code=False)
    set_dropout(config, dropout)
    names = head.outputs(label_names)
    if knows_outputs(config, names, head.problem_type):
        names = output_order(config)
    return set_outputs(config, names, head.problem_type)


def set_outputs(
    config: PretrainedConfig, names: Sequence[str], problem_type: str = LABEL_HEAD.problem_type
) -> PretrainedConfig:
    """Write the names of the outputs into a config, and how they are to be read."""
    config.num_labels = len(names)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    config.problem_type = problem_type
    return config


def knows_outputs(config: PretrainedConfig, names: Sequence[str], problem_type: str) -> bool:
    """Whether the config's outputs are these, in whatever order, and mean the same."""
    known = [str(name) for name in (config.id2label or {}).values()]
    usual = LABEL_HEAD.problem_type
    means_the_same = (getattr(config, "problem_type", None) or usual) == problem_type
    return means_the_same and len(known) == len(names) and set(known) == set(names)


def start_classifier(
    auto_class: Any, base_dir: Path | None, config: PretrainedConfig, train: TrainSection
) -> Any:
    """What a run begins with: the base's weights, or random ones where the method needs none."""
    if base_dir is not None and train.method_facts.needs_weights:
        return load_classifier(auto_class, base_dir, config, seed=train.seed)
    return new_classifier(auto_class, config, seed=train.seed)


def load_classifier(
    auto_class: Any, base_dir: Path, config: PretrainedConfig, *, seed: int
) -> PreTrainedModel:
    """The base's body in float32, with its own head if that has these labels, else a new one."""
    known = AutoConfig.from_pretrained(base_dir, trust_remote_code=False)
    keeps_head = knows_outputs(known, output_order(config), str(config.problem_type))
    return load_with_head(auto_class, base_dir, config, keeps_head=keeps_head, seed=seed)


def load_with_head(
    auto_class: Any, base_dir: Path, config: PretrainedConfig, *, keeps_head: bool, seed: int
) -> PreTrainedModel:
    """The base's body in float32, with its own head or a new one.

    Raises TrainingError when weights of the body are missing: they would be random.
    """
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model, info = auto_class.from_pretrained(
            base_dir,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=not keeps_head,
            output_loading_info=True,
        )
        assert_whole(model, info["missing_keys"], base_dir)
        if not keeps_head:
            renew_head(model)
    assert isinstance(model, PreTrainedModel)
    return model


def assert_whole(model: nn.Module, missing: Collection[str], base_dir: Path) -> None:
    """Raise TrainingError where weights of the body are missing, which would be random."""
    lacking = _missing_in_body(model, missing)
    if lacking:
        raise TrainingError(
            "The base model lacks weights of its own body.",
            where=str(base_dir),
            got=f"{len(lacking)} tensors missing, as {lacking[0]}",
            do=f"name a model whose weights fit its config ({type(model).__name__})",
        )


def load_body(base_dir: Path) -> nn.Module:
    """The base without any head, frozen in float32, for its features."""
    with quiet_transformers():
        model: nn.Module = AutoModel.from_pretrained(
            base_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    return model.requires_grad_(False)


def new_classifier(auto_class: Any, config: PretrainedConfig, *, seed: int) -> Any:
    """A model of this architecture with random weights."""
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return auto_class.from_config(config, dtype=torch.float32, trust_remote_code=False)


def renew_head(model: PreTrainedModel) -> None:
    """Random weights for what stands beside the body, as the architecture initialises them."""
    body = base_of(model)
    for child in model.children():
        if child is body:
            continue
        renew(model, child)


def fit_classifier(
    model: nn.Module, data: FitData, fit: ClassifierFit, *, out_dir: Path
) -> tuple[nn.Module, FitReport]:
    """Fine-tune; a LoRA adapter comes back merged, and proved to answer as before."""

    def on_progress(now: StepProgress) -> None:
        fit.progress(now.step / max(now.max_steps, 1), now.doing)

    tuned, report = fine_tune(
        model,
        data,
        replace(
            plan_of(
                fit.train,
                compute_metrics=fit.head.metrics(fit.primary, fit.label_names, fit.sought),
                metric_for_best=fit.head.best_by(fit.primary),
            ),
            positive_weights=fit.positive_weights,
            objective=fit.objective,
        ),
        out_dir=out_dir,
        run_digest=fit.run_digest,
        on_progress=on_progress,
    )
    if fit.train.method_facts.adapter:
        tuned = merge_adapter(tuned, _example_inputs(data, next(tuned.parameters()).device))
    notes = dropout_notes(model.config, fit.train.dropout)
    return tuned, replace(report, notes=(*report.notes, *notes))


def settle_threshold(
    model: Any, report: FitReport, sought: Sought, rows: Sequence[Row], read: Callable[[], Batches]
) -> FitReport:
    """Choose the threshold of the label that is looked for on these rows, for the model's config.

    `read` makes the rows' batches, where one is wanted.

    A model for which none is wanted has none, whatever its base had.
    """
    config = model.config
    if hasattr(config, THRESHOLDS):
        delattr(config, THRESHOLDS)
    if sought.sensitivity is None:
        return report
    found = label_predictions(label_scores(model, read(), len(rows)), output_order(config))
    chosen = chosen_threshold(found, [row["label"] for row in rows], sought)
    if chosen is not None:
        setattr(config, THRESHOLDS, {chosen["name"]: chosen["threshold"]})
    return replace(report, threshold=chosen)


def save_classifier(model: Any, processing: Any, folder: Path) -> None:
    """Write what `from_pretrained` loads, from the first process alone."""
    if not PartialState().is_main_process:
        return
    model.config._name_or_path = ""
    with quiet_transformers():
        model.save_pretrained(folder)
        processing.save_pretrained(folder)


def run_digest(splits: Any, recipe: Recipe, answer: Answer) -> str:
    """Stands for the rows, their weights and answers, and the settings of a run."""
    rows = [
        [
            (row.get("_row_id"), answer.dumps(row[answer.column]), row.get("_weight"))
            for row in split
        ]
        for split in (splits.train, splits.validation)
    ]
    return digest_of(
        {
            "rows": rows,
            "label_names": list(splits.label_names),
            "train": recipe.train.model_dump(mode="json"),
            "prepare": [recipe.prepare.max_length, recipe.prepare.augment],
            "base_model": recipe.base_model and recipe.base_model.repo_id,
        }
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No load report and no progress bar: what matters of them is checked here."""
    level = transformers_logging.get_verbosity()
    shows_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shows_bars:
            transformers_logging.enable_progress_bar()


def plan_of(
    train: TrainSection,
    *,
    compute_metrics: Callable[[EvalPrediction], Mapping[str, float]] | None,
    metric_for_best: str,
) -> FitPlan:
    """The engine's plan, by a recipe's train section."""
    plan = FitPlan(
        method=train.method,
        arguments=train.arguments,
        seed=train.seed,
        **train.method_settings,
        unfreeze_epochs=train.hybrid.unfreeze_epochs if train.hybrid else None,
        layer_decay=train.layer_decay,
        l1=train.l1,
        mixup=train.mixup,
        loss=Loss(**train.loss.model_dump()) if train.loss else None,
        compute_metrics=compute_metrics,
        metric_for_best=metric_for_best,
        profile=train.profile,
        fuse=Fuse(**train.fuse.model_dump()) if train.fuse else None,
    )
    if train.early_stopping is None:
        return plan
    stopping = EarlyStopping(train.early_stopping.patience, train.early_stopping.min_change)
    return replace(plan, early_stopping=stopping)


def _example_inputs(data: FitData, device: torch.device) -> dict[str, torch.Tensor]:
    source = data.validation or data.train
    rows = [dict(source[index]) for index in range(min(8, len(source)))]
    batch = data.collate([{k: v for k, v in row.items() if k != "weight"} for row in rows])
    return {key: value.to(device) for key, value in batch.items() if key != "labels"}


def _missing_in_body(model: nn.Module, missing: Collection[str]) -> list[str]:
    """A pooler may be missing: models trained to fill masks have none, and it is learnt.

    So may be what stands for masked sounds, which nothing but training uses.
    """
    body, usual = base_of(model), str(model.base_model_prefix)
    prefix = next((name for name, child in model.named_children() if child is body), usual) + "."
    learnt = ("pooler", "masked_spec_embed")
    return sorted(
        key for key in missing if key.startswith(prefix) and not any(one in key for one in learnt)
    )
