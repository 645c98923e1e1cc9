import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from hub_trainer.finetune.language.norms import lean_norms
from tests.finetune.language.tiny import llama


def norm(dtype: torch.dtype, kind: type[nn.Module] = LlamaRMSNorm) -> nn.Module:
    torch.manual_seed(0)
    made = kind(16)
    made.weight.data = torch.randn(16)  # type: ignore[union-attr]
    return made.to(dtype).requires_grad_(False)


def outcome(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    out = model(x)
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    kept = seed.clone()
    (gradient,) = torch.autograd.grad(out, x, seed)
    assert torch.equal(seed, kept)
    return out.detach(), gradient


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float32, 1e-6), (torch.bfloat16, 0.02)],
)
def test_numbers_and_gradients_are_the_models_own(dtype: torch.dtype, precision: float) -> None:
    model, x = norm(dtype), 3 * torch.randn(2, 5, 16).to(dtype)
    before = x.clone()
    expected = outcome(model, x)
    with lean_norms(model) as replaced:
        found = outcome(model, x)
    assert replaced == 1
    assert torch.equal(x, before)
    assert "forward" not in vars(model)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one, other, rtol=precision, atol=precision)


def test_every_norm_of_a_frozen_model_is_replaced() -> None:
    model = llama().requires_grad_(False)
    with lean_norms(model) as replaced:
        assert replaced == 2 * 2 + 1


def test_norms_that_learn_or_work_otherwise_are_left_alone() -> None:
    with lean_norms(llama()) as replaced:
        assert replaced == 0
    with lean_norms(norm(torch.float32, Gemma2RMSNorm)) as replaced:
        assert replaced == 0
    # Llama's own goes through float32 and would differ.
    with lean_norms(norm(torch.float64)) as replaced:
        assert replaced == 0
    with lean_norms(nn.LayerNorm(16).requires_grad_(False)) as replaced:
        assert replaced == 0
