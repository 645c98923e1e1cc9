"""Methods of fine-tuning: the parameters that each trains, found in the model's own structure."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hub_trainer.errors import Problem, RecipeError, TrainingError
from hub_trainer.recipe.method_table import METHODS, MethodName

DEFAULT_LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
MERGE_TOLERANCE = 1e-4
"""Of a logit, or a part of it where it is over 1: a model of prices says thousands."""


@dataclass(frozen=True)
class TrainableReport:
    """What a method left trainable."""

    method: MethodName
    trainable_parameters: int
    total_parameters: int
    names: tuple[str, ...]


def apply_method(
    model: nn.Module,
    method: MethodName,
    *,
    lora: Mapping[str, Any] | None = None,
    last_n: int | None = None,
    new_blocks: int = 0,
) -> tuple[nn.Module, TrainableReport]:
    """Freeze, thaw or wrap; the model that comes back is the one to train (a new one for LoRA).

    A model that has an adapter already keeps training that one.
    """
    facts = METHODS[method]
    if facts.adapter:
        if not hasattr(model, "peft_config"):
            # Without memory nothing is quantized; the layers that learn are the same.
            quantized = facts.quantized and not next(model.parameters()).is_meta
            model = _add_adapter(model, lora or DEFAULT_LORA, quantized=quantized)
    elif facts.head_only or facts.last_blocks:
        model.requires_grad_(False)
        for parameter in _head_parameters(model, needed=facts.head_only):
            parameter.requires_grad_(True)
        if facts.last_blocks:
            _thaw_last_blocks(model, last_n)
    else:
        model.requires_grad_(True)
        if facts.new_blocks:
            _renew_last_blocks(model, new_blocks)
    return model, _report(model, method)


def with_adapter(model: nn.Module, adapter_dir: Path, *, learns: bool) -> Any:
    """The model with a saved adapter, which goes on learning or only answers."""
    from peft import PeftModel, prepare_model_for_kbit_training

    if learns and getattr(model, "is_quantized", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    with _renamed_in_transformers():
        return PeftModel.from_pretrained(model, adapter_dir, is_trainable=learns)


def same_adapter(model: nn.Module, adapter_dir: Path) -> nn.Module:
    """The model with a new adapter of the shape of a saved one, to count its parameters."""
    from peft import PeftConfig, get_peft_model

    config = PeftConfig.from_pretrained(adapter_dir)
    config.inference_mode, config.base_model_name_or_path = False, None
    with _renamed_in_transformers():
        return get_peft_model(model, config)


@contextmanager
def _renamed_in_transformers() -> Iterator[None]:
    """Within, peft 0.21 may read a name that transformers 5.23 has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        yield


def base_of(model: nn.Module) -> nn.Module:
    """The pretrained body of a model that has a head on top.

    A classifier that took over the encoder alone, as Whisper's, has it under that name.
    """
    body = getattr(model, "base_model", model)
    if body is model and hasattr(model, "classifier"):
        body = getattr(model, "encoder", model)
    assert isinstance(body, nn.Module)
    return body


def pooler_of(body: nn.Module) -> nn.Module | None:
    """The layer by which some bodies sum up a text for the head, if it has parameters.

    It is trained with the head: encoders for masked words or for sentences never trained theirs
    (Banking77, 1,000 rows, MiniLM: accuracy 0.40 with it frozen, 0.79 with it trained).
    """
    pooler = getattr(body, "pooler", None)
    return pooler if isinstance(pooler, nn.Module) and [*pooler.parameters()] else None


def resting_modules(model: nn.Module) -> list[nn.Module]:
    """Frozen parts, to keep in evaluation mode: no dropout, no moving batch statistics.

    Under an adapter the frozen layers do learn, so only their batch statistics rest.
    """
    resting = [module for module in model.modules() if _rests(module)]
    if hasattr(model, "peft_config"):
        return [module for module in resting if hasattr(module, "running_mean")]
    return list({id(part): part for module in resting for part in module.modules()}.values())


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes, by name: trainable parameters and every saved buffer."""
    state = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    kept = model.state_dict(keep_vars=True)
    state |= {name: b.detach() for name, b in model.named_buffers() if name in kept}
    return state


def quantization_config(model_type_head: tuple[str, ...] = ("classifier", "score")) -> Any:
    """4-bit NF4 with double quantization; the head named stays in full precision."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", *model_type_head],
    )


def merge_adapter(model: nn.Module, example_inputs: Mapping[str, torch.Tensor]) -> nn.Module:
    """Fold a LoRA adapter into its base, proved on the examples: same outputs, changed weights."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        do = "leave train.language.merge out, or train an adapter: train.method=lora"
        raise TrainingError("There is no adapter to merge.", got=type(model).__name__, do=do)
    if getattr(model, "is_quantized", False) or getattr(base_of(model), "is_quantized", False):
        raise TrainingError(
            "An adapter cannot be merged into a quantized base without loss.",
            do="load the base model in float32 or bfloat16, put the adapter on it and merge that",
        )
    model.eval()
    with torch.no_grad():
        adapted = model(**example_inputs).logits
        base = _without_adapter(model, example_inputs)
        merged = model.merge_and_unload()
        size = max(1.0, float(adapted.abs().max()))
        difference = float((merged(**example_inputs).logits - adapted).abs().max()) / size
    moved = float((base - adapted).abs().max())
    _check_merge(difference, moved)
    merged.requires_grad_(True)
    return merged


def _check_merge(difference: float, moved: float) -> None:
    if not difference < MERGE_TOLERANCE:
        raise TrainingError(
            "The merged model does not answer like the model with its adapter.",
            got=f"a logit differs by {difference:.2g} of its size, allowed {MERGE_TOLERANCE}",
            do="publish the adapter itself, or train it on a float32 base",
        )
    if moved == 0:
        raise TrainingError(
            "The merged model is the base model: the adapter changes nothing.",
            do="check that training ran (steps, learning_rate) and that target_modules are used",
        )


def _without_adapter(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, ...) logits of the trained head on the untouched body."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.scale_layer(0.0)
    try:
        return model(**inputs).logits
    finally:
        for layer in layers:
            layer.unscale_layer()


def _report(model: nn.Module, method: MethodName) -> TrainableReport:
    names = tuple(name for name, p in model.named_parameters() if p.requires_grad)
    if not names:
        told, do = f"Method {method} leaves nothing to train.", "choose another train.method"
        raise TrainingError(told, got=type(model).__name__, do=do)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    trainable = sum(sizes[name] for name in names)
    return TrainableReport(method, trainable, sum(sizes.values()), names)


def _rests(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def _head_parameters(model: nn.Module, *, needed: bool) -> list[nn.Parameter]:
    """Those beside the body; a language model whose output layer is its embedding has none."""
    body = base_of(model)
    inside = {id(parameter) for parameter in body.parameters()}
    head = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    pooler = pooler_of(body)
    if head and pooler is not None:
        head += pooler.parameters()
    if needed and not head:
        raise TrainingError(
            "This model has no head of its own to train.",
            got=type(model).__name__,
            do="use method full or lora",
        )
    return head


def _head_names(model: nn.Module) -> list[str]:
    """Children beside the body that hold parameters, and the body's pooler.

    None for a language model: its output layer was trained with the body.
    """
    get_output = getattr(model, "get_output_embeddings", None)
    if get_output is not None and get_output() is not None:
        return []
    body = base_of(model)
    children = [(name, child) for name, child in model.named_children() if child is not body]
    names = [name for name, child in children if [*child.parameters()]]
    return names if pooler_of(body) is None else [*names, "pooler"]


def _thaw_last_blocks(model: nn.Module, last_n: int | None) -> None:
    blocks = list(blocks_of(model))
    if last_n is None or not 0 < last_n <= len(blocks):
        problem = f"train.last_n must be from 1 to {len(blocks)} for {type(model).__name__}"
        found = "nothing" if last_n is None else str(last_n)
        raise RecipeError(
            [Problem("train.last_n", f"{problem}, found {found}")], source="train.method last_n"
        )
    first = next(blocks[-last_n].parameters())
    thawed = False
    for parameter in base_of(model).parameters():
        thawed = thawed or parameter is first
        # What comes after the blocks (a last norm, a pooler) is trained with them.
        if thawed:
            parameter.requires_grad_(True)


def _renew_last_blocks(model: nn.Module, new_blocks: int) -> None:
    blocks = list(blocks_of(model))
    if new_blocks >= len(blocks):
        key = "train.hybrid.new_blocks"
        text = f"{key} must leave some of the base's {len(blocks)} blocks, found {new_blocks}"
        text += "; method scratch renews all"
        raise RecipeError([Problem(key, text)], source="train.method hybrid")
    for block in blocks[len(blocks) - new_blocks :]:
        renew(model, block)


def renew(model: Any, part: nn.Module) -> None:
    """Random weights for a part of a model of transformers, as its architecture has them."""
    for module in part.modules():
        for tensor in module.parameters(recurse=False):
            tensor._is_hf_initialized = False
        model._init_weights(module)


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The body's repeated blocks in order; stages of a pyramid are opened into their layers."""
    lists = block_lists(model)
    if not lists:
        raise TrainingError(
            "No repeated blocks were found in this model.",
            got=type(base_of(model)).__name__,
            do="use method head, full or lora",
        )
    for child in max(lists, key=lambda found: sum(p.numel() for p in found.parameters())):
        yield from open_stage(child)


def block_lists(model: Any) -> list[nn.ModuleList]:
    """Lists of modules of one kind in the model's body, its adapter or not."""
    body = base_of(model.get_base_model() if hasattr(model, "get_base_model") else model)
    return [m for m in body.modules() if isinstance(m, nn.ModuleList) and _repeats(m)]


def open_stage(block: nn.Module) -> Iterator[nn.Module]:
    """The layers of a stage of a pyramid; any other block is its own."""
    if not type(block).__name__.endswith("Stage"):
        yield block
        return
    containers = [c for c in block.children() if isinstance(c, nn.ModuleList | nn.Sequential)]
    yield from max(containers, key=lambda c: sum(p.numel() for p in c.parameters())).children()


def _repeats(modules: nn.ModuleList) -> bool:
    return len(modules) > 0 and len({type(module) for module in modules}) == 1


PAST_THE_ADAPTER: Mapping[str | None, tuple[str, ...]] = dict.fromkeys(
    ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"), ("out_proj",)
)
"""Kind of model -> layers whose weights its fused kernels read past an adapter; PEFT refuses them
(huggingface/peft#2562)."""


def _add_adapter(model: nn.Module, lora: Mapping[str, Any], *, quantized: bool) -> nn.Module:
    from peft import get_peft_model, prepare_model_for_kbit_training

    options = dict(lora)
    everywhere = options.get("target_modules", "all-linear") == "all-linear"
    _check_targets(model, {**options, "target_modules": None} if everywhere else options)
    if everywhere:
        options["target_modules"] = _adapter_targets(model)
    options.setdefault("modules_to_save", _head_names(model) or None)
    config = _lora_config(options)
    if quantized:
        if not getattr(model, "is_quantized", False):
            raise TrainingError(
                "Method qlora needs a base model loaded in 4 bits.",
                got=f"{type(model).__name__} in {next(model.parameters()).dtype}",
                do="load it with quantization_config(), or use method lora",
            )
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    try:
        with _renamed_in_transformers():
            return get_peft_model(model, config)
    except ValueError as error:
        raise _unusable_lora(error) from error


def _unusable_lora(error: Exception) -> RecipeError:
    first = str(error).strip().splitlines()[0]
    return RecipeError([Problem("train.lora", f"peft refuses it: {first}")], source="train.lora")


def _lora_config(options: dict[str, Any]) -> Any:
    from peft import LoraConfig

    known = list(LoraConfig.__dataclass_fields__)
    problems = [
        Problem(f"train.lora.{key}", _unknown(f"train.lora.{key}", key, known))
        for key in options
        if key not in known
    ]
    if problems:
        raise RecipeError(problems, source="train.lora")
    try:
        return LoraConfig(**options)
    except (TypeError, ValueError) as error:
        raise _unusable_lora(error) from error


def _unknown(path: str, key: str, known: list[str]) -> str:
    close = get_close_matches(key, known, 1)
    return f"{path} is not a setting." + (f" Did you mean {close[0]}?" if close else "")


def _adapter_targets(model: nn.Module) -> list[str]:
    """Every linear layer of the body, or every plain convolution where there is none."""
    body = base_of(model)
    pooler = pooler_of(body)
    beside = {id(module) for module in (pooler.modules() if pooler is not None else ())}
    known = {id(module) for module in body.modules()} - beside
    inside = [(name, module) for name, module in model.named_modules() if id(module) in known]
    unfit = PAST_THE_ADAPTER.get(getattr(getattr(model, "config", None), "model_type", None), ())
    linear = [
        name
        for name, module in inside
        if isinstance(module, nn.Linear | Conv1D) and name.rpartition(".")[2] not in unfit
    ]
    plain = [n for n, module in inside if isinstance(module, nn.Conv2d) and module.groups == 1]
    if not linear and not plain:
        raise TrainingError(
            "No layer of this model can carry a LoRA adapter.",
            got=type(model).__name__,
            do="use method full, last_n or head",
        )
    return linear or plain


def _check_targets(model: nn.Module, options: Mapping[str, Any]) -> None:
    """Names that match nothing, and layers that another layer shares its weights with."""
    problems, tied = [], _tied_names(model)
    for key in ("train.lora.target_modules", "train.lora.modules_to_save"):
        wanted = options.get(key.rpartition(".")[2]) or []
        for target in [wanted] if isinstance(wanted, str) else wanted:
            try:
                found = _matching(model, target, is_pattern=isinstance(wanted, str))
            except re.error as error:
                problems.append(Problem(key, f"{target!r} is no regular expression: {error}"))
                continue
            if not found:
                problems.append(Problem(key, f"{target!r} matches no module of the model"))
            for name in found & tied:
                problems.append(Problem(key, f"{target!r} names {name}, {SHARED}"))
    if problems:
        raise RecipeError(problems, source="train.lora.target_modules")


SHARED = (
    "whose weights are those of the embeddings too (tie_word_embeddings); what an adapter learns"
    " there cannot be merged. Name layers of the body, or all-linear"
)


def _matching(model: nn.Module, target: str, *, is_pattern: bool) -> set[str]:
    """Modules that peft takes a target for: by pattern all of a name, else its end."""
    names = [name for name, _ in model.named_modules()]
    if is_pattern:
        return {name for name in names if re.fullmatch(target, name)}
    return {name for name in names if name == target or name.endswith(f".{target}")}


def _tied_names(model: nn.Module) -> set[str]:
    """The output layer and the embeddings where they share their weights."""
    config = getattr(model, "config", None)
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None or not getattr(config, "tie_word_embeddings", False):
        return set()
    shared = {id(head), id(model.get_input_embeddings())}
    return {name for name, module in model.named_modules() if id(module) in shared}
