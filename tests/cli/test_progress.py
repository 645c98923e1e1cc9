"""One display of progress: a bar for the stage that runs, and a line for each that has ended."""

import io
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from hub_trainer.checks.verdict import Check
from hub_trainer.cli import contributing, output
from hub_trainer.hub import Hub
from hub_trainer.loop.round_results import stage_summary
from tests.cards.evidence import FIT


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    monkeypatch.setattr(output, "people", console)
    with output.progress_bars() as report:
        report("collect", 0.5, "reading [rows]")
        report("collect", 1.0, "90 train, 60 test rows")
        report("train", 0.2, "step 2 of 10")
        report("collect", 1.0, "told twice")
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("terminal", [True, False])
def test_stage_when_it_ends_then_one_line_says_what_it_came_to(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    told = shown(monkeypatch, terminal=terminal)
    assert told.count("collect     done in 0 s: 90 train, 60 test rows") == 1
    assert "told twice" not in told
    assert "train       done" not in told


def test_bar_when_the_display_closes_then_nothing_of_it_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = shown(monkeypatch, terminal=True)
    assert told.rstrip().endswith("\x1b[2K")  # the last thing written clears the bar's line
    assert "━" not in shown(monkeypatch, terminal=False)
    assert not re.search("step 2", shown(monkeypatch, terminal=False))


def test_contribute_when_nothing_is_sent_then_its_progress_is_shown_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = Console(file=io.StringIO(), width=100)
    monkeypatch.setattr(output, "people", console)
    found = SimpleNamespace(notes=[], rows=30, labels={"ham": 30})
    checks = [Check("rows", True, ""), Check("ranges", False, "size: far", "human")]
    monkeypatch.setattr(contributing, "propose", lambda *_, **__: found)
    monkeypatch.setattr(contributing, "foresee", lambda *_: checks)
    contributing.contribute_file(
        Hub("http://127.0.0.1:9"),
        "ann/mail",
        Path("new.csv"),
        columns={},
        sending=contributing.Sending(dry_run=True),
    )
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert told[0] == "30 rows for ann/mail: ham 30"
    assert (
        told[1]
        == "contribute  done in 0 s: 1 of 2 checks passed; review also asks a published model"
    )
    assert told[2] == "review would ask a person: ranges: size: far"


SPLIT = {"repo_id": "ann/mail", "commit_sha": "c" * 40, "role": "train"}
CHOSEN = {
    "name": "ill",
    "threshold": 0.17877,
    "sensitivity": {"value": 0.95, "low": 0.878, "high": 0.98},
    "num_positive": 80,
}


@pytest.mark.parametrize(
    ("stage", "outputs", "told"),
    [
        (
            "collect",
            {"label_names": [], "datasets": [{**SPLIT, "rows": 1500}, {**SPLIT, "rows": 7}]},
            "1,507 train rows",
        ),
        (
            "prepare",
            {"label_names": [], "rows": {"train": 76, "test": 60}},
            "76 train, 60 test rows",
        ),
        (
            "train",
            {"fit": {**FIT, "method": "lora", "steps": 1200, "rows_per_second": 18.4}},
            "method lora, 1,200 steps, 18 rows/s",
        ),
        ("train", {"fit": {**FIT, "rows": 105, "steps": None}}, "105 rows fitted"),
        (
            "train",
            {"fit": {**FIT, "rows": 105, "steps": None, "threshold": CHOSEN}},
            "105 rows fitted; ill from probability 0.1788 on: sensitivity 0.9500 [0.8780, 0.9800] "
            "on 80 such validation rows",
        ),
        (
            "evaluate",
            {
                "primary": "accuracy",
                "gate": {"verdict": "hold"},
                "metrics": {"accuracy": {"value": 0.75}},
                "num_examples": 60,
            },
            "accuracy 0.7500 on 60 sealed examples; the gate says hold",
        ),
        (
            "evaluate",
            {
                "primary": "accuracy",
                "gate": {"verdict": "promote"},
                "metrics": {"accuracy": {"value": 1.0}},
                "num_examples": 60,
                "warnings": ["the column 'x' alone explains 97% of what is told"],
            },
            "accuracy 1.0000 on 60 sealed examples; the gate says promote; "
            "warning: the column 'x' alone explains 97% of what is told",
        ),
        (
            "evaluate",
            {
                "primary": "perplexity",
                "gate": {"verdict": "hold"},
                "metrics": {"perplexity": {"value": 9.5}},
                "num_examples": 21,
                "num_rows": 34,
            },
            "perplexity 9.5000 on 21 sealed examples (34 rows, each prompt asked once); "
            "the gate says hold",
        ),
        (
            "evaluate",
            {
                "primary": "perplexity",
                "gate": {"verdict": "hold"},
                "metrics": {"perplexity": {"value": 9.5}},
                "num_examples": 26,
                "num_scored": 25,
                "warnings": ["1 of 26 is not compared"],
            },
            "perplexity 9.5000 on 25 of 26 sealed examples; the gate says hold; "
            "warning: 1 of 26 is not compared",
        ),
        (
            "publish",
            {"pull_request": 4, "repo_id": "org/model", "commit_sha": "a" * 40},
            "pull request 4 of org/model, at aaaaaaa",
        ),
        (
            "publish",
            {"pull_request": None, "repo_id": "org/model", "commit_sha": "a" * 40},
            "main of org/model, at aaaaaaa",
        ),
        ("curate", {"summary": "3 examples proposed"}, "3 examples proposed"),
        ("serve", {}, "done"),
    ],
)
def test_stage_when_it_is_summed_up_then_in_a_few_words(
    stage: str, outputs: dict[str, object], told: str
) -> None:
    assert stage_summary(stage, outputs) == told


@pytest.mark.parametrize(
    ("differences", "is_told"),
    [
        (["logging_steps: 0.02 (from args) != 2 (from trainer_state.json)"], False),
        (["logging_steps: 0.02", "per_device_train_batch_size: 4 (from args) != 8"], True),
    ],
)
def test_resumed_run_when_only_the_share_of_logged_steps_differs_then_nothing_is_said(
    differences: list[str], is_told: bool
) -> None:
    text = "Warning: The following " + output.MISMATCH + " within the checkpoint directory: "
    text = "\n\t".join([text, *differences])
    record = logging.LogRecord("transformers", logging.WARNING, "", 0, text, (), None)
    assert output.is_no_share_of_steps(record) is is_told
