"""`hub-trainer quickstart`: starts the Local Hub, tells the story, shows the rounds."""

import json
import os
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from hub_trainer.cli.output import people, print_json, progress_bars, say, stopped_at_the_end
from hub_trainer.hub import use_endpoint
from hub_trainer.local_hub import LocalHub

HUB_FOLDER, PLOT = "hub", "rounds.png"


def run_and_show(folder: Path, *, keep_running: bool) -> None:
    """Run the quickstart in a fresh sub-folder of `folder`; ends with one JSON line."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models; two would wait for each other
    os.environ.setdefault("HF_HOME", str(folder.resolve() / "cache"))
    # `folder/run-001`, or the next number that is free.
    number = 1
    while (folder / f"run-{number:03d}").exists():
        number += 1
    work = folder / f"run-{number:03d}"
    work.mkdir(parents=True)
    with LocalHub(work / HUB_FOLDER) as local:
        use_endpoint(local.url)
        from hub_trainer.cards.status import plot_rounds, render_status
        from hub_trainer.quickstart import run_quickstart

        say(f"A Local Hub answers at {local.url}; its data lies in {work / HUB_FOLDER}.")
        with progress_bars() as report:
            told = run_quickstart(local, work, report=report, keep_space=keep_running)
        records, space = told.pop("records"), told.pop("space")
        people.print(_pull_request_table(told["pull_requests"]))
        people.print(render_status(records))
        plot_rounds(records, work / PLOT)
        _print_places(local, work, told)
        if space is not None:
            _serve_on(local, space, told)
        else:
            print_json(told)


def _pull_request_table(requests: list[dict[str, Any]]) -> Table:
    table = Table(title="Pull requests on the data", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("number", justify="right")
    table.add_column("verdict")
    table.add_column("why")
    styles = {"merge": "green", "human": "yellow", "refuse": "red"}
    for request in requests:
        why = "; ".join(request["reasons"]) or "every check passed"
        verdict = Text(request["verdict"], style=styles[request["verdict"]])
        table.add_row(str(request["number"]), verdict, Text(why))
    return table


def _print_places(local: LocalHub, work: Path, told: dict[str, Any]) -> None:
    model = told["rounds"][-1]["model"]["repo_id"]
    say("The crowd was simulated: 12 raters, 15 % slips, two saboteurs, through the Space's API.")
    for what, place in (
        ("model", f"{local.url}/{model}"),
        ("data", f"{local.url}/datasets/community/handwritten-digits"),
        ("plot", work / PLOT),
        ("seconds", f"{told['seconds']:.0f}"),
    ):
        say(f"  {what:<8} {place}")


def _serve_on(local: LocalHub, space: Any, told: dict[str, Any]) -> None:
    """Leave both running until interrupted."""
    told["space"] = space.url
    say(f"  space    {space.url}")
    say("Try the model there and rate it. For a shell of your own:")
    for name, value in local.environment().items():
        shown = f"$(cat {local.data_dir / 'token'})" if name == "HF_TOKEN" else value
        say(f"  export {name}={shown}")
    say("Stop both with Ctrl-C.")
    print_json(json.loads(json.dumps(told, default=str)))
    with stopped_at_the_end(space):
        space.wait()
