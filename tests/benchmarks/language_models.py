"""Language models trained here and with TRL, in turns on one machine, each run in its own process.

    python tests/benchmarks/language_models.py sft --models MODELS --rows 48 --turns 3
    python tests/benchmarks/language_models.py dpo --models MODELS --rows 12
    python tests/benchmarks/language_models.py kto --models MODELS --rows 12
    python tests/benchmarks/language_models.py generate --models MODELS --rows 32

MODELS is made by peers/make_models.py of the shared folder if it is not there. The same rows,
adapters (r=16 on every linear layer), batch sizes and learning rates on both sides; tokens are
real ones, a prompt counted once per answer. The peer's seconds are of `trainer.train()` alone; ours
are of the whole call: the probe of the model, the references and the packing are in them.

On a machine that others use too, --cpu-time runs each side on one thread and counts the seconds
that the processor worked for it: waiting for a core is not in them, and ratios are steady.
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(ROOT))

THREADS = 2
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
PEERS = {
    "sft": {
        "TRL default": ["sft_trl.py", "default"],
        "TRL no checkpointing": ["sft_trl.py", "no_checkpointing"],
        "TRL packed": ["sft_trl.py", "packed"],
        "TRL chunked": ["sft_trl.py", "chunked"],
    },
    "dpo": {"TRL": ["preference_trl.py", "dpo"]},
    "kto": {"TRL": ["preference_trl.py", "kto"]},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "sft": {"per_device_train_batch_size": 8, "learning_rate": 2e-4},
    "dpo": {"per_device_train_batch_size": 4, "learning_rate": 1e-6},
    "kto": {"per_device_train_batch_size": 8, "learning_rate": 1e-6},
}
"""As in the peers' scripts, where TRL's own defaults of the learning rate hold."""


def rows_of(work: str, count: int) -> list[dict[str, Any]]:
    """What the peer's script trains on, in its order."""
    from datasets import load_dataset

    if work == "sft":
        table = load_dataset(str(SHARED / "data" / "llm-gsm8k"))["train"].select(range(count))
        return [{"question": r["question"], "answer": r["answer"]} for r in table]
    table = load_dataset(str(SHARED / "data" / "llm-hh-rlhf-harmless"))["train"]
    pairs = [
        {k: r[k] for k in ("prompt", "chosen", "rejected")} for r in table.select(range(count))
    ]
    if work == "dpo":
        return pairs
    return [
        {"prompt": p["prompt"], "completion": p[side], "label": side == "chosen"}
        for side in ("chosen", "rejected")
        for p in pairs
    ]


def ours(work: str, folder: Path, count: int) -> dict[str, Any]:
    """One epoch, as a user of the library would run it."""
    import resource

    import torch
    from transformers import AutoTokenizer

    from hub_trainer.finetune.language.encode import Reading, encode
    from hub_trainer.finetune.language.folders import load_language_model
    from hub_trainer.finetune.language.tune import (
        LanguageData,
        LanguagePlan,
        fine_tune_language_model,
    )
    from hub_trainer.finetune.plan import FitPlan
    from hub_trainer.rows.formats import read_examples

    torch.set_num_threads(THREADS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found, examples = read_examples(rows_of(work, count))
    encoded = encode(examples, tokenizer, found, Reading(1024))
    arguments = {"num_train_epochs": 1, "save_strategy": "no", **SETTINGS[work]}
    plan = LanguagePlan(FitPlan("lora", arguments, lora=LORA))
    model = load_language_model(folder, "lora")
    began = time.perf_counter()
    _, report = fine_tune_language_model(
        model, LanguageData(encoded), plan, out_dir=Path(tempfile.mkdtemp())
    )
    seconds = time.perf_counter() - began
    losses = [entry["train_loss"] for entry in report.history if "train_loss" in entry]
    return {
        "tokens": encoded.num_tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(encoded.num_tokens / seconds, 1),
        "loop_tokens_per_second": round(report.tokens_per_second or 0.0, 1),
        "loss": round(losses[-1], 4),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def generation(side: str, folder: Path, count: int) -> dict[str, Any]:
    """Likeliest answers to questions of very different lengths, 16 at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hub_trainer.finetune.language.generate import Sampling, generate

    torch.set_num_threads(THREADS)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    prompts = [tokenizer(row["question"])["input_ids"] for row in rows_of("sft", count)]
    # A random model never stops by itself: every eighth token of the vocabulary stops it.
    stops = tuple(range(0, 49152, 40))
    began, tokens = time.perf_counter(), 0
    if side == "ours":
        answers = generate(model, prompts, Sampling(64, temperature=1.0, stops=stops))
        tokens = sum(map(len, answers))
    else:
        torch.manual_seed(0)
        for start in range(0, len(prompts), 16):
            batch = tokenizer.pad({"input_ids": prompts[start : start + 16]}, return_tensors="pt")
            found = model.generate(
                **batch, max_new_tokens=64, do_sample=True, top_k=0, eos_token_id=list(stops)
            )
            for answer in found[:, batch["input_ids"].shape[1] :].tolist():
                ended = [i for i, token in enumerate(answer) if token in set(stops)]
                tokens += ended[0] + 1 if ended else len(answer)
    seconds = time.perf_counter() - began
    return {
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1),
        "loss": 0.0,
        "peak_mb": 0,
    }


def count_cpu_time() -> None:
    """One thread, and a clock that stands still while this process waits."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_threads = lambda count: None
    time.perf_counter = time.process_time


def child(*arguments: object, cpu_time: bool) -> dict[str, Any]:
    """Run a script and read the last line of what it prints as JSON."""
    how = ["--cpu-time"] if cpu_time else []
    finished = subprocess.run(
        [sys.executable, __file__, *how, "--script", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1" if cpu_time else str(THREADS)},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise SystemExit(finished.stderr[-3000:])
    result: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def sides_of(work: str, folder: Path, count: int) -> dict[str, list[Any]]:
    """The script and arguments of ours and of each peer, by name."""
    here: list[Any] = [__file__, "--child", work, "--models", folder.parent, "--rows", count]
    if work == "generate":
        return {"ours": [*here, "--side", "ours"], "model.generate": [*here, "--side", "theirs"]}
    peers = {
        name: [SHARED / "peers" / script, mode, folder, count]
        for name, (script, mode) in PEERS[work].items()
    }
    return {"ours": here, **peers}


def compare(sides: dict[str, list[Any]], turns: int, *, cpu_time: bool) -> None:
    """A B A B, then medians and ratios."""
    runs: dict[str, list[Any]] = {name: [] for name in sides}
    for turn in range(turns):
        for name, arguments in sides.items():
            runs[name].append(child(*arguments, cpu_time=cpu_time))
            print(f"turn {turn + 1}  {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    keys = ("tokens_per_second", "peak_mb", "loss")
    medians = {name: {k: median(r[k] for r in found) for k in keys} for name, found in runs.items()}
    best = medians["ours"]
    print(
        f"{'':22}{'tokens/s':>10}{'lowest':>9}{'highest':>9}{'peak MB':>9}{'loss':>10}{'ours':>8}"
    )
    for name, figures in medians.items():
        speeds = [run["tokens_per_second"] for run in runs[name]]
        ratio = best["tokens_per_second"] / figures["tokens_per_second"]
        print(
            f"{name:22}{figures['tokens_per_second']:>10.1f}{min(speeds):>9.1f}{max(speeds):>9.1f}"
            f"{figures['peak_mb']:>9.0f}{figures['loss']:>10.4f}{ratio:>7.2f}x"
        )
    print(json.dumps({"runs": runs, "medians": medians}))


def main() -> None:
    """Compare, or be one run of a comparison."""
    if "--script" in sys.argv:
        at = sys.argv.index("--script")
        if "--cpu-time" in sys.argv[:at]:
            count_cpu_time()
        sys.argv = sys.argv[at + 1 :]
        runpy.run_path(sys.argv[0], run_name="__main__")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("work", nargs="?", choices=("sft", "dpo", "kto", "generate"))
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="names of peers, as in the table")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--child", choices=("sft", "dpo", "kto", "generate"))
    parser.add_argument("--side")
    options = parser.parse_args()
    folder = options.models / "smol135"
    if options.child == "generate":
        print(json.dumps(generation(options.side, folder, options.rows)))
    elif options.child:
        print(json.dumps(ours(options.child, folder, options.rows)))
    else:
        if not folder.is_dir():
            script = SHARED / "peers" / "make_models.py"
            subprocess.run([sys.executable, str(script), str(options.models)], check=True)
        sides = sides_of(options.work, folder, options.rows)
        chosen = {
            n: a for n, a in sides.items() if not options.only or n in ("ours", *options.only)
        }
        compare(chosen, options.turns, cpu_time=options.cpu_time)


if __name__ == "__main__":
    main()
