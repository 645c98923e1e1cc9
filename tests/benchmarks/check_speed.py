"""Seconds of `hub-trainer check` on small recipes of four kinds, each as a process of its own.

python -m tests.benchmarks.check_speed
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # read when the client is imported

import yaml

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.cli.seeded import OWNER, commit, parquet, seed, write_recipe
from tests.tasks.language import language_base

LANGUAGE = {
    "task": "text-generation",
    "base_model": f"{OWNER}/tiny-llama",
    "collect": {"datasets": [f"{OWNER}/asked"]},
    "prepare": {"deduplicate": {"near": None}, "max_length": 40},
    "evaluate": {"metrics": ["completion_loss"], "primary": "completion_loss"},
    "publish": {"repo_id": f"{OWNER}/language", "license": "cc-by-4.0"},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name, LocalHub() as local:
        folder, hub = Path(name), Hub(local.url, local.token)
        seed(hub, folder / "seed")
        base = language_base(folder / "tiny-llama")
        commit(hub, Repo(f"{OWNER}/tiny-llama"), {p.name: p.read_bytes() for p in base.iterdir()})
        rows = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(72)]
        commit(hub, Repo(f"{OWNER}/asked", "dataset"), {"train.parquet": parquet(rows)})
        recipes = [
            write_recipe(folder / f"{kind}.yaml", kind) for kind in ("text", "image", "table")
        ]
        recipes.append(folder / "language.yaml")
        recipes[-1].write_text(yaml.safe_dump(LANGUAGE))
        environment = {**os.environ, **local.environment(), "HF_HOME": str(folder / "hf")}
        for recipe in recipes:
            print(timed([sys.executable, "-m", "hub_trainer", "check", str(recipe)], environment))


def timed(command: list[str], environment: dict[str, str]) -> str:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        first = time.monotonic() - started
        last = process.stdout.read().splitlines()[-1]
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    name = Path(command[-1]).stem
    return f"{name:9} first line {first:.1f} s, all {wall:.1f} s, CPU {cpu:.1f} s: {last[:6]}"


if __name__ == "__main__":
    main()
