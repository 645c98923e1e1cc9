"""One process of a run under torchrun whose last process has too little memory, or is killed.

torchrun --nproc_per_node 2 tests/finetune/short_of_memory.py FOLDER [KILL_AT_STEP]
"""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.trainer import FitTrainer
from tests.finetune.test_engine import ShortOfMemory
from tests.finetune.tiny import text_data


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    stop = int(sys.argv[2]) if len(sys.argv) > 2 else None
    counted = FitTrainer._count_step

    def count_step(trainer: FitTrainer) -> None:
        counted(trainer)
        if trainer.state.global_step == stop and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    FitTrainer._count_step = count_step  # type: ignore[method-assign]
    arguments = {"per_device_train_batch_size": 8, "max_steps": 4, "logging_steps": 1}
    arguments |= {"save_strategy": "steps", "save_steps": 1}
    model = ShortOfMemory(5 if rank and not stop else 99, 2)
    fit = FitPlan("full", arguments)
    _, report = fine_tune(
        model, text_data(validation=None), fit, out_dir=folder, run_digest="short"
    )
    if rank == 0:
        (folder / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")


if __name__ == "__main__":
    main()
