"""Encoder of sentences: an embedding of each text, the cosine of a pair, and its folder's layout.

The folder is one that `AutoModel` loads, with the small files by which sentence-transformers knows
how tokens become one vector. Legend: B pairs, T tokens, D features. A batch holds the B first texts
and then the B second ones.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hub_trainer.errors import DataError
from hub_trainer.finetune.methods import pooler_of

SENTENCES = "AutoModelForSentenceSimilarity"
"""Name of the class below, which transformers does not have."""
RIGHT = "right_besides"
"""Key of a batch of pairs that belong together: (B, C) candidates that are right as well."""
LOWEST = -1e4
"""What is put in place of a cosine of which nothing is asked."""
POOLING = "sentence_pooling"
"""Key of config.json: how the vectors of tokens become one, `mean` or `cls`."""
POOLINGS = ("mean", "cls")
POOLING_KEYS: Mapping[str, str] = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""Way of pooling -> its key in the file of sentence-transformers."""
MODULES, POOLING_FILE = "modules.json", "1_Pooling/config.json"
LENGTH_FILE, SETTINGS_FILE = "sentence_bert_config.json", "config_sentence_transformers.json"
LAYOUT = (MODULES, POOLING_FILE, LENGTH_FILE, SETTINGS_FILE)
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


class PairEncoder(nn.Module):
    """A body whose only output for a pair is the cosine of both texts' embeddings."""

    def __init__(self, body: nn.Module, pooling: str) -> None:
        super().__init__()
        config: Any = body.config
        self.body, self.config, self.pooling = body, config, pooling
        self.base_model_prefix = body.base_model_prefix
        setattr(config, POOLING, pooling)
        self._pooler = (pooler_of(body),)  # in a tuple, so that it is no part of what learns
        if self._pooler[0] is not None:
            self.body.pooler = None

    @property
    def base_model(self) -> nn.Module:
        """The body; there is no head beside it."""
        return self.body

    def whole_body(self, like: "PairEncoder") -> Any:
        """The body as it is published, with the layer that `like` had and no cosine goes by."""
        if like._pooler[0] is not None:
            self.body.pooler = like._pooler[0]
        return self.body

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, D) vectors of length 1."""
        hidden: torch.Tensor = self.body(**inputs).last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            mask = inputs["attention_mask"][:, :, None].to(hidden.dtype)
            pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1e-9)
        return functional.normalize(pooled.float(), dim=1)

    def forward(
        self,
        labels: torch.Tensor | None = None,
        right_besides: torch.Tensor | None = None,
        **inputs: torch.Tensor,
    ) -> SequenceClassifierOutput:
        """(B, 1) cosines as logits, and with labels the squared error as a loss.

        With `right_besides` (B, C) of each first text and all texts behind the first ones.
        """
        if right_besides is not None:
            vectors = self.embed(inputs)
            cosines = vectors[: len(right_besides)] @ vectors[len(right_besides) :].T
            return SequenceClassifierOutput(logits=cosines.masked_fill(right_besides, LOWEST))
        first, second = self.embed(inputs).chunk(2)
        cosines = (first * second).sum(dim=1)
        loss = None if labels is None else functional.mse_loss(cosines, labels.float())
        return SequenceClassifierOutput(loss=loss, logits=cosines[:, None])

    def get_input_embeddings(self) -> nn.Module:
        """The body's."""
        found: nn.Module = self.body.get_input_embeddings()
        return found

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """As the body does."""
        self.body.gradient_checkpointing_enable(**options)

    def enable_input_require_grads(self) -> None:
        """As the body does."""
        self.body.enable_input_require_grads()

    def _init_weights(self, module: nn.Module) -> None:
        self.body._init_weights(module)


class AutoModelForSentenceSimilarity:
    """A body of transformers as an encoder of pairs, pooled as its folder says."""

    @staticmethod
    def from_pretrained(folder: Any, **options: Any) -> Any:
        """The encoder of a folder; with `output_loading_info`, that too."""
        found = AutoModel.from_pretrained(folder, **options)
        pooling = pooling_of(Path(folder))
        if not isinstance(found, tuple):
            return PairEncoder(found, pooling)
        body, info = found
        missing = {f"body.{key}" for key in info["missing_keys"]}
        return PairEncoder(body, pooling), {**info, "missing_keys": missing}

    @staticmethod
    def from_config(config: Any, **options: Any) -> PairEncoder:
        """An encoder of this shape."""
        return PairEncoder(
            AutoModel.from_config(config, **options), getattr(config, POOLING, POOLINGS[0])
        )


def pooling_of(folder: Path) -> str:
    """How a folder's embeddings are pooled: as its layout says, or by the mean."""
    named = _poolings(folder)
    return named[0] if len(named) == 1 and named[0] in POOLINGS else POOLINGS[0]


def layout_faults(folder: Path) -> list[str]:
    """What a folder's layout asks for that is not done to embeddings here."""
    named, faults = _poolings(folder), []
    if named and (len(named) > 1 or named[0] not in POOLINGS):
        faults.append(
            f"pools the vectors of tokens by {' and '.join(named)} ({POOLING_FILE}); name a model"
            f" that does by {' or '.join(POOLINGS)}"
        )
    modules = _read(folder / MODULES)
    types = [str(one.get("type", "")).rsplit(".", 1)[-1] for one in modules or []]
    others = [name for name in types if name not in KNOWN_MODULES]
    if others:
        faults.append(
            f"has a layer {others[0]} behind its body ({MODULES}), which AutoModel does not load;"
            " name a model whose embeddings are its body's"
        )
    return faults


def _poolings(folder: Path) -> list[str]:
    """The ways of pooling that a layout names, in either of its forms; none where there is none."""
    content = _read(folder / POOLING_FILE)
    if not isinstance(content, dict):
        return []
    named = content.get("pooling_mode")
    if named is None:
        return [way for way, key in POOLING_KEYS.items() if content.get(key)]
    return [str(way) for way in ([named] if isinstance(named, str) else named)]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(
            f"The base model's {path.name} cannot be read.",
            where=str(path),
            got=str(error),
            do="name another base_model, or correct that file of it",
        ) from None


def write_layout(folder: Path, *, pooling: str, dimension: int, max_length: int) -> None:
    """The files of sentence-transformers beside a saved body; its length 1 is made there too."""
    ways = {key: way == pooling for way, key in POOLING_KEYS.items()}
    parts = ("Transformer", "Pooling", "Normalize")
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": f"{place}_{name}" if place else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for place, name in enumerate(parts)
    ]
    files: Mapping[str, Any] = {
        MODULES: modules,
        POOLING_FILE: {"word_embedding_dimension": dimension, **ways, "include_prompt": True},
        LENGTH_FILE: {"max_seq_length": max_length, "do_lower_case": False},
        SETTINGS_FILE: {
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
