"""Output of the command line: people read stderr, programs read one JSON line on stdout."""

import errno
import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hub_trainer.errors import (
    ExitCode,
    HubTrainerError,
    Interrupted,
    Problem,
    ProblemsError,
    TrainingError,
    UsageError,
)
from hub_trainer.ranks import is_main_process

if TYPE_CHECKING:
    from hub_trainer.reports import RoundResult

people = Console(stderr=True)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
LIBRARY_BARS = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
OPEN, CLOSE = "{+", "+}"
"""Around what is learned of an example, as wdiff marks what is new."""
MAX_SEGMENT = 1200
"""Characters shown of a piece of an example."""
GOES_ON = "Run the same command again to go on."
KEEPS_NOTHING = "Nothing was kept and nothing sent: the same command begins anew."
"""What can be done about a command that was stopped, where it has taken work with it."""
MISMATCH = "arguments do not match the ones in the `trainer_state.json`"
NO_KERNEL = "Failed to load CPU gemm_4bit_forward"


class PeopleHandler(logging.Handler):
    """Log records as plain lines, above the progress bars where there are any."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line; a warning says that it is one."""
        warns = record.levelno >= logging.WARNING
        text = self.format(record)
        say(f"warning: {text}" if warns else text, style="yellow" if warns else "")


def set_up_logging() -> None:
    """Log lines of ours from INFO on, of libraries from WARNING on; no progress bars of theirs."""
    for name in LIBRARY_BARS:
        os.environ.setdefault(name, "1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[PeopleHandler()])
    logging.getLogger("hub_trainer").setLevel(logging.INFO if is_main_process() else logging.ERROR)
    # bitsandbytes looks for an optional kernel; without it, its own code runs
    backend = logging.getLogger("bitsandbytes.backends.cpu.ops")
    backend.addFilter(lambda record: not record.getMessage().startswith(NO_KERNEL))
    logging.getLogger("transformers.trainer_utils").addFilter(is_no_share_of_steps)


def is_no_share_of_steps(record: logging.LogRecord) -> bool:
    """False for a resumed run of which nothing differs but how `logging_steps` is written.

    The arguments have the share of all steps, and the checkpoint has the number that it comes to.
    """
    first, *differences = record.getMessage().strip().splitlines() or [""]
    return MISMATCH not in first or any("logging_steps:" not in line for line in differences)


def say(text: str, *, style: str = "") -> None:
    """Text for people as it is: not wrapped, not coloured by what it looks like.

    Names and texts of strangers are among it, and a terminal obeys control characters.
    """
    text = "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
    people.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


class Stopped(KeyboardInterrupt):
    """This process was asked to stop.

    Where `python -m` runs a program, Python ends it as killed by SIGINT, whatever its exit code,
    once a KeyboardInterrupt has passed through code in a string (as `dataclass` runs some), though
    it was caught further up; it asks for the class itself, and not for one below it.
    """


def stop_by_exception() -> None:
    """Raise `Stopped` on SIGTERM and on Ctrl-C, where that is not ignored."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)


@contextmanager
def stopped_at_the_end(space: Any) -> Iterator[None]:
    """Stop the Space when this process is asked to stop, so that it sends what waits."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        say("Stopping the Space.")
    finally:
        signal.signal(signal.SIGTERM, before)
        space.stop()


@contextmanager
def errors_shown(as_json: bool, *, stopped: str = GOES_ON) -> Iterator[None]:
    """Print an error of the user's world as one, and exit with its code.

    `stopped` is what somebody can do who has stopped the command.
    """
    try:
        yield
    except ProblemsError as error:
        print_problems(error.problems, error.source)
        if as_json:
            print_json({"problems": [problem.to_json() for problem in error.problems]})
        raise typer.Exit(error.exit_code) from None
    except HubTrainerError as error:
        show_error(error, as_json)
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        told = _of_the_system(error)
        if told is None:
            raise
        show_error(told, as_json)
        raise typer.Exit(told.exit_code) from None
    except KeyboardInterrupt:
        show_error(Interrupted("Interrupted.", do=stopped), as_json)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def show_error(error: HubTrainerError, as_json: bool, found: dict[str, Any] | None = None) -> None:
    """An error for people and, as JSON, beside what was found all the same."""
    say(f"error: {error}", style="red")
    if as_json:
        content = {"what": error.what, "where": error.where, "got": error.got, "do": error.do}
        print_json({**(found or {}), "error": content, "exit_code": int(error.exit_code)})


def _of_the_system(error: OSError) -> HubTrainerError | None:
    """What the system would not do, as an error of the user's world; None when it is of ours."""
    where = str(error.filename) if error.filename else None
    if error.errno in DISK_FULL:
        do = "Free some space, then run the same command again: it goes on."
        return TrainingError("The disk is full.", where=where, got=error.strerror, do=do)
    if error.errno in NOT_ALLOWED:
        do = "Name a place that can be written to."
        return UsageError("The system does not allow it.", where=where, got=error.strerror, do=do)
    return None


@contextmanager
def progress_bars(*, only: str | None = None) -> Iterator[Callable[[str, float, str], None]]:
    """On a terminal one bar with an estimate, for the stage that runs; everywhere a line per stage.

    A stage ends when its share is 1; what is being done then is what it has come to. `only` is the
    one stage that is told, where another process tells of the others.
    """
    if not is_main_process():
        yield lambda stage, share, doing: None
        return
    columns = (
        TextColumn("{task.fields[stage]:<11}", style="bold", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    bars = Progress(*columns, console=people, transient=True, disable=not people.is_terminal)
    begun: dict[str, tuple[Any, float]] = {}
    ended: set[str] = set()

    def report(stage: str, share: float, doing: str) -> None:
        if stage in ended or only not in (None, stage):
            return
        if stage not in begun:
            begun[stage] = bars.add_task(doing, total=1.0, stage=stage), time.monotonic()
        bar, since = begun[stage]
        bars.update(bar, completed=share, description=doing)
        if share >= 1.0:
            ended.add(stage)
            bars.remove_task(bar)
            say(_stage_line(stage, time.monotonic() - since, doing))

    with bars:
        yield report


def _stage_line(stage: str, seconds: float, result: str) -> str:
    took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    told = f"{stage:<11} done in {took}"
    return told if result == "done" else f"{told}: {result}"


def print_problems(problems: Sequence[Problem], source: str) -> None:
    """Every fault in the layout of all errors, with file and line."""
    for problem in problems:
        say(f"error: {problem.told(source)}", style="red")


def print_verdict(problems: Sequence[Problem], next_command: Sequence[str]) -> None:
    """The last line of a check: what to do next, or how many faults there are."""
    if problems:
        say(f"{len(problems)} fault{'s' if len(problems) > 1 else ''}.", style="bold red")
    else:
        say(f"Ready. Next: {shlex.join(next_command)}", style="bold green")


def print_example(example: Any) -> None:
    """A training example as the model reads it, with what is learned of it marked."""
    say(f"example     {example.kind}; what is learned stands in {OPEN} {CLOSE}, green in colour")
    for number, answer in enumerate(example.answers, start=1):
        if len(example.answers) > 1:
            say(f"answer {number} of {len(example.answers)}", style="bold")
        shown = Text()
        for segment in answer:
            shown.append(*_marked(segment.text, learned=segment.learned))
        people.print(shown, highlight=False, soft_wrap=True)


def _marked(text: str, *, learned: bool) -> tuple[str, str]:
    """Text and style; a colour alone would not reach everybody, nor every terminal."""
    half = MAX_SEGMENT // 2
    if len(text) > MAX_SEGMENT:
        text = f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"
    visible = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return (f"{OPEN}{visible}{CLOSE}", "green") if learned else (visible, "dim")


def print_result(result: "RoundResult", as_json: bool) -> None:
    """What a round has come to."""
    from hub_trainer.cards.status import render_result

    people.print(render_result(result))
    if as_json:
        print_json(result.to_json())


def print_curated(outputs: dict[str, Any]) -> None:
    """What there is to say of what curate proposed, beside the summary on the stage's own line."""
    left_out = outputs.get("left_out") or {}
    if left_out and outputs["rows"]:  # where nothing is proposed, the summary says why
        reasons = ", ".join(f"{count:,} {why}" for why, count in sorted(left_out.items()))
        examples = sum(left_out.values())
        say(f"{examples:,} agreed example{'' if examples == 1 else 's'} left out: {reasons}.")
    for note in outputs.get("notes") or ():
        say(f"{note[0].upper()}{note[1:]}.")
    for hint in outputs.get("hints") or ():
        say(hint)
    review = outputs.get("review")
    if review and review["verdict"] == "human":
        why = [c["detail"] for c in review["checks"] if not c["passed"]]
        say(f"Review will leave it to a person: {'; '.join(why)}.")


def print_json(content: Any) -> None:
    """The one line that programs read, the last on stdout."""
    sys.stderr.flush()
    print(json.dumps(content, ensure_ascii=False, default=str), flush=True)


def pair_of(text: str) -> tuple[str, str]:
    """`name=value` as a pair."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        do = "Write two names, as in --column label=species."
        raise UsageError("A column is mapped as name=name.", where="--column", got=text, do=do)
    return name, value
