"""Text classification of pairs: both texts are learned from, read, asked for and shown."""

import random
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, pipeline

from hub_trainer.errors import DataError, RecipeError
from hub_trainer.finetune.label_scores import batches_by_length
from hub_trainer.finetune.tokenizers import encode
from hub_trainer.stages.serve.serve_cards import inputs_named
from hub_trainer.tasks import ModelFolders, Splits, load_task, outline, outline_for, task_of
from hub_trainer.tasks.outlines import beside_of
from tests.tasks.factory import LABELS, WORDS, recipe, text_base

TASK = "text-classification"
BESIDE = ("text_pair",)
SETTINGS = {
    "learning_rate": 0.003,
    "num_train_epochs": 10,
    "per_device_train_batch_size": 16,
    "report_to": "none",
}
METRICS = {"label": "accuracy", "labels": "f1_micro", "number": "r2"}
COLUMNS = {"text": "premise", "text_pair": "hypothesis"}


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Pairs whose answer neither text has alone: which colours stand in the second one only."""
    rng, found = random.Random(seed), []
    for index in range(count):
        sides = []
        for _ in range(2):
            chosen = [name for name in LABELS if rng.random() < 0.4]
            words = [*rng.choices(WORDS[:8], k=rng.randint(1, 4)), *chosen]
            rng.shuffle(words)
            sides.append((" ".join(words), set(chosen)))
        (first, ours), (second, theirs) = sides
        new = sorted(theirs - ours)
        found.append(
            {
                "text": first,
                "text_pair": second,
                "label": "some" if new else "none",
                "labels": new,
                "target": float(len(theirs) - len(ours)),
                "_row_id": f"{seed}-{index}",
            }
        )
    return found


def names(answer: str) -> list[str]:
    return {"label": ["none", "some"], "labels": LABELS, "number": []}[answer]


def fitted(out_dir: Path, base_dir: Path, answer: str, **changes: Any) -> Path:
    task, metric = load_task(TASK, answer, beside=BESIDE), METRICS[answer]
    settings = recipe(
        TASK,
        evaluate__metrics=[metric],
        evaluate__primary=metric,
        **{"train__arguments": SETTINGS, **changes},
    )
    splits = Splits(rows(320, 0), rows(60, 1), names(answer))
    task.fit(
        splits,
        settings,
        out_dir,
        base=ModelFolders(base_dir) if base_dir else None,
        progress=lambda share, doing: None,
    )
    return out_dir / "model"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module", params=METRICS)
def trained(
    request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    return request.param, fitted(tmp_path_factory.mktemp("trained"), base, request.param)


def test_fit_when_done_then_it_has_learned_what_only_both_texts_say(
    trained: tuple[str, Path],
) -> None:
    answer, folder = trained
    task, test, metric = (
        load_task(TASK, answer, beside=BESIDE),
        rows(100, 2),
        METRICS[answer],
    )
    references = [row[task.answer.column] for row in test]
    both, alone = (
        task.answer.estimates(
            [metric], references, task.predict(ModelFolders(folder), given), names(answer), seed=0
        )[metric].value
        for given in (test, _without_pairs(test))
    )
    assert both > max(0.4, alone + 0.15)


def _without_pairs(test: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "text_pair"} for row in test]


def test_fit_when_done_then_a_pipeline_given_both_says_the_same(trained: tuple[str, Path]) -> None:
    answer, folder = trained
    task, test = load_task(TASK, answer, beside=BESIDE), rows(12, 3)
    test[0]["text"] = " ".join(WORDS[:4] * 20)  # longer than the model takes
    found = task.predict(ModelFolders(folder), test)
    stranger: Any = pipeline(TASK, model=str(folder))
    given = [{"text": row["text"], "text_pair": row["text_pair"]} for row in test]
    for one, other in zip(task.head.by_pipeline(stranger, given), found, strict=True):  # type: ignore[attr-defined]
        assert task.answer.difference(one, other) < task.answer.tolerance


def test_usage_when_of_pairs_then_it_runs_as_it_stands(
    trained: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, folder = trained
    usage = load_task(TASK, answer, beside=BESIDE).card().usage
    assert '"text_pair": "And here the second."' in usage
    code = usage.replace("{repo_id}", str(folder)).replace("{commit_sha}", "main")
    exec(compile(code, "usage", "exec"), {})
    told = capsys.readouterr().out.strip()
    assert {"label": "'score'", "labels": "[", "number": "."}[answer] in told
    one = load_task(TASK, answer).card().usage
    assert ('"Write your text here."' in one, "text_pair" in one) == (True, False)


@pytest.mark.parametrize("method", ["head", "lora", "scratch"])
def test_fit_when_the_method_is_another_then_it_takes_pairs_too(
    method: str, base: Path, tmp_path: Path
) -> None:
    few = {**SETTINGS, "num_train_epochs": 1}
    folder = fitted(tmp_path, base, "label", train__method=method, train__arguments=few)
    found = load_task(TASK, "label", beside=BESIDE).predict(ModelFolders(folder), rows(4, 2))
    assert {one.value for one in found} <= {"none", "some"}


def test_base_when_untouched_then_it_reads_both(base: Path) -> None:
    task = load_task(TASK, "number", beside=BESIDE)
    splits = Splits(rows(60, 0), [], [])
    turned = [{**row, "text": row["text_pair"], "text_pair": row["text"]} for row in rows(8, 1)]
    found, others = (
        task.predict_base(splits, given, ModelFolders(base)) for given in (rows(8, 1), turned)
    )
    assert [one.value for one in found.predictions] != [one.value for one in others.predictions]


def test_pairs_when_too_long_then_the_longer_text_is_cut(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    pair = {"text": " ".join(["red"] * 40), "text_pair": "blue green blue"}
    [cut] = encode(tokenizer, [pair], truncation=True)["input_ids"]
    words = tokenizer.convert_ids_to_tokens(cut)
    assert (len(cut), words.count("blue"), words.count("green")) == (24, 2, 1)
    assert (
        encode(tokenizer, ["red", "blue"])["input_ids"] == tokenizer(["red", "blue"])["input_ids"]
    )


def test_batches_when_of_pairs_then_both_texts_count_to_their_length(base: Path) -> None:
    task = load_task(TASK, "label", beside=BESIDE)
    short, long = {"text": "red", "text_pair": "a"}, {"text": "red", "text_pair": "a " * 9}
    data = task.fit_data(
        Splits(
            [{**one, "label": "none", "_row_id": "x"} for one in (short, long)],
            [],
            ["none", "some"],
        ),
        recipe(TASK),
        ModelFolders(base),
    )
    assert data.lengths == [5, 13]
    assert [list(one) for one in batches_by_length(data.lengths)]


# --- the recipe's columns


def pair_recipe(**changes: Any) -> Any:
    columns = {**COLUMNS, "label": "gold"}
    source = [{"repo_id": "org/data", "columns": columns}]
    return recipe(TASK, **{"collect__datasets": source, **changes})


def test_task_when_the_columns_name_a_pair_then_it_reads_both() -> None:
    made = pair_recipe()
    assert beside_of(made) == BESIDE
    assert inputs_named(made) == COLUMNS
    assert list(task_of(made).columns) == ["text", "text_pair", "label"]
    assert dict(outline_for(made).columns) == dict(task_of(made).columns)
    assert list(outline(TASK).columns) == ["text", "label"]


def test_task_when_no_pair_is_named_then_nothing_is_told_apart() -> None:
    made = recipe(TASK)
    assert (beside_of(made), inputs_named(made)) == ((), {})
    assert task_of(made) == load_task(TASK)
    assert list(load_task(TASK).columns) == ["text", "label"]


def test_task_when_only_the_test_split_names_a_pair_then_all_rows_need_one() -> None:
    split = {"repo_id": "org/data", "split": "test", "columns": {"text_pair": "b"}}
    assert beside_of(recipe(TASK, prepare__test_split=split)) == BESIDE


@pytest.mark.parametrize("task", [TASK, "token-classification"])
def test_slice_when_called_as_a_second_text_then_is_refused(task: str) -> None:
    made = recipe(task, evaluate__slices=["text_pair"])
    with pytest.raises(RecipeError, match="evaluate.slices: text_pair is what a second input is"):
        task_of(made)


def test_slice_when_it_is_the_second_text_itself_or_no_text_then_is_taken() -> None:
    assert beside_of(pair_recipe(evaluate__slices=["text_pair"])) == BESIDE
    assert beside_of(recipe("tabular-classification", evaluate__slices=["text_pair"])) == ()


@pytest.mark.parametrize(
    ("row", "faults"),
    [
        ({"text": "a", "text_pair": "b"}, []),
        ({"text": " ", "text_pair": ""}, ["text is empty", "text_pair is empty"]),
        ({"text": "a"}, ["text_pair is empty"]),
        ({"text": "a", "text_pair": 7}, ["text_pair is empty"]),
    ],
)
def test_row_when_a_text_is_missing_then_says_which(row: Any, faults: list[str]) -> None:
    assert load_task(TASK, None, beside=BESIDE).problems({**row, "label": "x"}) == faults


def test_row_when_it_has_a_text_too_many_then_is_of_no_use() -> None:
    row = {"text": "a", "text_pair": "b", "label": "x"}
    assert load_task(TASK).problems(row) == ["text_pair is there, which this model does not read"]


# --- the Space


def test_widgets_when_of_pairs_then_each_text_has_a_box_with_the_datasets_name() -> None:
    widgets = load_task(TASK, None, beside=BESIDE).widgets([])
    assert [options["label"] for _, options in widgets.inputs] == ["Text", "Second text"]
    named = widgets.labelled({"text": "premise", "text_pair": "hypothesis"})
    assert [options["label"] for _, options in named.inputs] == ["premise", "hypothesis"]
    assert named.to_row(["a", "b"]) == {"text": "a", "text_pair": "b"}
    one = load_task(TASK).widgets([]).labelled({"text": "premise"})
    assert [options["label"] for _, options in one.inputs] == ["Text"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["", " "], "There is no text to classify"),
        (["a", ""], "One of the two texts is missing"),
        ([None, "b"], "One of the two texts is missing"),
        (["a", "b" * 20_001], "One text has 20,001 characters, and 20,000 is the limit"),
    ],
)
def test_values_when_they_make_no_pair_then_says_what_to_do(
    values: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_task(TASK, None, beside=BESIDE).widgets([]).to_row(values)
    assert caught.value.do == ("write both texts first" if len(str(values)) < 99 else "shorten it")
