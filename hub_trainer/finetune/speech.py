"""Speech recognisers of either kind: made ready, fitted, saved, loaded and asked in one way."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor

from hub_trainer.finetune.auto_classes import (
    AutoModelForSpeechRecognition,
    speech_class,
    writes_words,
)
from hub_trainer.finetune.classifier import (
    Progress,
    load_with_head,
    new_classifier,
    plan_of,
    quiet_transformers,
    save_classifier,
)
from hub_trainer.finetune.dropout import dropout_notes, set_dropout
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.heads import Metrics
from hub_trainer.finetune.label_scores import batches_by_length, device
from hub_trainer.finetune.methods import DEFAULT_LORA, merge_adapter
from hub_trainer.finetune.model_folder import file_stamp
from hub_trainer.finetune.plan import Batch, FitData, Objective
from hub_trainer.finetune.progress import StepProgress
from hub_trainer.finetune.sound_augment import augment
from hub_trainer.finetune.speech_ctc import (
    ACCURACY,
    HEAD,
    LENGTHS,
    CtcObjective,
    ctc_collate,
    ctc_metrics,
    frames_of,
    has_letters,
    heard,
    is_too_short,
    may_pad,
    new_architecture,
    read_batch,
    spelling_config,
    without_long_masks,
)
from hub_trainer.finetune.speech_text import can_spell, letter_ids, new_tokenizer, own_tokenizer
from hub_trainer.finetune.speech_writing import (
    decoder_inputs,
    language_code,
    settle_generation,
    write_batch,
    writing_collate,
    writing_tokenizer,
    written_ids,
)
from hub_trainer.recipe import TrainSection
from hub_trainer.reports import FitReport
from hub_trainer.sounds import decode, inspect

Row = Mapping[str, Any]
BATCH_SIZE = 8
"""Clips that are asked about together."""
MIN_SORTED = 500
"""Clips from which batches are made of those of similar length."""
PROBE_SECONDS = 10
TOO_SHORT = "too short for their transcripts"
TOO_LONG = "longer than the model hears at once"
TOO_MANY_TOKENS = "with a transcript longer than the model writes"


@dataclass(frozen=True)
class Learner:
    """A model with what makes its inputs and targets, and how it is judged."""

    model: Any
    extractor: Any
    tokenizer: Any
    targets: Callable[[Sequence[str]], list[list[int]]]
    """What is learned of transcripts, as numbers."""
    collate: Callable[[list[dict[str, Any]]], Batch]
    refusal: Callable[[int, Sequence[int]], str | None]
    """Why a clip of so many samples with these targets teaches nothing."""
    unmasked: Callable[[int], bool] = lambda shortest: False
    """Turn masks in training off where the shortest clip is too short; whether that was needed."""
    objective: Objective | None = None
    compute_metrics: Callable[[str], Metrics] | None = None
    """Figures of the validation rows for a primary metric."""
    best_by: str = "loss"
    learns_beside: tuple[str, ...] = ()
    """Layers that learn whole beside an adapter."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpeechFit:
    """How a recogniser is fitted, in plain values and the recipe's train section."""

    train: TrainSection
    primary: str
    run_digest: str
    progress: Progress


@dataclass(frozen=True)
class Clips:
    """Rows of sounds, decoded when they are needed."""

    rows: Sequence[Row]
    labels: Sequence[Sequence[int]]
    weights: Sequence[float]
    rate: int
    augmentations: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = decode(self.rows[index]["audio"], self.rate)
        if self.augmentations:
            # The engine has seeded the global state for this row of this epoch.
            rng = np.random.default_rng(random.getrandbits(64))
            samples = augment(samples, self.rate, self.augmentations, rng)
        labels, weight = self.labels[index], self.weights[index]
        return {"samples": samples, "labels": labels, "weight": weight}


# --- made ready


def new_learner(
    base_dir: Path | None, texts: Sequence[str], train: TrainSection, *, on_paper: bool = False
) -> Learner:
    """The recogniser that a recipe trains on such transcripts, from its base or in a small shape
    of its own; on paper, it has no weights.
    """
    if base_dir is None:
        shape = new_architecture()
        set_dropout(shape[0], train.dropout)
        return _ctc_learner(None, *shape, texts, train, on_paper=on_paper)
    config = AutoConfig.from_pretrained(base_dir, trust_remote_code=False)
    set_dropout(config, train.dropout)
    extractor = load_extractor(base_dir)
    if writes_words(config):
        return _writing_learner(base_dir, config, extractor, train, on_paper=on_paper)
    return _ctc_learner(base_dir, config, extractor, texts, train, on_paper=on_paper)


def _ctc_learner(
    base_dir: Path | None,
    config: Any,
    extractor: Any,
    texts: Sequence[str],
    train: TrainSection,
    *,
    on_paper: bool,
) -> Learner:
    """With the base's own letters where those are enough, else with those of the transcripts."""
    own, notes = own_tokenizer(base_dir) if base_dir else None, []
    keeps = own is not None and can_spell(own, texts)
    if own is not None and not keeps:
        notes.append("the base model's letters lack some of the transcripts': it has new ones")
    tokenizer: Any = own if keeps else new_tokenizer(texts)
    spelling_config(config, tokenizer)
    keeps_head = base_dir is not None and keeps and has_letters(base_dir)
    model = _made(base_dir, config, train, keeps_head=keeps_head, on_paper=on_paper)
    frames, steps = frames_of(model), steps_of(extractor)

    def num_frames(num_samples: int) -> int:
        return int(frames(torch.tensor(steps(num_samples))))

    def refusal(num_samples: int, labels: Sequence[int]) -> str | None:
        return TOO_SHORT if is_too_short(num_frames(num_samples), labels) else None

    return Learner(
        model=model,
        extractor=extractor,
        tokenizer=tokenizer,
        targets=lambda found: letter_ids(tokenizer, found),
        collate=ctc_collate(extractor),
        refusal=refusal,
        unmasked=lambda shortest: without_long_masks(model.config, num_frames(shortest)),
        objective=CtcObjective(frames, int(tokenizer.pad_token_id)),
        compute_metrics=lambda primary: ctc_metrics(tokenizer, primary),
        best_by=ACCURACY,
        learns_beside=(HEAD,),
        notes=tuple(notes),
    )


def _writing_learner(
    base_dir: Path, config: Any, extractor: Any, train: TrainSection, *, on_paper: bool
) -> Learner:
    language = train.speech.language if train.speech else None
    language = language and language_code(language)
    tokenizer = writing_tokenizer(base_dir, language)
    model = _made(base_dir, config, train, keeps_head=True, on_paper=on_paper)
    settle_generation(model, language)

    def refusal(num_samples: int, labels: Sequence[int]) -> str | None:
        if num_samples > extractor.n_samples:
            return TOO_LONG
        return TOO_MANY_TOKENS if len(labels) > config.max_target_positions else None

    return Learner(
        model=model,
        extractor=extractor,
        tokenizer=tokenizer,
        targets=lambda found: written_ids(tokenizer, model, found),
        collate=writing_collate(extractor),
        refusal=refusal,
    )


def _made(
    base_dir: Path | None, config: Any, train: TrainSection, *, keeps_head: bool, on_paper: bool
) -> Any:
    auto = speech_class(config)
    if on_paper:
        with torch.device("meta"):
            return auto.from_config(config, trust_remote_code=False)
    if base_dir is not None and train.method_facts.needs_weights:
        return load_with_head(auto, base_dir, config, keeps_head=keeps_head, seed=train.seed)
    return new_classifier(auto, config, seed=train.seed)


def load_extractor(folder: Path) -> Any:
    """What makes a model's inputs of samples."""
    with quiet_transformers():
        return AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)


def steps_of(extractor: Any) -> Callable[[int], int]:
    """How many steps of input samples become: each is one, or some make a spectrum together."""
    if extractor.model_input_names[0] == "input_values":
        return lambda num_samples: num_samples
    num_samples = PROBE_SECONDS * extractor.sampling_rate
    steps = heard(extractor, [torch.zeros(num_samples).numpy()])[LENGTHS][0]
    return lambda count: count * steps // num_samples


# --- fitted


def speech_data(
    learner: Learner,
    train: Sequence[Row],
    validation: Sequence[Row],
    column: str,
    augmentations: Sequence[str] = (),
) -> tuple[FitData, tuple[str, ...]]:
    """The rows as the engine takes them, and what a person should know of them."""
    left_out: Counter[str] = Counter()
    kept, lengths = _clips(learner, train, column, left_out)
    watched, watched_lengths = _clips(learner, validation, column, Counter())
    notes = [f"{count} clips were left out, {why}" for why, count in sorted(left_out.items())]
    if lengths and learner.unmasked(min(lengths)):
        notes.append("no parts of sounds were masked in training: some are too short for that")
    data = FitData(
        train=replace(kept, augmentations=tuple(augmentations)),
        validation=watched if len(watched) else None,
        collate=learner.collate,
        # Sorted by length, a few clips would be in the same batches in every epoch.
        lengths=lengths if len(lengths) >= MIN_SORTED else None,
        validation_lengths=watched_lengths,
        augmented=True,  # parts are masked anew each time, so nothing may be kept
    )
    return data, (*learner.notes, *notes)


def fit_speech(
    learner: Learner, data: FitData, fit: SpeechFit, *, out_dir: Path
) -> tuple[nn.Module, FitReport]:
    """Fine-tune; a LoRA adapter comes back merged, and proved to answer as before."""

    def on_progress(now: StepProgress) -> None:
        fit.progress(now.step / max(now.max_steps, 1), now.doing)

    of = learner.compute_metrics
    plan = plan_of(
        fit.train,
        compute_metrics=of(fit.primary) if of is not None else None,
        metric_for_best=learner.best_by,
    )
    if fit.train.method_facts.adapter:
        options = fit.train.lora.model_dump() if fit.train.lora else dict(DEFAULT_LORA)
        beside = {"modules_to_save": list(learner.learns_beside)} if learner.learns_beside else {}
        plan = replace(plan, lora={**options, **beside})
    tuned, report = fine_tune(
        learner.model,
        data,
        replace(plan, objective=learner.objective),
        out_dir=out_dir,
        run_digest=fit.run_digest,
        on_progress=on_progress,
    )
    if fit.train.method_facts.adapter:
        tuned = merge_adapter(tuned, _example_inputs(tuned, data))
    notes = dropout_notes(learner.model.config, fit.train.dropout)
    return tuned, replace(report, notes=(*report.notes, *notes))


def save_speech(model: Any, learner: Learner, folder: Path) -> None:
    """Write what `pipeline()` loads, from the first process alone."""
    save_classifier(model, learner.tokenizer, folder)
    if PartialState().is_main_process:
        learner.extractor.save_pretrained(folder)


def _clips(
    learner: Learner, rows: Sequence[Row], column: str, left_out: Counter[str]
) -> tuple[Clips, list[int]]:
    rate = learner.extractor.sampling_rate
    lengths, targets = _lengths(rows, rate), learner.targets([str(row[column]) for row in rows])
    weights = example_weights(rows, class_weights=False)
    kept = []
    for place, (length, labels) in enumerate(zip(lengths, targets, strict=True)):
        why = learner.refusal(length, labels)
        if why is None:
            kept.append(place)
        else:
            left_out[why] += 1
    clips = Clips(
        [rows[place] for place in kept],
        [targets[place] for place in kept],
        [weights[place] for place in kept],
        rate,
    )
    return clips, [lengths[place] for place in kept]


def _lengths(rows: Sequence[Row], rate: int) -> list[int]:
    """Samples of each clip at this rate, by the headers."""
    return [round(inspect(row["audio"]).seconds * rate) for row in rows]


def _example_inputs(model: Any, data: FitData) -> dict[str, torch.Tensor]:
    source = data.validation or data.train
    rows = [dict(source[index]) for index in range(min(4, len(source)))]
    batch = dict(data.collate([{k: v for k, v in row.items() if k != "weight"} for row in rows]))
    labels = batch.pop("labels")
    if getattr(model.config, "is_encoder_decoder", False):
        batch["decoder_input_ids"] = decoder_inputs(model, labels)
    where = next(model.parameters()).device
    return {key: value.to(where) for key, value in batch.items() if torch.is_tensor(value)}


# --- asked


def transcribe(model_dir: Path, rows: Sequence[Row]) -> list[str]:
    """What a folder's model writes for each row, in batches of similar length."""
    model, extractor, tokenizer = _loaded(model_dir, file_stamp(model_dir))
    writes = writes_words(model.config)
    answer = write_batch if writes else read_batch
    size = BATCH_SIZE if writes or may_pad(extractor) else 1
    texts = [""] * len(rows)
    for places in batches_by_length(_lengths(rows, extractor.sampling_rate), size):
        samples = [decode(rows[place]["audio"], extractor.sampling_rate) for place in places]
        found = answer(model, extractor, tokenizer, samples)
        for place, text in zip(places, found, strict=True):
            texts[place] = text
    return texts


def answers_as_it_is(folder: Path) -> bool:
    """Whether an untrained base writes transcripts at all: it has words, or letters."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return writes_words(config) or (own_tokenizer(folder) is not None and has_letters(folder))


@lru_cache(maxsize=2)
def _loaded(model_dir: Path, stamp: str) -> tuple[Any, Any, Any]:
    """Model, extractor and tokenizer of a folder; loaded anew when its files have changed."""
    from transformers import AutoTokenizer

    del stamp
    with quiet_transformers():
        model = AutoModelForSpeechRecognition.from_pretrained(
            model_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(model_dir, trust_remote_code=False)
    return model.to(device()).eval(), load_extractor(model_dir), tokenizer
