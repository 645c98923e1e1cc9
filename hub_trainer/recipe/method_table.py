"""Table of training methods: facts that code asks for, so that it compares no names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MethodName = Literal["head", "last_n", "full", "lora", "qlora", "scratch", "hybrid"]
"""The names of `METHODS`, spelled out for the type checker and the recipe's schema."""


@dataclass(frozen=True)
class Method:
    """What a method starts from and what it trains: by default, all of the base model."""

    name: MethodName
    learned: str
    """What learned, in the words of the model card."""
    needs_weights: bool = True
    """Training starts from the base model's weights, and not from random ones in its shape."""
    head_only: bool = False
    """The layers beside the body learn; what the body makes of a row stays the same."""
    last_blocks: bool = False
    """The head and the last blocks learn, as many as `train.last_n` says."""
    adapter: bool = False
    """Low-rank adapters learn beside frozen weights; `train.lora` shapes them."""
    quantized: bool = False
    """The frozen weights are held in the few bits of `train.language.quantization`."""
    new_blocks: bool = False
    """The last blocks start from random weights, as `train.hybrid` says."""

    @property
    def divides(self) -> bool:
        """Whether parts of a base model are treated unlike the others."""
        return self.head_only or self.last_blocks or self.adapter or self.new_blocks

    @property
    def learns_in_depth(self) -> bool:
        """Whether blocks of the base model learn, so that their rates may differ."""
        return self.needs_weights and not (self.head_only or self.adapter)


METHODS: Mapping[MethodName, Method] = {
    method.name: method
    for method in (
        Method("head", "only the head learned", head_only=True),
        Method("last_n", "the last blocks and the head learned", last_blocks=True),
        Method("full", "all parameters learned"),
        Method("lora", "low-rank adapters learned and were merged into the weights", adapter=True),
        Method(
            "qlora",
            "low-rank adapters learned over quantised weights and were merged into whole ones",
            adapter=True,
            quantized=True,
        ),
        Method("scratch", "all parameters learned from a random start", needs_weights=False),
        Method(
            "hybrid",
            "the head and the last blocks learned from a random start, the others from the base",
            new_blocks=True,
        ),
    )
}
"""Name in `train.method` -> the method."""
