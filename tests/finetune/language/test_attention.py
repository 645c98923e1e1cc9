import pytest
import torch

from hub_trainer.finetune.language import attention
from hub_trainer.finetune.language.attention import attend, fused
from hub_trainer.finetune.language.sequence_layout import QUERIES, Layout, Segment

LONG = QUERIES + 7
LAYOUT = Layout(
    (
        Segment(0, 9),
        Segment(9, 9 + LONG),
        Segment(9 + LONG, 14 + LONG, 9, 20),
        Segment(14 + LONG, 15 + LONG),
    )
)


def heads(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    tokens = LAYOUT.num_tokens
    shapes = [(1, tokens, 6, 8), (1, tokens, 2, 8), (1, tokens, 2, 8)]
    return [torch.randn(s, dtype=dtype).transpose(1, 2).requires_grad_() for s in shapes]


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
) -> torch.Tensor:
    """Token by token, as it is defined."""
    key, value = (t.repeat_interleave(3, dim=1) for t in (key, value))
    rows = []
    for segment in LAYOUT.segments:
        before = list(range(segment.prefix_start, segment.prefix_end))
        for t in range(segment.start, segment.end):
            seen = [*before, *range(segment.start, t + 1)][-(window or 10**9) :]
            scores = (query[:, :, t, None] * key[:, :, seen]).sum(-1) * 8**-0.5
            rows.append((scores.softmax(-1)[..., None] * value[:, :, seen]).sum(2))
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("window", [None, 4, 60])
@pytest.mark.parametrize("kept", [0, 10**6])
@pytest.mark.parametrize("way", ["blocks", "fused"])
def test_each_token_sees_its_prefix_and_its_own_past_only(
    way: str, kept: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "KEPT_KEYS", kept)
    tensors = heads()
    expected = plain(*tensors, window)
    seed = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, tensors, seed)
    if way == "blocks":
        found, _ = attend(torch.nn.Identity(), *tensors, None, layout=LAYOUT, sliding_window=window)
    else:
        found = fused(*tensors, LAYOUT, window, 8**-0.5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for one, other in zip(torch.autograd.grad(found, tensors, seed), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_bfloat16_is_as_close_as_its_own_precision() -> None:
    tensors = heads(torch.bfloat16)
    found, _ = attend(torch.nn.Identity(), *tensors, None, layout=LAYOUT)
    expected = plain(*(t.double() for t in tensors), None)
    assert found.dtype == torch.bfloat16
    assert (found.double() - expected).abs().max().item() < 0.03
    gradients = torch.autograd.grad(found.sum(), tensors)
    assert all(g.dtype == torch.bfloat16 for g in gradients)


@pytest.mark.parametrize("mixed", [True, False])
def test_under_autocast_heads_are_multiplied_as_autocast_says(mixed: bool) -> None:
    query, key, value = heads(torch.float32)
    given = value.bfloat16() if mixed else value  # rotated heads may come in float32 beside it
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attend(torch.nn.Identity(), query, key, given, None, layout=LAYOUT)
    expected = plain(query.double(), key.double(), value.double(), None)
    assert found.dtype == torch.bfloat16
    assert (found.double() - expected).abs().max().item() < 0.05
    gradients = torch.autograd.grad(found.float().sum(), (query, key, value))
    wanted = torch.autograd.grad(expected.sum(), (query, key, value))
    for one, other in zip(gradients, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max().item() < 0.1 * other.abs().max().item()


def test_biases_are_made_once_for_equal_blocks() -> None:
    layout = Layout((Segment(0, 9), Segment(9, 18), Segment(18, 27)))
    like = torch.zeros(1)
    biases = {id(layout.bias(block, 2, like)) for block in layout.blocks()}
    assert len(biases) == 1


@pytest.mark.parametrize("odd", [{"softcap": 30.0}, {"dropout": 0.1}])
def test_attention_of_another_kind_is_not_pretended(odd: dict[str, float]) -> None:
    with pytest.raises(NotImplementedError, match=next(iter(odd))):
        attend(torch.nn.Identity(), *heads(), None, layout=LAYOUT, **odd)
