"""The proof that a folder works for others: a fresh process reloads it and repeats predictions."""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hub_trainer
from hub_trainer.errors import TrainingError

NUM_ROWS = 8
MAX_DIFFERENCE = 1e-4
MAX_SECONDS = 1800
KEPT_VARIABLES: tuple[str, ...] = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS")
KEPT_VARIABLES += ("CUDA_VISIBLE_DEVICES", "SYSTEMROOT")

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Expected:
    """What evaluate saw: rows of a file by index, and the probabilities of each."""

    rows_file: Path
    indexes: Sequence[int]
    scores: Sequence[Scores]


def spread_indexes(num_rows: int, count: int = NUM_ROWS) -> list[int]:
    """At most `count` row numbers, spread evenly, so that sorted labels all have a chance."""
    if num_rows <= count:
        return list(range(num_rows))
    return sorted({round(step * (num_rows - 1) / (count - 1)) for step in range(count)})


def prove_reload(
    folder: Path,
    expected: Expected,
    *,
    task: str,
    label_names: Sequence[str],
    chat_template: bool,
) -> dict[str, Any]:
    """What the proof showed: rows, max_difference, loaded_with. Raises TrainingError if it fails.

    `chat_template` says whether the base model has one that must not be lost.
    """
    request = {
        "task": task,
        "folder": str(folder.resolve()),
        "rows_file": str(expected.rows_file.resolve()),
        "indexes": list(expected.indexes),
        "label_names": list(label_names),
        "chat_template": chat_template,
    }
    answer = _ask_fresh_process(request)
    if "failure" in answer:
        raise _refused(folder, answer["failure"])
    worst = 0.0
    for way, name in (("task", "hub_trainer"), ("plain", "a plain pipeline()")):
        if answer[way] is not None:
            worst = max(worst, _compared(folder, expected.scores, answer[way], name))
    return {
        "rows": len(expected.scores),
        "max_difference": worst,
        "loaded_with": answer["loaded_with"],
    }


def _compared(
    folder: Path, expected: Sequence[Scores], found: Sequence[Scores], name: str
) -> float:
    labels = [(_best(mine), _best(theirs)) for mine, theirs in zip(expected, found, strict=True)]
    wrong = [f"{mine!r} became {theirs!r}" for mine, theirs in labels if mine != theirs]
    difference = largest_difference(expected, found)
    if wrong:
        got = f"by {name}, {len(wrong)} of {len(labels)} labels differ: {wrong[0]}"
        hint = "; the probabilities are the same under other names: the label order has changed"
        raise _refused(folder, got + (hint if _is_permuted(expected, found) else ""))
    if difference > MAX_DIFFERENCE:
        raise _refused(folder, f"by {name}, a probability differs by {difference:.2g}")
    return difference


def largest_difference(expected: Sequence[Scores], found: Sequence[Scores]) -> float:
    """The largest difference of a probability; infinite where one is missing or not a number."""
    worst = 0.0
    for mine, theirs in zip(expected, found, strict=True):
        for label in mine.keys() | theirs.keys():
            change = abs(mine.get(label, math.inf) - theirs.get(label, math.inf))
            worst = max(worst, math.inf if math.isnan(change) else change)
    return worst


def _is_permuted(expected: Sequence[Scores], found: Sequence[Scores]) -> bool:
    return all(
        len(mine) == len(theirs)
        and all(
            abs(one - other) <= MAX_DIFFERENCE
            for one, other in zip(sorted(mine.values()), sorted(theirs.values()), strict=True)
        )
        for mine, theirs in zip(expected, found, strict=True)
    )


def _best(scores: Scores) -> str:
    return max(scores, key=lambda label: scores[label])


def _refused(folder: Path, got: str) -> TrainingError:
    return TrainingError(
        "A fresh process that loads the model does not repeat its predictions.",
        where=str(folder),
        got=got,
        do="Nothing was sent. Remove the round's train folder and run the round again.",
    )


def _ask_fresh_process(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a process that has no token, no network use and no cache of this one."""
    with tempfile.TemporaryDirectory(prefix="reload-") as home:
        question, answer = Path(home) / "request.json", Path(home) / "answer.json"
        question.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", f"{__package__}.reload", str(question), str(answer)]
        try:
            finished = subprocess.run(
                command,
                cwd=home,
                env=_bare_environment(home),
                capture_output=True,
                text=True,
                timeout=MAX_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _refused(Path(request["folder"]), f"no answer in {MAX_SECONDS} s") from None
        if finished.returncode != 0 or not answer.exists():
            lines = finished.stderr.strip().splitlines() or ["it said nothing"]
            got = f"the process ended with {finished.returncode}: {lines[-1][:300]}"
            raise _refused(Path(request["folder"]), got)
        content: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return content


def _bare_environment(home: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    package = Path(hub_trainer.__file__).parent.parent
    return {
        **kept,
        "PYTHONPATH": str(package),
        "HOME": home,
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
