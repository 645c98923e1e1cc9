"""Layout of sequences laid end to end: segments that do not see each other, cut into blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

QUERIES = 96
"""Queries per block: measured best of 64 to 1024 for lengths of 60 to 1020 (docs/log.md)."""


@dataclass(frozen=True)
class Segment:
    """Tokens from `start` to `end` attend to the prefix, whole, and to themselves, causally."""

    start: int
    end: int
    prefix_start: int = 0
    prefix_end: int = 0

    @property
    def size(self) -> int:
        """Tokens of its own."""
        return self.end - self.start

    @property
    def prefix(self) -> int:
        """Tokens of the prompt before it."""
        return self.prefix_end - self.prefix_start


@dataclass(frozen=True)
class Block:
    """Some queries of a segment and the keys they see: its prefix, and its own up to theirs."""

    segment: Segment
    start: int
    end: int
    window: int | None
    """How many tokens back a query sees, itself included; None is all."""

    @property
    def own_start(self) -> int:
        """The first key of the segment itself that any of these queries sees."""
        if self.window is None:
            return self.segment.start
        return max(self.segment.start, self.start - self.window + 1)

    @property
    def num_keys(self) -> int:
        """Prefix and own."""
        return self.segment.prefix + self.end - self.own_start

    def bias(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(queries, keys) 0 where a query sees a key and minus infinity where not."""
        segment = self.segment
        before = torch.arange(-segment.prefix, 0, device=device)
        keys = torch.cat(
            [before, torch.arange(self.own_start, self.end, device=device) - segment.start]
        )
        queries = torch.arange(self.start, self.end, device=device) - segment.start
        distance = queries[:, None] - keys[None, :]
        hidden = distance < 0
        if self.window is not None:
            hidden |= distance >= self.window
        bias = torch.zeros(hidden.shape, dtype=dtype, device=device)
        return bias.masked_fill_(hidden, float("-inf"))


@dataclass(frozen=True)
class Layout:
    """The segments of a part in order; together they are its tokens."""

    segments: tuple[Segment, ...]
    _made: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def num_tokens(self) -> int:
        """Tokens of the whole part."""
        return self.segments[-1].end

    def blocks(self, window: int | None = None) -> tuple[Block, ...]:
        """All queries in blocks; made once for all layers."""
        if window is not None and window >= self._longest:
            window = None
        key = ("blocks", window)
        if key not in self._made:
            self._made[key] = tuple(self._cut(window))
        return self._made[key]  # type: ignore[no-any-return]

    def bias(self, block: Block, groups: int, like: torch.Tensor) -> torch.Tensor:
        """(1, groups * queries, keys) for query heads that share keys; made once by shape."""
        offset = block.start - block.segment.start
        shape = (offset, block.end - block.start, block.num_keys, block.segment.prefix)
        key = (*shape, block.window, groups, like.dtype, like.device)
        if key not in self._made:
            self._made[key] = block.bias(like.dtype, like.device).repeat(groups, 1)[None]
        found: torch.Tensor = self._made[key]
        return found

    @cached_property
    def _longest(self) -> int:
        return max(segment.prefix + segment.size for segment in self.segments)

    def _cut(self, window: int | None) -> Iterator[Block]:
        for segment in self.segments:
            for start in range(segment.start, segment.end, QUERIES):
                yield Block(segment, start, min(start + QUERIES, segment.end), window)
