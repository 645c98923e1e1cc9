"""What `hub-trainer plan` foretells of memory and time, and what `hub-trainer run` then takes.

Base models have the shape of those that people use and random weights, as only shapes matter. Each
plan and each round is a process of its own on a Local Hub.

    python -m tests.benchmarks.plan_accuracy [NAME ...]
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # read when the client is imported

import numpy as np
import torch
import transformers
import yaml

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.cli.seeded import OWNER, commit, parquet
from tests.finetune.language.tiny import tokenizer as letters
from tests.tasks.factory import text_base

NUM_ROWS = 480
WORDS = ("river", "window", "paper", "garden", "winter", "engine", "silver", "bottle", "market")


@dataclass(frozen=True)
class Case:
    """A base model, rows, and how the one learns from the other."""

    base: str
    rows: str
    task: str
    train: Mapping[str, Any]
    primary: str
    prepare: Mapping[str, Any]


def _train(method: str, *, rate: float = 1e-4, batch: int = 16, **more: Any) -> dict[str, Any]:
    arguments = {
        "learning_rate": rate,
        "num_train_epochs": 1,
        "per_device_train_batch_size": batch,
    }
    return {"method": method, "arguments": arguments, **more}


TEXTS = ("texts", "text-classification")
CHATS = ("asked", "text-generation")
LORA = {"r": 16}


def _text(method: str, **more: Any) -> Case:
    return Case("encoder", *TEXTS, _train(method, **more), "accuracy", {"max_length": 128})


def _language(method: str, rows: str = "asked", primary: str = "completion_loss") -> Case:
    more = {"lora": LORA} if method in ("lora", "qlora") else {}
    train = _train(method, batch=8, language={}, **more)
    return Case("writer", rows, "text-generation", train, primary, {"max_length": 256})


def _image(base: str, method: str) -> Case:
    return Case(base, "pictures", "image-classification", _train(method), "accuracy", {})


CASES: Mapping[str, Case] = {
    "encoder full": _text("full"),
    "encoder lora": _text("lora", lora=LORA),
    "encoder head": _text("head"),
    "encoder last_n": _text("last_n", last_n=2),
    "encoder full, 32 rows twice": _text("full", batch=32),
    "vit full": _image("vit", "full"),
    "vit head": _image("vit", "head"),
    "resnet full": _image("resnet", "full"),
    "writer full": _language("full"),
    "writer lora": _language("lora"),
    "writer qlora": _language("qlora"),
    "writer dpo lora": _language("lora", "preferred", "preference_accuracy"),
}


def main() -> None:
    chosen = sys.argv[1:] or list(CASES)
    print("| case | plan, MiB | taken, MiB | share | plan, s | taken, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name, LocalHub() as local:
        folder, hub = Path(name), Hub(local.url, local.token)
        _seed(hub, folder)
        environment = {**os.environ, **local.environment(), "HF_HOME": str(folder / "hf")}
        shares = []
        for place, one in enumerate(chosen):
            recipe = folder / f"case-{place}.yaml"
            recipe.write_text(yaml.safe_dump(_recipe(CASES[one], f"model-{place}")))
            told = _json(["plan", str(recipe)], environment)
            took = _json(["run", str(recipe)], environment)["train"]
            planned, peak = told["memory_mb"]["sum"], took["peak_mb"]
            shares.append(planned / peak)
            print(
                f"| {one} | {planned:,.0f} | {peak:,.0f} | {planned / peak:.2f} |"
                f" {told['seconds'] or 0:,.0f} | {took['seconds']:,.0f} |",
                flush=True,
            )
    within = sum(abs(share - 1) <= 0.25 for share in shares)
    print(f"memory within 25 % of what was taken: {within} of {len(shares)}")


def _json(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "hub_trainer", *command, "--json"],
        env=dict(environment), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode not in (0, 6):  # 6: the gate held the model back
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _recipe(case: Case, name: str) -> dict[str, Any]:
    repo_id = f"{OWNER}/{case.rows}"
    return {
        "task": case.task,
        "base_model": f"{OWNER}/{case.base}",
        "collect": {"datasets": [{"repo_id": repo_id, "split": "train"}]},
        "prepare": {"deduplicate": None, **case.prepare},
        "train": dict(case.train),
        "evaluate": {"metrics": [case.primary], "primary": case.primary},
        "publish": {"repo_id": f"{OWNER}/{name}", "license": "cc-by-4.0"},
    }


def _seed(hub: Hub, folder: Path) -> None:
    for name, rows in (("texts", _texts), ("pictures", _pictures), ("asked", _asked)):
        commit(hub, Repo(f"{OWNER}/{name}", "dataset"), {"train.parquet": parquet(rows())})
    preferred = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": row["completion"][::-1]}
        for row in _asked()
    ]
    commit(hub, Repo(f"{OWNER}/preferred", "dataset"), {"train.parquet": parquet(preferred)})
    bases: Mapping[str, Callable[[Path], None]] = {
        "encoder": _encoder, "vit": _vit, "resnet": _resnet, "writer": _writer,
    }  # fmt: skip
    for name, make in bases.items():
        torch.manual_seed(0)
        (folder / name).mkdir()
        make(folder / name)
        files = {path.name: path.read_bytes() for path in (folder / name).iterdir()}
        commit(hub, Repo(f"{OWNER}/{name}"), files)


def _texts() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"text": " ".join(rng.choice(WORDS, int(rng.integers(20, 100)))), "label": f"l{n % 4}"}
        for n in range(NUM_ROWS)
    ]


def _asked() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [
        {
            "prompt": f"{n}: " + " ".join(rng.choice(WORDS, 8)),
            "completion": " " + " ".join(rng.choice(WORDS, int(rng.integers(4, 24)))),
        }
        for n in range(NUM_ROWS // 2)
    ]


def _pictures() -> list[dict[str, Any]]:
    from PIL import Image

    rng = np.random.default_rng(2)
    rows = []
    for number in range(NUM_ROWS // 3):
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(content, "PNG")
        rows.append(
            {"image": {"bytes": content.getvalue(), "path": None}, "label": f"l{number % 2}"}
        )
    return rows


def _encoder(folder: Path) -> None:
    """MiniLM's shape."""
    text_base(folder)
    vocabulary = transformers.AutoTokenizer.from_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=30_522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
        intermediate_size=1536,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    vocabulary.save_pretrained(folder)


def _vit(folder: Path) -> None:
    """DeiT's tiny shape."""
    config = transformers.ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768
    )
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor().save_pretrained(folder)


def _resnet(folder: Path) -> None:
    """ResNet-18's shape."""
    config = transformers.ResNetConfig(
        hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic",
        embedding_size=64,
    )  # fmt: skip
    transformers.ResNetModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)


def _writer(folder: Path) -> None:
    """A language model of 60 million parameters."""
    words = letters()
    config = transformers.LlamaConfig(
        vocab_size=max(len(words), 8_192), hidden_size=640, intermediate_size=1_792,
        num_hidden_layers=10, num_attention_heads=10, num_key_value_heads=5,
        max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)


if __name__ == "__main__":
    main()
