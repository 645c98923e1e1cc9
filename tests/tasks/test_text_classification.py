import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, pipeline

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.classifier import labelled_config, load_classifier
from hub_trainer.tasks import ModelFolders, Splits, load_task, rated_example
from hub_trainer.tasks.text_classification import TASK
from tests.tasks.factory import LABELS, WORDS, recipe, splits, text_base, text_rows

ARGUMENTS = {
    "learning_rate": 3e-3,
    "num_train_epochs": 8,
    "per_device_train_batch_size": 16,
    "lr_scheduler_type": "constant",
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "head": {},
    "last_n": {"train__last_n": 1},
    "lora": {"train__lora": {"r": 4, "lora_alpha": 16}},
    "scratch": {},
    "hybrid": {"train__layer_decay": 0.8, "train__l1": 1e-4, "train__loss": "focal"},
}


def silent(share: float, doing: str) -> None:
    pass


def fit(out_dir: Path, base_dir: Path | None, method: str = "full", **changes: Any) -> Any:
    chosen = recipe(
        "text-classification",
        **{"train__method": method, "train__arguments": ARGUMENTS, **METHODS[method], **changes},
    )
    return TASK.fit(
        splits(text_rows(108)),
        chosen,
        out_dir,
        base=ModelFolders(base_dir) if base_dir else None,
        progress=silent,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, text_base_dir: Path) -> Path:
    out_dir = tmp_path_factory.mktemp("fitted")
    fit(out_dir, text_base_dir)
    return out_dir / "model"


def accuracy(model_dir: Path) -> float:
    rows = text_rows(60, seed=9)
    found = TASK.predict(ModelFolders(model_dir), rows)
    return TASK.answer.scores([row["label"] for row in rows], found).sum() / len(rows)


def test_load_task_when_asked_for_then_gives_this_one() -> None:
    assert load_task("text-classification") is TASK


@pytest.mark.parametrize("method", sorted(METHODS))
def test_fit_when_done_by_any_method_then_saves_a_plain_model(
    method: str, tmp_path: Path, text_base_dir: Path
) -> None:
    report = fit(tmp_path, text_base_dir, method)
    folder = tmp_path / "model"
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} == names
    assert set(TASK.card().files) <= names
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "blue", "1": "green", "2": "red"}
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert str(text_base_dir) not in (folder / "config.json").read_text()
    assert str(text_base_dir) not in (folder / "tokenizer_config.json").read_text()
    assert report.method == method
    assert report.tokens > 0
    changed = changed_tensors(text_base_dir, folder)
    if method == "head":
        assert {name.split(".")[0] for name in changed} <= {"pooler"}
    elif method == "last_n":
        assert changed
        assert not any("layer.0." in name or "embeddings" in name for name in changed)
    else:
        assert any("layer.0." in name for name in changed)


def changed_tensors(base_dir: Path, model_dir: Path) -> set[str]:
    base = load_file(base_dir / "model.safetensors")
    model = load_file(model_dir / "model.safetensors")
    return {name for name, value in base.items() if not torch.equal(value, model[f"bert.{name}"])}


def test_predict_when_the_model_has_learnt_then_is_right(fitted: Path) -> None:
    assert accuracy(fitted) > 0.9


def test_predict_when_compared_with_pipeline_then_agrees(fitted: Path) -> None:
    rows = [*text_rows(10, seed=5), {"text": " ".join(WORDS * 9)}]
    classify = pipeline("text-classification", model=str(fitted))
    for row, mine in zip(rows, TASK.predict(ModelFolders(fitted), rows), strict=True):
        theirs = classify(row["text"], truncation=True, top_k=None)
        assert mine.value == theirs[0]["label"]
        assert dict(mine.scores) == pytest.approx(
            {one["label"]: one["score"] for one in theirs}, abs=1e-5
        )


def test_predict_when_there_are_no_rows_then_gives_none(fitted: Path) -> None:
    assert TASK.predict(ModelFolders(fitted), []) == []


def test_predict_when_the_folder_changes_then_loads_it_anew(
    fitted: Path, tmp_path: Path, text_base_dir: Path
) -> None:
    folder = shutil.copytree(fitted, tmp_path / "model")
    rows = text_rows(3)
    before = TASK.predict(ModelFolders(folder), rows)[0].scores
    text_base(folder, labels=LABELS)
    assert TASK.predict(ModelFolders(folder), rows)[0].scores != before


def test_fit_when_seeds_are_equal_then_weights_are_equal(
    fitted: Path, tmp_path: Path, text_base_dir: Path
) -> None:
    fit(tmp_path, text_base_dir)
    again = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert (fitted / "model.safetensors").read_bytes() == again


def test_fit_when_a_row_has_weight_zero_then_it_teaches_nothing(
    tmp_path: Path, text_base_dir: Path
) -> None:
    wrong = [{**row, "label": "red", "_weight": 0.0} for row in text_rows(90, seed=3)]
    data = splits(text_rows(60))
    mixed = Splits([*data.train, *wrong], data.validation, data.label_names)
    chosen = recipe("text-classification", train__arguments=ARGUMENTS)
    TASK.fit(mixed, chosen, tmp_path, base=ModelFolders(text_base_dir), progress=silent)
    assert accuracy(tmp_path / "model") > 0.9


def test_fit_when_the_base_has_these_labels_then_keeps_its_head(tmp_path: Path) -> None:
    base_dir = text_base(tmp_path / "base", labels=["red", "blue", "green"])
    fit(tmp_path, base_dir, train__arguments={**ARGUMENTS, "learning_rate": 1e-9})
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert list(config["id2label"].values()) == ["red", "blue", "green"]
    base = load_file(base_dir / "model.safetensors")["classifier.weight"]
    model = load_file(tmp_path / "model" / "model.safetensors")["classifier.weight"]
    assert torch.allclose(base, model, atol=1e-5)


def test_fit_when_the_base_has_as_many_other_labels_then_starts_a_new_head(tmp_path: Path) -> None:
    base_dir = text_base(tmp_path / "base", labels=["one", "two", "three"])
    base = load_file(base_dir / "model.safetensors")["classifier.weight"]
    config = labelled_config(base_dir, LABELS)
    first, again, other = (
        load_classifier(
            AutoModelForSequenceClassification, base_dir, config, seed=seed
        ).classifier.weight
        for seed in (1, 1, 2)
    )
    assert not torch.allclose(base, first)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_load_when_body_weights_are_missing_then_says_which(tmp_path: Path) -> None:
    base_dir = text_base(tmp_path)
    config = json.loads((base_dir / "config.json").read_text())
    (base_dir / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(TrainingError, match="lacks weights of its own body") as caught:
        fit(tmp_path / "out", base_dir)
    assert "encoder.layer.2" in str(caught.value.got)


def test_fit_when_stopping_early_then_takes_fewer_epochs(
    tmp_path: Path, text_base_dir: Path
) -> None:
    still = {**ARGUMENTS, "learning_rate": 0.0}
    stopping = {"patience": 2, "min_change": 0.01}
    report = fit(tmp_path, text_base_dir, train__arguments=still, train__early_stopping=stopping)
    assert report.epochs == 3


def test_fit_when_profiled_then_writes_a_trace_beside_the_model(
    tmp_path: Path, text_base_dir: Path
) -> None:
    few = {**ARGUMENTS, "num_train_epochs": 2}
    fit(tmp_path, text_base_dir, train__arguments=few, train__profile=True)
    assert {"trace.json", "summary.txt"} <= {p.name for p in (tmp_path / "profile").iterdir()}


def test_fit_when_max_length_is_given_then_the_saved_tokenizer_cuts_there(
    tmp_path: Path, text_base_dir: Path
) -> None:
    few = {**ARGUMENTS, "num_train_epochs": 1}
    fit(tmp_path, text_base_dir, prepare__max_length=6, train__arguments=few)
    config = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert config["model_max_length"] == 6
    long = {"text": " ".join(["card"] * 12)}
    short = {"text": " ".join(["card"] * 4)}
    first, second = TASK.predict(ModelFolders(tmp_path / "model"), [long, short])
    assert dict(first.scores) == pytest.approx(dict(second.scores), abs=1e-6)


def test_fit_when_a_label_is_not_among_the_names_then_says_so(
    tmp_path: Path, text_base_dir: Path
) -> None:
    data = splits(text_rows(30))
    short = Splits(data.train, data.validation, ["blue", "green"])
    with pytest.raises(DataError, match="not among the round's label names") as caught:
        TASK.fit(
            short,
            recipe("text-classification"),
            tmp_path,
            base=ModelFolders(text_base_dir),
            progress=silent,
        )
    assert caught.value.got == "red"


def test_fit_when_there_is_one_label_then_says_so(tmp_path: Path, text_base_dir: Path) -> None:
    with pytest.raises(DataError, match="two labels or more"):
        TASK.fit(
            Splits([], [], ["red"]),
            recipe("text-classification"),
            tmp_path,
            base=ModelFolders(text_base_dir),
            progress=silent,
        )


def test_predict_base_when_it_has_no_head_then_takes_the_nearest_mean(text_base_dir: Path) -> None:
    rows = text_rows(30, seed=9)
    base = TASK.predict_base(splits(text_rows(60)), rows, ModelFolders(text_base_dir))
    assert "nearest mean embedding" in base.description
    assert len(base.predictions) == 30
    assert sum(base.predictions[0].scores.values()) == pytest.approx(1)


def test_predict_base_when_it_knows_the_labels_then_answers_itself(tmp_path: Path) -> None:
    base_dir = text_base(tmp_path, labels=["red", "blue", "green"])
    rows = text_rows(6)
    base = TASK.predict_base(
        splits(text_rows(30)), rows, ModelFolders(base_dir) if base_dir else None
    )
    assert base.description == "the base model as it is"
    assert base.predictions == TASK.predict(ModelFolders(base_dir), rows)


def test_predict_base_when_there_is_none_then_says_the_commonest_label() -> None:
    rows = text_rows(31)
    base = TASK.predict_base(Splits(rows, [], LABELS), rows[:4], None)
    assert {one.value for one in base.predictions} == {"blue"}
    assert "commonest label" in base.description


def test_recipe_problems_when_many_keys_are_wrong_then_names_them_all() -> None:
    wrong = recipe(
        "text-classification",
        base_model=None,
        train__method="qlora",
        train__estimator="random_forest",
        train__estimator_arguments={"a": 1},
        prepare__augment=["flip"],
        evaluate__metrics=["accuracy", "bleu"],
    )
    problems = {one.key: one.message for one in TASK.recipe_problems(wrong, None)}
    assert set(problems) == {
        "base_model",
        "train.method",
        "train.estimator",
        "train.estimator_arguments",
        "prepare.augment",
        "evaluate.metrics",
    }
    assert "it offers full, head, hybrid, last_n, lora, scratch" in problems["train.method"]
    assert "it offers none" in problems["prepare.augment"]
    assert "needs one" in problems["base_model"]
    assert "changes nothing" in problems["train.estimator"]


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"train__method": "last_n", "train__last_n": 7}, "train.last_n", "from 1 to 2"),
        ({"prepare__max_length": 25}, "prepare.max_length", "the base model takes 24"),
        (
            {"train__arguments": {"eval_strategy": "steps", "save_strategy": "epoch"}},
            "train.arguments.save_strategy",
            "must be the same as eval_strategy",
        ),
        (
            {
                "train__arguments": {"save_strategy": "no"},
                "train__early_stopping": {"patience": 2},
            },
            "train.early_stopping",
            "nothing is evaluated with eval_strategy: no; remove one",
        ),
        (
            {"train__method": "lora", "train__lora": {"target_modules": ["qkv"]}},
            "train.lora.target_modules",
            "'qkv' matches no module",
        ),
    ],
)
def test_recipe_problems_when_the_base_does_not_fit_then_says_why(
    changes: dict[str, Any], key: str, message: str, text_base_dir: Path
) -> None:
    problems = TASK.recipe_problems(
        recipe("text-classification", **changes), ModelFolders(text_base_dir)
    )
    assert [one.key for one in problems] == [key]
    assert problems[0].message.startswith(f"{key}: ")
    assert message in problems[0].message


def test_recipe_problems_when_all_is_well_then_there_are_none(text_base_dir: Path) -> None:
    for method, changes in METHODS.items():
        chosen = recipe("text-classification", train__method=method, **changes)
        assert TASK.recipe_problems(chosen, ModelFolders(text_base_dir)) == []


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"model_type": "bert", "auto_map": {"A": "b.C"}}, "code of its repo"),
        ("tokenizer_config.json", {"auto_map": {"A": "b.C"}}, "code of its repo"),
        (
            "config.json",
            {"model_type": "nonesuch"},
            "transformers does not know",
        ),
        (
            "config.json",
            {"model_type": "vit"},
            "transformers has no AutoModelForSequenceClassification of ViT",
        ),
        ("config.json", None, "has no config.json"),
        ("tokenizer.json", None, "has no tokenizer"),
    ],
)
def test_recipe_problems_when_the_base_cannot_be_loaded_then_says_why(
    file: str, content: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    folder = text_base(tmp_path)
    if content is None:
        (folder / file).unlink()
        (folder / "tokenizer_config.json").unlink()
    else:
        (folder / file).write_text(json.dumps(content))
    problems = TASK.recipe_problems(recipe("text-classification"), ModelFolders(folder))
    assert [one.key for one in problems] == ["base_model"]
    assert message in problems[0].message


def test_problems_when_a_row_is_empty_then_names_its_columns() -> None:
    assert TASK.problems({"text": "  ", "label": None}) == ["text is empty", "label is empty"]
    assert TASK.problems({"text": "hello", "label": "red"}) == []


def test_widgets_when_a_text_is_given_then_it_becomes_a_row() -> None:
    widgets = TASK.widgets([])
    assert [name for name, _ in widgets.inputs] == ["Textbox"]
    shown = TASK.answer.output(LABELS)
    assert shown == ("LabelSet", {"label": "Prediction", "num_top_classes": 3})
    assert widgets.to_row(["where is my card"]) == {"text": "where is my card"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no text"),
        (None, "no text"),
        ("a" * 320_000, "The text has 320,000 characters, and 20,000 is the limit"),
    ],
)
def test_widgets_when_the_text_is_of_no_use_then_says_why(text: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.widgets([]).to_row([text])


def test_example_from_rating_when_agreed_then_holds_text_and_label() -> None:
    row = {"text": "my card", "_row_id": "1"}
    assert rated_example(TASK, row, "red") == {"text": "my card", "label": "red"}
    assert rated_example(TASK, {"text": " "}, "red") is None


def test_card_when_its_usage_is_run_then_it_predicts(
    fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = TASK.card().usage.replace("{repo_id}", str(fitted)).replace("{commit_sha}", "main")
    exec(compile(usage, "usage.py", "exec"), {})
    shown = capsys.readouterr().out
    assert "'label':" in shown
    assert shown.count("'score':") == 3
