"""Several GPUs against one: `make gpu` on a machine that has them. Nothing here was run without.

Weights are gathered in bfloat16, so that losses agree to its precision and no further.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hub_trainer.ranks import Sharding
from tests.finetune.processes import together
from tests.finetune.split import Result, classifier, language_model

pytestmark = pytest.mark.gpu

LAYOUTS = {
    "ddp": (2, None),
    "fsdp2": (2, Sharding(2)),
    "kept": (2, Sharding(2, reshard_after_forward=False, activation_checkpointing=True)),
    "offload": (2, Sharding(2, offload=True)),
    "hsdp": (4, Sharding(2, replicas=2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("run", "name", "method"),
    [
        (classifier, "bert", "full"),
        (classifier, "resnet", "full"),
        (classifier, "llama", "lora"),
        (language_model, "sft", "full"),
        (language_model, "sft", "lora"),
        (language_model, "dpo", "lora"),
        (language_model, "kto", "full"),
    ],
)
def test_gpus_when_several_learn_then_losses_are_those_of_one(
    layout: str, run: Any, name: str, method: str, tmp_path: Path
) -> None:
    count, sharding = LAYOUTS[layout]
    # Asked of the driver: a process that has used CUDA itself can fork no others.
    if torch.cuda.device_count() < count:
        pytest.skip(f"needs {count} GPUs")
    batch = 16 if run is classifier else 8
    shape = (name, method, batch // count, sharding)
    [alone] = together(1, run, tmp_path, tmp_path / "one", name, method, batch, device="cuda")
    for found in together(count, run, tmp_path / "r", tmp_path / "all", *shape, device="cuda"):
        _assert_close(alone, found)


def _assert_close(alone: Result, found: Result) -> None:
    for key in ("loss", "eval_loss"):
        figures = [[e[key] for e in told if key in e] for told in (alone[1], found[1])]
        assert figures[0]
        np.testing.assert_allclose(*figures, rtol=2e-2, err_msg=key)
