"""A recipe is checked whole: every fault at once, each with its file, line, and the way out."""

import json
from pathlib import Path

import pytest

from hub_trainer.errors import ExitCode, RecipeError, UsageError
from hub_trainer.recipe import json_schema, load_recipe
from hub_trainer.recipe.arguments import OWNED, RENAMED, SHORT, training_argument_types
from hub_trainer.recipe.task_table import TASKS

GOOD = """\
task: text-classification
base_model: org/encoder@v1
collect:
  datasets:
    - {repo_id: org/data, columns: {text: utterance, label: intent}}
    - org/more@2f1c
prepare: {test_split: {repo_id: org/data, split: test}, max_length: 128}
train:
  method: lora
  lora: {r: 8}
  arguments: {learning_rate: 2e-4, num_train_epochs: 3}
evaluate: {metrics: [accuracy, f1_macro], primary: f1_macro}
publish: {repo_id: org/model, license: apache-2.0}
serve: {repo_id: org/space, ratings_repo_id: org/ratings}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return [f"{p.line}: {p.message}" for p in caught.value.problems]


def test_recipe_when_good_then_every_section_is_there(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD)).recipe
    assert recipe.base_model is not None
    assert (recipe.base_model.repo_id, recipe.base_model.revision) == ("org/encoder", "v1")
    assert recipe.collect.datasets[1].revision == "2f1c"
    assert recipe.train.arguments["learning_rate"] == 2e-4
    assert recipe.gate.alpha == 0.05


def test_recipe_when_several_faults_then_all_are_named_with_their_lines(tmp_path: Path) -> None:
    text = GOOD.replace("method: lora", "methd: lora")
    text = text.replace("org/model,", "model,").replace("primary: f1_macro", "primary: recall")
    found = problems_of(write(tmp_path, text))
    assert found == [
        "9: train.methd is not a setting. Did you mean method?",
        "12: evaluate.primary: 'recall' is not among metrics: accuracy, f1_macro.",
        "13: publish.repo_id: 'model' is not a repo id; write owner/name",
    ]


@pytest.mark.parametrize("key", sorted(RENAMED))
def test_argument_when_renamed_upstream_then_message_says_what_replaced_it(
    tmp_path: Path, key: str
) -> None:
    path = write(tmp_path, GOOD.replace("num_train_epochs", key))
    if key in training_argument_types():
        pytest.fail(f"{key} is a TrainingArguments key again: remove it from the table")
    assert problems_of(path) == [
        f"11: train.arguments.{key} is gone from transformers; {RENAMED[key]}"
    ]


@pytest.mark.parametrize("key", sorted(SHORT))
def test_argument_when_named_in_short_then_message_has_its_whole_name(
    tmp_path: Path, key: str
) -> None:
    [found] = problems_of(write(tmp_path, GOOD.replace("num_train_epochs", key)))
    whole = SHORT[key]
    assert found == f"11: train.arguments.{key} is not a TrainingArguments key; write {whole}"
    assert whole in training_argument_types()


@pytest.mark.parametrize(
    "key",
    [key for key in {**RENAMED, **OWNED} if key.startswith(("fsdp", "deepspeed", "sharded"))],
)
def test_argument_when_it_shards_the_model_then_message_says_where_that_is_set(
    tmp_path: Path, key: str
) -> None:
    [found] = problems_of(write(tmp_path, GOOD.replace("num_train_epochs", key)))
    assert found.endswith("how a model is sharded, as accelerate_configs/fsdp2.yaml")


@pytest.mark.parametrize("key", sorted(OWNED))
def test_argument_when_owned_by_the_trainer_then_refused(tmp_path: Path, key: str) -> None:
    assert key in training_argument_types()
    path = write(tmp_path, GOOD.replace("num_train_epochs: 3", f"{key}: 3"))
    assert problems_of(path) == [
        f"11: train.arguments.{key} is not a setting of a recipe; {OWNED[key]}"
    ]


def test_argument_when_of_the_wrong_kind_then_named(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("num_train_epochs: 3", "per_device_train_batch_size: a"))
    assert problems_of(path) == [
        "11: train.arguments.per_device_train_batch_size takes a whole number, got 'a'"
    ]


def test_every_setting_when_misspelt_by_one_letter_then_the_right_one_is_suggested() -> None:
    from hub_trainer.recipe.arguments import nearest
    from hub_trainer.recipe.schema import TrainSection

    names = [*TrainSection.model_fields, *training_argument_types()]
    right = sum(nearest(n[:2] + n[3:], names) == f" Did you mean {n}?" for n in names)
    assert right / len(names) >= 0.95


def test_override_when_it_reaches_into_a_plain_string_or_a_list_then_set(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    overrides = (
        "base_model.revision=abc",
        "collect.datasets.0.split=train[:48]",
        "train.method=full",
        "train.lora=null",
        "prepare.deduplicate={near: null}",
    )
    recipe = load_recipe(path, overrides).recipe
    assert recipe.base_model is not None
    assert recipe.base_model.revision == "abc"
    assert recipe.collect.datasets[0].split == "train[:48]"
    assert recipe.train.method == "full"
    assert recipe.prepare.deduplicate is not None
    assert recipe.prepare.deduplicate.near is None


def test_override_when_value_is_a_list_in_flow_style_then_parsed(tmp_path: Path) -> None:
    override = 'collect.datasets=[{repo_id: a/b, split: "train[:48]"}]'
    recipe = load_recipe(write(tmp_path, GOOD), [override]).recipe
    assert [source.repo_id for source in recipe.collect.datasets] == ["a/b"]


def test_override_when_unknown_or_malformed_then_both_are_reported(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path, GOOD), "nonsense", "gate.alhpa=1", "collect.datasets.7.x=1")
    assert found == [
        "None: override 'nonsense': write key.path=value",
        "None: override collect.datasets.7.x: cannot be set (list index out of range)",
        "None: gate.alhpa is not a setting. Did you mean alpha?",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--train.lr=abc", "override '--train.lr=abc': write train.lr=abc, without the dashes"),
        ("train.x=y", "train.x is not a setting. Known here: method,"),
        ("train.lora=7", "train.lora takes a mapping or null"),
        ("train={methd: lora}", "train.methd is not a setting. Did you mean method?"),
        ("train.arguments.learning_rate=abc", "train.arguments.learning_rate takes a number"),
        ("evaluate.primary=recall", "evaluate.primary: 'recall' is not among metrics"),
        ("publish=[", "override publish: cannot be set (expected the node content"),
        ("tune.search.train.x={low: 1, high: 2}", "tune.search"),
    ],
)
def test_fault_when_an_override_caused_it_then_placed_on_the_command_line(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, GOOD), [override])
    for problem in caught.value.problems:
        assert problem.line is None
        told = problem.told("recipe.yaml")
        assert f"  where: on the command line: {override}" in told.splitlines()
        assert "recipe.yaml" not in told
        assert f"where: on the command line: {override}" in problem.to_json()["message"]
    assert message in str(caught.value)


def test_fault_when_of_the_file_beside_an_override_then_keeps_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("method: lora", "methd: lora"))
    assert problems_of(path, "train.lora.r=16", "gate.alpha=0.01") == [
        "9: train.methd is not a setting. Did you mean method?"
    ]


def test_section_when_an_override_within_makes_it_wrong_then_both_places_are_told(
    tmp_path: Path,
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, GOOD), ["train.method=full", "gate.alpha=0.1"])
    [problem] = caught.value.problems
    where = "  where: r.yaml:8, on the command line: train.method=full"
    assert problem.told("r.yaml").splitlines()[1] == where


def test_override_when_long_then_cut_where_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"on the command line: train\.x=a{69}\.\.\.$"):
        load_recipe(write(tmp_path, GOOD), [f"train.x={'a' * 500}"])


def test_file_when_missing_then_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no such recipe") as caught:
        load_recipe(tmp_path / "none.yaml")
    assert caught.value.exit_code == ExitCode.RECIPE
    assert caught.value.do is not None
    assert "hub-trainer init" in caught.value.do


def test_file_when_a_folder_then_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="A recipe is a file, and this is a folder") as caught:
        load_recipe(tmp_path)
    assert (caught.value.where, caught.value.got) == (str(tmp_path), "a folder with no YAML file")
    assert caught.value.do == "Name a YAML file; hub-trainer init writes one."
    path = write(tmp_path, GOOD)
    with pytest.raises(UsageError) as caught:
        load_recipe(tmp_path)
    assert caught.value.got == "a folder with recipe.yaml"
    assert caught.value.do == f"Name a YAML file, as {path}."


def test_file_when_no_text_then_says_what_a_recipe_is(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="The recipe cannot be read") as caught:
        load_recipe(path)
    assert caught.value.do == "Name a recipe, which is a YAML file: text in UTF-8."


def test_file_when_not_readable_then_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, GOOD)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UsageError, match="The recipe cannot be read") as caught:
        load_recipe(path)
    assert caught.value.got == "Permission denied"
    assert caught.value.do == "Make the file readable for this user, or name another."


def test_key_when_it_stands_twice_then_told_beside_all_other_faults(tmp_path: Path) -> None:
    text = GOOD.replace("task: text-classification", "task: text-clasification")
    text = text.replace("method: lora", "method: lora\n  seed: yes\n  method: lorra")
    text += "gate: {alpha: 0.1}\ngate: {alhpa: 0.2}\n"
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text))
    assert [(p.line, p.message, p.got, p.do) for p in caught.value.problems] == [
        (
            1,
            "task: 'text-clasification' is not a task. Did you mean text-classification? Known: "
            f"{', '.join(TASKS)}.",
            None,
            None,
        ),
        (10, "train.seed takes a whole number", "true", caught.value.problems[1].do),
        (11, "train.method stands twice", "lines 9 and 11", "Remove one of them."),
        (
            11,
            "train.method: must be 'head', 'last_n', 'full', 'lora', 'qlora', 'scratch' or "
            "'hybrid', got 'lorra'. Did you mean lora?",
            None,
            None,
        ),
        (18, "gate stands twice", "lines 17 and 18", "Remove one of them."),
        (18, "gate.alhpa is not a setting. Did you mean alpha?", None, None),
    ]


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: *a}\n", "a: " + "[" * 5000])
def test_file_when_it_holds_itself_then_says_so(tmp_path: Path, text: str) -> None:
    [found] = problems_of(write(tmp_path, text))
    assert found == "None: The recipe is nested too deeply, or a part of it holds itself."


def test_key_when_a_list_then_said_to_be_no_key(tmp_path: Path) -> None:
    [found] = problems_of(write(tmp_path, "? [a, b]\n: c\n"))
    assert found == "1: The recipe is not valid YAML: found unhashable key"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [", "1: The recipe is not valid YAML: expected the node content"),
        ("- a\n", "1: The recipe is not a mapping of keys to values"),
        ("x: " + "a" * 1_000_001, "None: The recipe is over 1 MB; a recipe is a page."),
    ],
)
def test_file_when_not_a_recipe_then_says_why(tmp_path: Path, text: str, message: str) -> None:
    assert problems_of(write(tmp_path, text))[0].startswith(message)


def test_yaml_when_it_asks_for_python_objects_then_refused(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path, "task: !!python/object/apply:os.system ['true']\n"))
    assert "could not determine a constructor" in found[0]


def test_section_when_method_and_its_keys_disagree_then_says_which(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert problems_of(path, "train.method=full") == [
        "8: train: lora changes nothing under method: full; remove one"
    ]
    assert problems_of(path, "train.method=last_n", "train.lora=null") == [
        "8: train: last_n goes with method: last_n, and that method needs it"
    ]
    assert problems_of(path, "train.method=mixed") == [
        "None: train.method: must be 'head', 'last_n', 'full', 'lora', 'qlora', 'scratch' or "
        "'hybrid', got 'mixed'"
    ]
    assert problems_of(path, "train.method=full", "train.lora=null", "train.hybrid={}") == [
        "8: train: hybrid changes nothing under method: full; remove one"
    ]
    assert problems_of(path, "train.layer_decay=0.9") == [
        "8: train: layer_decay changes nothing under method: lora; remove one"
    ]
    loss = "train.loss={name: huber, gamma: 3}"
    assert problems_of(path, loss) == [
        "None: train.loss: gamma changes nothing in the loss huber; remove it"
    ]


def test_schema_when_exported_then_takes_plain_strings_for_repos() -> None:
    schema = json_schema()
    assert {"type": "string", "pattern": r"^[^/@\s]+/[^/@\s]+(@.+)?$"} in (
        schema["$defs"]["RepoRef"]["anyOf"]
    )
    assert "learning_rate" in json.dumps(schema["$defs"]["TrainSection"])


def test_schema_when_compared_with_the_shipped_file_then_the_same() -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "recipe.schema.json"
    assert json.loads(shipped.read_text()) == json_schema(), (
        "run: hub-trainer schema > recipes/recipe.schema.json"
    )


def test_fuse_when_nothing_is_evaluated_then_says_so(tmp_path: Path) -> None:
    text = GOOD.replace(
        "num_train_epochs: 3}", 'eval_strategy: "no"}\n  fuse: {method: greedy_soup}'
    )
    assert problems_of(write(tmp_path, text)) == [
        "8: train: fuse needs validation figures; remove it, or eval_strategy: no"
    ]
