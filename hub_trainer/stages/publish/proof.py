"""The proof that a folder works for others: a fresh process reloads it and repeats predictions."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hub_trainer
from hub_trainer.answers import Answer, Likelihood, Prediction, load_answer
from hub_trainer.errors import TrainingError

NUM_ROWS = 8
MAX_ROUNDED_DIFFERENCE = 0.05
"""Of a prediction that the task computes in bfloat16."""
MAX_SECONDS = 1800
KEPT_VARIABLES: tuple[str, ...] = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS")
KEPT_VARIABLES += ("CUDA_VISIBLE_DEVICES", "SYSTEMROOT")

PlainPrediction = Mapping[str, Any]
"""A prediction between processes: its value as a text, its scores, and its likelihood."""


@dataclass(frozen=True)
class Expected:
    """What evaluate saw of rows of a file, by index."""

    rows_file: Path
    indexes: Sequence[int]
    predictions: Sequence[PlainPrediction]


@dataclass(frozen=True)
class Loaded:
    """What is loaded, and what must come with it."""

    task: str
    label_names: Sequence[str]
    chat_template: bool
    """Whether the base model has one that must not be lost."""
    answer: str
    """The answer's name."""
    base_dir: Path | None = None
    """The base of an adapter."""
    template: str | None = None
    """The chat template that the model was trained with, where the recipe names one."""


def spread_indexes(num_rows: int, count: int = NUM_ROWS) -> list[int]:
    """At most `count` row numbers, spread evenly, so that sorted labels all have a chance."""
    if num_rows <= count:
        return list(range(num_rows))
    return sorted({round(step * (num_rows - 1) / (count - 1)) for step in range(count)})


def prove_reload(folder: Path, expected: Expected, loaded: Loaded) -> dict[str, Any]:
    """What the proof showed: rows, max_difference, loaded_with. Raises TrainingError without."""
    request = {
        "task": loaded.task,
        "answer": loaded.answer,
        "folder": str(folder.resolve()),
        "base": str(loaded.base_dir) if loaded.base_dir else None,
        "rows_file": str(expected.rows_file.resolve()),
        "indexes": list(expected.indexes),
        "label_names": list(loaded.label_names),
        "chat_template": loaded.chat_template,
        "template": loaded.template,
    }
    answer = _ask_fresh_process(request)
    if "failure" in answer:
        raise _refused(folder, answer["failure"])
    worst = 0.0
    for way, name in (("task", "hub_trainer"), ("plain", "plain transformers")):
        if answer[way] is not None:
            pairs = _pairs(load_answer(loaded.answer), expected.predictions, answer[way])
            of = load_answer(loaded.answer)
            found = _difference(folder, of, pairs, name, is_rounded=answer["is_rounded"])
            worst = max(worst, found)
    return {
        "rows": len(expected.indexes),
        "max_difference": worst,
        "loaded_with": answer["loaded_with"],
    }


Pairs = Sequence[tuple[Prediction, Prediction]]


def _pairs(
    answer: Answer, expected: Sequence[PlainPrediction], found: Sequence[PlainPrediction]
) -> Pairs:
    return [
        (from_plain(answer, mine), from_plain(answer, theirs))
        for mine, theirs in zip(expected, found, strict=True)
    ]


def _difference(
    folder: Path, answer: Answer, pairs: Pairs, name: str, *, is_rounded: bool
) -> float:
    """The largest difference of a prediction. Raises TrainingError for another answer."""
    wrong = [
        f"{answer.told(answer.dumps(mine.value))!r} became "
        f"{answer.told(answer.dumps(theirs.value))!r}"
        for mine, theirs in pairs
        if not answer.same(mine.value, theirs.value)
    ]
    if wrong:
        got = f"by {name}, {len(wrong)} of {len(pairs)} answers differ: {wrong[0]}"
        hint = "; the probabilities are the same under other names: the label order has changed"
        raise _refused(folder, got + (hint if _is_permuted(answer, pairs) else ""))
    worst = max((answer.difference(mine, theirs) for mine, theirs in pairs), default=0.0)
    if not worst <= (MAX_ROUNDED_DIFFERENCE if is_rounded else answer.tolerance):
        raise _refused(folder, f"by {name}, {answer.asking.measured_by} differs by {worst:.2g}")
    return worst


def to_plain(answer: Answer, prediction: Prediction) -> PlainPrediction:
    """A prediction for another process."""
    weighed = prediction.likelihood
    return {
        "value": None if prediction.value is None else answer.dumps(prediction.value),
        "scores": dict(prediction.scores),
        "likelihood": [weighed.log_prob, weighed.num_tokens] if weighed else None,
    }


def from_plain(answer: Answer, said: PlainPrediction) -> Prediction:
    """The prediction that another process wrote."""
    value = None if said["value"] is None else answer.loads(said["value"])
    likelihood = Likelihood(*said["likelihood"]) if said["likelihood"] else None
    return Prediction(value, said["scores"], likelihood=likelihood)


def _is_permuted(answer: Answer, pairs: Pairs) -> bool:
    """Whether the scores of all rows are the same under other names."""
    return all(
        len(mine.scores) == len(theirs.scores) > 0
        and all(
            abs(one - other) <= answer.tolerance
            for one, other in zip(
                sorted(mine.scores.values()), sorted(theirs.scores.values()), strict=True
            )
        )
        for mine, theirs in pairs
    )


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
