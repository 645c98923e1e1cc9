"""The serve stage of a language model: what is pushed is what talks, alone and with a rival."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import yaml
from gradio_client import Client
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub_trainer.errors import HubError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.inputs import load_input
from hub_trainer.lineage import RoundRecord
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.recipe import Recipe
from hub_trainer.rows import write_rows
from hub_trainer.rows.language_rows import canonical_examples
from hub_trainer.stages import serve
from hub_trainer.stages.serve import examples
from tests.finetune.language.tiny import WITHOUT_TAGS, llama, tokenizer
from tests.space.factory import QUIET

pytestmark = [
    *QUIET,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]
SAMPLED = {"max_new_tokens": 6, "temperature": 1.0}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.token)


@pytest.fixture(scope="module")
def base_sha(hub: Hub, local: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model that talks."""
    folder = tmp_path_factory.mktemp("base")
    model = llama()
    model.generation_config.eos_token_id = tokenizer().eos_token_id
    model.save_pretrained(folder)
    tokenizer(WITHOUT_TAGS).save_pretrained(folder)
    return _pushed(hub, f"{local.user}/talker", folder)


@pytest.fixture(scope="module")
def adapter_sha(
    hub: Hub, local: LocalHub, base_sha: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """An adapter of that model, published as round 1."""
    base, folder = (
        hub.download(Repo(f"{local.user}/talker"), base_sha, allow=["*"]),
        tmp_path_factory.mktemp("adapter"),
    )
    adapted: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2))
    adapted.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": f"{local.user}/talker", "revision": base_sha}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "round.json").write_text(json.dumps(_record().to_json()))
    (folder / "README.md").unlink()
    return _pushed(hub, f"{local.user}/adapter", folder)


@pytest.fixture(scope="module")
def recipe(local: LocalHub, adapter_sha: str) -> Recipe:
    return _recipe(local.user)


def _recipe(owner: str, **serve_changes: Any) -> Recipe:
    section = {
        "repo_id": f"{owner}/chat",
        "ratings_repo_id": f"{owner}/chat-ratings",
        "generation": SAMPLED,
    }
    return Recipe.model_validate(
        {
            "task": "text-generation",
            "base_model": f"{owner}/talker",
            "collect": {"datasets": [f"{owner}/talks"]},
            "evaluate": {"metrics": ["perplexity"], "primary": "perplexity"},
            "publish": {"repo_id": f"{owner}/adapter"},
            "serve": {**section, **serve_changes},
        }
    )


def _pushed(hub: Hub, repo_id: str, folder: Path) -> str:
    hub.create_repo(Repo(repo_id))
    files: dict[str, bytes | Path] = {path.name: path for path in folder.iterdir()}
    made = hub.commit(Repo(repo_id), Changes(files), message="Add the model", run_id="first")
    return made.commit_sha


def _record() -> RoundRecord:
    return RoundRecord(
        round=1,
        run_id="round-one",
        created_at="2026-01-01T00:00:00+00:00",
        parent=None,
        task="text-generation",
        recipe={"publish": {"repo_id": "admin/adapter"}},
        recipe_digest="digest",
        base_model=None,
        datasets=[],
        ratings=None,
        seed=0,
        versions={},
        train={},
        metrics={"perplexity": {"value": 2.0, "low": 1.0, "high": 3.0}},
        published=None,
        base=None,
        primary="perplexity",
        p_value=None,
        gate={"verdict": "promote", "reasons": []},
        label_names=["demonstration"],
        files=[],
    )


def _prepared(round_dir: Path, rows: list[dict[str, Any]]) -> Path:
    (round_dir / "prepare").mkdir(parents=True)
    table = pa.Table.from_pylist(canonical_examples(rows, "test"))
    write_rows(round_dir / "prepare" / "train.parquet", table)
    return round_dir


def _settings(hub: Hub, recipe: Recipe, name: str = "space.json") -> Any:
    assert recipe.serve is not None
    space = Repo(recipe.serve.repo_id, "space")
    return (hub.read_file(space, name, "main") or b"").decode()


def test_push_when_a_model_writes_says_how_it_does_and_has_prompts_to_try(
    hub: Hub, recipe: Recipe, adapter_sha: str, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Say {number}.", "completion": "Yes."} for number in range(9)]
    serve.run(recipe, _prepared(tmp_path, rows), hub)
    settings = json.loads(_settings(hub, recipe))
    assert settings["commit_sha"] == adapter_sha
    assert (settings["label_names"], settings["rival"]) == ([], None)
    assert settings["generation"] == {**SAMPLED, "top_k": None, "top_p": 1.0}
    assert json.loads(_settings(hub, recipe, "examples.json")) == [
        {"text": f"Say {number}."} for number in range(6)
    ]
    readme = _settings(hub, recipe, "README.md")
    front = yaml.safe_load(readme.split("---")[1])
    assert front["title"] == "Chat with adapter"
    assert len(front["short_description"]) <= 60
    assert hub.card_problems(readme, "space") == []
    assert recipe.serve is not None
    ratings = Repo(recipe.serve.ratings_repo_id, "dataset")
    card = (hub.read_file(ratings, "README.md", "main") or b"").decode()
    assert "your prompt with the turns before it" in card
    assert "`rival`" in card


@pytest.mark.parametrize("revision", ["main", "v0", "refs/pr/1"])
def test_rival_when_a_branch_tag_or_pull_request_is_pinned_to_its_commit(
    hub: Hub, local: LocalHub, base_sha: str, adapter_sha: str, tmp_path: Path, revision: str
) -> None:
    repo = Repo(f"{local.user}/talker")
    if revision == "v0":
        hub.tag(repo, "v0", base_sha)
    if revision == "refs/pr/1":
        note: dict[str, bytes | Path] = {"NOTE.md": b"x"}
        hub.commit(repo, Changes(note), message="Note", run_id="note", pull_request="Try it")
    named = _recipe(local.user, repo_id=f"{local.user}/pairs", rival=f"{repo.repo_id}@{revision}")
    serve.run(named, tmp_path, hub)
    rival = json.loads(_settings(hub, named))["rival"]
    assert rival == {"repo_id": repo.repo_id, "commit_sha": hub.resolve(repo, revision)}
    readme = _settings(hub, named, "README.md")
    assert yaml.safe_load(readme.split("---")[1])["models"] == [
        f"{local.user}/adapter",
        repo.repo_id,
    ]
    assert hub.card_problems(readme, "space") == []


def test_rival_when_it_is_the_published_model_is_refused(
    hub: Hub, local: LocalHub, adapter_sha: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="The rival is the published model itself") as caught:
        serve.run(_recipe(local.user, rival=f"{local.user}/adapter"), tmp_path, hub)
    assert adapter_sha[:7] in str(caught.value)
    with pytest.raises(HubError, match="nowhere"):
        serve.run(_recipe(local.user, rival=f"{local.user}/nowhere"), tmp_path, hub)


def test_prompts_when_of_dialogues_are_the_only_message_of_a_person() -> None:
    user, assistant = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
    system = {"role": "system", "content": "Be short."}
    again = {"role": "user", "content": "Again"}
    rows: Any = canonical_examples(
        [
            {"messages": [system, user, assistant]},
            {"messages": [user, assistant, again, assistant]},
            {"messages": [{"role": "user", "content": "x" * 400}, assistant]},
            {"messages": [user, assistant]},
        ],
        "test",
    )
    assert examples._prompts(rows, load_input("prompt")) == [{"text": "Hi"}]
    assert (
        examples._prompts(canonical_examples([{"text": "A story."}], "test"), load_input("prompt"))
        == []
    )  # type: ignore[arg-type]


def _started(hub: Hub, recipe: Recipe, tmp_path: Path) -> serve.RunningSpace:
    (tmp_path / "space").mkdir()
    return serve.start(hub, serve.run(recipe, tmp_path / "round", hub), folder=tmp_path / "space")


def _sent(hub: Hub, recipe: Recipe, into: Path) -> list[dict[str, Any]]:
    assert recipe.serve is not None
    ratings = Repo(recipe.serve.ratings_repo_id, "dataset")
    return read_shards(hub.download(ratings, hub.resolve(ratings), allow=[SHARDS], into=into))


def test_space_when_of_an_adapter_talks_with_its_base_and_sends_ratings(
    hub: Hub, local: LocalHub, recipe: Recipe, tmp_path: Path
) -> None:
    """The pushed Space as a process: what the public Hub runs."""
    running = _started(hub, recipe, tmp_path)
    try:
        token = local.add_user("rita")
        client = Client(running.url, headers={"Authorization": f"Bearer {token}"}, verbose=False)
        first = client.predict("Hello", api_name="/chat")
        second = client.predict("Hello again", first["generation_id"], api_name="/chat")
        client.predict(first["generation_id"], "edit", "Hello to you.", api_name="/rate")
        client.predict(second["generation_id"], "down", api_name="/rate")
        client.close()
    finally:
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    log = (tmp_path / "space" / "space.log").read_text()
    assert "Traceback" not in log
    assert token not in log
    edit, down = _sent(hub, recipe, tmp_path / "sent")
    assert (edit["kind"], edit["answer"].strip()) == ("edit", "Hello to you.")
    assert [turn["content"] for turn in json.loads(down["prompt"])] == [
        "Hello",
        first["answer"],
        "Hello again",
    ]
    assert (down["prediction"], down["task"]) == (second["answer"], "text-generation")
    sampling = json.loads(down["sampling"])
    assert isinstance(sampling.pop("finished"), bool)
    assert sampling | {"seed": 0} == {**SAMPLED, "top_k": None, "top_p": 1.0, "seed": 0}


@pytest.mark.slow
def test_space_when_it_has_a_rival_shows_both_and_sends_which_is_better(
    hub: Hub, local: LocalHub, adapter_sha: str, base_sha: str, tmp_path: Path
) -> None:
    named = _recipe(
        local.user,
        repo_id=f"{local.user}/arena",
        ratings_repo_id=f"{local.user}/arena-ratings",
        rival=f"{local.user}/talker@{base_sha}",
    )
    running = _started(hub, named, tmp_path)
    try:
        assert httpx.get(f"{running.url}/health").json()["rival"]["commit_sha"] == base_sha
        client = Client(running.url, verbose=False)
        shown = client.predict("Hello", api_name="/pair")
        client.predict(shown["generation_id"], "left", api_name="/rate")
        client.close()
    finally:
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    [sent] = _sent(hub, named, tmp_path / "sent")
    rival = json.loads(sent["rival"])
    assert {sent["model"], rival["model"]} == {
        f"{local.user}/adapter@{adapter_sha}",
        f"{local.user}/talker@{base_sha}",
    }
    assert (sent["kind"], sent["prediction"], rival["completion"], rival["side"]) == (
        "prefer",
        shown["left"],
        shown["right"],
        "right",
    )
