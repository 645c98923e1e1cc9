"""Several processes against one: the largest relative difference of each step, by configuration.

python -m tests.benchmarks.processes
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hub_trainer.ranks import Sharding
from tests.finetune.processes import together
from tests.finetune.split import Result, classifier, language_model
from tests.finetune.tiny import largest_difference

LAYOUTS: dict[str, tuple[int, Sharding | None]] = {
    "DDP 2": (2, None),
    "FSDP2 2": (2, Sharding(2)),
    "FSDP2 4": (4, Sharding(4)),
    "HSDP 2 x 2": (4, Sharding(2, replicas=2)),
}
RUNS: list[tuple[Any, str, str]] = [
    (classifier, "bert", "full"),
    (classifier, "llama", "lora"),
    (classifier, "resnet", "full"),
    (language_model, "sft", "full"),
    (language_model, "dpo", "lora"),
    (language_model, "kto", "full"),
]


def main() -> None:
    """Print a row for each run and layout."""
    print("| model or loss | method | layout | loss | gradient norm | evaluation | weights |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for index, (run, name, method) in enumerate(RUNS):
            batch, here = 16 if run is classifier else 8, Path(folder) / str(index)
            alone = run(here / "one", name, method, batch)
            for layout, (count, sharding) in LAYOUTS.items():
                results = here / layout
                shape = (name, method, batch // count, sharding)
                found = together(count, run, results, results / "run", *shape)
                print(f"| {name} | {method} | {layout} | {_differences(alone, found[0])} |")


def _differences(alone: Result, found: Result) -> str:
    cells = []
    for key in ("loss", "grad_norm", "eval_loss"):
        one, other = (np.array([e[key] for e in r[1] if key in e]) for r in (alone, found))
        cells.append(f"{np.abs(one - other).max() / np.abs(one).max():.1e}")
    return " | ".join([*cells, f"{largest_difference(alone[0], found[0]):.1e}"])


if __name__ == "__main__":
    main()
