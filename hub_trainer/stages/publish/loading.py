"""Loading a model folder as users do, with plain transformers; each step fails by its name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ReloadFailure(Exception):
    """A step of loading that failed, and how."""


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
    from hub_trainer.finetune.auto_classes import auto_class

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


def load_tokenizer(folder: Path, *, chat_template: bool, template: str | None = None) -> Any:
    """The tokenizer of the folder. One without its files loads as an empty one, without a word."""
    from transformers import AutoTokenizer

    with step("the tokenizer does not load"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ReloadFailure("the tokenizer is missing: what loads has no vocabulary")
    if chat_template and not tokenizer.chat_template:
        raise ReloadFailure("the chat template of the base model is lost")
    if template is not None and tokenizer.chat_template != template:
        raise ReloadFailure("the chat template is not the one that the recipe names")
    return tokenizer


def cut(names: Sequence[str]) -> str:
    """The first of many names, and how many there are."""
    shown = ", ".join(names[:6])
    return f"{shown}, … ({len(names)})" if len(names) > 6 else shown
