"""The proof of reloading, with models that were sabotaged one way each."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.errors import TrainingError
from hub_trainer.finetune.reloading import ReloadFailure
from hub_trainer.stages.publish import proof
from hub_trainer.stages.publish.proof import (
    Expected,
    Loaded,
    prove_reload,
    spread_indexes,
    to_plain,
)
from hub_trainer.stages.publish.reload import reload
from tests.cards.evidence import LABELS
from tests.stages.publish import rounds

TASK = "text-classification"
Sabotage = Callable[[Path], None]


@pytest.fixture(scope="module")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Expected:
    from transformers import pipeline

    rows = rounds.sealed_rows(20)
    path = tmp_path_factory.mktemp("rows") / "test.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    indexes = spread_indexes(len(rows))
    pipe: Any = pipeline(TASK, model=str(model))
    answers = pipe([rows[i]["text"] for i in indexes], top_k=None)
    said = [Prediction(one[0]["label"], {a["label"]: a["score"] for a in one}) for one in answers]
    return Expected(path, indexes, [to_plain(load_answer("label"), one) for one in said])


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer in this process: starting a fresh one takes seconds, and one test does."""

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return reload(request)
        except ReloadFailure as failure:
            return {"failure": str(failure)}

    monkeypatch.setattr(proof, "_ask_fresh_process", ask)


def prove(folder: Path, expected: Expected, *, chat_template: bool = False) -> dict[str, Any]:
    return prove_reload(folder, expected, Loaded(TASK, LABELS, chat_template, "label"))


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def edit_weights(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def drop_head(folder: Path) -> None:
    edit_weights(folder / "model.safetensors", lambda w: w.pop("classifier.weight"))


def add_stray_weight(folder: Path) -> None:
    def add(weights: dict[str, Any]) -> None:
        weights["stray.weight"] = weights["classifier.weight"].clone()

    edit_weights(folder / "model.safetensors", add)


def shrink_head(folder: Path) -> None:
    def cut(weights: dict[str, Any]) -> None:
        weights["classifier.weight"] = weights["classifier.weight"][:2].contiguous()

    edit_weights(folder / "model.safetensors", cut)


def change_a_weight(folder: Path) -> None:
    def change(weights: dict[str, Any]) -> None:
        weights["classifier.bias"] += 0.01 * (weights["classifier.bias"].new_tensor([1.0, 0, 0]))

    edit_weights(folder / "model.safetensors", change)


def turn_labels(folder: Path) -> None:
    turned = [*LABELS[1:], LABELS[0]]
    edit_json(
        folder / "config.json",
        id2label={str(i): label for i, label in enumerate(turned)},
        label2id={label: i for i, label in enumerate(turned)},
    )


def lose_labels(folder: Path) -> None:
    edit_json(folder / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})


def lose_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def lose_tokenizer_and_settings(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def lose_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def other_architecture(folder: Path) -> None:
    edit_json(folder / "config.json", model_type="no-such-model")


SABOTAGES: list[tuple[Sabotage, str]] = [
    (drop_head, "the weights have missing keys: classifier.weight"),
    (add_stray_weight, "the weights have unexpected keys: stray.weight"),
    (shrink_head, "the weights"),
    (turn_labels, "the label order has changed"),
    (lose_labels, "config.json names other labels: LABEL_0, LABEL_1, LABEL_2 instead of"),
    (lose_tokenizer, "the tokenizer"),
    (lose_tokenizer_and_settings, "the tokenizer is missing: what loads has no vocabulary"),
    (lose_config, "config.json does not load"),
    (other_architecture, "config.json does not load"),
    (change_a_weight, "a prediction differs by"),
]


def test_folder_when_good_then_a_fresh_process_repeats_the_predictions(
    folder: Path, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    shown = prove(folder, expected)
    assert shown["rows"] == 8
    assert shown["max_difference"] <= 1e-5
    assert shown["loaded_with"] == "transformers `pipeline` and hub_trainer"


@pytest.mark.parametrize(("sabotage", "told"), SABOTAGES)
def test_folder_when_sabotaged_then_refused_saying_which(
    sabotage: Sabotage, told: str, folder: Path, expected: Expected, here: None
) -> None:
    sabotage(folder)
    with pytest.raises(TrainingError, match="does not repeat its predictions") as caught:
        prove(folder, expected)
    assert told in str(caught.value)
    assert "Nothing was sent" in str(caught.value)


def test_folder_when_the_chat_template_is_lost_then_refused(
    folder: Path, expected: Expected, here: None
) -> None:
    with pytest.raises(TrainingError) as caught:
        prove(folder, expected, chat_template=True)
    assert caught.value.got == "the chat template of the base model is lost"
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert prove(folder, expected, chat_template=True)["rows"] == 8


def test_process_when_it_breaks_then_its_last_words_are_told(
    folder: Path, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "__package__", "hub_trainer.no_such")
    with pytest.raises(TrainingError) as caught:
        prove(folder, expected)
    assert "the process ended with 1" in str(caught.value)
    assert "no_such" in str(caught.value)


def test_process_when_it_hangs_then_it_is_stopped(
    folder: Path, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "MAX_SECONDS", 0.01)
    with pytest.raises(TrainingError) as caught:
        prove(folder, expected)
    assert "no answer in 0.01 s" in str(caught.value)


def test_environment_when_bare_then_no_secret_of_the_host_is_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "secret")
    bare = proof._bare_environment("/tmp/x")
    assert "secret" not in bare.values()
    assert bare["HF_HUB_OFFLINE"] == "1"
    assert bare["PATH"] == os.environ["PATH"]


def test_spread_when_rows_are_many_then_first_and_last_are_in() -> None:
    assert spread_indexes(3) == [0, 1, 2]
    assert spread_indexes(100) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert len(spread_indexes(9)) == 8


def test_difference_when_a_label_is_missing_or_not_a_number_then_infinite() -> None:
    label = load_answer("label")
    mine = Prediction("a", {"a": 0.5})
    assert label.difference(mine, Prediction("a", {"a": 0.75})) == 0.25
    assert label.difference(mine, Prediction("b", {"a": 0.5})) == math.inf
    assert label.difference(mine, Prediction("a", {"b": 0.5})) == math.inf
    assert label.difference(mine, Prediction("a", {"a": math.nan})) == math.inf
