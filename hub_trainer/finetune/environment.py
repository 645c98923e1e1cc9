"""Environment that a run's last bits depend on: libraries, device, threads, how batches are cut."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from transformers import TrainingArguments

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "numpy", "bitsandbytes")


def environment_of(args: TrainingArguments) -> dict[str, Any]:
    """JSON-ready, to compare on resume."""
    on_cpu = args.device.type == "cpu"
    return {
        "python": platform.python_version(),
        **{library: _version(library) for library in LIBRARIES},
        "device": _processor() if on_cpu else torch.cuda.get_device_name(args.device),
        "threads": torch.get_num_threads(),
        "num_processes": args.world_size,
        "per_device_train_batch_size": args.per_device_train_batch_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
    }


def _processor() -> str:
    return f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
