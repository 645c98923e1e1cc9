"""A round through the command line: check, plan, run, each stage, status, and their JSON."""

import shutil
from pathlib import Path

import pytest
import yaml

from hub_trainer.artifacts import find_artifact
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import read_record
from tests.cli.conftest import Cli
from tests.cli.seeded import OWNER, TABLE, TEXT, commit, parquet, write_recipe
from tests.tasks.factory import table_rows, text_rows

ACCELERATE = Path(__file__).parents[2] / "accelerate_configs"

RUN_KEYS = {"round", "verdict", "model", "metrics", "published", "p_value", "round_dir", "train"}
TRAIN_KEYS = {"method", "rows", "tokens", "seconds", "rows_per_second", "tokens_per_second"}
TRAIN_KEYS |= {"peak_mb", "trainable_parameters", "epochs", "num_processes"}


@pytest.mark.parametrize("kind", ["text", "image", "table"])
def test_check_when_all_is_well_then_says_what_it_opened(cli: Cli, kind: str) -> None:
    recipe = write_recipe(cli.folder / f"well-{kind}.yaml", kind)
    told = cli("check", recipe, "--json")
    assert told.code == 0, told.err
    assert told.json == {"problems": []}
    assert told.err.count("rows read") == 2
    assert f"as {OWNER}" in told.err
    assert list(cli.folder.iterdir()) == [recipe] or not (cli.folder / "rounds").exists()


@pytest.mark.parametrize("kind", ["text", pytest.param("image", marks=pytest.mark.slow)])
def test_plan_when_run_afterwards_then_its_steps_and_parameters_were_right(
    cli: Cli, hub: Hub, kind: str
) -> None:
    name = f"planned-{kind}"
    recipe = write_recipe(cli.folder / f"{name}.yaml", kind)
    planned = cli("plan", recipe, "--json")
    assert planned.code == 0, planned.err
    assert not hub.exists(Repo(f"{OWNER}/{name}-model"))
    assert not (cli.folder / "rounds").exists()
    ran = cli("run", recipe, "--json")
    assert ran.code in (0, 6), ran.err
    trained = find_artifact(cli.folder / ran.json["round_dir"] / "train")
    assert trained is not None
    assert trained.outputs["fit"]["steps"] == planned.json["steps"]
    assert trained.outputs["fit"]["rows"] == planned.json["rows"]["train"]
    learn = planned.json["parameters"]["trainable"]
    assert ran.json["train"]["trainable_parameters"] == learn


def test_run_when_twice_and_nothing_is_new_then_the_second_does_nothing(cli: Cli, hub: Hub) -> None:
    data = Repo(f"{OWNER}/growing", "dataset")
    files = {
        "train.parquet": parquet(text_rows(60)),
        "test.parquet": parquet(text_rows(45, seed=1)),
    }
    commit(hub, data, files)
    recipe = write_recipe(
        cli.folder / "twice.yaml",
        "text",
        collect={"datasets": [data.repo_id]},
        prepare={"test_split": {"repo_id": data.repo_id, "split": "test"}},
    )
    first = cli("run", recipe, "--json")
    assert set(first.json) >= RUN_KEYS
    assert set(first.json["train"]) >= TRAIN_KEYS
    assert set(first.json["metrics"]["accuracy"]) >= {"value", "low", "high"}
    assert set(first.json["model"]) >= {"repo_id", "commit_sha", "pull_request"}
    assert first.json["start"] == "begins"
    again = cli("run", recipe, "--json")
    assert (again.code, again.json["start"], again.json["new"]) == (0, "nothing new", [])
    assert set(again.json) >= RUN_KEYS
    for key in ("round", "verdict", "model", "metrics", "train", "round_dir"):
        assert again.json[key] == first.json[key]
    assert "Nothing is new since round 1" in again.err
    assert "train:" not in again.err
    shutil.rmtree(cli.folder / "rounds")
    lost = cli("run", recipe, "--json")
    assert (lost.code, lost.json["start"]) == (0, "nothing new")
    assert not (cli.folder / "rounds").exists()
    commit(hub, data, {"more.parquet": b"", "train.parquet": parquet(text_rows(75, seed=2))})
    second = cli("run", recipe, "--json")
    assert second.json["round"] == 2
    assert second.json["round_dir"].endswith("round-002")
    assert second.json["new"] == [f"1 file of {data.repo_id} (train)"]
    assert "Round 2 begins in rounds/twice/round-002. New since round 1" in second.err
    status = cli("status", recipe, "--json", "--plot", cli.folder / "rounds.png")
    assert f"The rounds are drawn in {cli.folder / 'rounds.png'}.\n" in status.err
    assert [r["round"] for r in status.json["rounds"]] == [1, 2]
    assert [r["model"]["commit_sha"] for r in status.json["rounds"]] == [
        told.json["model"]["commit_sha"] for told in (first, second)
    ]
    assert (cli.folder / "rounds.png").read_bytes().startswith(b"\x89PNG")


def test_stages_when_called_one_by_one_then_give_what_run_gives(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "stages.yaml", "table")
    folder = cli.folder / "by-hand"
    for stage in ("collect", "prepare", "train", "evaluate", "publish"):
        told = cli(stage, recipe, "--round-dir", folder, "--json")
        assert told.code == 0, told.err
        assert find_artifact(folder / stage) is not None
    run = cli("run", recipe, "--round-dir", folder, "--json")
    assert (run.code, run.json["start"]) == (0, "nothing new")
    assert run.json["metrics"] == told.json["metrics"]
    assert (run.json["verdict"], run.json["round_dir"]) == ("promote", str(folder))
    assert "train:" not in run.err


@pytest.mark.slow
def test_run_when_settings_are_searched_then_the_record_and_the_card_say_what_was_chosen(
    cli: Cli, hub: Hub
) -> None:
    key = "train.estimator_arguments.C"
    searched = {"trials": 2, "search": {key: {"low": 0.01, "high": 10.0, "log": True}}}
    recipe = write_recipe(cli.folder / "tuned.yaml", "table", tune=searched)
    checked = cli("check", recipe, f"tune.search.{key}.low=-1.5", f"tune.search.{key}.log=false")
    assert checked.code == 2
    assert f"tune.search.{key}: with -1.5, train.estimator_arguments: The 'C' param" in checked.err
    planned = cli("plan", recipe, "--json").json
    assert (planned["tune"]["trials"], planned["tune"]["keys"]) == (2, [key])
    ran = cli("run", recipe, "--json")
    assert ran.code in (0, 6), ran.err
    tune = ran.json["tune"]
    assert "tune        done in" in ran.err
    assert tune["trials"]["done"] == 2
    trained = find_artifact(cli.folder / ran.json["round_dir"] / "train")
    assert trained is not None
    chosen = tune["chosen"][key]
    assert trained.manifest["inputs"]["train"]["estimator_arguments"] == {"C": chosen}
    record = read_record(hub, f"{OWNER}/tuned-model", ran.json["model"]["commit_sha"])
    assert record is not None
    assert (record.tune, record.recipe["train"]["estimator_arguments"]) == (tune, {})
    again = cli("run", recipe, "--json")
    assert (again.json["start"], again.json["tune"]) == ("nothing new", tune)
    off = cli("tune", recipe, "tune.trials=0", "--round-dir", cli.folder / "off")
    assert off.code == 2
    assert "The recipe asks for no search." in off.err
    assert not (cli.folder / "off").exists()
    config = cli.folder / "two.yaml"
    config.write_text("{use_cpu: true, num_processes: 2}")
    several = cli("run", recipe, "train.seed=1", "--accelerate-config", config)
    assert several.code == 2
    assert "A search tries settings in one process each" in several.err


def test_run_when_main_holds_what_no_round_made_then_every_command_stops(
    cli: Cli, hub: Hub
) -> None:
    recipe = write_recipe(cli.folder / "foreign.yaml", "table")
    model = Repo(f"{OWNER}/foreign-model")
    hub.create_repo(model)
    hub.commit(model, Changes({"model.skops": b"PK"}), message="By hand", run_id="foreign")
    for command in (("run",), ("evaluate",), ("publish",), ("serve", "--push-only"), ("status",)):
        told = cli(command[0], recipe, *command[1:], "--json")
        assert told.code == 4, told.err
        assert "Main of the model repo holds what no round made." in told.err
        assert f"('By hand' by {OWNER}, " in told.json["error"]["got"]
        assert told.json["exit_code"] == 4
    assert told.json["rounds"] == []
    assert not (cli.folder / "rounds").exists()


def test_overrides_when_given_then_replace_the_recipes_values(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "overridden.yaml", "text")
    sliced = f'collect.datasets=[{{repo_id: {TEXT}, split: "train[:48]"}}]'
    planned = cli("plan", recipe, "train.arguments.num_train_epochs=5", sliced, "--json").json
    assert planned["recipe"]["train"]["arguments"]["num_train_epochs"] == 5
    assert planned["rows"]["train"] < 48


def test_status_when_no_round_was_run_then_says_so(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "unborn.yaml", "text")
    picture = cli.folder / "unborn.png"
    told = cli("status", recipe, "--json", "--plot", picture)
    assert "no rounds yet" in told.err
    assert f"There is no round to draw: {picture} was not written.\n" in told.err
    assert not picture.exists()
    assert told.json == {"repo_id": f"{OWNER}/unborn-model", "rounds": []}


def test_schema_when_printed_then_names_every_section(cli: Cli) -> None:
    import json

    schema = json.loads(cli("schema").out)
    assert {"collect", "prepare", "train", "evaluate", "publish"} <= set(schema["properties"])


@pytest.mark.slow
def test_run_when_training_is_launched_then_each_stage_is_told_once_and_no_library_speaks(
    cli: Cli,
) -> None:
    recipe = write_recipe(cli.folder / "quiet.yaml", "table")
    told = cli.run("run", recipe, "--accelerate-config", ACCELERATE / "cpu.yaml", "--json")
    assert told.code in (0, 6), told.err
    assert len(told.out.splitlines()) == 1
    lines = told.err.splitlines()
    ended = [line.split()[0] for line in lines if " done in " in line]
    assert ended == list(STAGES)
    assert not [line for line in lines if "warning" in line.lower() or "%|" in line]


STAGES = ("collect", "prepare", "train", "evaluate", "publish")


@pytest.mark.slow
def test_run_when_two_processes_split_the_model_then_it_publishes_what_one_process_does(
    cli: Cli,
) -> None:
    config = yaml.safe_load((ACCELERATE / "fsdp2.yaml").read_text())
    path = cli.folder / "two.yaml"
    path.write_text(yaml.safe_dump({**config, "use_cpu": True, "num_processes": 2}))
    recipe = write_recipe(cli.folder / "alone.yaml", "text")
    split = write_recipe(cli.folder / "split.yaml", "text")
    planned = cli("plan", split, "--accelerate-config", path, "--json")
    assert planned.json["sharding"]["shards"] == 2
    assert {"gathered", "weights"} <= set(planned.json["memory_mb"])
    alone = cli.run("run", recipe, "--json")
    rows = alone.json["train"]["rows"]
    told = cli.run("run", split, "--accelerate-config", path, "--json")
    assert told.code in (0, 6), told.err
    assert told.json["train"]["num_processes"] == 2
    assert told.json["train"]["rows"] == rows
    models = [
        cli.folder / ran.json["round_dir"] / "train" / "model" / "model.safetensors"
        for ran in (alone, told)
    ]
    assert models[0].stat().st_size == models[1].stat().st_size
    assert not [*models[1].parent.glob("*.distcp"), *models[1].parent.parent.glob("checkpoints")]


@pytest.mark.slow
def test_table_when_contributed_to_then_the_next_round_sees_it(cli: Cli, tmp_path: Path) -> None:
    rows = table_rows(40, seed=7)
    file = tmp_path / "more.csv"
    names = [name for name in rows[0] if not name.startswith("_")]
    lines = [",".join("" if r[n] is None else str(r[n]) for n in names) for r in rows]
    file.write_text("\n".join([",".join(names), *lines]))
    made = cli("contribute", TABLE, file, "--json")
    assert made.code == 0, made.err
    number = made.json["pull_request"]
    reviewed = cli("review", TABLE, "--pr", number, "--json")
    assert reviewed.code == 0, reviewed.err
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["number"] == number
    assert verdict["verdict"] in ("merge", "refuse", "human")
    assert set(verdict["checks"][0]) >= {"name", "passed", "detail"}
    rest = cli("review", TABLE, "--all", "--json")
    left = [v["number"] for v in rest.json["pull_requests"]]
    assert (number in left) == (verdict["verdict"] == "human")
