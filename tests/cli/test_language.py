"""Language data through the command line: what check shows of it, and what plan counts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_trainer.artifacts import find_artifact
from hub_trainer.cli.output import CLOSE, MAX_SEGMENT, OPEN, _marked
from hub_trainer.hub import Hub, Repo
from tests.cli.conftest import Cli
from tests.cli.seeded import OWNER, commit, parquet
from tests.tasks.language import language_base

BASE = f"{OWNER}/tiny-llama"
ASKED = [
    {"question": f"What is {a} and {b}?", "answer": f"It is {a + b}."}
    for a in range(9)
    for b in range(8)
]
PREFERRED = [
    {"prompt": f"What is {a} and {b}?", "chosen": f" It is {a + b}.", "rejected": f" {b} I say."}
    for a in range(9)
    for b in range(8)
]
TOLD = [{"text": f"Once there were {n} cats, and all of them slept."} for n in range(40)]


@pytest.fixture
def recipe(cli: Cli, hub: Hub, tmp_path: Path) -> Any:
    folder = language_base(tmp_path / "tiny-llama")
    commit(hub, Repo(BASE), {path.name: path.read_bytes() for path in folder.iterdir()})
    for name, rows in (("asked", ASKED), ("preferred", PREFERRED), ("told", TOLD)):
        commit(hub, Repo(f"{OWNER}/{name}", "dataset"), {"train.parquet": parquet(rows)})

    def written(data: str, **train: Any) -> Path:
        content = {
            "task": "text-generation",
            "base_model": BASE,
            "collect": {"datasets": [f"{OWNER}/{data}"]},
            "prepare": {"deduplicate": {"near": None}, "max_length": 40},
            "train": {"arguments": {"max_steps": 3, "report_to": "none"}, **train},
            "evaluate": {"metrics": ["completion_loss"], "primary": "completion_loss"},
            "publish": {"repo_id": f"{OWNER}/{data}-model", "license": "cc-by-4.0"},
        }
        path = cli.folder / f"{data}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return written


def test_check_when_gold_is_wanted_of_answers_then_named_before_a_round_as_curate_would(
    cli: Cli, recipe: Any
) -> None:
    told = cli("check", recipe("asked"), "curate.gold=2", "--json")
    assert told.code == 2
    [problem] = told.json["problems"]
    assert problem["key"] == "curate.gold"
    assert "Answers that people write have no gold" in problem["message"]


def test_check_when_rows_are_language_data_then_the_first_example_is_shown_as_it_is_learned(
    cli: Cli, recipe: Any
) -> None:
    told = cli("check", recipe("asked"), "--json")
    assert told.code == 0, told.err
    assert "the first 64 rows read, demonstration" in told.err
    assert f"what is learned stands in {OPEN} {CLOSE}" in told.err
    assert f"What is 0 and 0?\n{OPEN}It is 0.<|im_end|>{CLOSE}" in told.err
    example = told.json["example"]
    assert example["kind"] == "demonstration"
    assert example["answers"] == [
        [
            {"text": "What is 0 and 0?\n", "learned": False},
            {"text": "It is 0.<|im_end|>", "learned": True},
        ]
    ]


def test_check_when_rows_are_preferences_then_both_answers_are_shown(cli: Cli, recipe: Any) -> None:
    told = cli("check", recipe("preferred", method="lora"), "--json")
    assert told.code == 0, told.err
    assert f"answer 1 of 2\nWhat is 0 and 0?{OPEN} It is 0.<|im_end|>{CLOSE}" in told.err
    assert f"answer 2 of 2\nWhat is 0 and 0?{OPEN} 0 I say.<|im_end|>{CLOSE}" in told.err
    assert len(told.json["example"]["answers"]) == 2


def test_check_when_preferences_are_judged_by_a_loss_then_names_the_metric_that_compares(
    cli: Cli, recipe: Any
) -> None:
    path = recipe("preferred")
    assert "name preference_accuracy in evaluate" in cli("check", path).err
    compared = ["evaluate.metrics=[preference_accuracy]", "evaluate.primary=preference_accuracy"]
    told = cli("check", path, *compared)
    assert (told.code, "preference_accuracy in" in told.err) == (0, False)


def test_check_when_nothing_can_be_compared_then_the_metric_of_preferences_is_refused(
    cli: Cli, recipe: Any
) -> None:
    compared = ["evaluate.metrics=[preference_margin]", "evaluate.primary=preference_margin"]
    told = cli("check", recipe("asked"), *compared, "--json")
    (problem,) = told.json["problems"]
    assert (problem["key"], told.code) == ("evaluate.metrics", 3)
    assert "preference_margin compares a chosen answer with a rejected one" in problem["message"]


def test_check_when_the_base_has_no_chat_template_then_names_the_key_that_gives_one(
    cli: Cli, hub: Hub, recipe: Any
) -> None:
    turns = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
    rows = [{"messages": [{**turns[0], "content": f"{n}?"}, turns[1]]} for n in range(40)]
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    commit(hub, Repo(f"{OWNER}/turns", "dataset"), {"train.jsonl": content})
    path = recipe("turns")
    told = cli("check", path, "--json")
    (problem,) = told.json["problems"]
    assert "name a template in train.language.chat_template, as chatml, plain" in str(problem)
    good = cli("check", path, "train.language.chat_template=chatml")
    assert good.code == 0, good.err
    assert f"<|im_start|>assistant\n{OPEN}Two.<|im_end|>{CLOSE}" in good.err
    (cli.folder / "own.jinja").write_text("{{ messages[-1]['content'] }}")
    told = cli("check", path, "train.language.chat_template=own.jinja", "--json")
    (problem,) = told.json["problems"]
    assert (problem["key"], told.code) == ("train.language.chat_template", 2)
    assert "drops turns: of two questions and two answers" in problem["message"]


def test_check_when_long_rows_go_then_says_how_many_of_the_first_or_refuses_by_name(
    cli: Cli, recipe: Any
) -> None:
    path = recipe("asked")
    told = cli("check", path, "prepare.too_long=drop", "prepare.max_length=26")
    assert told.code == 0, told.err
    assert "note: 15 of them are longer than 26 tokens and would be left out" in told.err
    told = cli("check", path, "prepare.too_long=refuse", "prepare.max_length=26", "--json")
    (problem,) = told.json["problems"]
    assert (problem["key"], told.code) == ("collect.datasets.0", 3)
    assert "A row is longer than the model reads." in problem["message"]
    assert f"train row 32 of {OWNER}/asked@" in problem["message"]
    assert cli("check", path, "prepare.too_long=refuse").code == 0


def test_check_when_the_rows_would_teach_nothing_then_it_is_their_fault_and_all_else_is_told(
    cli: Cli, recipe: Any
) -> None:
    path = recipe("asked", language={"loss_type": "kto"})
    told = cli("check", path, "prepare.max_length=500", "--json")
    assert told.code == 2
    assert [problem["key"] for problem in told.json["problems"]] == ["prepare.max_length"]
    told = cli("check", path, "--json")
    (problem,) = told.json["problems"]
    assert "Rows of question and answer cannot be learned with this loss." in problem["message"]
    assert problem["line"] is not None
    assert "example" not in told.json


def test_check_when_rows_ask_for_nothing_then_metrics_of_answers_are_refused(
    cli: Cli, recipe: Any
) -> None:
    path = recipe("told")
    assert cli("check", path, "--json").code == 0
    scored = ["evaluate.metrics=[rouge, completion_loss]", "evaluate.primary=rouge"]
    told = cli("check", path, *scored, "--json")
    (problem,) = told.json["problems"]
    assert problem["key"] == "evaluate.metrics"
    assert "The test rows are texts without a prompt, and rouge scores" in problem["message"]
    assert told.code == 3
    elsewhere = f"prepare.test_split={{repo_id: {OWNER}/asked, split: train}}"
    assert cli("check", path, *scored, elsewhere, "--json").code == 0


def test_plan_when_rows_are_language_data_then_tokens_are_counted_as_training_sees_them(
    cli: Cli, recipe: Any
) -> None:
    path = recipe("asked", method="qlora", arguments={"num_train_epochs": 1})
    planned = cli("plan", path, "prepare.max_length=26", "--json")
    assert planned.code == 0, planned.err
    assert planned.json["labels"] is None
    tokens = planned.json["tokens"]
    assert tokens["truncated_rows"] > 0
    assert tokens["dropped_rows"] == 0
    assert f"{tokens['train']:,} per epoch" in planned.err
    assert "labels" not in planned.err
    for stage in ("collect", "prepare", "train"):
        told = cli(stage, path, "prepare.max_length=26", "--round-dir", cli.folder / "round")
        assert told.code == 0, told.err
    trained = find_artifact(cli.folder / "round" / "train")
    assert trained is not None
    fit = json.loads((trained.folder / "fit.json").read_text())
    assert fit["tokens"] == tokens["train"]
    assert fit["steps"] == planned.json["steps"]
    assert fit["trainable_parameters"] == planned.json["parameters"]["trainable"]


def test_example_when_it_is_long_or_holds_control_characters_then_it_is_shown_safely() -> None:
    shown, style = _marked("a" * (MAX_SEGMENT + 5), learned=True)
    assert style == "green"
    assert "[... 5 characters ...]" in shown
    assert _marked("a\x1b[31m\u202eb\n\tc", learned=False)[0] == "a\ufffd[31m\ufffdb\n\tc"


ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"
)


def test_prepare_when_a_template_refuses_a_dialogue_then_it_is_left_out_before_training(
    cli: Cli, hub: Hub, recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = language_base(tmp_path / "alternating", template=ALTERNATING)
    base = f"{OWNER}/alternating"
    commit(hub, Repo(base), {path.name: path.read_bytes() for path in folder.iterdir()})
    user, bot = ({"role": role, "content": "Hi"} for role in ("user", "assistant"))
    rows: list[Any] = [{"messages": [{**user, "content": f"q{i}"}, bot]} for i in range(40)]
    rows[30] = {"messages": [user, bot, user, user]}
    rows[35] = {"messages": [user, {**bot, "content": None}]}
    rows[3]["messages"][1] = {**bot, "ts": 7, "weight": 0.5}
    rows += [rows[2]] * 8
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    commit(hub, Repo(f"{OWNER}/chats", "dataset"), {"train.jsonl": content})
    note = "1 turn has the key 'ts', which the chat template never writes: it is not learned"
    checked = cli("check", recipe("chats"), f"base_model={base}").err
    assert f"note: {note}" in " ".join(checked.split())
    told = cli("prepare", recipe("chats"), f"base_model={base}", "--json")
    assert told.code == 0, told.err
    assert f"prepare: {note}" in caplog.text
    assert "1 turn of the assistant has a weight other than 0 and 1" in caplog.text
    assert told.json["left_out"] == {
        "collect": {"a turn has no content": 1},
        "prepare": {"exact duplicate": 8, "the chat template refuses the dialogue": 1},
    }
    assert "collect: 1 left out: 1 a turn has no content" in caplog.text
    assert "the chat template refuses the dialogue: 1 train row, row 31 of" in caplog.text
    assert "roles user, assistant, user, user: roles must alternate" in caplog.text
    counts = "8 exact duplicates, 1 the chat template refuses the dialogue"
    assert f"prepare: 9 left out: {counts}" not in caplog.text
    assert f"9 of 47 rows left out: {counts}" in caplog.text
