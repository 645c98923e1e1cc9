"""Language models in and out of folders: in the right precision, as adapters, merged with proof."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
)

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.compute_dtype import WIDE, fast_bfloat16
from hub_trainer.finetune.methods import merge_adapter, quantization_config, with_adapter
from hub_trainer.recipe.method_table import METHODS, MethodName

Quantization = Literal["4bit", "8bit"]
ROUNDING = 0.1
"""Share of what the adapter changed in the logits that rounding to the base's dtype may undo."""


@dataclass(frozen=True)
class MergeReport:
    """How a merged model compares with its parts, in logits of the examples."""

    max_difference: float
    """Largest difference from the model with its adapter."""
    moved: float
    """Largest difference of the model with its adapter from its base."""
    dtype: str


def load_language_model(
    folder: Path,
    method: MethodName,
    *,
    quantization: Quantization | None = None,
    adapter_dir: Path | None = None,
    bfloat16: bool | None = None,
) -> Any:
    """A causal model for training by this method; with an adapter, that is what goes on learning.

    Frozen weights under an adapter are bfloat16 where that is faster, or as `bfloat16` says.
    Weights that learn are float32.
    """
    if METHODS[method].quantized != (quantization is not None):
        raise TrainingError(
            "Method qlora needs a quantized base model, and no other method takes one.",
            got=f"method {method}, quantization {quantization}",
            do="use method qlora with 4bit or 8bit, or leave quantization away",
        )
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    options: dict[str, Any] = {"dtype": training_dtype(method, width_of(config), bfloat16=bfloat16)}
    if quantization is not None:
        # It says at each multiplication that it casts to float16.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        options |= {"quantization_config": _quantization(quantization), "device_map": device}
    model = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, **options
    )
    return model if adapter_dir is None else with_adapter(model, adapter_dir, learns=True)


def new_language_model(folder: Path, *, seed: int) -> Any:
    """A model of the folder's architecture with random weights, answering as the folder says."""
    options = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(folder, **options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
    model.generation_config = generation_config(folder)
    return model


def generation_config(folder: Path) -> Any:
    """How the folder's model generates: its own file, or what its config implies."""
    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return GenerationConfig.from_model_config(config)


def training_dtype(
    method: MethodName, width: int = WIDE, *, bfloat16: bool | None = None
) -> torch.dtype:
    """Data type of the weights as they are loaded, of a model whose layers are so wide.

    `bfloat16` is what the recipe says of it; without a word the machine decides.
    """
    if not METHODS[method].adapter:
        return torch.float32
    low = fast_bfloat16(width) if bfloat16 is None else bfloat16
    return torch.bfloat16 if low else torch.float32


def width_of(config: Any) -> int:
    """Width of a model's layers, by its config."""
    return int(getattr(config.get_text_config(), "hidden_size", None) or WIDE)


def _quantization(quantization: Quantization) -> Any:
    if quantization == "4bit":
        return quantization_config()
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["lm_head"])


def save_adapter(model: Any, folder: Path, *, base_model: str, commit_sha: str) -> None:
    """The adapter alone, naming the base that it belongs to by its commit."""
    (config,) = model.peft_config.values()
    config.base_model_name_or_path, config.revision = base_model, commit_sha
    config.task_type = "CAUSAL_LM"
    # "auto" would ask the Hub for the base's vocabulary; modules_to_save are saved anyway.
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    # PEFT's own card names the folder that the base was loaded from.
    (folder / "README.md").unlink()


def merge_language_adapter(
    base_dir: Path,
    adapter_dir: Path,
    out_dir: Path,
    *,
    examples: Mapping[str, torch.Tensor],
) -> MergeReport:
    """Fold an adapter into its base, in float32 whatever it was trained over, and save it.

    It is saved in the base's own dtype once its logits on the examples prove to be those of base
    and adapter, and not the base's.
    """
    options = {"trust_remote_code": False, "local_files_only": True}
    dtype = AutoConfig.from_pretrained(base_dir, **options).dtype or torch.float32
    base = AutoModelForCausalLM.from_pretrained(
        base_dir, dtype=torch.float32, use_safetensors=True, **options
    ).eval()
    before = _logits(base, examples)
    adapted = with_adapter(base, adapter_dir, learns=False).eval()
    wanted = _logits(adapted, examples)
    merged: Any = merge_adapter(adapted, examples)
    # There and back: what the rounded weights answer, without the rounding of every layer.
    rounded = merged.to(dtype).to(torch.float32)
    report = MergeReport(
        float((_logits(rounded, examples) - wanted).abs().max()),
        float((wanted - before).abs().max()),
        str(dtype).removeprefix("torch."),
    )
    _check_rounding(report)
    rounded.config._name_or_path = ""
    rounded.to(dtype).save_pretrained(out_dir, safe_serialization=True)
    return report


@torch.no_grad()
def _logits(model: nn.Module, examples: Mapping[str, torch.Tensor]) -> torch.Tensor:
    logits: torch.Tensor = model(**examples).logits
    return logits


def _check_rounding(report: MergeReport) -> None:
    if report.max_difference <= ROUNDING * report.moved:
        return
    raise TrainingError(
        f"In {report.dtype} the merged model has lost what the adapter learned.",
        got=f"rounding changes a logit by up to {report.max_difference:.2g}, the adapter by up to"
        f" {report.moved:.2g}",
        do="publish the adapter itself, or train it for longer",
    )
