"""Depth of parameters: which block they belong to, for rates that fall and blocks that wait."""

from collections.abc import Mapping

import torch
from torch import nn

from hub_trainer.errors import Problem, RecipeError, TrainingError
from hub_trainer.finetune.methods import base_of, blocks_of


def depths_of(model: nn.Module, new_blocks: int = 0) -> dict[nn.Parameter, int]:
    """Each parameter -> how many blocks of the base lie between it and the output.

    0 is the head, what follows the last block, and the new blocks; 1 the last block of the base;
    the embeddings are one deeper than the first block. Raises RecipeError for a model without
    blocks.
    """
    body = base_of(model)
    try:
        blocks = list(blocks_of(model))
    except TrainingError as error:
        text = "train.layer_decay: this model has no repeated blocks, so no depth; remove it"
        raise RecipeError([Problem("train.layer_decay", text)], source="train") from error
    deepest = len(blocks) - new_blocks + 1
    of_block = {
        parameter: max(0, deepest - 1 - number)
        for number, block in enumerate(blocks)
        for parameter in block.parameters()
    }
    last = list(blocks[-1].parameters())[-1]
    found, depth, is_past = dict.fromkeys(model.parameters(), 0), deepest, False
    for parameter in body.parameters():
        depth = 0 if is_past else of_block.get(parameter, depth)
        found[parameter] = depth
        is_past = is_past or parameter is last
    return found


def with_falling_rates(
    optimizer: torch.optim.Optimizer, depths: Mapping[nn.Parameter, int], decay: float
) -> None:
    """Split the optimizer's groups by depth; each has `decay` of the rate of the one above it.

    As in ELECTRA and BEiT. To be called before the first step, and before a scheduler is made.
    """
    groups = []
    for group in optimizer.param_groups:
        for depth in sorted({depths[parameter] for parameter in group["params"]}):
            parameters = [one for one in group["params"] if depths[one] == depth]
            groups.append({**group, "params": parameters, "lr": group["lr"] * decay**depth})
    optimizer.param_groups[:] = groups


def sleepers(
    depths: Mapping[nn.Parameter, int], epoch: float, unfreeze_epochs: float
) -> list[nn.Parameter]:
    """Parameters of the base whose turn to learn has not come; one block more wakes each time."""
    awake = int(epoch / unfreeze_epochs + 1e-6)
    return [parameter for parameter, depth in depths.items() if depth > awake]
