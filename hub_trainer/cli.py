"""The command line: parse, call one function, print, exit with the right code."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hub_trainer import __version__
from hub_trainer.errors import ExitCode, HubTrainerError, ProblemsError
from hub_trainer.hub import Hub, use_endpoint

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key.path=value]...", help="Settings that replace the recipe's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")]
RoundDir = Annotated[
    Path | None, typer.Option(help="Where the round is kept; rounds/<recipe>/round-<N> otherwise.")
]
Endpoint = Annotated[
    str | None, typer.Option(help="Address of the Hub; HF_ENDPOINT, or the public one otherwise.")
]
AccelerateConfig = Annotated[
    Path | None, typer.Option(help="Run the train stage under this accelerate config file.")
]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Community data in, measurably better models out, ratings back in.",
)
hub_app = typer.Typer(no_args_is_help=True, help="The embedded Local Hub.")
app.add_typer(hub_app, name="hub")

people = Console(stderr=True)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print it.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit()
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=people, show_time=False, show_path=False)],
    )
    logging.getLogger("hub_trainer").setLevel(logging.INFO)


@app.command()
def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a recipe, all faults at once, before anything is trained."""
    with _errors(as_json):
        use_endpoint(endpoint)
        from hub_trainer.preflight import check_recipe

        report = check_recipe(recipe, overrides or [], Hub())
        for line in report.lines:
            people.print(line, highlight=False, markup=False)
        _print_problems(report.problems, str(recipe))
        if as_json:
            _print_json({"problems": [vars(problem) for problem in report.problems]})
        raise typer.Exit(report.exit_code)


@app.command()
def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Dry run: the resolved recipe, steps, memory, and the files it would write on the Hub."""
    with _errors(as_json):
        use_endpoint(endpoint)
        from hub_trainer.plan import plan_round, render_plan
        from hub_trainer.recipe import load_recipe

        planned = plan_round(load_recipe(recipe, overrides or []), Hub())
        people.print(render_plan(planned))
        if as_json:
            _print_json(planned)


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    round_dir: RoundDir = None,
    endpoint: Endpoint = None,
    accelerate_config: AccelerateConfig = None,
    as_json: AsJson = False,
) -> None:
    """One round, all stages: collect, prepare, train, evaluate, publish."""
    with _errors(as_json):
        use_endpoint(endpoint)
        from hub_trainer.loop import default_round_dir, run_round
        from hub_trainer.recipe import load_recipe

        hub = Hub()
        recipe_file = load_recipe(recipe, overrides or [])
        folder = round_dir or default_round_dir(recipe_file, hub)
        launch = _launcher(accelerate_config, recipe, overrides or [])
        with _progress() as report:
            result = run_round(recipe_file, folder, hub, progress=report, launch_train=launch)
        _print_result(result, as_json)
        if result["verdict"] != "promote":
            raise typer.Exit(ExitCode.NOT_PROMOTED)


def _stage_command(stage: str, what: str) -> None:
    def command(
        recipe: RecipePath,
        overrides: Overrides = None,
        round_dir: RoundDir = None,
        endpoint: Endpoint = None,
        as_json: AsJson = False,
    ) -> None:
        with _errors(as_json):
            use_endpoint(endpoint)
            from hub_trainer.loop import default_round_dir, run_until
            from hub_trainer.recipe import load_recipe

            hub = Hub()
            recipe_file = load_recipe(recipe, overrides or [])
            folder = round_dir or default_round_dir(recipe_file, hub)
            with _progress() as report:
                result = run_until(stage, recipe_file, folder, hub, progress=report)
            if _is_main_process():
                _print_result(result, as_json)

    app.command(stage, help=what)(command)


_stage_command("collect", "Fetch the rows of the recipe's datasets at pinned commits.")
_stage_command("prepare", "Clean, deduplicate and split the rows; keep the test split sealed.")
_stage_command("train", "Fine-tune; resumes by itself. Runs under `accelerate launch -m` too.")
_stage_command("evaluate", "Measure on the sealed test split and ask the gate.")
_stage_command("publish", "Publish behind the gate: main, or a pull request.")


@app.command()
def serve(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    port: Annotated[int, typer.Option(help="Port of the local process; 0 takes a free one.")] = 0,
    push_only: Annotated[
        bool, typer.Option("--push-only", help="Push the Space, do not run it here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Push the Space of the published model and, on a Local Hub, run it here."""
    with _errors(as_json):
        use_endpoint(endpoint)
        from hub_trainer.loop import serve_published
        from hub_trainer.recipe import load_recipe

        def ready(served: dict[str, Any]) -> None:
            people.print(f"The Space answers at {served['url'] or served['space_url']}")
            if as_json:
                _print_json(served)

        recipe_file = load_recipe(recipe, overrides or [])
        serve_published(recipe_file, Hub(), port=port, run_here=not push_only, on_ready=ready)


@app.command()
def curate(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Turn ratings into examples, and propose them as a pull request on the dataset."""
    with _errors(as_json):
        use_endpoint(endpoint)
        from hub_trainer.loop import curate_ratings
        from hub_trainer.recipe import load_recipe

        with _progress() as report:
            outputs = curate_ratings(load_recipe(recipe, overrides or []), Hub(), progress=report)
        people.print(outputs["summary"])
        if as_json:
            _print_json(outputs)


@app.command()
def status(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the rounds there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rounds, metrics, verdicts and lineage, read back from the Hub."""
    with _errors(as_json):
        use_endpoint(endpoint)
        from hub_trainer.cards.status import plot_rounds, render_status
        from hub_trainer.lineage import read_rounds
        from hub_trainer.loop import result_of_record
        from hub_trainer.recipe import load_recipe

        repo_id = load_recipe(recipe, overrides or []).recipe.publish.repo_id
        records = read_rounds(Hub(), repo_id)
        people.print(render_status(records) if records else f"{repo_id} has no rounds yet.")
        if plot and records:
            plot_rounds(records, plot)
        if as_json:
            rounds = [result_of_record(record) for record in records]
            _print_json({"repo_id": repo_id, "rounds": rounds})


@app.command("schema")
def schema_command() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from hub_trainer.recipe import json_schema

    print(json.dumps(json_schema(), indent=1))


def _launcher(
    config: Path | None, recipe: Path, overrides: list[str]
) -> Callable[[Path], None] | None:
    if config is None:
        return None
    from hub_trainer.launch import launch_train

    def launch(round_dir: Path) -> None:
        launch_train(config, [str(recipe), *overrides, "--round-dir", str(round_dir)])

    return launch


@contextmanager
def _errors(as_json: bool) -> Iterator[None]:
    """Print an error of the user's world as one, and exit with its code."""
    try:
        yield
    except ProblemsError as error:
        _print_problems(error.problems, error.source)
        if as_json:
            _print_json({"problems": [vars(problem) for problem in error.problems]})
        raise typer.Exit(error.exit_code) from None
    except HubTrainerError as error:
        people.print(f"error: {error}", style="red", highlight=False, markup=False)
        if as_json:
            content = {"what": error.what, "where": error.where, "got": error.got, "do": error.do}
            _print_json({"error": content, "exit_code": int(error.exit_code)})
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
def _progress() -> Iterator[Callable[[str, float, str], None]]:
    """A bar with an estimate per stage on a terminal; a line per stage elsewhere."""
    if not people.is_terminal or not _is_main_process():
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


def _is_main_process() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"


def _print_problems(problems: Any, source: str) -> None:
    for problem in problems:
        where = f"{source}:{problem.line}" if problem.line else source
        people.print(f"{where}: {problem.message}", style="red", highlight=False, markup=False)


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    from hub_trainer.cards.status import render_result

    people.print(render_result(result))
    if as_json:
        _print_json(result)


def _print_json(content: Any) -> None:
    sys.stderr.flush()
    print(json.dumps(content, ensure_ascii=False, default=str), flush=True)


def main() -> None:
    """Run the command line."""
    app()
