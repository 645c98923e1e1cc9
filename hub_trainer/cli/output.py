"""What the command line shows: people read stderr, programs read one JSON line on stdout."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hub_trainer.errors import ExitCode, HubTrainerError, ProblemsError, UsageError

people = Console(stderr=True)


@contextmanager
def stopped_at_the_end(space: Any) -> Iterator[None]:
    """Stop the Space when this process is asked to stop, so that it sends what waits."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        people.print("Stopping the Space.")
    finally:
        signal.signal(signal.SIGTERM, before)
        space.stop()


@contextmanager
def errors_shown(as_json: bool) -> Iterator[None]:
    """Print an error of the user's world as one, and exit with its code."""
    try:
        yield
    except ProblemsError as error:
        print_problems(error.problems, error.source)
        if as_json:
            print_json({"problems": [vars(problem) for problem in error.problems]})
        raise typer.Exit(error.exit_code) from None
    except HubTrainerError as error:
        people.print(f"error: {error}", style="red", highlight=False, markup=False)
        if as_json:
            content = {"what": error.what, "where": error.where, "got": error.got, "do": error.do}
            print_json({"error": content, "exit_code": int(error.exit_code)})
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        if error.errno != 28:
            raise
        people.print(f"error: the disk is full: {error.filename or ''}", style="red", markup=False)
        people.print("  do:    Free some space, then run the same command again: it goes on.")
        raise typer.Exit(ExitCode.TRAINING) from None
    except KeyboardInterrupt:
        people.print("Interrupted. Run the same command again to go on.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@contextmanager
def progress_bars() -> Iterator[Callable[[str, float, str], None]]:
    """A bar with an estimate per stage on a terminal; a line per stage elsewhere."""
    if not people.is_terminal or not is_main_process():
        yield lambda stage, share, doing: None
        return
    columns = (
        TextColumn("{task.fields[stage]:<9}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
    )
    bars = Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"),
        console=people,
    )  # fmt: skip
    known: dict[str, Any] = {}
    with bars:

        def report(stage: str, share: float, doing: str) -> None:
            if stage not in known:
                known[stage] = bars.add_task(doing, total=1.0, stage=stage)
            bars.update(known[stage], completed=share, description=doing)

        yield report


def is_main_process() -> bool:
    """Whether this is rank 0, which alone speaks to people."""
    return os.environ.get("RANK", "0") == "0"


def print_problems(problems: Any, source: str) -> None:
    """A line per fault, with file and line."""
    for problem in problems:
        where = f"{source}:{problem.line}" if problem.line else source
        people.print(f"{where}: {problem.message}", style="red", highlight=False, markup=False)


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """What a round has come to."""
    from hub_trainer.cards.status import render_result

    people.print(render_result(result))
    if as_json:
        print_json(result)


def print_curated(outputs: dict[str, Any]) -> None:
    """What curate proposed."""
    request = outputs.get("pull_request")
    if request is None:
        people.print("No row has enough agreeing ratings yet: nothing to propose.")
    else:
        people.print(f"Pull request {request} proposes {outputs['rows']} rows.")


def print_json(content: Any) -> None:
    """The one line that programs read, the last on stdout."""
    sys.stderr.flush()
    print(json.dumps(content, ensure_ascii=False, default=str), flush=True)


def pair_of(text: str) -> tuple[str, str]:
    """`name=value` as a pair."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError("A column is mapped as name=name.", got=text)
    return name, value
