"""One process of a run under torchrun: trains a tiny model by a loss, writes weights and report.

torchrun --nproc_per_node 2 tests/finetune/language/two_processes.py FOLDER MICRO_BATCH LOSS
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from accelerate import PartialState
from safetensors.torch import save_file

from hub_trainer.finetune.language.tune import (
    LanguageData,
    LanguagePlan,
    fine_tune_language_model,
)
from tests.finetune.language.kinds import LOSSES, encoded, fit
from tests.finetune.language.tiny import llama


def main() -> None:
    folder, micro, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    kind = name.split()[0]
    PartialState(cpu=True)
    # Three passes per draw, so that gradients are gathered after the last of them only.
    plan = LanguagePlan(
        fit("lora", per_device_train_batch_size=micro, learning_rate=0.05),
        tokens_per_pass=24,
        **LOSSES[name],
    )
    data = LanguageData(encoded(kind), encoded(kind, copies=1, seed=1))
    model, report = fine_tune_language_model(llama(), data, plan, out_dir=folder)
    if os.environ.get("RANK", "0") == "0":
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")


if __name__ == "__main__":
    main()
