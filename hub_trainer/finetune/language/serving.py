"""A published language model at work: what it is asked, what it answers, how likely answers are."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.classifier import quiet_transformers
from hub_trainer.finetune.label_scores import device
from hub_trainer.finetune.language.chat import Tokens, prompt_tokens, tokenize
from hub_trainer.finetune.language.decoding import Ending, answer_text, text_pieces
from hub_trainer.finetune.language.encode import cut, readable
from hub_trainer.finetune.language.generate import (
    Sampling,
    Way,
    generate,
    stop_ids,
    stream,
    way_of,
)
from hub_trainer.finetune.language.packing import Packing, num_learned
from hub_trainer.finetune.language.references import score_rows
from hub_trainer.finetune.language.scoring import can_be_dense
from hub_trainer.finetune.language.tune import tokens_per_pass
from hub_trainer.finetune.methods import with_adapter
from hub_trainer.finetune.model_folder import TOKENIZER_FILES, file_stamp, has_any, is_adapter
from hub_trainer.finetune.positions import longest_input
from hub_trainer.inputs.language_examples import Example, asked_and_answers


@dataclass(frozen=True)
class ServedModel:
    """A causal model in evaluation mode, its tokenizer and its limits."""

    model: Any
    tokenizer: Any
    longest: int | None
    """Tokens that the model takes; None when nothing says."""
    stops: tuple[int, ...]
    packing: Packing
    way: Way

    def prompt(self, example: Example) -> list[int]:
        """The tokens of what an example asks for; at least the beginning of a text."""
        asked, _ = asked_and_answers(readable(self.tokenizer, example))
        found = prompt_tokens(self.tokenizer, asked, example.tools)
        return found or [_beginning(self.tokenizer)]

    def sampling(self, sampling: Sampling) -> Sampling:
        """With the model's own ends and limit."""
        return replace(sampling, stops=self.stops, max_length=self.longest)

    def answers(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        """Tokens that the model answers to each prompt."""
        return generate(self.model, prompts, self.sampling(sampling), way=self.way)

    def stream(self, prompt: Sequence[int], sampling: Sampling) -> Generator[str, None, bool]:
        """Pieces of text that the model answers to a prompt; returns whether it ended by itself."""
        tokens = Ending(stream(self.model, prompt, self.sampling(sampling), way=self.way))
        yield from text_pieces(self.tokenizer, prompt, tokens)
        return tokens.finished

    def text(self, prompt: Sequence[int], answer: Sequence[int]) -> str:
        """The text of an answer, as `stream` gives it in pieces."""
        return answer_text(self.tokenizer, prompt, answer)

    def finished(self, answer: Sequence[int]) -> bool:
        """Whether an answer came to its end, and was not cut."""
        return bool(answer) and answer[-1] in self.stops

    def likelihoods(self, examples: Sequence[Example]) -> list[tuple[float, int]]:
        """Per example log-probability and number of the tokens that training would learn.

        No token is left of an answer whose prompt fills all that the model takes.
        """
        rows = [vars(first_answer(self.tokenizer, one, self.longest)) for one in examples]
        counts = [num_learned(row) for row in rows]
        learned = [row for row, count in zip(rows, counts, strict=True) if count]
        scores = iter(score_rows(self.model, learned, self.packing)[:, 0] if learned else ())
        return [(float(next(scores)), count) if count else (0.0, 0) for count in counts]

    def preferences(self, examples: Sequence[Example]) -> list[tuple[float, float] | None]:
        """Per preference the log-probabilities of its chosen and its rejected answer, after the
        same tokens.

        None where the model does not take both whole: the rest of an answer would be likelier than
        all of it.
        """
        read = [tokenize(self.tokenizer, readable(self.tokenizer, one)) for one in examples]
        fits = [
            self.longest is None or len(one.prompt) + max(map(len, one.answers)) <= self.longest
            for one in read
        ]
        rows = [vars(one) for one, whole in zip(read, fits, strict=True) if whole]
        scores = iter(score_rows(self.model, rows, self.packing).tolist() if rows else ())
        return [tuple(next(scores)) if whole else None for whole in fits]


def first_answer(tokenizer: Any, example: Example, longest: int | None) -> Tokens:
    """The tokens whose likelihood is an example's; of a preference the chosen answer's."""
    first = replace(example, answers=example.answers[:1])
    tokens = tokenize(tokenizer, readable(tokenizer, first))
    return tokens if longest is None else cut(tokens, longest).tokens


def served_model(
    model_dir: Path, base_dir: Path | None, chat_template: str | None = None
) -> ServedModel:
    """The model of a folder, or the adapter of a folder over its base; kept while in use.

    A model without a chat template is given dialogues by this one.
    """
    stamp = file_stamp(model_dir) + (file_stamp(base_dir) if base_dir else "")
    return _served(model_dir, base_dir, chat_template, stamp)


@lru_cache(maxsize=2)
def _served(
    model_dir: Path, base_dir: Path | None, chat_template: str | None, stamp: str
) -> ServedModel:
    del stamp
    if is_adapter(model_dir) and base_dir is None:
        raise TrainingError(
            "An adapter needs its base model beside it.",
            where=str(model_dir),
            do="download both: download_folders does",
        )
    tokenizer = load_tokenizer(model_dir, base_dir)
    tokenizer.chat_template = tokenizer.chat_template or chat_template
    model = _load(model_dir, base_dir).to(device()).eval()
    packing = Packing(tokens_per_pass(device().type, model.dtype), dense=can_be_dense(model))
    longest = longest_input(tokenizer, model.config, model)
    stops = stop_ids(model.generation_config, tokenizer)
    return ServedModel(model, tokenizer, longest, stops, packing, way_of(model))


def load_tokenizer(model_dir: Path, base_dir: Path | None) -> Any:
    """The folder's own tokenizer, or its base's where it has none."""
    folder = model_dir if base_dir is None or has_any(model_dir, TOKENIZER_FILES) else base_dir
    with quiet_transformers():
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _load(model_dir: Path, base_dir: Path | None) -> Any:
    """In the base's own precision on an accelerator, in float32 on a CPU; adapters not merged."""
    folder = base_dir or model_dir
    options = {"trust_remote_code": False, "local_files_only": True}
    with quiet_transformers():
        dtype = AutoConfig.from_pretrained(folder, **options).dtype
        on_cpu = device().type == "cpu"
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if on_cpu else dtype or torch.float32,
            use_safetensors=True,
            **options,
        )
        if not is_adapter(model_dir):
            return model
        return with_adapter(model, model_dir, learns=False).get_base_model()


def _beginning(tokenizer: Any) -> int:
    """What stands before the first word of a text."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise DataError(
        "The rows ask for nothing, and the tokenizer has no token that begins a text.",
        do="give rows of prompt and completion, or take another base model",
    )


def dialogue_example(served: ServedModel, turns: Sequence[Mapping[str, str]]) -> Example:
    """What a person asks by a dialogue: all of it, or its last turn where there is no template.

    Raises DataError for an empty prompt, and for one that leaves no room for an answer.
    """
    asked = turns[-1]["content"] if turns else ""
    if not asked.strip():
        raise DataError("There is nothing to answer.", do="write a prompt first")
    if served.tokenizer.chat_template:
        example = Example(tuple({**turn} for turn in turns), ((),))
    else:
        example = Example(asked, ("",))
    size = len(served.prompt(example))
    if served.longest is not None and size >= served.longest:
        raise DataError(
            "The prompt leaves no room for an answer.",
            got=f"{size:,} tokens of {served.longest:,} that the model takes",
            do="shorten it, or begin a new conversation",
        )
    return example
