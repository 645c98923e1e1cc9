"""A model that writes, loaded as users load it: how likely it finds the answers of some rows."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hub_trainer.answers import Likelihood, Prediction
from hub_trainer.finetune.label_scores import device
from hub_trainer.finetune.language.serving import first_answer
from hub_trainer.finetune.positions import longest_input
from hub_trainer.finetune.reloading import (
    PIPELINE,
    AsUsers,
    Promised,
    load_tokenizer,
    load_weights,
    step,
)
from hub_trainer.inputs.language_examples import example_of

Row = Mapping[str, Any]
AUTO_CLASS = "AutoModelForCausalLM"
FEW_TOKENS = 4
PROMPT_CHARACTERS = 40


def likelihoods_as_users(
    task: str, folder: Path, base: Path | None, rows: Sequence[Row], promised: Promised
) -> AsUsers:
    """Likelihoods of the rows; raises ReloadFailure naming the step that failed."""
    tokenizer = load_tokenizer(folder, promised)
    model = _with_base(folder, base) if base else _whole(folder)
    with step("the model does not take the rows"):
        plain = [_likelihood(model, tokenizer, row) for row in rows]
    with step("the model does not write"):
        prompt = (rows[0]["prompt"] or rows[0]["text"])[:PROMPT_CHARACTERS]
        if base is None:
            from transformers import pipeline

            pipe: Any = pipeline(task, model=str(folder), trust_remote_code=False)
            pipe(prompt, max_new_tokens=FEW_TOKENS, do_sample=False)
        else:
            encoded = tokenizer(prompt, return_tensors="pt")
            kept = {name: encoded[name] for name in ("input_ids", "attention_mask")}
            model.generate(**kept, max_new_tokens=FEW_TOKENS, do_sample=False)
    ways = [PIPELINE if base is None else "PEFT over its base"]
    return AsUsers(plain, ways, are_likelihoods=True, is_rounded=device().type != "cpu")


def _whole(folder: Path) -> Any:
    return load_weights(folder, AUTO_CLASS, dtype=torch.float32).eval()


def _with_base(folder: Path, base: Path) -> Any:
    """The adapter over its base; PEFT only warns of weights that it misses."""
    from peft import PeftModel

    model = load_weights(base, AUTO_CLASS, dtype=torch.float32)
    with step("the adapter does not load over its base"), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        return PeftModel.from_pretrained(model, folder).eval()


def _likelihood(model: Any, tokenizer: Any, row: Row) -> Prediction:
    """By the logits of one whole pass, without packing, padding or chunks."""
    longest = longest_input(tokenizer, model.config, model)
    tokens = first_answer(tokenizer, example_of(row), longest)
    ids = torch.tensor([tokens.prompt + tokens.answers[0]])
    learned = torch.tensor([False] * len(tokens.prompt) + tokens.trained[0])[1:]
    if not bool(learned.any()):
        return Prediction(None, likelihood=Likelihood(0.0, 0))
    with torch.no_grad():
        log_probs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    found = log_probs.gather(1, ids[0, 1:, None])[:, 0]
    weighed = Likelihood(float(found[learned].sum()), int(learned.sum()))
    return Prediction(None, likelihood=weighed)
