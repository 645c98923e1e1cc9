"""The train stage on language models: adapters name their base, and may be the base."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from hub_trainer.artifacts import Artifact
from hub_trainer.hub import Hub
from hub_trainer.lineage import PinnedRepo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import GenerationSection
from hub_trainer.stages import train
from hub_trainer.tasks import ModelFolders
from tests.stages.prepared import prepare_round, push_model
from tests.tasks.factory import recipe
from tests.tasks.language import answers, demonstrations, language_base, likelihoods, preferences

ARGUMENTS = {"learning_rate": 1e-2, "max_steps": 4, "per_device_train_batch_size": 8}


@pytest.fixture
def base(hub: Hub, local: LocalHub, tmp_path: Path) -> PinnedRepo:
    name = f"{local.user}/{tmp_path.name.lower()}"
    return push_model(hub, name, language_base(tmp_path / "base"))


def trained(round_dir: Path, base: PinnedRepo, hub: Hub, rows: Any, **changes: Any) -> Artifact:
    prepare_round(round_dir, rows, demonstrations(4, seed=9), base_model=base)
    settings = {"base_model": base.repo_id, "train__arguments": ARGUMENTS, **changes}
    return train.run(recipe("text-generation", **settings), round_dir, hub)


def adapter_config(artifact: Artifact) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (artifact.folder / "model" / "adapter_config.json").read_text()
    )
    return content


def test_whole_model_when_trained_then_it_loads_and_the_record_counts_tokens(
    base: PinnedRepo, hub: Hub, tmp_path: Path
) -> None:
    made = trained(tmp_path / "round", base, hub, demonstrations(30))
    assert AutoModelForCausalLM.from_pretrained(made.folder / "model")
    fit = made.outputs["fit"]
    assert fit["method"] == "full"
    assert fit["tokens"] > 300
    assert (made.folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_adapter_when_trained_then_it_names_the_commit_of_its_base(
    base: PinnedRepo, hub: Hub, tmp_path: Path
) -> None:
    made = trained(tmp_path / "round", base, hub, demonstrations(30), train__method="lora")
    config = adapter_config(made)
    assert config["base_model_name_or_path"] == base.repo_id
    assert config["revision"] == base.commit_sha
    names = {path.name for path in (made.folder / "model").iterdir()}
    assert "README.md" not in names
    for path in (made.folder / "model").glob("*.json"):
        assert str(tmp_path) not in path.read_text()


def test_adapter_when_it_is_the_base_model_then_the_new_one_names_what_is_below_it(
    base: PinnedRepo, hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    first = trained(tmp_path / "one", base, hub, demonstrations(30), train__method="lora")
    name = f"{local.user}/{tmp_path.name.lower()}-adapter"
    pushed = push_model(hub, name, first.folder / "model")
    second = trained(tmp_path / "two", pushed, hub, preferences(30), train__method="lora")
    config = adapter_config(second)
    assert config["base_model_name_or_path"] == base.repo_id
    assert config["revision"] == base.commit_sha
    base_dir = tmp_path / "base"
    folders = [ModelFolders(made.folder / "model", base_dir) for made in (first, second)]
    rows = demonstrations(3, seed=5)
    found = [likelihoods(one, rows) for one in folders]
    assert found[0] != found[1]
    sampling = GenerationSection(max_new_tokens=5)
    assert len(answers(folders[1], rows, sampling, seed=0)) == 3


def test_merged_model_when_trained_then_no_adapter_is_left(
    base: PinnedRepo, hub: Hub, tmp_path: Path
) -> None:
    language = {"merge": True}
    made = trained(
        tmp_path / "round",
        base,
        hub,
        demonstrations(30),
        train__method="lora",
        train__language=language,
    )
    names = {path.name for path in made.folder.rglob("*") if path.is_file()}
    assert "model.safetensors" in names
    assert not any(name.startswith("adapter") for name in names)
    assert "merged into its base" in " ".join(made.outputs["fit"]["notes"])
