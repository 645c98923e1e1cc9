import pytest
import torch

from hub_trainer.finetune.language import log_probs
from hub_trainer.finetune.language.log_probs import Head, LogitShape, token_log_probs

SHAPES = [LogitShape(), LogitShape(0.5), LogitShape(2.0, 3.0)]


def pieces(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 6, dtype=dtype), torch.randn(9, 6, dtype=dtype)
    return hidden.requires_grad_(), weight, torch.randn(9, dtype=dtype), torch.randint(9, (11,))


def plain(
    hidden: torch.Tensor, head: Head, targets: torch.Tensor, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    assert head.bias is not None
    logits = (hidden @ head.weight.T + head.bias).to(dtype) * head.shape.scale
    if head.shape.softcap is not None:
        logits = torch.tanh(logits / head.shape.softcap) * head.shape.softcap
    return logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("learns", [True, False])
def test_chunks_give_the_numbers_and_gradients_of_the_whole(
    shape: LogitShape, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_probs, "CHUNK_ELEMENTS", 4 * 9)
    hidden, weight, bias, targets = pieces()
    learned = [hidden, *(t.requires_grad_() for t in (weight, bias) if learns)]
    head = Head(weight, bias, shape)
    expected, found = plain(hidden, head, targets), token_log_probs(hidden, head, targets)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    seed = torch.randn(11, dtype=torch.float64)
    wanted = torch.autograd.grad(expected, learned, seed)
    for one, other in zip(torch.autograd.grad(found, learned, seed), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_logits_are_never_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_probs, "CHUNK_ELEMENTS", 4 * 9)
    sizes, real = [], log_probs._logits

    def seen(*args: torch.Tensor) -> torch.Tensor:
        logits = real(*args)
        sizes.append(len(logits))
        return logits

    monkeypatch.setattr(log_probs, "_logits", seen)
    hidden, weight, bias, targets = pieces()
    token_log_probs(hidden, Head(weight, bias, LogitShape()), targets).sum().backward()
    assert sizes == [4, 4, 3]


def test_frozen_head_works_once_and_a_learning_one_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], log_probs._logits
    monkeypatch.setattr(log_probs, "_logits", lambda *a: (calls.append(1), real(*a))[1])
    hidden, weight, bias, targets = pieces()
    for learns, expected in ((False, 1), (True, 2)):
        calls.clear()
        weight.requires_grad_(learns)
        token_log_probs(hidden, Head(weight, bias, LogitShape()), targets).sum().backward()
        assert len(calls) == expected


def test_bfloat16_states_give_float32_log_probabilities() -> None:
    hidden, weight, bias, targets = pieces(torch.bfloat16)
    head = Head(weight, bias, LogitShape())
    found = token_log_probs(hidden, head, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, plain(hidden, head, targets, torch.float32), rtol=0, atol=0.05
    )
    found.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16


def test_autocast_multiplies_in_its_dtype() -> None:
    hidden, weight, bias, targets = pieces(torch.float32)
    head = Head(weight.requires_grad_(), bias, LogitShape())
    exact = token_log_probs(hidden, head, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = token_log_probs(hidden, head, targets)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.1)
    found.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
