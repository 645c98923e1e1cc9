"""Seconds and memory of `hub-trainer check` on base models that were made to hang or crash it.

python -m tests.benchmarks.hostile_bases [NAME ...]
"""

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.finetune.language.tiny import WITH_TAGS
from tests.tasks.factory import text_base
from tests.tasks.language import language_base

CARD = b"---\nlicense: apache-2.0\n---\n# A model\n"
Files = Mapping[str, bytes]
LOOPS = {
    "two loops of a million": "{% for a in range(1000000) %}{% for b in range(1000000) %}x"
    "{% endfor %}{% endfor %}",
    "two loops of 99,999": "{% for a in range(99999) %}{% for b in range(99999) %}x"
    "{% endfor %}{% endfor %}",
    "ten billion letters": "{{ 'a' * 10000000000 }}",
    "a macro that calls itself twice": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}"
    "{{ f(1) }}",
}


def bases(scratch: Path) -> dict[str, tuple[str, Files]]:
    """Name -> task and files."""
    writer = _files(language_base(scratch / "writer", template=WITH_TAGS, max_length=256))
    encoder = _files(text_base(scratch / "encoder"))
    found = {
        "sound": ("text-generation", writer),
        **{
            name: ("text-generation", {**writer, "chat_template.jinja": text.encode()})
            for name, text in LOOPS.items()
        },
    }
    odd: dict[str, Files] = {
        "ten million layers": _with_config(encoder, num_hidden_layers=10_000_000),
        "a hidden size of 2^40": _with_config(encoder, hidden_size=2**40),
        "a header of 600,000 tensors": {"model.safetensors": _header(600_000)},
        "a header that lies of its length": {"model.safetensors": struct.pack("<Q", 2**60) + b"{}"},
        "a config nested 200,000 deep": {"config.json": b"[" * 200_000},
        "a tokenizer nested 200,000 deep": {"tokenizer.json": b'{"a":' * 200_000},
    }
    return found | {name: ("text-classification", {**encoder, **one}) for name, one in odd.items()}


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": CARD}


def _with_config(files: Files, **changes: Any) -> Files:
    config = {**json.loads(files["config.json"]), **changes}
    return {"config.json": json.dumps(config).encode()}


def _header(count: int) -> bytes:
    tensors = {
        f"t{n}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]}
        for n in range(count)
    }
    content = json.dumps(tensors).encode()
    return struct.pack("<Q", len(content)) + content


def _seed(hub: Hub) -> None:
    chats = [
        {"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(40)
    ]
    lines = "\n".join(map(json.dumps, chats)).encode()
    texts = "\n".join(["text,label", *(f"text {n},{'ab'[n % 2]}" for n in range(40))]).encode()
    for name, files in (("chats", {"train.jsonl": lines}), ("texts", {"train.csv": texts})):
        repo = Repo(f"admin/{name}", "dataset")
        hub.create_repo(repo)
        hub.commit(repo, Changes(files), message="Seed", run_id=name)


def _recipe(task: str, base: str) -> str:
    writes = task == "text-generation"
    metric = "completion_loss" if writes else "accuracy"
    return yaml.safe_dump(
        {
            "task": task,
            "base_model": base,
            "collect": {"datasets": ["admin/chats" if writes else "admin/texts"]},
            "evaluate": {"metrics": [metric], "primary": metric},
            "publish": {"repo_id": "admin/model", "license": "apache-2.0"},
        }
    )


def _checked(path: Path, environment: Mapping[str, str]) -> tuple[float, float, int, str]:
    """Seconds, MB of the largest process, exit code and first fault."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "hub_trainer", "check", str(path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    largest = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    said = [line for line in done.stderr.splitlines() if line.startswith(("error:", "Ready"))]
    return seconds, largest, done.returncode, said[0] if said else done.stderr[-200:]


def main(names: list[str]) -> None:
    """A line per base model; memory is the largest process up to there."""
    with tempfile.TemporaryDirectory() as scratch, LocalHub() as running:
        os.environ["HF_HUB_DISABLE_XET"] = "1"
        hub = Hub(running.url, running.token)
        _seed(hub)
        for number, (name, (task, files)) in enumerate(bases(Path(scratch)).items()):
            if names and name not in names:
                continue
            repo = Repo(f"admin/base-{number}")
            hub.create_repo(repo)
            hub.commit(repo, Changes(files), message="Seed", run_id=name)
            path = Path(scratch) / f"{number}.yaml"
            path.write_text(_recipe(task, repo.repo_id))
            seconds, largest, code, said = _checked(path, running.environment())
            print(f"{name:34} {seconds:5.1f} s {largest:6.0f} MB  exit {code}  {said[:110]}")


if __name__ == "__main__":
    main(sys.argv[1:])
