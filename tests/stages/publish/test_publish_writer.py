"""Whole rounds of a tiny model that writes, from training to what others load from the Hub."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from hub_trainer.artifacts import Artifact, write_artifact
from hub_trainer.finetune.reloading import ReloadFailure
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import PinnedRepo, read_rounds
from hub_trainer.lineage.pins import settings_digest
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.chat_templates import SHIPPED, digest
from hub_trainer.stages import evaluate, publish, train
from hub_trainer.stages.publish import proof
from hub_trainer.stages.publish.reload import reload
from tests.finetune.language.tiny import WITHOUT_TAGS, llama, tokenizer
from tests.stages.prepared import prepare_round, push_model
from tests.stages.writers import rows_of, sums
from tests.tasks.factory import recipe

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
Said = Callable[..., list[dict[str, Any]]]
ARGUMENTS = {"learning_rate": 3e-3, "num_train_epochs": 2, "per_device_train_batch_size": 16}
DATA_CARD = b"---\nlicense: cc0-1.0\nannotations_creators:\n- machine-generated\n---\n"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Prove in this process: starting a fresh one takes seconds, and a test of its own does."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return reload(request)
        except ReloadFailure as failure:
            return {"failure": str(failure)}

    monkeypatch.setattr(proof, "_ask_fresh_process", ask)


@pytest.fixture(scope="module")
def base(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> PinnedRepo:
    folder = tmp_path_factory.mktemp("writer-base")
    model = llama()
    model.generation_config.eos_token_id = tokenizer().eos_token_id
    model.save_pretrained(folder)
    tokenizer(WITHOUT_TAGS, model_max_length=512).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return push_model(hub, "ada/writer-base", folder)


@pytest.fixture(scope="module")
def data(hub: Hub) -> PinnedRepo:
    repo = Repo("ada/writer-data", "dataset")
    hub.create_repo(repo)
    made = hub.commit(repo, Changes({"README.md": DATA_CARD}), message="Seed", run_id="d")
    return PinnedRepo(repo.repo_id, "dataset", "main", made.commit_sha)


def asked(repo: Repo, base: PinnedRepo, **changes: Any) -> Recipe:
    return recipe(
        "text-generation",
        base_model=base.repo_id,
        collect__datasets=["ada/writer-data"],
        publish__repo_id=repo.repo_id,
        evaluate__metrics=["completion_loss", "token_f1"],
        evaluate__primary="completion_loss",
        evaluate__generation={"max_new_tokens": 8},
        train__arguments=ARGUMENTS,
        **changes,
    )


def run_round(
    of: Recipe,
    round_dir: Path,
    hub: Hub,
    pinned: tuple[PinnedRepo, PinnedRepo],
    *,
    parent: str | None = None,
    index: int = 1,
    said: Said = sums,
) -> Artifact:
    """Every stage of a round but collect and prepare, which are made by hand."""
    base, data = pinned
    rows = rows_of(said(120), prefix="train"), rows_of(said(20, start=500))
    prepare_round(round_dir, *rows, base_model=base, parent=parent, round_index=index)
    pins = json.loads((round_dir / "pins.json").read_text())
    (round_dir / "pins.json").write_text(json.dumps({**pins, "datasets": [vars(data)]}))
    counts = {"train": 96, "validation": 24, "test": 20}
    with write_artifact(round_dir / "prepare", {"by": "hand"}) as draft:
        done = round_dir / "prepare"
        for split in counts:
            (draft.folder / f"{split}.parquet").write_bytes(
                (done / f"{split}.parquet").read_bytes()
            )
        draft.outputs |= {
            "label_names": ["demonstration"],
            "rows": counts,
            "counts": {split: {"demonstration": count} for split, count in counts.items()},
        }
    with write_artifact(round_dir / "collect", {}) as draft:
        entry = {"repo_id": data.repo_id, "commit_sha": data.commit_sha, "config": None}
        entry |= {"split": "train", "role": "train", "rows": 140, "license": "cc0-1.0"}
        draft.outputs |= {"datasets": [entry], "label_names": ["demonstration"]}
    train.run(of, round_dir, hub)
    evaluate.run(of, round_dir, hub)
    return publish.run(of, round_dir, hub)


def dialogues(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": one["prompt"]},
                {"role": "assistant", "content": one["completion"]},
            ]
        }
        for one in sums(count, start=start)
    ]


def paths(hub: Hub, repo: Repo, revision: str) -> set[str]:
    return {file.path for file in hub.list_files(repo, revision)}


def run_usage(card: str, hub: Hub, home: Path) -> str:
    """What the card's own code prints, on a machine that knows nothing but the Hub."""
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    known = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub._token, "HF_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **known, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_round_when_an_adapter_learns_then_it_is_published_as_one_and_judged_over_its_base(
    hub: Hub, repo: Repo, base: PinnedRepo, data: PinnedRepo, tmp_path: Path
) -> None:
    of = asked(repo, base, train__method="lora")
    first = run_round(of, tmp_path / "1", hub, (base, data)).outputs
    assert first["verdict"] == "promote"
    assert first["reload"]["max_difference"] < 1e-4
    found = paths(hub, repo, "main")
    assert {"adapter_model.safetensors", "adapter_config.json", "chat_template.jinja"} <= found
    assert {"README.md", "round.json", "figures/training.png", "tokenizer.json"} <= found
    assert not {"model.safetensors", "config.json", "figures/confusion.png"} & found
    config = json.loads(hub.read_file(repo, "adapter_config.json", "main") or b"")
    assert (config["base_model_name_or_path"], config["revision"]) == (
        base.repo_id,
        base.commit_sha,
    )
    card = (hub.read_file(repo, "README.md", "main") or b"").decode()
    assert "By its card, what ada/writer-data says was made by machines" in card
    assert hub.card_data(repo, "main")["base_model_relation"] == "adapter"
    second = run_round(
        of, tmp_path / "2", hub, (base, data), parent=first["commit_sha"], index=2
    ).outputs
    assert (second["verdict"], second["pull_request"]) == ("hold", 1)
    one, two = read_rounds(hub, repo.repo_id)
    assert one.gate["against"] == "base"
    assert (two.gate["against"], two.verdict) == ("published", "hold")
    assert one.written is not None
    assert one.written["sampling"]["max_new_tokens"] == 8
    assert one.written["win_rate"] is None
    assert two.written is not None
    assert two.written["win_rate"]["ties"] == 20
    assert set(two.written["answers"]) == {"new", "published", "base"}


def test_round_when_all_weights_learn_then_a_plain_pipeline_loads_it(
    hub: Hub, repo: Repo, base: PinnedRepo, data: PinnedRepo, tmp_path: Path
) -> None:
    outputs = run_round(asked(repo, base), tmp_path / "r", hub, (base, data)).outputs
    assert outputs["reload"]["loaded_with"] == "transformers `pipeline` and hub_trainer"
    assert {"model.safetensors", "generation_config.json"} <= paths(hub, repo, "main")
    assert hub.card_data(repo, "main")["library_name"] == "transformers"


def test_round_when_the_recipe_names_a_chat_template_then_it_is_published_and_in_the_record(
    hub: Hub, repo: Repo, data: PinnedRepo, tmp_path: Path
) -> None:
    model = llama()
    model.generation_config.eos_token_id = tokenizer().eos_token_id
    model.save_pretrained(tmp_path / "base")
    tokenizer(None, model_max_length=512).save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: mit\n---\n")
    bare = push_model(hub, f"{repo.repo_id}-bare", tmp_path / "base")
    of = asked(repo, bare, train__language={"chat_template": "plain"})
    outputs = run_round(of, tmp_path / "r", hub, (bare, data), said=dialogues).outputs
    assert outputs["reload"]["max_difference"] < 1e-4
    published = (hub.read_file(repo, "chat_template.jinja", outputs["commit_sha"]) or b"").decode()
    assert published == SHIPPED["plain"]
    [record] = read_rounds(hub, repo.repo_id)
    assert record.train["chat_template_sha256"] == digest(SHIPPED["plain"])
    assert record.recipe["train"]["language"]["chat_template"] == SHIPPED["plain"]
    assert record.base is not None
    assert record.base["metrics"]["completion_loss"]["value"] > 0
    other = asked(repo, bare, train__language={"chat_template": "chatml"})
    assert settings_digest(other) != settings_digest(of)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_card_when_its_code_is_run_then_the_model_answers(
    method: str, hub: Hub, repo: Repo, base: PinnedRepo, data: PinnedRepo, tmp_path: Path
) -> None:
    run_round(asked(repo, base, train__method=method), tmp_path / "r", hub, (base, data))
    card = (hub.read_file(repo, "README.md", "main") or b"").decode()
    assert '{"role": "user", "content": "Write your prompt here."}' in card
    assert "'role': 'assistant'" in run_usage(card, hub, tmp_path / "home")
