import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.api import CheckpointException

from hub_trainer.finetune import sharded_state
from tests.finetune.tiny import bert


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("act", ["save", "load"])
def test_disk_when_it_fails_under_a_split_model_then_its_own_error_is_raised(
    act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        full = OSError(errno.ENOSPC, "No space left on device")
        raise CheckpointException("write", {1: (full, None)})  # type: ignore[dict-item]

    model = bert()
    optimizer = torch.optim.AdamW(model.parameters())
    sharded_state.save_sharded(tmp_path, model, optimizer)
    monkeypatch.setattr(sharded_state.dcp, act, fails)
    again = {
        "save": lambda: sharded_state.save_sharded(tmp_path, model, optimizer),
        "load": lambda: sharded_state.load_weights(tmp_path, model),
    }[act]
    with pytest.raises(OSError, match="No space left on device"):
        again()
