"""The proof of reloading for models that write: whole ones and adapters, sabotaged one way each."""

import json
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from hub_trainer.answers import Likelihood, Prediction
from hub_trainer.answers.completion import ANSWER
from hub_trainer.errors import TrainingError
from hub_trainer.finetune.language.folders import save_adapter
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
from hub_trainer.tasks import ModelFolders
from tests.finetune.language.tiny import WITHOUT_TAGS, llama, tokenizer
from tests.stages.writers import rows_of, sums
from tests.tasks.language import likelihoods

RENAMED = ".*is_gradient_checkpointing"
pytestmark = pytest.mark.filterwarnings(f"ignore:{RENAMED}:FutureWarning")
Sabotage = Callable[[Path], None]


def saved(folder: Path, *, seed: int = 0) -> Path:
    model = llama(seed=seed)
    model.generation_config.eos_token_id = tokenizer().eos_token_id
    model.save_pretrained(folder)
    tokenizer(WITHOUT_TAGS, model_max_length=512).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def adapter(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "model"
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=RENAMED)
        model = get_peft_model(llama(), config)
        save_adapter(model, folder, base_model="a/b", commit_sha="1" * 40)
    tokenizer(WITHOUT_TAGS, model_max_length=512).save_pretrained(folder)
    return folder


def plain(found: Sequence[Likelihood]) -> list[Any]:
    """Likelihoods as processes pass them."""
    return [to_plain(ANSWER, Prediction(None, likelihood=one)) for one in found]


def expected(folders: ModelFolders, place: Path) -> Expected:
    rows, path = rows_of(sums(20)), place / "test.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    indexes = spread_indexes(len(rows))
    found = likelihoods(folders, [rows[i] for i in indexes])
    return Expected(path, indexes, plain(found))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer in this process: starting a fresh one takes seconds, and one test does."""

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return reload(request)
        except ReloadFailure as failure:
            return {"failure": str(failure)}

    monkeypatch.setattr(proof, "_ask_fresh_process", ask)


def edit_weights(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def lose_a_weight(folder: Path) -> None:
    edit_weights(folder / "model.safetensors", lambda w: w.pop("model.norm.weight"))


def add_stray_weight(folder: Path) -> None:
    def add(weights: dict[str, Any]) -> None:
        weights["stray.weight"] = weights["model.norm.weight"].clone()

    edit_weights(folder / "model.safetensors", add)


def change_a_weight(folder: Path) -> None:
    def change(weights: dict[str, Any]) -> None:
        weights["model.norm.weight"] *= 1.05

    edit_weights(folder / "model.safetensors", change)


def lose_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def lose_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def break_how_it_writes(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"num_beams": "many"}))


def take_fewer_tokens(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                **json.loads((folder / "tokenizer_config.json").read_text()),
                "model_max_length": 12,
            }
        )
    )


SABOTAGES: list[tuple[Sabotage, str]] = [
    (lose_a_weight, "the weights have missing keys: model.norm.weight"),
    (add_stray_weight, "the weights have unexpected keys: stray.weight"),
    (change_a_weight, "by hub_trainer, the log-probability of an average token differs by"),
    (lose_tokenizer, "the tokenizer"),
    (lose_template, "the chat template of the base model is lost"),
    (break_how_it_writes, "the model does not write"),
    (take_fewer_tokens, "an average token differs by inf"),
]


def prove(folder: Path, seen: Expected, base: Path | None = None) -> dict[str, Any]:
    return prove_reload(
        folder, seen, Loaded("text-generation", [], True, "completion", base_dir=base)
    )


def test_whole_model_when_good_then_a_fresh_process_repeats_its_likelihoods(
    whole: Path, tmp_path: Path
) -> None:
    shown = prove(whole, expected(ModelFolders(whole), tmp_path))
    assert shown["rows"] == 8
    assert 0 <= shown["max_difference"] < 1e-4
    assert shown["loaded_with"] == "transformers `pipeline` and hub_trainer"


def test_adapter_when_good_then_it_is_repeated_over_its_base(
    whole: Path, adapter: Path, tmp_path: Path, here: None
) -> None:
    shown = prove(adapter, expected(ModelFolders(adapter, whole), tmp_path), whole)
    assert shown["max_difference"] < 1e-4
    assert shown["loaded_with"] == "PEFT over its base and hub_trainer"


@pytest.mark.parametrize(("sabotage", "told"), SABOTAGES)
def test_whole_model_when_sabotaged_then_refused_saying_which(
    sabotage: Sabotage, told: str, whole: Path, tmp_path: Path, here: None
) -> None:
    seen = expected(ModelFolders(whole), tmp_path)
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    sabotage(folder)
    with pytest.raises(TrainingError, match="does not repeat its predictions") as caught:
        prove(folder, seen)
    assert told in str(caught.value)
    assert "Nothing was sent" in str(caught.value)


def test_chat_template_when_it_is_not_the_recipes_then_refused(
    whole: Path, tmp_path: Path, here: None
) -> None:
    seen = expected(ModelFolders(whole), tmp_path)
    own = (whole / "chat_template.jinja").read_text()
    for template in (own, own + " "):
        loaded = Loaded("text-generation", [], False, "completion", template=template)
        if template == own:
            prove_reload(whole, seen, loaded)
            continue
        with pytest.raises(TrainingError) as caught:
            prove_reload(whole, seen, loaded)
        assert "the chat template is not the one that the recipe names" in str(caught.value)


def test_adapter_when_its_base_is_another_then_refused(
    whole: Path, adapter: Path, tmp_path: Path, here: None
) -> None:
    other = saved(tmp_path / "other", seed=5)
    with pytest.raises(TrainingError) as caught:
        prove(adapter, expected(ModelFolders(adapter, whole), tmp_path), other)
    assert "the log-probability of an average token differs" in str(caught.value)


def test_adapter_when_a_weight_is_missing_then_refused(
    whole: Path, adapter: Path, tmp_path: Path, here: None
) -> None:
    seen = expected(ModelFolders(adapter, whole), tmp_path)
    folder = Path(shutil.copytree(adapter, tmp_path / "model"))
    edit_weights(folder / "adapter_model.safetensors", lambda w: w.pop(sorted(w)[0]))
    with pytest.raises(TrainingError) as caught:
        prove(folder, seen, whole)
    assert "the adapter does not load over its base" in str(caught.value)
    assert "missing adapter keys" in str(caught.value)


def test_text_when_it_has_no_prompt_then_it_is_weighed_all_the_same(
    whole: Path, tmp_path: Path, here: None
) -> None:
    rows = rows_of([{"text": "Once there was a cat."}, {"text": "x"}])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    found = likelihoods(ModelFolders(whole), rows)
    shown = prove(whole, Expected(tmp_path / "test.parquet", [0, 1], plain(found)))
    assert shown["max_difference"] < 1e-4


def test_token_difference_when_counts_differ_or_it_is_no_number_then_infinite() -> None:
    def difference(one: tuple[float, int], other: tuple[float, int]) -> float:
        weighed = (Prediction(None, likelihood=Likelihood(*each)) for each in (one, other))
        return ANSWER.difference(*weighed)

    assert difference((-4.0, 4), (-2.0, 4)) == 0.5
    assert difference((-4.0, 4), (-4.0, 3)) == math.inf
    assert difference((-4.0, 4), (math.nan, 4)) == math.inf
    assert difference((0.0, 0), (0.0, 0)) == 0
