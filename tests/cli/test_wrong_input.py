"""Wrong input at the command line: each fault is named, with its code; nothing half-written."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_trainer.cli.output import say
from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.cli.conftest import Cli, Told
from tests.cli.seeded import IMAGES, OWNER, TABLE, TEXT, TEXT_BASE, commit, parquet, write_recipe
from tests.tasks.factory import table_rows, text_rows

GOOD = parquet(text_rows(60))
TEST = parquet(text_rows(45, seed=1))


def assert_says(told: Told, code: int, *words: str) -> None:
    """The code, and every one of these words on stderr, which is no traceback."""
    assert told.code == code, told.err
    missing = [word for word in words if word not in told.err]
    assert not missing, f"{missing} not in: {told.err}"
    assert "Traceback" not in told.err


def assert_nothing_written(cli: Cli, hub: Hub, name: str) -> None:
    """No repo of this name on the Hub, and no stage in the round's folder that is not whole."""
    assert not hub.exists(Repo(f"{OWNER}/{name}-model"))
    folder = cli.folder / "rounds" / name / "round-001"
    for stage in folder.glob("[!.]*"):
        assert stage.name == "pins.json" or (stage / "manifest.json").is_file()


def on_data(hub: Hub, cli: Cli, name: str, train: bytes, test: bytes = TEST, **source: Any) -> Path:
    """A recipe on a data set of its own."""
    repo = Repo(f"{OWNER}/{name}-data", "dataset")
    commit(hub, repo, {"train.parquet": train, "test.parquet": test})
    return write_recipe(
        cli.folder / f"{name}.yaml",
        "text",
        collect={"datasets": [{"repo_id": repo.repo_id, **source}]},
        prepare={"test_split": {"repo_id": repo.repo_id, "split": "test"}},
    )


@pytest.mark.parametrize("command", ["check", "run"])
def test_column_when_missing_then_says_which_there_are(cli: Cli, hub: Hub, command: str) -> None:
    name = f"column-{command}"
    recipe = on_data(hub, cli, name, GOOD, columns={"text": "utterance"})
    told = cli(command, recipe)
    assert_says(told, 3, "utterance", f"{OWNER}/{name}-data", "label", "text")
    assert_nothing_written(cli, hub, name)


def test_label_when_unseen_in_training_then_says_which(cli: Cli, hub: Hub) -> None:
    rows = [{**row, "label": "purple"} if i == 3 else row for i, row in enumerate(text_rows(45))]
    recipe = on_data(hub, cli, "unseen", GOOD, parquet(rows))
    assert_says(cli("run", recipe), 3, "purple", "do:")
    assert_nothing_written(cli, hub, "unseen")


@pytest.mark.parametrize("command", ["check", "run"])
def test_split_when_empty_then_says_which(cli: Cli, hub: Hub, command: str) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer, name = io.BytesIO(), f"empty-{command}"
    pq.write_table(pa.schema({"text": pa.string(), "label": pa.string()}).empty_table(), buffer)
    recipe = on_data(hub, cli, name, buffer.getvalue())
    assert_says(cli(command, recipe), 3, f"{OWNER}/{name}-data", "train")
    assert_nothing_written(cli, hub, name)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    "content",
    [GOOD[:-20] + b"\0" * 20, b"PAR1 and nothing else", b""],
    ids=["tail", "head", "none"],
)
def test_parquet_when_corrupt_then_says_which_file(
    cli: Cli, hub: Hub, command: str, content: bytes
) -> None:
    name = f"corrupt-{command}-{len(content)}"
    recipe = on_data(hub, cli, name, content)
    assert_says(cli(command, recipe), 3, f"{OWNER}/{name}-data", "got:" if command == "run" else "")
    assert_nothing_written(cli, hub, name)


def test_check_when_task_keys_and_repos_are_wrong_then_all_is_said_at_once(
    cli: Cli, hub: Hub
) -> None:
    recipe = write_recipe(
        cli.folder / "muddled.yaml",
        "text",
        task="text-clasification",
        base_model=f"{OWNER}/no-such-model",
        collect={"datasets": [f"{OWNER}/no-such-data", {"repo_id": TEXT, "splitt": "train"}]},
        prepare={"test_split": {"repo_id": TEXT, "split": "exam"}},
        train={"seed": True},
        publish={"repo_id": "nobody/model"},
        serve={"repo_id": "nobody/demo", "ratings_repo_id": "nobody/ratings"},
    )
    recipe.write_text(f"{recipe.read_text()}gate: {{}}\ngate: {{alpha: 0.1}}\n")
    told = cli("check", recipe, "--json")
    assert [problem["key"] for problem in told.json["problems"]] == [
        "task",
        "collect.datasets.1.splitt",
        "train.seed",
        "gate",
        "base_model",
        "collect.datasets.0",
        "prepare.test_split",
        "publish.repo_id",
        "serve.repo_id",
        "serve.ratings_repo_id",
    ]
    assert all(problem["line"] for problem in told.json["problems"])
    assert_says(told, 2, "Did you mean text-classification?", "stands twice", "no-such-data")
    assert_nothing_written(cli, hub, "muddled")


def test_check_when_only_the_task_is_misspelt_then_licence_and_split_are_checked_too(
    cli: Cli,
) -> None:
    path = cli.folder / "nearly.yaml"
    split = {"test_split": {"repo_id": TEXT, "split": "exam"}}
    recipe = write_recipe(
        path, "text", task="text", prepare=split, publish={"license": "no-such-licence"}
    )
    told = cli("check", recipe, "--json")
    keys = [problem["key"] for problem in told.json["problems"]]
    assert keys == ["task", "prepare.test_split", "publish.license"]
    alone = cli("check", write_recipe(path, "text", task="text"), "--json")
    assert [problem["key"] for problem in alone.json["problems"]] == ["task"]


def test_check_when_a_key_stands_twice_then_the_last_is_gone_on_with(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "twice.yaml", "text", gate={"alpha": 0.1})
    recipe.write_text(f"{recipe.read_text()}gate: {{alpha: 0.2}}\n")
    told = cli("check", recipe, "evaluate.metrics=[accuracy, bleu]", "--json")
    keys = [problem["key"] for problem in told.json["problems"]]
    assert keys == ["gate", "evaluate.metrics"]
    assert_says(told, 2, "gate stands twice", "rows read", "does not offer 'bleu'")


def test_check_when_two_answers_are_named_then_the_repos_are_checked_too(cli: Cli) -> None:
    columns = {"label": "a", "labels": "b"}
    recipe = write_recipe(
        cli.folder / "two.yaml",
        "text",
        base_model=f"{OWNER}/no-such-model",
        collect={"datasets": [{"repo_id": TEXT, "columns": columns}]},
    )
    told = cli("check", recipe, "--json")
    keys = [problem["key"] for problem in told.json["problems"]]
    assert keys == ["collect.datasets", "base_model"]


BEGINS_ANEW = "do:    Nothing was kept and nothing sent: the same command begins anew."


@pytest.mark.parametrize(
    ("command", "target", "do"),
    [
        (["check"], "hub_trainer.preflight.check_recipe", BEGINS_ANEW),
        (["plan"], "hub_trainer.plan.plan_round", BEGINS_ANEW),
        (["status"], "hub_trainer.loop.read_status", BEGINS_ANEW),
        (["suggest"], "hub_trainer.suggest.suggest_models", BEGINS_ANEW),
        (["contribute", "--dry-run"], "hub_trainer.cli.contributing.contribute_file", BEGINS_ANEW),
        (
            ["contribute"],
            "hub_trainer.cli.contributing.contribute_file",
            "do:    Run the same command again: a pull request that was opened is found, not",
        ),
        (
            ["review", "--all"],
            "hub_trainer.cli.reviewing.review_once",
            "do:    Run the same command again: it looks at the pull requests that are still open.",
        ),
        (["run"], "hub_trainer.loop.run_round", "do:    Run the same command again to go on."),
        (
            ["collect"],
            "hub_trainer.loop.run_until",
            "do:    Run the same command again to go on.",
        ),
    ],
)
def test_command_when_stopped_then_says_what_has_become_of_its_work(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: list[str], target: str, do: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(target, stopped)
    recipe = write_recipe(cli.folder / "halted.yaml", "text")
    of_data = {"contribute": [TEXT, "rows.csv"], "review": [TEXT]}
    told = cli(*command, *of_data.get(command[0], [recipe]), "--json")
    assert_says(told, 75, "error: Interrupted.", do)
    assert told.json["error"]["do"] in told.err


STOPPED = """
import os, signal
from hub_trainer.cli.output import errors_shown, stop_by_exception

stop_by_exception()
try:
    with errors_shown(False):
        exec("os.kill(os.getpid(), signal.{name})\\nfor _ in range(10**6): pass")
except Exception as error:
    raise SystemExit(error.exit_code)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_module_when_stopped_within_code_in_a_string_then_its_exit_code_stands(
    tmp_path: Path, name: str
) -> None:
    """Python itself would end as killed by SIGINT there."""
    (tmp_path / "stopped.py").write_text(STOPPED.format(name=name))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "stopped"],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, "error: Interrupted." in done.stderr) == (75, True), done.stderr


def test_tune_when_no_search_is_asked_for_then_says_so_before_anything_is_fetched(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "unsearched.yaml", "text")
    told = cli("tune", recipe, "--round-dir", cli.folder / "unsearched")
    assert_says(
        told, 2, "The recipe asks for no search.", "do:    write tune.trials and tune.search"
    )
    assert not (cli.folder / "unsearched").exists()


def test_plan_when_asked_to_stop_then_nothing_is_kept(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "brief.yaml", "text")
    process = cli.start("plan", recipe, TMPDIR=str(cli.folder))
    deadline = time.monotonic() + 120
    while not list(cli.folder.glob("hub-trainer-plan-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, "begins anew" in said) == (75, True), said
    assert not list(cli.folder.glob("hub-trainer-plan-*"))


def test_suggest_when_the_model_is_no_repo_then_says_what_to_write(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "own.yaml", "text")
    told = cli("suggest", recipe, "--base-model", "tiny bert")
    assert_says(told, 2, "That is no name of a model repo.", "got:   tiny bert", "owner/name")


@pytest.mark.parametrize("command", ["check", "plan", "run", "train", "status", "serve", "curate"])
def test_recipe_when_a_folder_then_the_file_in_it_is_named(cli: Cli, command: str) -> None:
    write_recipe(cli.folder / "mine.yaml", "text")
    told = cli(command, ".")
    assert_says(told, 2, "A recipe is a file, and this is a folder.", "got:   a folder with")
    assert_says(told, 2, "do:    Name a YAML file, as mine.yaml.")


@pytest.mark.parametrize("command", ["check", "plan", "run", "train", "status", "serve", "curate"])
def test_key_when_unknown_then_the_right_one_is_suggested(cli: Cli, hub: Hub, command: str) -> None:
    recipe = write_recipe(cli.folder / "misspelt.yaml", "text", train={"metod": "full"})
    line = recipe.read_text().splitlines().index("  metod: full") + 1
    told = cli(command, recipe, "--json")
    assert_says(told, 2, "error: train.metod", f"misspelt.yaml:{line}", "Did you mean method?")
    assert told.json["problems"][0]["key"] == "train.metod"
    assert told.json["problems"][0]["line"] == line
    assert_nothing_written(cli, hub, "misspelt")


def test_check_when_everything_is_wrong_then_says_it_all_at_once(cli: Cli, hub: Hub) -> None:
    recipe = write_recipe(
        cli.folder / "awful.yaml",
        "text",
        base_model=f"{OWNER}/no-such-model",
        collect={"datasets": [f"{OWNER}/no-such-data"]},
        prepare={"test_split": {"repo_id": TEXT, "split": "exam"}},
        publish={"repo_id": "nobody/model"},
    )
    told = cli("check", recipe, "--json")
    keys = [problem["key"] for problem in told.json["problems"]]
    wanted = ["base_model", "collect.datasets.0", "prepare.test_split", "publish.repo_id"]
    assert keys == wanted
    assert all(problem["line"] for problem in told.json["problems"])
    assert_says(told, 4, "no-such-model", "no-such-data", "exam", "nobody")


def test_check_when_the_licence_does_not_follow_then_it_is_the_recipes_fault(
    cli: Cli, hub: Hub
) -> None:
    data = Repo(f"{OWNER}/not-for-sale", "dataset")
    card = b"---\nlicense: cc-by-nc-4.0\n---\n# Not for sale\n"
    commit(hub, data, {"train.parquet": GOOD, "test.parquet": TEST, "README.md": card})
    recipe = write_recipe(
        cli.folder / "licence.yaml",
        "text",
        collect={"datasets": [data.repo_id]},
        prepare={"test_split": {"repo_id": data.repo_id, "split": "test"}},
        publish={"license": "mit"},
    )
    told = cli("check", recipe, "--json")
    assert [problem["key"] for problem in told.json["problems"]] == ["publish.license"]
    assert_says(told, 2, "publish.license", "cc-by-nc-4.0")


@pytest.mark.slow
def test_check_when_the_data_is_medical_then_asks_for_a_notice_with_an_example(
    cli: Cli, hub: Hub
) -> None:
    data = Repo(f"{OWNER}/patients", "dataset")
    card = b"---\nlicense: cc-by-4.0\ntags: medical\n---\n# Patients\n"
    commit(hub, data, {"train.parquet": GOOD, "test.parquet": TEST, "README.md": card})
    recipe = write_recipe(
        cli.folder / "medical.yaml",
        "text",
        collect={"datasets": [data.repo_id]},
        prepare={"test_split": {"repo_id": data.repo_id, "split": "test"}},
    )
    told = cli("check", recipe)
    assert_says(told, 2, "publish.notice", f"{data.repo_id} is tagged medical", 'notice: "Not a')
    assert cli("check", recipe, "publish.notice=For research only.").code == 0


@pytest.mark.parametrize("command", ["check", "plan", "run"])
@pytest.mark.parametrize("section", ["base_model", "collect"])
def test_repo_when_it_does_not_exist_then_it_is_named(
    cli: Cli, hub: Hub, command: str, section: str
) -> None:
    missing = f"{OWNER}/never-made"
    value: Any = missing if section == "base_model" else {"datasets": [missing]}
    recipe = write_recipe(cli.folder / "homeless.yaml", "text", **{section: value})
    assert_says(cli(command, recipe), 4, missing, "do:")
    assert_nothing_written(cli, hub, "homeless")
    assert not (cli.folder / "rounds").exists()


@pytest.mark.parametrize("command", ["check", "run"])
def test_token_when_it_may_only_read_then_says_so_before_training(
    cli: Cli, local: LocalHub, hub: Hub, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", local.add_token(OWNER, "read"))
    recipe = write_recipe(cli.folder / "readonly.yaml", "text")
    told = cli(command, recipe)
    assert_says(told, 4, "The token may only read.", "Set HF_TOKEN")
    assert "collect:" not in told.err
    assert_nothing_written(cli, hub, "readonly")


def test_token_when_unknown_then_check_says_it_once(
    cli: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    serve = {"repo_id": f"{OWNER}/late-demo", "ratings_repo_id": f"{OWNER}/late-ratings"}
    told = cli("check", write_recipe(cli.folder / "late.yaml", "text", serve=serve), "--json")
    assert len(told.json["problems"]) == 1, told.err
    assert_says(told, 4, "The Hub does not know the token.", "Set HF_TOKEN")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"split": "trian"}, ["no split 'trian'", "Did you mean train?"]),
        ({"config": "defalt"}, ["no config 'defalt'", "Did you mean default?"]),
        ({"columns": {"label": "lable"}}, ["no column 'lable' for label", "Did you mean label?"]),
    ],
    ids=["split", "config", "column"],
)
def test_name_in_a_dataset_when_misspelt_then_the_nearest_is_named(
    cli: Cli, hub: Hub, source: dict[str, Any], words: list[str]
) -> None:
    recipe = on_data(hub, cli, f"near-{next(iter(source))}", GOOD, **source)
    assert_says(cli("check", recipe), 3, *words)


@pytest.mark.parametrize("command", ["check", "run", "contribute"])
def test_token_when_there_is_none_then_says_how_to_give_one(
    cli: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    recipe = write_recipe(cli.folder / "anonymous.yaml", "text")
    (cli.folder / "rows.csv").write_text("text,label\nthe card,red\n")
    told = cli(command, *([TEXT, "rows.csv"] if command == "contribute" else [recipe]))
    assert_says(told, 4, "HF_TOKEN")
    assert_nothing_written(cli, hub, "anonymous")


@pytest.mark.parametrize("command", ["check", "plan", "run", "status", "curate"])
def test_hub_when_nobody_answers_then_says_where(cli: Cli, command: str) -> None:
    recipe = write_recipe(cli.folder / "alone.yaml", "text")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert_says(cli(command, recipe, "--endpoint", address), 4, address, "does not answer")


@pytest.mark.parametrize("command", ["check", "plan", "run", "serve"])
def test_recipe_when_it_is_no_recipe_then_says_what_it_is(cli: Cli, command: str) -> None:
    binary = cli.folder / "binary.yaml"
    binary.write_bytes(bytes(range(256)))
    assert_says(cli(command, binary), 2, "The recipe cannot be read.", "binary.yaml", "do:")
    assert_says(cli(command, cli.folder / "gone.yaml"), 2, "There is no such recipe.")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.method", ["write key.path=value"]),
        ("train.method=sideways", ["train.method", "'sideways'"]),
        ("train.method=lroa", ["'lroa'. Did you mean lora?"]),
        ("train.method=", ["train.method: must be 'head', 'last_n'", "got no value"]),
        ("--train.method=", ["without the dashes; VALUE is one of head, last_n, full"]),
        ("evaluate.primary=acuracy", ["evaluate.primary: 'acuracy'", "Did you mean accuracy?"]),
        ("train.arguments.learning_rte=1", ["learning_rte", "learning_rate"]),
        ("collect.datasets.7.split=test", ["collect.datasets.7.split"]),
        ("collect.datasets[7].split=test", ["collect.datasets.7.split"]),
        ("--train.method=lora", ["write train.method=lora, without the dashes"]),
        ("--jsn", ["'--jsn'", "is no option of this command"]),
        ("train=[1", ["override train"]),
    ],
)
def test_override_when_bad_then_it_is_named(cli: Cli, override: str, words: list[str]) -> None:
    recipe = write_recipe(cli.folder / "bent.yaml", "text")
    assert_says(cli("run", recipe, override), 2, *words)


def test_accelerate_config_when_missing_then_says_so_before_a_round_begins(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "launched.yaml", "text")
    told = cli("run", recipe, "--accelerate-config", "none.yaml")
    assert_says(told, 2, "There is no such accelerate config file.", "none.yaml")
    assert not (cli.folder / "rounds").exists()


def test_round_dir_when_it_is_a_file_then_says_so(cli: Cli, hub: Hub) -> None:
    recipe = write_recipe(cli.folder / "filed.yaml", "text")
    told = cli("run", recipe, "--round-dir", recipe)
    assert_says(told, 2, str(recipe), "do:")
    assert_nothing_written(cli, hub, "filed")


def test_hub_serve_when_the_port_is_taken_then_says_so(cli: Cli, local: LocalHub) -> None:
    port = local.url.rsplit(":", 1)[1]
    told = cli("hub", "serve", "--port", port, "--data", "elsewhere")
    assert_says(told, 2, port, "Choose another --port")
    assert not (cli.folder / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "no such accounts file"),
        ("{", "not valid JSON"),
        ('{"users": [1]}', "users"),
        ('{"users": [{"name": "datasets"}]}', "'datasets' is reserved"),
    ],
)
def test_hub_serve_when_the_accounts_are_unusable_then_says_so(
    cli: Cli, content: str | None, word: str
) -> None:
    file = cli.folder / "accounts.json"
    if content is not None:
        file.write_text(content)
    assert_says(cli("hub", "serve", "--accounts", file, "--data", "elsewhere"), 2, word)


def test_serve_when_nothing_is_published_then_says_what_to_run(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "early.yaml", "text")
    assert_says(cli("serve", recipe), 4, "No round of this model has been published", "hub-trainer")
    assert_says(cli("curate", recipe), 4, "No round of this model has been published")


@pytest.mark.parametrize("options", [[], ["--all", "--pr", "1"], ["--watch", "--webhook", "x"]])
def test_review_when_not_one_choice_is_made_then_says_so(cli: Cli, options: list[str]) -> None:
    assert_says(cli("review", TEXT, *options), 2, "Give exactly one of them.")


def test_review_when_the_number_is_of_nothing_then_says_so(cli: Cli) -> None:
    assert_says(cli("review", IMAGES, "--pr", 99), 4, "99", IMAGES)
    assert_says(cli("review", f"{OWNER}/nowhere", "--all"), 4, f"{OWNER}/nowhere")


@pytest.mark.parametrize(
    ("name", "content", "code", "word"),
    [
        ("gone.csv", None, 2, "gone.csv"),
        ("empty.csv", b"", 3, "empty.csv"),
        ("other.csv", b"a,b\n1,2\n", 3, "text"),
        ("rows.parquet", b"PAR1", 3, "rows.parquet"),
        ("notes.docx", b"x", 2, "notes.docx"),
    ],
)
def test_contribute_when_the_file_is_unusable_then_says_why(
    cli: Cli, hub: Hub, name: str, content: bytes | None, code: int, word: str
) -> None:
    before = len(hub.pull_requests(Repo(TEXT, "dataset"), status=None))
    if content is not None:
        (cli.folder / name).write_bytes(content)
    assert_says(cli("contribute", TEXT, cli.folder / name), code, word)
    assert len(hub.pull_requests(Repo(TEXT, "dataset"), status=None)) == before


def test_contribute_when_a_column_is_not_mapped_as_a_pair_then_says_so(cli: Cli) -> None:
    (cli.folder / "rows.csv").write_text("text,label\na,red\n")
    told = cli("contribute", TABLE, "rows.csv", "--column", "text")
    assert_says(told, 2, "mapped as name=name", "text")


def test_base_model_when_it_has_no_weights_then_says_so(cli: Cli, hub: Hub) -> None:
    config = hub.read_file(Repo(TEXT_BASE), "config.json", "main")
    assert config is not None
    commit(hub, Repo(f"{OWNER}/hollow"), {"config.json": config})
    recipe = write_recipe(cli.folder / "hollow.yaml", "text", base_model=f"{OWNER}/hollow")
    told = cli("run", recipe)
    assert told.code in (2, 4, 5), told.err
    assert_says(told, told.code, "do:")
    assert_nothing_written(cli, hub, "hollow")


def test_recipe_when_it_is_a_repo_or_a_setting_then_says_what_a_recipe_is(cli: Cli) -> None:
    assert_says(cli("check", "org/model"), 2, "There is no such recipe.", "a YAML file of this")
    assert_says(cli("check", "train.method=lora"), 2, "Name the recipe first")


def test_check_when_a_metric_is_misspelt_then_the_nearest_is_named(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "misspelt.yaml", "text")
    told = cli("check", recipe, "evaluate.metrics=[accuracy,f1_makro]")
    assert_says(told, 2, "does not offer 'f1_makro'", "Did you mean f1_macro?")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{metrics: [auroc, sensitivity], primary: auroc}", ["evaluate.positive: sensitivity is"]),
        (
            "{metrics: [aurroc], primary: aurroc}",
            ["does not offer 'aurroc'", "Did you mean auroc?"],
        ),
        ("{metrics: [mcc], primary: mcc, positive: big}", ["changes nothing, only auroc, average"]),
        (
            "{metrics: [brier, calibration_error], primary: calibration_error}",
            ["evaluate.primary: by calibration_error no model can be chosen"],
        ),
    ],
)
def test_check_when_metrics_and_the_rest_do_not_suit_then_says_what_to_do(
    cli: Cli, section: str, words: list[str]
) -> None:
    recipe = write_recipe(cli.folder / "unsuited.yaml", "table", evaluate=yaml.safe_load(section))
    assert_says(cli("check", recipe), 2, *words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"positive": "bigg"}, ["is none of the labels", "nearest to 'big'", "big or small"]),
        ({}, ["Of two labels average_precision is of the one", "Name it: big or small."]),
    ],
)
def test_check_when_the_positive_label_is_not_known_then_names_the_labels(
    cli: Cli, hub: Hub, settings: dict[str, str], words: list[str]
) -> None:
    data = Repo(f"{OWNER}/few-animals", "dataset")
    commit(hub, data, {"train.parquet": parquet(table_rows(50))})
    recipe = write_recipe(
        cli.folder / "unnamed.yaml",
        "table",
        collect={"datasets": [data.repo_id]},
        prepare={},
        evaluate={"metrics": ["average_precision"], "primary": "average_precision", **settings},
    )
    told = cli("check", recipe)
    assert_says(told, 3, "evaluate.positive", *words)
    assert told.err.count(words[0]) == 1


def test_check_when_the_hub_does_not_know_the_token_then_each_key_says_it_once(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    told = cli("check", write_recipe(cli.folder / "unknown.yaml", "text"))
    assert told.err.count("publish.repo_id: The Hub does not know the token.") == 1
    assert "Traceback" not in told.err


def test_check_when_done_then_its_last_line_says_what_is_next(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "next.yaml", "table")
    told = cli("check", recipe, "collect.datasets[0].split=train")
    assert told.err.splitlines()[-1] == (
        f"Ready. Next: hub-trainer run {recipe} 'collect.datasets[0].split=train'"
    )
    told = cli("check", recipe, "evaluate.primary=f1_macro", "publish.repo_id=nobody/x")
    assert told.err.splitlines()[-1] == "1 fault."
    assert "error: publish.repo_id" in told.err


def test_accelerate_config_when_its_gpus_are_missing_then_refused_before_a_round_begins(
    cli: Cli,
) -> None:
    recipe = write_recipe(cli.folder / "sharded.yaml", "text")
    config = Path(__file__).parents[2] / "accelerate_configs" / "fsdp2.yaml"
    told = cli("run", recipe, "--accelerate-config", config)
    assert_says(told, 2, "GPUs are asked for and there is none", "fsdp2.yaml", "use_cpu: true")
    assert not (cli.folder / "rounds").exists()


def test_name_when_it_holds_control_characters_then_the_terminal_does_not_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("columns \x1b[2J\x00text\nnext")
    assert capsys.readouterr().err == "columns \\x1b[2J\\x00text\nnext\n"


def test_estimator_when_misspelt_then_the_nearest_is_named(cli: Cli, hub: Hub) -> None:
    train = {"method": "full", "estimator": "random_forrest"}
    recipe = write_recipe(cli.folder / "wood.yaml", "table", train=train)
    assert_says(cli("check", recipe), 2, "'random_forrest'", "Did you mean random_forest?")
