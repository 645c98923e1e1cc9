"""Training that cannot be lost: killed, told to stop, its checkpoints damaged, its disk full.

    python -m tests.benchmarks.kill_campaign --kills 300 --terms 70 --corruptions 200 --disks 60

A tiny encoder with dropout learns over 1, 2 and 4 processes (gloo), whole or split, with a
checkpoint every second step. Each trial ends with the same run started again, which must give the
weights and the losses of a run that nothing happened to. The stock Trainer is killed and resumed
in the same way, as a control. Prints every failure, and a closing line; exit status 0 without one.

A fork server: libraries are imported once, a process of training is a fork of this one.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers.trainer  # noqa: F401  imported once, before the runs are forked

from tests.benchmarks.kill_trials import (
    LAYOUTS,
    Outcome,
    Whole,
    corrupted,
    filled,
    killed,
    stock_killed,
    stopped,
    whole_run,
)

Trial = tuple[Callable[..., Outcome], str, int]
"""What is done, to which layout, by which seed."""


def trials_of(options: argparse.Namespace) -> Iterator[Trial]:
    """Every kind of trial, its layouts in turn."""
    names, alone = list(LAYOUTS), [name for name, one in LAYOUTS.items() if one.processes == 1]
    kinds: list[tuple[Callable[..., Outcome], int, list[str]]] = [
        (killed, options.kills, names),
        (stopped, options.terms, names),
        (corrupted, options.corruptions, names),
        (filled, options.disks, names),
        (stock_killed, options.stock, alone[:1]),
    ]
    for act, count, layouts in kinds:
        for number in range(count):
            yield act, layouts[number % len(layouts)], options.seed * 1_000_003 + number


def run_trial(act: Callable[..., Outcome], layout: str, seed: int, whole: Whole) -> Outcome:
    """In a folder of its own, which stays where it failed."""
    folder = Path(tempfile.mkdtemp(prefix=f"{act.__name__}-", dir=whole.folder.parent))
    try:
        outcome = act(folder, LAYOUTS[layout], whole, random.Random(seed))
    except AssertionError as error:
        return Outcome(act.__name__, failure=f"{act.__name__} {layout} seed {seed}: {error}")
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def summary(outcomes: list[Outcome]) -> str:
    """The closing line."""

    def kind(act: Callable[..., Outcome]) -> list[Outcome]:
        return [one for one in outcomes if one.kind == act.__name__]

    def right(found: list[Outcome]) -> int:
        return sum(one.failure is None for one in found)

    def told(found: list[Outcome], what: str) -> int:
        return sum(what in one.notes for one in found)

    kills, terms, damaged, disks = (kind(act) for act in (killed, stopped, corrupted, filled))
    stock = kind(stock_killed)
    slowest = max((one.down_seconds for one in kills), default=0.0)
    return (
        f"{len(kills)} kills over 1, 2 and 4 processes"
        f" ({told(kills, 'writing')} while a checkpoint was written,"
        f" {told(kills, 'unsaved')} before the first, {told(kills, 'finished')} too late):"
        f" {right(kills)} identical, the others down within {slowest:.0f} s;"
        f" {len(terms)} SIGTERM ({told(terms, 'finished')} too late):"
        f" {right(terms)} stopped at one step and identical;"
        f" {len(damaged)} corruptions: {right(damaged)} refused by name,"
        f" {told(damaged, 'identical')} of {told(damaged, 'resumed')} resumed identical;"
        f" {len(disks)} full disks: {right(disks)} named, with the old checkpoint, and identical;"
        f" stock Trainer: {len(stock)} kills, {told(stock, 'unsaved')} before a checkpoint,"
        f" {told(stock, 'identical')} identical, {told(stock, 'stuck')} stuck,"
        f" {told(stock, 'other')} with other weights"
    )


def main() -> int:
    """Run the trials asked for, some side by side, and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--terms", type=int, default=0)
    parser.add_argument("--corruptions", type=int, default=0)
    parser.add_argument("--disks", type=int, default=0)
    parser.add_argument("--stock", type=int, default=0, help="kills of the stock Trainer")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what is hit")
    parser.add_argument("--minutes", type=float, default=600, help="no trial begins after these")
    parser.add_argument("--side-by-side", type=int, default=2, help="trials at a time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="kill-campaign-") as scratch:
        trials = list(trials_of(options))
        random.Random(options.seed).shuffle(trials)
        outcomes = _side_by_side(trials, Path(scratch), options.side_by_side, until)
    for outcome in outcomes:
        if outcome.failure:
            print(outcome.failure)
    print(summary(outcomes))
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def _side_by_side(trials: list[Trial], scratch: Path, workers: int, until: float) -> list[Outcome]:
    """Outcomes of the trials that began in time; first a whole run of each layout."""
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        wanted = {layout for _, layout, _ in trials}
        making = {name: pool.submit(whole_run, scratch / name, LAYOUTS[name]) for name in wanted}
        wholes = {name: made.result() for name, made in making.items()}
        running = [
            pool.submit(_in_time, act, layout, seed, wholes[layout], until)
            for act, layout, seed in trials
        ]
        for one in running:
            try:
                found = one.result()
            except BrokenProcessPool as error:
                found = Outcome("killed", failure=f"the campaign's own process died: {error}")
            outcomes += [found] if found else []
    return outcomes


def _in_time(
    act: Callable[..., Outcome], layout: str, seed: int, whole: Whole, until: float
) -> Outcome | None:
    if time.monotonic() > until:
        return None
    outcome = run_trial(act, layout, seed, whole)
    print(f"{act.__name__} {layout} {outcome.failure or outcome.notes}", file=sys.stderr)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
