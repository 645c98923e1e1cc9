"""Profile of a few training steps: a trace to open and ten lines to read."""

from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, schedule
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

WARMUP_STEPS = 2
PROFILED_STEPS = 3
TRACE, SUMMARY = "trace.json", "summary.txt"
SHOWN_OPERATIONS = 5


class ProfileCallback(TrainerCallback):
    """Profiles steps 3 to 5 and writes trace and summary into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profiler: profile | None = None
        self.steps = PROFILED_STEPS

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start watching, on the first process."""
        del control, kwargs
        if not state.is_world_process_zero:
            return
        activities = [ProfilerActivity.CPU]
        if args.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        steps = state.max_steps - state.global_step
        warmup = min(WARMUP_STEPS, max(steps - PROFILED_STEPS, 0))
        self.steps = min(PROFILED_STEPS, max(steps - warmup, 1))
        plan = schedule(wait=0, warmup=warmup, active=self.steps, repeat=1) if warmup else None
        self.profiler = profile(activities=activities, schedule=plan, on_trace_ready=self._write)
        self.profiler.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One step further; after the last one the files are written."""
        del args, state, control, kwargs
        if self.profiler is not None:
            self.profiler.step()

    def close(self) -> None:
        """Stop watching, however training ended."""
        if self.profiler is not None:
            self.profiler.stop()
            self.profiler = None

    def _write(self, profiler: profile) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / TRACE))
        (self.folder / SUMMARY).write_text(summary_of(profiler, self.steps), encoding="utf-8")


def summary_of(profiler: profile, steps: int) -> str:
    """Ten lines: the parts of a step, then the operations that cost most."""
    events = {event.key: event for event in profiler.key_averages()}
    seconds = {name: _seconds(events.get(name)) for name in ("data", "forward", "training_step")}
    optimizer = sum(_seconds(e) for key, e in events.items() if key.startswith("Optimizer.step"))
    parts = {
        "data": seconds["data"],
        "forward": seconds["forward"],
        "backward": seconds["training_step"] - seconds["forward"],
        "optimizer": optimizer,
    }
    total = sum(parts.values()) or 1.0
    lines = [f"{total / steps * 1e3:.1f} ms in a step, profiled"]
    lines += [f"  {name:<10} {value / total:6.1%}" for name, value in parts.items()]
    operations = [e for e in events.values() if e.key.startswith("aten::")]
    operations.sort(key=lambda event: event.self_cpu_time_total, reverse=True)
    spent = sum(event.self_cpu_time_total for event in operations) or 1.0
    lines += [
        f"  {event.key:<34} {event.self_cpu_time_total / spent:6.1%} in {event.count} calls"
        for event in operations[:SHOWN_OPERATIONS]
    ]
    return "\n".join(lines) + "\n"


def _seconds(event: Any) -> float:
    return 0.0 if event is None else event.cpu_time_total / 1e6
