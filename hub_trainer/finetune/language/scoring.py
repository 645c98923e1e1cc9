"""The model's log-probability of each answer of a part, and whether it can be had densely.

Legend: T tokens of a part, N learned tokens, R rows of a part, K answers per row, D hidden size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.evaluation import evaluation_mode
from hub_trainer.finetune.language.attention import segment_attention
from hub_trainer.finetune.language.log_probs import Head, LogitShape, token_log_probs
from hub_trainer.finetune.language.packing import Packing, Part, pack

PROBE_LENGTHS = ((5, 9, 4), (0, 7, 7), (11, 6, 3))
"""(prompt, answer, answer): three prompts, one of them empty, with two answers each."""
TOLERANCE = {torch.bfloat16: 0.2, torch.float16: 0.05}
EXACT_TOLERANCE = 2e-3
"""Share of the spread of the log-probabilities. A sequence that sees another differs by about 1."""


def answer_log_probs(model: nn.Module, part: Part) -> torch.Tensor:
    """(R, K) sums over the learned tokens of each answer; (N,) tokens become their sums."""
    found = _token_log_probs(model, part)
    sums = found.new_zeros(len(part.members) * part.num_answers)
    return sums.index_add(0, part.places, found).view(-1, part.num_answers)


def _token_log_probs(model: nn.Module, part: Part) -> torch.Tensor:
    """(N,) of the learned tokens, made where the output layer is called; the model returns them.

    Only there are the weights of a split model whole, and only through its own output does its
    backward pass gather them again. The layer itself runs for one token.
    """
    layer, shape, caught = output_layer(model), logit_shape(model), []
    device = part.input_ids.device.type
    low = torch.is_autocast_enabled(device)

    def score(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0]
        chosen = hidden.reshape(-1, hidden.shape[-1])[part.sources]
        # As exact as it is outside of the model, where its own casts do not reach.
        with torch.autocast(device, enabled=low):
            head = Head(layer.weight, layer.bias, shape)
            caught.append(token_log_probs(chosen, head, part.targets))
        return (hidden[:1, :1], *args[1:])

    def give_back(*_: Any) -> torch.Tensor:
        return caught.pop()

    handles = [
        layer.register_forward_pre_hook(score),
        model.register_forward_hook(give_back, prepend=True),
    ]
    try:
        found: torch.Tensor = model(**part.model_inputs(), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def output_layer(model: nn.Module) -> nn.Linear:
    """The layer that makes logits; refused if it is not a plain one."""
    layer: Any = bare(model).get_output_embeddings()
    if hasattr(layer, "modules_to_save"):
        layer = layer.modules_to_save[layer.active_adapters[0]]
    if type(layer) is not nn.Linear:
        raise TrainingError(
            "The output layer of this model is not a plain linear one.",
            got=type(layer).__name__,
            do="leave it out of target_modules and of quantization; to train it whole, name it in"
            " modules_to_save",
        )
    return layer


def bare(model: nn.Module) -> Any:
    """The transformers model inside of what wraps it for processes and adapters."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def logit_shape(model: nn.Module) -> LogitShape:
    """Scale and soft cap, by the names that configurations have for them."""
    config = bare(model).config.get_text_config()
    scale = getattr(config, "logit_scale", None)
    scaling = getattr(config, "logits_scaling", None)
    if scale is None:
        scale = 1.0 if scaling is None else 1 / scaling
    names = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    cap = next((getattr(config, name) for name in names if hasattr(config, name)), None)
    return LogitShape(float(scale), cap)


@contextmanager
def scoring(model: nn.Module, *, dense: bool) -> Iterator[None]:
    """Within, the model takes the parts of this packing."""
    if not dense:
        yield
        return
    with segment_attention(bare(model)):
        yield


@torch.no_grad()
def can_be_dense(model: nn.Module) -> bool:
    """Tried and not assumed: whether sequences laid end to end score as they do alone.

    The padded way is compared with the model's own logits first, and must be right.
    """
    rows = _probe(bare(model).config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    (padded,) = pack(rows, Packing(10**6, dense=False))
    (dense,) = pack(rows, Packing(10**6))
    modes = {module: module.training for module in model.modules()}
    evaluation_mode(model)
    try:
        own = _own_log_probs(model, padded.to(device))
        alone = answer_log_probs(model, padded.to(device))
        if not _close(alone, own, model):
            raise TrainingError(
                "The logits of this model are not its output layer's.",
                got=f"{type(bare(model)).__name__} answers {float((own - alone).abs().max()):.2g}"
                " off in a log-probability",
                do="use another base model, or say in an issue which one this is",
            )
        if not bare(model)._can_set_attn_implementation():
            return False
        packed = _packed_log_probs(model, dense.to(device))
        return packed is not None and _close(packed, alone, model)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _packed_log_probs(model: nn.Module, part: Part) -> torch.Tensor | None:
    """None where the model's attention is of a kind that the packed one does not know."""
    try:
        with scoring(model, dense=True):
            found = answer_log_probs(model, part)
            # Dropout in attention shows in training only.
            with torch.random.fork_rng(devices=[]):
                model.train()
                answer_log_probs(model, part)
    except (NotImplementedError, TypeError, ValueError):
        return None
    return found


def _probe(vocabulary: int) -> list[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        found: list[int] = torch.randint(vocabulary, (count,), generator=random).tolist()
        return found

    return [
        {
            "prompt": ids(prompt),
            "answers": [ids(one), ids(other)],
            "trained": [[True] * one, [True] * other],
        }
        for prompt, one, other in PROBE_LENGTHS
    ]


def _own_log_probs(model: nn.Module, part: Part) -> torch.Tensor:
    logits = model(**part.model_inputs(), use_cache=False).logits
    found = logits.reshape(-1, logits.shape[-1])[part.sources].log_softmax(-1, dtype=torch.float32)
    sums = found.new_zeros(len(part.members) * part.num_answers)
    picked = found.gather(1, part.targets[:, None])[:, 0]
    return sums.index_add(0, part.places, picked).view(-1, part.num_answers)


def _close(found: torch.Tensor, expected: torch.Tensor, model: nn.Module) -> bool:
    tolerance = TOLERANCE.get(output_layer(model).weight.dtype, EXACT_TOLERANCE)
    spread = float(expected.std().clamp_min(1e-6))
    return bool((found - expected).abs().max() <= tolerance * spread)
