"""Trials of the kill campaign: what is done to a run, and what must hold afterwards."""

import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from hub_trainer.errors import ExitCode, HubTrainerError
from hub_trainer.finetune.checkpoints import clear_for, newest_valid_checkpoint, verified
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.ranks import Sharding
from tests.finetune.processes import _forget_the_state_of_one_process
from tests.finetune.split import ask
from tests.finetune.tiny import accuracy, bert, text_data

DIGEST = "kill campaign"
STEPS, SAVED_EVERY, MIDDLE = 10, 2, 6
ROWS = 61
DOWN_SECONDS = 30.0
"""Processes that are left behind must be down by then."""
ENDS_SECONDS = 600.0
DISK_BYTES = 68 * 2**20
"""A little more than training wants to see free before it writes."""
SAID = ("step", "loss", "grad_norm", "eval_loss", "eval_accuracy")


@dataclass(frozen=True)
class Layout:
    """How many processes, what learns, and whether they hold the model in parts."""

    processes: int
    method: str
    split: bool = False


LAYOUTS = {
    "full on 1": Layout(1, "full"),
    "full on 2": Layout(2, "full"),
    "lora on 1": Layout(1, "lora"),
    "lora split over 2": Layout(2, "lora", split=True),
    "full on 4": Layout(4, "full"),
}


@dataclass(frozen=True)
class Whole:
    """A run that nothing happened to, and a copy of its checkpoints half way."""

    folder: Path
    result: dict[str, Any]
    seconds: float
    stock: str
    """Weights of the stock Trainer, where it is a control."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    kind: str
    notes: tuple[str, ...] = ()
    down_seconds: float = 0.0
    failure: str | None = None


class Group:
    """Processes of one run, forked from this one."""

    def __init__(self, run: Callable[[int], None], count: int) -> None:
        self.began = time.monotonic()
        self.pids = [_forked(run, rank) for rank in range(count)]
        self.ended: dict[int, int] = {}

    def look(self) -> bool:
        """Whether all of them have ended."""
        for rank, pid in enumerate(self.pids):
            if rank not in self.ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self.ended[rank] = os.waitstatus_to_exitcode(status)
        return len(self.ended) == len(self.pids)

    def wait_for(self, what: Callable[[], bool], seconds: float) -> bool:
        """Until it holds, all have ended, or so long has passed; whether any still runs."""
        until = time.monotonic() + seconds
        while not self.look() and not what() and time.monotonic() < until:
            time.sleep(0.001)
        return not self.look()

    def send(self, rank: int, how: signal.Signals) -> None:
        """A signal to one that still runs."""
        if rank not in self.ended:
            os.kill(self.pids[rank], how)

    def join(self, seconds: float, why: str) -> list[int]:
        """Their exit codes by rank, once all have ended; those that do not are killed."""
        late = self.wait_for(lambda: False, seconds)
        still = [rank for rank in range(len(self.pids)) if rank not in self.ended]
        for rank in still:
            os.kill(self.pids[rank], signal.SIGKILL)
        self.wait_for(lambda: False, 60)
        assert not late, f"{why}: processes {still} still ran after {seconds:.0f} s"
        return [self.ended[rank] for rank in range(len(self.pids))]


def start(folder: Path, layout: Layout, *, max_bytes: int | None = None) -> Group:
    """Begin the run, or go on with it; `max_bytes` is the most that a file may hold."""
    shutil.rmtree(folder / "now", ignore_errors=True)
    (folder / "now").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # before and after training, ours to survive
        if max_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "True"}
        os.environ |= {name: str(layout.processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ask(Sharding(layout.processes) if layout.split else None)
        _forget_the_state_of_one_process()
        _train(folder, layout, rank)

    return Group(_in_silence(run, folder / "now"), layout.processes)


def whole_run(folder: Path, layout: Layout) -> Whole:
    """The run and, in `half`, its checkpoints as a stop half way leaves them."""
    began = time.monotonic()
    result = finish(folder / "whole", layout)
    seconds = time.monotonic() - began
    half = folder / "half"
    group = start(half, layout)
    ready = half / "checkpoints" / f"checkpoint-{MIDDLE}"
    assert group.wait_for(ready.is_dir, ENDS_SECONDS), f"the run ended early: {said(half)}"
    group.send(0, signal.SIGTERM)
    group.join(ENDS_SECONDS, "a run told to stop half way")
    stock = stock_finish(folder / "stock") if layout == LAYOUTS["full on 1"] else ""
    return Whole(folder, result, seconds, stock)


def finish(folder: Path, layout: Layout) -> dict[str, Any]:
    """Run to the end: a digest of the weights, the losses, and what was resumed."""
    codes = start(folder, layout).join(ENDS_SECONDS, "a run to the end")
    assert set(codes) == {0}, f"it ended with {codes}: {said(folder)}"
    found: dict[str, Any] = json.loads((folder / "now" / "result.json").read_text())
    return found


def killed(folder: Path, layout: Layout, whole: Whole, rng: random.Random) -> Outcome:
    """One process of it, at any moment from the first step on, is gone."""
    group, rank = start(folder, layout), rng.randrange(layout.processes)
    notes = []
    checkpoints = folder / "checkpoints"
    if layout.processes == 1 and rng.random() < 0.2:
        group.wait_for(lambda: False, rng.uniform(0, whole.seconds))
    elif rng.random() < 0.5:
        _await_step(1, group, folder)
        after = rng.randrange(0, STEPS, SAVED_EVERY)
        group.wait_for(lambda: _is_writing(checkpoints, after), ENDS_SECONDS)
        time.sleep(rng.uniform(0, 0.01))
    else:
        _await_step(rng.randrange(1, STEPS), group, folder)
        time.sleep(rng.uniform(0, whole.seconds / STEPS / 4))
    if _is_writing(checkpoints, 0):
        notes.append("writing")
    group.send(rank, signal.SIGKILL)
    at = time.monotonic()
    codes = group.join(DOWN_SECONDS, f"process {rank} was killed")
    down = time.monotonic() - at
    notes += ["finished"] if set(codes) == {0} else []
    if layout.processes > 1 and codes[rank] == -signal.SIGKILL:
        _assert_told_of(rank, folder, layout)
    _assert_whole(checkpoints)
    newest = newest_valid_checkpoint(checkpoints)
    notes += [] if newest else ["unsaved"]
    _assert_same(finish(folder, layout), whole)
    return Outcome("killed", tuple(notes), down if layout.processes > 1 else 0.0)


def stopped(folder: Path, layout: Layout, whole: Whole, rng: random.Random) -> Outcome:
    """SIGTERM to one process or to all, once or twice: all stop at the end of one step."""
    group = start(folder, layout)
    _await_step(rng.randrange(1, STEPS), group, folder)
    time.sleep(rng.uniform(0, whole.seconds / STEPS / 4))
    ranks = [*range(layout.processes)]
    for rank in ranks if rng.random() < 0.5 else [rng.choice(ranks)]:
        for _ in range(rng.choice((1, 2))):
            group.send(rank, signal.SIGTERM)
    codes = group.join(ENDS_SECONDS, "a run told to stop")
    assert set(codes) in ({0}, {ExitCode.INTERRUPTED}), f"exit codes {codes}: {said(folder)}"
    _assert_whole(folder / "checkpoints")
    if set(codes) == {ExitCode.INTERRUPTED}:
        steps = {re.findall(r"checkpoint-(\d+)", _said(folder, rank))[-1] for rank in ranks}
        newest = newest_valid_checkpoint(folder / "checkpoints")
        assert newest is not None, "no checkpoint is left"
        assert steps == {str(newest.step)}, f"told {steps}, found {newest.step}"
    _assert_same(finish(folder, layout), whole)
    return Outcome("stopped", ("finished",) if set(codes) == {0} else ())


def corrupted(folder: Path, layout: Layout, whole: Whole, rng: random.Random) -> Outcome:
    """A file of the newest checkpoint, or of the newest two, is not as it was written."""
    shutil.copytree(whole.folder / "half", folder, dirs_exist_ok=True)
    checkpoints = folder / "checkpoints"
    paths = sorted(checkpoints.glob("checkpoint-*"), key=_step_of, reverse=True)
    hit = {path.name: damage(path, rng) for path in paths[: 1 if rng.random() < 0.8 else 2]}
    good = [path.name for path in paths if path.name not in hit]
    found = newest_valid_checkpoint(checkpoints, run_digest=DIGEST)
    taken = found.path.name if found else None
    assert taken not in hit, f"{taken} was taken with {hit}"
    if rng.random() < 0.3:
        result = finish(folder, layout)
        _assert_same(result, whole)
        assert result["resumed_from"] == (found.step if found else None), result["resumed_from"]
        notes, kept = result["notes"], ("resumed", "identical")
    else:
        notes, kept = clear_for(checkpoints, DIGEST), ()
    for name, file in hit.items():
        told = [note for note in notes if note.startswith(f"{name} was passed over")]
        # A checkpoint whose best is the damaged one goes before that is looked at.
        assert any(file in note or " the best so far" in note for note in told), f"{hit}: {notes}"
    assert taken is None or taken in good, f"{taken} of {good}"
    return Outcome("corrupted", kept)


def damage(checkpoint: Path, rng: random.Random) -> str:
    """Flip a bit, cut, zero the tail of, remove or add a file; its name."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    path = rng.choice(files)
    name = path.relative_to(checkpoint).as_posix()
    content = bytearray(path.read_bytes())
    how = rng.choice(("flip", "cut", "zero", "remove", "add"))
    if how == "remove" or not content:
        path.unlink()
        return name
    if how == "add":
        (checkpoint / "added.bin").write_bytes(b"garbage")
        return "added.bin"
    at = rng.randrange(len(content))
    if how == "flip":
        content[at] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del content[at:]
    else:
        # To other bytes where they are zero already: nothing is hidden from what reads them.
        content[at:] = bytes(255 if not any(content[at:]) else 0 for _ in content[at:])
    path.write_bytes(bytes(content))
    return name


def filled(folder: Path, layout: Layout, whole: Whole, rng: random.Random) -> Outcome:
    """The disk is full when the next checkpoint is written: by a small file system where one can
    be mounted, else by a limit on the size of a file."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    mounted = rng.random() < 0.5 and _mounted(checkpoints)
    try:
        shutil.copytree(whole.folder / "half", folder, dirs_exist_ok=True)
        before = newest_valid_checkpoint(checkpoints)
        assert before is not None
        sizes = [file.stat().st_size for file in before.path.rglob("*") if file.is_file()]
        limit = None if mounted else rng.randrange(2000, max(sizes))
        group = start(folder, layout, max_bytes=limit)
        if mounted:
            _await_step(rng.randrange(MIDDLE, STEPS), group, folder)
            _fill(checkpoints / "filler")
        codes = group.join(ENDS_SECONDS, "a run on a full disk")
        (checkpoints / "filler").unlink(missing_ok=True)
        notes = ("mounted",) if mounted else ()
        if set(codes) != {0} or not mounted:
            assert set(codes) == {ExitCode.TRAINING}, f"exit codes {codes}: {said(folder)}"
            told = _said(folder, 0)
            words = ("could not be written", "not enough disk space", "The disk is full")
            assert any(word in told for word in words), told
            assert str(folder) in told, told
            assert "free" in told, told
        _assert_whole(checkpoints)
        after = newest_valid_checkpoint(checkpoints)
        assert after is not None, f"{before.path.name} is gone"
        assert after.step >= before.step, f"{before.path.name} is gone, {after.path.name} is left"
        _assert_same(finish(folder, layout), whole)
    finally:
        if mounted:
            subprocess.run(["umount", str(checkpoints)], check=False)
    return Outcome("filled", notes)


def stock_killed(folder: Path, layout: Layout, whole: Whole, rng: random.Random) -> Outcome:
    """The stock Trainer on the same rows, killed and resumed as it offers to."""
    assert layout.processes == 1
    group = Group(_in_silence(lambda _: _stock(folder), folder / "now"), 1)
    step = rng.randrange(SAVED_EVERY, STEPS, SAVED_EVERY)
    group.wait_for((folder / "stock" / f"checkpoint-{step}").is_dir, ENDS_SECONDS)
    time.sleep(rng.uniform(0, whole.seconds / STEPS))
    group.send(0, signal.SIGKILL)
    group.join(60, "the stock Trainer was killed")
    notes = [] if any(folder.glob("stock/checkpoint-*")) else ["unsaved"]
    try:
        found = stock_finish(folder)
    except AssertionError:
        return Outcome("stock_killed", (*notes, "stuck"))
    return Outcome("stock_killed", (*notes, "identical" if found == whole.stock else "other"))


def stock_finish(folder: Path) -> str:
    """Run the stock Trainer to its end: a digest of the weights."""
    codes = Group(_in_silence(lambda _: _stock(folder), folder / "now"), 1).join(ENDS_SECONDS, "")
    assert codes == [0], said(folder)
    return (folder / "now" / "weights").read_text()


def said(folder: Path) -> str:
    """The last words of every process."""
    files = sorted((folder / "now").glob("said-*"))
    return " | ".join(f"{file.name}: {file.read_text()[-600:]}" for file in files)


def _train(folder: Path, layout: Layout, rank: int) -> None:
    arguments = {
        "learning_rate": 3e-3,
        "max_steps": STEPS,
        "per_device_train_batch_size": 8 // layout.processes,
        "per_device_eval_batch_size": 8,
        "logging_steps": 1,
        **{f"{name}_strategy": "steps" for name in ("save", "eval")},
        **{f"{name}_steps": SAVED_EVERY for name in ("save", "eval")},
    }
    plan = FitPlan(
        layout.method,  # type: ignore[arg-type]
        arguments,
        compute_metrics=accuracy,
        metric_for_best="accuracy",
    )
    model, report = fine_tune(
        bert(),
        text_data(train=ROWS, validation=13),
        plan,
        out_dir=folder,
        run_digest=DIGEST,
        on_progress=lambda now: _mark(folder, now.step),
    )
    if rank == 0:
        result = {
            "weights": _digest(model),
            "losses": [{k: one[k] for k in SAID if k in one} for one in report.history],
            "resumed_from": report.resumed_from,
            "notes": report.notes,
        }
        (folder / "now" / "result.json").write_text(json.dumps(result))


def _stock(folder: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(folder / "stock"),
        learning_rate=3e-3,
        max_steps=STEPS,
        per_device_train_batch_size=8,
        save_strategy="steps",
        save_steps=SAVED_EVERY,
        save_total_limit=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    data = text_data(train=ROWS, validation=None)
    trainer = Trainer(bert(), arguments, train_dataset=list(data.train), data_collator=data.collate)
    trainer.train(resume_from_checkpoint=any(folder.glob("stock/checkpoint-*")) or None)
    (folder / "now" / "weights").write_text(_digest(trainer.model))


def _mark(folder: Path, step: int) -> None:
    (folder / "now" / "step").write_text(str(step))


def _await_step(step: int, group: Group, folder: Path) -> None:
    """Until the processes have come so far; the first one says so."""
    path = folder / "now" / "step"
    group.wait_for(lambda: path.exists() and int(path.read_text() or 0) >= step, ENDS_SECONDS)


def _digest(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def _forked(run: Callable[[int], None], rank: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        run(rank)
        status = 0
    except HubTrainerError as error:
        sys.stderr.write(f"error: {error}\n")
        status = int(error.exit_code)
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(status)


def _in_silence(run: Callable[[int], None], now: Path) -> Callable[[int], None]:
    """What it says goes into a file beside it."""

    def silent(rank: int) -> None:
        now.mkdir(parents=True, exist_ok=True)
        out = os.open(now / f"said-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        try:
            run(rank)
        except HubTrainerError:
            raise
        except BaseException:
            import traceback

            traceback.print_exc()
            raise

    return silent


def _is_writing(checkpoints: Path, after: int) -> bool:
    found = (name.removeprefix(".staging-") for name in _names(checkpoints))
    return any(name.isdigit() and int(name) > after for name in found)


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith(".staging-")]
    except FileNotFoundError:
        return []


def _assert_whole(checkpoints: Path) -> None:
    half = [path.name for path in checkpoints.glob("checkpoint-*") if verified(path) is None]
    assert not half, f"half checkpoints {half}"


def _assert_same(found: dict[str, Any], whole: Whole) -> None:
    for key in ("weights", "losses"):
        assert found[key] == whole.result[key], f"other {key} after {found['notes']}"


def _assert_told_of(rank: int, folder: Path, layout: Layout) -> None:
    """Each of the others says which process is gone, or that the first one is."""
    for other in range(layout.processes):
        told = "" if other == rank else _said(folder, other)
        names = (f"Process {rank} of", "The first process or the launcher is gone", "Process ")
        assert other == rank or any(name in told for name in names), f"{other} said {told!r}"


def _said(folder: Path, rank: int) -> str:
    return (folder / "now" / f"said-{rank}").read_text()


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _mounted(folder: Path) -> bool:
    """Whether a small file system of its own could be put there."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))
