"""The command line: parse, call one function, print, exit with the right code."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub_trainer import __version__
from hub_trainer.cli.automating import automate
from hub_trainer.cli.going_away import (
    Destination,
    Detach,
    Gpus,
    Journey,
    Sbatch,
    Secrets,
    TimeLimit,
    run_away,
)
from hub_trainer.cli.options import (
    AccelerateConfig,
    AsJson,
    Endpoint,
    Overrides,
    RecipePath,
    RoundDir,
)
from hub_trainer.cli.output import (
    KEEPS_NOTHING,
    errors_shown,
    pair_of,
    people,
    print_curated,
    print_example,
    print_json,
    print_problems,
    print_result,
    print_verdict,
    progress_bars,
    say,
    set_up_logging,
    show_error,
    stop_by_exception,
    stopped_at_the_end,
)
from hub_trainer.errors import ExitCode, UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, Hub, use_endpoint
from hub_trainer.ranks import is_main_process, is_part_of_a_run

if TYPE_CHECKING:
    from hub_trainer.recipe import Recipe

ROUND, COMMUNITY, THE_HUB = "The round", "The community", "The Hub"
"""Groups of commands in --help."""


def _shown(group: str, example: str, *, overrides: bool = False) -> dict[str, Any]:
    """How --help shows a command.

    With `overrides`, what looks like an option and is none is read as an override, whose error
    says what to write.
    """
    return {
        "rich_help_panel": group,
        "epilog": f"Example: hub-trainer {example}",
        "context_settings": {"ignore_unknown_options": overrides},
    }


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Community data in, measurably better models out, ratings back in.",
    epilog="Example: hub-trainer check recipe.yaml, then hub-trainer run recipe.yaml. Completion of"
    " commands by the tab key: hub-trainer --install-completion",
)
hub_app = typer.Typer(no_args_is_help=True, help="The embedded Local Hub.")
app.add_typer(hub_app, name="hub", rich_help_panel=THE_HUB)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print it.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit()
    set_up_logging()


@app.command(**_shown(ROUND, "check recipe.yaml train.method=lora", overrides=True))
def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a recipe, all faults at once, before anything is trained."""
    with errors_shown(as_json, stopped=KEEPS_NOTHING):
        use_endpoint(endpoint)
        from hub_trainer.preflight import check_recipe

        report = check_recipe(recipe, overrides or [], Hub(), tell=say)
        if report.example:
            print_example(report.example)
        print_problems(report.problems, str(recipe))
        print_verdict(report.problems, ["hub-trainer", "run", str(recipe), *(overrides or [])])
        if as_json:
            example = {"example": asdict(report.example)} if report.example else {}
            print_json({"problems": [problem.to_json() for problem in report.problems], **example})
        raise typer.Exit(report.exit_code)


@app.command(**_shown(ROUND, "plan recipe.yaml prepare.max_length=128", overrides=True))
def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    accelerate_config: AccelerateConfig = None,
    as_json: AsJson = False,
) -> None:
    """Dry run: rows, steps, memory, time, and the files it would write on the Hub."""
    with errors_shown(as_json, stopped=KEEPS_NOTHING):
        use_endpoint(endpoint)
        from hub_trainer.plan import plan_round
        from hub_trainer.plan.plan_table import render_plan
        from hub_trainer.recipe import load_recipe

        recipe_file = load_recipe(recipe, overrides or [])
        plan = plan_round(recipe_file, Hub(), accelerate_config=accelerate_config)
        people.print(render_plan(plan))
        if as_json:
            print_json(plan.to_json())


@app.command(**_shown(ROUND, "run recipe.yaml publish.repo_id=me/my-model", overrides=True))
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    round_dir: RoundDir = None,
    endpoint: Endpoint = None,
    accelerate_config: AccelerateConfig = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew a round that was begun and not sent.")
    ] = False,
    on: Destination = None,
    time: TimeLimit = None,
    gpus: Gpus = None,
    detach: Detach = False,
    secret: Secrets = None,
    sbatch: Sbatch = None,
    as_json: AsJson = False,
) -> None:
    """One round, all stages: collect, prepare, train, evaluate, publish."""
    with errors_shown(as_json):
        use_endpoint(endpoint)
        journey = Journey(on, time, gpus, tuple(sbatch or ()), detach, tuple(secret or ()))
        if journey.leaves(fresh=fresh, round_dir=round_dir):
            run_away(
                journey,
                recipe,
                overrides or [],
                round_dir=round_dir,
                accelerate_config=accelerate_config,
                as_json=as_json,
            )
            return
        from hub_trainer.loop import begin_round, begun_as, result_of_start, run_round, start_round
        from hub_trainer.recipe import load_recipe

        hub = Hub()
        recipe_file = load_recipe(recipe, overrides or [])
        launch = _launcher(accelerate_config, recipe, overrides or [], recipe_file.recipe)
        start = start_round(recipe_file, hub, round_dir=round_dir, fresh=fresh)
        for line in start.lines():
            say(line)
        if start.pins is None:
            print_result(result_of_start(start, hub), as_json)
            return
        begin_round(start, fresh=fresh)
        folder = start.round_dir
        with progress_bars() as report:
            result = run_round(recipe_file, folder, hub, progress=report, launch_train=launch)
        if result.verdict == "promote":
            say(f"The model with its card: {hub.url}/{recipe_file.recipe.publish.repo_id}")
        print_result(begun_as(start, result), as_json)
        if result.verdict != "promote":
            raise typer.Exit(ExitCode.NOT_PROMOTED)


def _assert_can_train_here(recipe: "Recipe") -> None:
    """All processes of a launcher find the same fault; the first one says so."""
    from hub_trainer.launch import assert_can_train_here, assert_no_search

    try:
        assert_can_train_here()
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        assert_no_search(recipe, processes, "the config of accelerate launch")
    except UsageError as error:
        if is_main_process():
            raise
        raise typer.Exit(error.exit_code) from None


def _stage_command(stage: str, what: str) -> None:
    def command(
        recipe: RecipePath,
        overrides: Overrides = None,
        round_dir: RoundDir = None,
        endpoint: Endpoint = None,
        as_json: AsJson = False,
    ) -> None:
        from hub_trainer.launch import linked_to_run

        with errors_shown(as_json), linked_to_run():
            use_endpoint(endpoint)
            from hub_trainer.loop import result_of_start, run_until, start_round
            from hub_trainer.recipe import load_recipe

            recipe_file = load_recipe(recipe, overrides or [])
            if stage == "train":
                _assert_can_train_here(recipe_file.recipe)
            if stage == "tune":
                from hub_trainer.stages.tune import assert_search

                assert_search(recipe_file.recipe)
            hub = Hub()
            start = start_round(recipe_file, hub, round_dir=round_dir)
            if stage == "publish" and start.pins is None and not start.is_here:
                say(start.reason)  # it would only send the last round again
                print_result(result_of_start(start, hub), as_json)
                return
            folder = start.round_dir
            with progress_bars(only=stage if is_part_of_a_run() else None) as report:
                result = run_until(stage, recipe_file, folder, hub, progress=report)
            if is_main_process() and not is_part_of_a_run():
                print_result(result, as_json)

    shown = _shown(ROUND, f"{stage} recipe.yaml", overrides=True)
    app.command(stage, help=what, **shown)(command)


_stage_command("collect", "Fetch the rows of the recipe's datasets at pinned commits.")
_stage_command("prepare", "Clean, deduplicate and split the rows; keep the test split sealed.")
_stage_command("tune", "Search the settings that the recipe names, on validation rows.")
_stage_command("train", "Fine-tune; resumes by itself. Runs under `accelerate launch -m` too.")
_stage_command("evaluate", "Measure on the sealed test split and ask the gate.")
_stage_command("publish", "Publish behind the gate: main, or a pull request.")


automated = _shown(COMMUNITY, "automate recipe.yaml --on jobs:a10g-large", overrides=True)
app.command(**automated)(automate)


@app.command(**_shown(ROUND, "serve recipe.yaml", overrides=True))
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
    with errors_shown(as_json):
        use_endpoint(endpoint)
        from hub_trainer.loop import push_space, start_space
        from hub_trainer.recipe import load_recipe

        hub, recipe_file = Hub(), load_recipe(recipe, overrides or [])
        if push_only or hub.url == PUBLIC_ENDPOINT:
            pushed = push_space(recipe_file, hub)
            say(f"The Space is pushed: {pushed['url']}")
            if as_json:
                print_json(pushed)
            return
        space = start_space(recipe_file, hub, port=port)
        say(f"The Space answers at {space.url}; stop it with Ctrl-C.")
        if as_json:
            print_json({"url": space.url, "folder": str(space.folder)})
        with stopped_at_the_end(space):
            space.wait()


@app.command(**_shown(COMMUNITY, "curate recipe.yaml", overrides=True))
def curate(
    recipe: RecipePath,
    overrides: Overrides = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Turn ratings into examples, and propose them as a pull request on the dataset."""
    with errors_shown(as_json):
        use_endpoint(endpoint)
        from hub_trainer.loop import curate_ratings
        from hub_trainer.recipe import load_recipe

        with progress_bars() as report:
            outputs = curate_ratings(load_recipe(recipe, overrides or []), Hub(), progress=report)
        print_curated(outputs)
        if as_json:
            print_json(outputs)


@app.command(**_shown(ROUND, "status recipe.yaml --plot rounds.png", overrides=True))
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
    with errors_shown(as_json, stopped=KEEPS_NOTHING):
        use_endpoint(endpoint)
        from hub_trainer.cards.status import plot_rounds, render_status
        from hub_trainer.loop import read_status
        from hub_trainer.recipe import load_recipe

        recipe_file = load_recipe(recipe, overrides or [])
        repo_id = recipe_file.recipe.publish.repo_id
        records, rounds, fault = read_status(recipe_file, Hub())
        people.print(render_status(records, rounds) if records else f"{repo_id} has no rounds yet.")
        if plot and records:
            plot_rounds(records, plot)
            say(f"The rounds are drawn in {plot}.")
        elif plot:
            say(f"There is no round to draw: {plot} was not written.")
        told = {"repo_id": repo_id, "rounds": [one.to_json() for one in rounds]}
        if fault is not None:
            show_error(fault, as_json, told)
            raise typer.Exit(fault.exit_code)
        if as_json:
            print_json(told)


@app.command(**_shown(ROUND, "suggest recipe.yaml --base-model org/a --base-model org/b"))
def suggest(
    recipe: RecipePath,
    overrides: Overrides = None,
    base_model: Annotated[
        list[str] | None,
        typer.Option(help="A model to look at, as org/name; repeatable. The Hub's otherwise."),
    ] = None,
    max_parameters: Annotated[
        int, typer.Option(min=1, help="Of models that the Hub finds.")
    ] = 200_000_000,
    limit: Annotated[int, typer.Option(min=1, help="Models that the Hub finds at most.")] = 8,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Rank base models for a recipe: a linear probe on each, size, licence, language."""
    with errors_shown(as_json, stopped=KEEPS_NOTHING):
        use_endpoint(endpoint)
        from hub_trainer.recipe import load_recipe
        from hub_trainer.suggest import Wanted, suggest_models
        from hub_trainer.suggest.suggestions_table import render_suggestions

        recipe_file = load_recipe(recipe, overrides or [])
        wanted = Wanted(base_model or (), max_parameters, limit)
        found = suggest_models(recipe_file, Hub(), wanted, tell=say)
        people.print(render_suggestions(found), highlight=False)
        if as_json:
            print_json({"task": recipe_file.recipe.task, "models": [o.to_json() for o in found]})
        if all(one.problems for one in found):
            raise typer.Exit(ExitCode.RECIPE)


@app.command("schema", **_shown(ROUND, "schema > recipe.schema.json"))
def schema_command() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from hub_trainer.recipe import json_schema

    print(json.dumps(json_schema(), indent=1))


@app.command(**_shown(ROUND, "init --task text-classification --data my.csv"))
def init(
    task: Annotated[str, typer.Option(help="What the model is for, as text-classification.")],
    data: Annotated[
        Path, typer.Option(help="csv, jsonl, parquet, or pictures or sounds in folders by label.")
    ],
    repo_id: Annotated[
        str | None, typer.Option(help="The dataset to make; <you>/<name of the file> otherwise.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="What to start from; a small one as usual otherwise.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The recipe to write; <name of the file>.yaml otherwise.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Test rows; a fifth of the rows is held back otherwise.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="ours=theirs, as label=species, where it cannot be guessed; repeatable."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="The rows' licence, as cc-by-4.0.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make the dataset public.")] = False,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset on the Hub from one's own file, and a recipe that trains on it."""
    again = "Run the same command again: it says so if the dataset was made already."
    with errors_shown(as_json, stopped=again):
        use_endpoint(endpoint)
        from hub_trainer.cli.init import default_out, init_from
        from hub_trainer.contribute.creation import Beginning

        wanted = Beginning(
            task=task,
            data=data,
            out=out or default_out(data),
            test=test,
            repo_id=repo_id,
            base_model=base_model,
            license=licence,
            columns=dict(pair_of(text) for text in column or []),
            private=not public,
        )
        told = init_from(Hub(), wanted)
        if as_json:
            print_json(told)


@app.command(**_shown(COMMUNITY, "contribute org/data more.csv"))
def contribute(
    dataset: Annotated[str, typer.Argument(metavar="DATASET_REPO", help="As in org/name.")],
    file: Annotated[
        Path, typer.Argument(help="csv, jsonl, parquet, or a folder of pictures or sounds.")
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(help="dataset_column=file_column, where the names differ; repeatable."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Open it whatever review would say; ask nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what review would say; send nothing.")
    ] = False,
    pr: Annotated[
        int | None,
        typer.Option("--pr", help="Put the rows in the place of those of this pull request."),
    ] = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Propose rows to a dataset: a pull request in the dataset's own schema."""
    again = "Run the same command again: a pull request that was opened is found, not doubled."
    with errors_shown(as_json, stopped=KEEPS_NOTHING if dry_run else again):
        use_endpoint(endpoint)
        from hub_trainer.cli.contributing import Sending, contribute_file

        columns = dict(pair_of(text) for text in column or [])
        told = contribute_file(
            Hub(), dataset, file, columns=columns, sending=Sending(yes, dry_run, pr)
        )
        if as_json:
            print_json(told)


@app.command(**_shown(COMMUNITY, "review org/data --all"))
def review(
    dataset: Annotated[str, typer.Argument(metavar="DATASET_REPO", help="As in org/name.")],
    pr: Annotated[int | None, typer.Option("--pr", help="One pull request.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All open pull requests.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, looking every minute.")] = False,
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Go on, and look at once when a webhook rings there; its secret of 32 bytes or "
            "more is read from HUB_TRAINER_WEBHOOK_SECRET.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Whose review section and published model to use.")
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            metavar="COMMIT",
            help="With --pr: merge what review leaves to a person, who has looked at this commit.",
        ),
    ] = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Check pull requests of a dataset at a pinned commit; comment, merge by value or refuse."""
    again = "Run the same command again: it looks at the pull requests that are still open."
    with errors_shown(as_json, stopped=again):
        use_endpoint(endpoint)
        from hub_trainer.cli.reviewing import review_on, review_once
        from hub_trainer.recipe import load_recipe

        chosen = sum([pr is not None, every, watch, webhook is not None])
        if chosen != 1:
            raise UsageError(
                "Say which pull requests to review.",
                got=f"{chosen} of --pr, --all, --watch, --webhook",
                do="Give exactly one of them.",
            )
        if accept is not None and pr is None:
            raise UsageError(
                "A person accepts one pull request at a time.",
                got="--accept without --pr",
                do="Name the pull request: --pr N --accept COMMIT.",
            )
        policy = load_recipe(recipe).recipe if recipe else None
        if watch or webhook:
            review_on(Hub(), dataset, recipe=policy, webhook=webhook, as_json=as_json)
        else:
            review_once(Hub(), dataset, number=pr, recipe=policy, accept=accept, as_json=as_json)


@hub_app.command("serve", epilog="Example: hub-trainer hub serve --port 8000")
def hub_serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder that holds everything.")] = Path("local-hub"),
    accounts: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Users and organisations to add.")
    ] = None,
    allow_jobs: Annotated[
        bool,
        typer.Option(
            "--allow-jobs", help="Run commands that its users send as jobs, as this system user."
        ),
    ] = False,
) -> None:
    """Run the embedded Local Hub; prints one JSON line with url, user and token."""
    with errors_shown(as_json=True):
        from hub_trainer.cli.hub_serve import serve_hub

        serve_hub(host, port, data, accounts, allow_jobs=allow_jobs)


@app.command(**_shown(THE_HUB, "quickstart --serve"))
def quickstart(
    folder: Annotated[
        Path, typer.Option("--dir", help="Folder for the Hub's data and the rounds.")
    ] = Path("quickstart"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Leave the Hub and the Space running at the end.")
    ] = False,
) -> None:
    """The whole loop on a Local Hub: two rounds, a rated Space, four pull requests, no network."""
    with errors_shown(as_json=True):
        from hub_trainer.cli.quickstarting import run_and_show

        run_and_show(folder, keep_running=serve)


def _launcher(
    config: Path | None, recipe: Path, overrides: list[str], checked: "Recipe"
) -> Callable[[Path], None] | None:
    if config is None:
        return None
    from hub_trainer.launch import assert_no_search, launch_train, read_asked, train_command

    assert_no_search(checked, read_asked(config).processes, str(config))
    train_command(config, [])  # a config that cannot be read stops the round before it begins

    def launch(round_dir: Path) -> None:
        launch_train(config, [str(recipe), *overrides, "--round-dir", str(round_dir)])

    return launch


def main() -> None:
    """Run the command line; being asked to stop is being interrupted, at any point."""
    stop_by_exception()
    app()
