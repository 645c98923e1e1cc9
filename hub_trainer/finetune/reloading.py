"""Loading a model folder as users do, with plain transformers; each step fails by its name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from hub_trainer.answers import Prediction
from hub_trainer.finetune.auto_classes import auto_class
from hub_trainer.finetune.heads import ASKED_HEADS
from hub_trainer.inputs import load_input

PIPELINE = "transformers `pipeline`"


class ReloadFailure(Exception):
    """A step of loading that failed, and how."""


@dataclass(frozen=True)
class Promised:
    """What a folder is to hold, beside weights."""

    label_names: Sequence[str]
    chat_template: bool
    """Whether the base model had one."""
    template: str | None = None
    """The chat template that the model was trained with, where the recipe names one."""


@dataclass(frozen=True)
class AsUsers:
    """What users get of a folder without us."""

    predictions: Sequence[Prediction] | None
    """One per row; None where a model is loaded in no other way than ours."""
    ways: Sequence[str] = ()
    """What they load it with."""
    are_likelihoods: bool = False
    """Whether the predictions say how likely the rows' own answers are, and nothing else."""
    is_rounded: bool = False
    """Whether it was computed in less than float32."""


@dataclass(frozen=True)
class PipelineModel:
    """What a pipeline is made for."""

    task: str
    answer: str
    modality: str
    auto_class: str
    has_tokenizer: bool


def by_pipeline(
    made: PipelineModel, folder: Path, rows: Sequence[Mapping[str, Any]], promised: Promised
) -> AsUsers:
    """What a plain pipeline says of rows; raises ReloadFailure naming the step that failed."""
    # Only here: `check` imports the tasks, and these take a second.
    import transformers
    from transformers import pipeline

    head, shown = ASKED_HEADS[made.answer], load_input(made.modality)
    outputs = head.outputs(promised.label_names)
    if outputs:
        _check_outputs(folder, outputs)
    load_weights(folder, made.auto_class)
    if shown.medium is not None:
        with step(f"the processor of {shown.plural} does not load"):
            processor = getattr(transformers, shown.medium.processor)
            processor.from_pretrained(folder, trust_remote_code=False)
    if made.has_tokenizer:
        load_tokenizer(folder, promised)
    with step("pipeline() does not run on the folder"):
        pipe: Any = pipeline(made.task, model=str(folder), trust_remote_code=False)
        rate = getattr(getattr(pipe, "feature_extractor", None), "sampling_rate", None)
        contents = [shown.for_pipeline(row, sampling_rate=rate) for row in rows]
        return AsUsers(head.by_pipeline(pipe, contents), [PIPELINE])


def _check_outputs(folder: Path, expected: Sequence[str]) -> None:
    with step("config.json does not load"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        found = [str(config.id2label[index]) for index in sorted(config.id2label)]
    if sorted(found) != sorted(expected):
        raise ReloadFailure(
            f"config.json names other labels: {cut(found)} instead of {cut(expected)}"
        )


@contextmanager
def step(what: str) -> Iterator[None]:
    """Any exception in here is a failure of this step: the process exists to find them."""
    try:
        yield
    except ReloadFailure:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ReloadFailure(f"{what}: {type(error).__name__}: {lines[0][:300]}") from error


def load_weights(folder: Path, auto_name: str, **options: Any) -> Any:
    """The model of the folder, none of whose weights is missing, left over or misshapen."""
    with step("the weights do not load"):
        model, info = auto_class(auto_name).from_pretrained(
            folder,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if info.get(kind):
            keys = cut(sorted(str(key) for key in info[kind]))
            raise ReloadFailure(f"the weights have {kind.replace('_', ' ')}: {keys}")
    return model


def load_tokenizer(folder: Path, promised: Promised) -> Any:
    """The tokenizer of the folder. One without its files loads as an empty one, without a word."""
    with step("the tokenizer does not load"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ReloadFailure("the tokenizer is missing: what loads has no vocabulary")
    if promised.chat_template and not tokenizer.chat_template:
        raise ReloadFailure("the chat template of the base model is lost")
    if promised.template is not None and tokenizer.chat_template != promised.template:
        raise ReloadFailure("the chat template is not the one that the recipe names")
    return tokenizer


def cut(names: Sequence[str]) -> str:
    """The first of many names, and how many there are."""
    shown = ", ".join(names[:6])
    return f"{shown}, … ({len(names)})" if len(names) > 6 else shown
