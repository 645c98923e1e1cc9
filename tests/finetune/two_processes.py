"""One process of a run under torchrun: trains a tiny encoder, writes weights and report.

torchrun --nproc_per_node 2 tests/finetune/two_processes.py FOLDER MICRO_BATCH [STOP_AT_STEP]
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from safetensors.torch import save_file

from hub_trainer.errors import Interrupted
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.progress import StepProgress
from tests.finetune.tiny import accuracy, bert, text_data


def main() -> None:
    folder, micro = Path(sys.argv[1]), int(sys.argv[2])
    stop = int(sys.argv[3]) if len(sys.argv) > 3 else None

    def on_progress(now: StepProgress) -> None:
        # Only the first process hears of progress, so only it is told to stop.
        if now.step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    arguments = {
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": micro,
    }
    data = text_data(train=93, validation=31)
    rows = [{**row, "weight": 0.1 + index % 7} for index, row in enumerate(data.train)]
    fit = FitPlan("full", arguments, compute_metrics=accuracy, metric_for_best="accuracy")
    try:
        model, report = fine_tune(
            bert(dropout=0),
            replace(data, train=rows),
            fit,
            out_dir=folder,
            run_digest="two",
            on_progress=on_progress,
        )
    except Interrupted as interrupted:
        sys.exit(int(interrupted.exit_code))
    if os.environ.get("RANK", "0") == "0":
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")


if __name__ == "__main__":
    main()
