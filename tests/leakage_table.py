"""Near copies of sealed rows on real data sets: what is seen, what honest rows cost, as tables.

    python tests/leakage_table.py DATA [--seeds 3] [SET ...]

Without a network or a Hub: the comparison and the decision of review on pull requests of 120 rows,
of which 40 are altered copies of sealed rows; as many clean ones; and the training rows that
prepare would take out. Exit code 1 when a goal is missed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_trainer.checks.leakage_check import check_leakage
from hub_trainer.checks.review_child import _leakage
from hub_trainer.rows.leakage import SealedExamples, find_sealed
from tests.alterations import ALTERATIONS

Row = dict[str, Any]
NEAR = 0.85
# Folder, modality, columns: input and label, or of language data prompt and answer.
SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tabular-heart-disease": ("table", ("label", "severity")),
    "image-mnist-10k": ("image", ("image",)),
    "text-sms-spam": ("text", ("text",)),
    "tabular-wine-quality": ("table", ("quality",)),
    "tabular-penguins": ("table", ("species",)),
    "image-fashion-mnist-mini": ("image", ("image",)),
    "image-orl-faces": ("image", ("image",)),
    "image-bccd-cells": ("image", ("image",)),
    "audio-fsdd": ("audio", ("audio",)),
    "text-banking77": ("text", ("text",)),
    "text-tweeteval-irony": ("text", ("text",)),
    "llm-gsm8k": ("text", ("question", "answer")),
    "llm-gpteacher-roleplay": ("text", ("instruction", "output")),
    "llm-hh-rlhf-harmless": ("text", ("prompt", "chosen")),
}
TUNED = ("tabular-heart-disease", "image-mnist-10k", "text-sms-spam")
PLAIN_TABLES = ("two significant digits less", "columns in another order")


def load(folder: Path, split: str, modality: str, columns: tuple[str, ...]) -> list[Row]:
    """The rows of a split as they are compared."""
    found = [pq.read_table(path) for path in sorted(folder.glob(f"data/{split}-*.parquet"))]
    rows = pa.concat_tables(found).to_pylist()
    if modality == "table":
        return [{name: row[name] for name in row if name not in columns} for row in rows]
    if modality in ("image", "audio"):
        return [{modality: row[modality]["bytes"]} for row in rows]
    if len(columns) == 1:
        return [{"text": row["text"]} for row in rows]
    return [_example(row, columns) for row in rows]


def _example(row: Row, columns: tuple[str, ...]) -> Row:
    prompt, answer = (_told(row[name]) for name in columns)
    return {"text": f"{prompt}\n{answer}", "prompt": f"{prompt}\n"}


def _told(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in value)


def altered(row: Row, name: str, modality: str, rng: Any, among: Sequence[Row]) -> Row:
    """A row altered; of language data the prompt, under an answer of another row."""
    alter = ALTERATIONS[modality][name]
    if "prompt" not in row:
        return alter(row, rng, among)
    prompt = alter({"text": row["prompt"]}, rng, among)["text"]
    other = among[int(rng.integers(len(among)))]
    answer = other["text"].removeprefix(other["prompt"])
    return {"text": f"{prompt}\n{answer}", "prompt": f"{prompt}\n"}


def measure(folder: Path, name: str, seeds: int, rows: int) -> tuple[float, float, float]:
    """Recall, false alarms and the share of training rows that go, printed as they come."""
    modality, columns = SETS[name]
    train, test = (load(folder / name, split, modality, columns) for split in ("train", "test"))
    began = time.process_time()
    taken_out = find_sealed(train, test, modality, NEAR)  # type: ignore[arg-type]
    seconds = time.process_time() - began
    exact = sum(match.kind == "exact" for match in taken_out)
    share = len(taken_out) / len(train)
    print(
        f"\n{name}{' (tuned on)' if name in TUNED else ''}: {len(train)} training rows, "
        f"{exact} equal and {len(taken_out) - exact} nearly equal a sealed one ({share:.1%}), "
        f"{seconds:.0f} s of processor time",
        flush=True,
    )
    rng = np.random.default_rng(100)
    order = rng.permutation(len(train))
    fresh = [train[n] for n in order[: len(train) // 2]]
    base = [train[n] for n in order[len(train) // 2 :]][:2000]
    sealed = SealedExamples(test, modality, NEAR)  # type: ignore[arg-type]
    usual = None
    seen: dict[str, list[bool]] = {}
    single: dict[str, list[float]] = {}
    alarms = []
    for seed in range(seeds):
        rng = np.random.default_rng(1000 + seed)
        for alteration in ("clean", *ALTERATIONS[modality]):
            for _ in range(8 if alteration == "clean" else 1):
                honest = [fresh[n] for n in rng.choice(len(fresh), min(rows, len(fresh)))]
                honest = list({id(row): row for row in honest}.values())
                copies = []
                if alteration != "clean":
                    chosen = rng.choice(len(test), 40, replace=False)
                    copies = [altered(test[n], alteration, modality, rng, base) for n in chosen]
                    honest = honest[: len(honest) - 40] or honest[:80]
                found, places = _leakage([*honest, *copies], base if usual is None else [], sealed)
                usual = usual or found
                found = _with_usual(found, usual)
                refused = not check_leakage(found).passed
                caught = sum(place >= len(honest) for place in places)
                if alteration == "clean":
                    alarms.append(refused)
                else:
                    seen.setdefault(alteration, []).append(refused or caught == 40)
                    single.setdefault(alteration, []).append(caught / 40)
    for alteration, answers in seen.items():
        alone = np.mean(single[alteration])
        print(f"  {alteration:<40} {sum(answers)}/{len(answers)} seen, {alone:.0%} of single rows")
    recall = float(np.mean([one for answers in seen.values() for one in answers]))
    print(f"  clean: {sum(alarms)} of {len(alarms)} refused; recall {recall:.1%}", flush=True)
    return recall, float(np.mean(alarms)), share


def _with_usual(found: Any, usual: Any) -> Any:
    from dataclasses import replace

    return replace(found, base_rows=usual.base_rows, base_remoteness=usual.base_remoteness)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=120)
    given = parser.parse_args()
    found = {name: measure(given.data, name, given.seeds, given.rows) for name in given.sets}
    print("\nset | leaks seen | clean ones refused | training rows taken out")
    for name, (recall, alarms, share) in found.items():
        print(f"{name} | {recall:.1%} | {alarms:.1%} | {share:.1%}")
    recall, alarms = (float(np.mean([row[n] for row in found.values()])) for n in (0, 1))
    good = recall >= 0.95 and alarms <= 0.03
    print(f"all: {recall:.1%} seen, {alarms:.1%} refused: {'reached' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
