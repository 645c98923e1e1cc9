"""Base models that strangers made to take a machine down are refused, each with file and reason."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    CamembertConfig,
    GPT2Config,
    LlamaConfig,
    MPNetConfig,
    OPTConfig,
    RobertaConfig,
)

from hub_trainer import base_models
from hub_trainer.base_models import FetchedBase, assert_sound, fetch_base
from hub_trainer.errors import RecipeError
from hub_trainer.finetune.base_look import token_faults, writing_faults
from hub_trainer.finetune.methods import apply_method
from hub_trainer.finetune.model_folder import read_header, size_faults, weights_faults
from hub_trainer.finetune.positions import longest_input
from hub_trainer.hub import Repo, RepoFile
from hub_trainer.lineage import PinnedRepo
from hub_trainer.recipe import Recipe
from hub_trainer.tasks import TASKS, ModelFolders, load_task, outline, outline_of
from hub_trainer.tasks.outlines import OUTLINES
from tests.tasks.factory import image_base, recipe, text_base
from tests.tasks.language import language_base

TEXT, WRITES, PICTURES = "text-classification", "text-generation", "image-classification"
NEAR = "{% for i in range(100000) %}"
LOOPS = NEAR * 3 + "{% endfor %}" * 3
PINNED = PinnedRepo("org/base", "model", "main", "1" * 40)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("bases")
    made = {
        TEXT: text_base(folder / "text"),
        WRITES: language_base(folder / "language"),
        PICTURES: image_base(folder / "pictures"),
    }
    return {task: {p.name: p.read_bytes() for p in each.iterdir()} for task, each in made.items()}


def header(size: int, content: bytes) -> bytes:
    return struct.pack("<Q", size) + content


def many_tensors(count: int) -> bytes:
    names = {f"t{i}": {"dtype": "F32", "shape": [], "data_offsets": [0, 0]} for i in range(count)}
    content = json.dumps(names).encode()
    return header(len(content), content)


def expression(files: dict[str, bytes], pattern: str) -> bytes:
    content = json.loads(files["tokenizer.json"])
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return json.dumps({**content, "pre_tokenizer": {**split, "invert": False}}).encode()


def settings(name: str, **changes: Any) -> Any:
    return lambda files: {name: json.dumps({**json.loads(files[name]), **changes}).encode()}


def template(text: str) -> Any:
    return lambda files: {"chat_template.jinja": text.encode()}


def content(name: str, value: bytes) -> Any:
    return lambda files: {name: value}


HOSTILE: list[tuple[str, Any, list[str]]] = [
    (WRITES, template(LOOPS), ["chat_template.jinja", "takes more than 1.5 s"]),
    (TEXT, template(LOOPS), ["chat_template.jinja", "takes more than 1.5 s"]),
    (WRITES, template("{{ 'abcdefgh' * 2000000000 }}"), ["chat_template", "needs more memory"]),
    (WRITES, template(NEAR + "a" * 32 + "{% endfor %}"), ["chat_template", "makes 9,600,000"]),
    (WRITES, template("{% for x in %}"), ["chat_template.jinja", "cannot be used"]),
    (WRITES, template("a" * 300_000), ["chat_template.jinja", "300,000 characters"]),
    (TEXT, settings("config.json", num_hidden_layers=10**7), ["num_hidden_layers is 10,000,000"]),
    (WRITES, settings("config.json", num_hidden_layers=10**7), ["num_hidden_layers"]),
    (TEXT, settings("config.json", hidden_size=10**9), ["config.json", "parameters"]),
    (TEXT, settings("config.json", num_labels=10**9), ["num_labels is 1,000,000,000"]),
    (TEXT, settings("config.json", vocab_size=-5), ["config.json", "vocab_size is -5"]),
    (TEXT, settings("config.json", vocab_size=10**15), ["config.json", "parameters"]),
    (TEXT, settings("config.json", pad_token_id=99), ["config.json", "Padding_idx"]),
    (TEXT, settings("config.json", hidden_size="many"), ["config.json", "hidden_size"]),
    (TEXT, settings("config.json", model_type="galactic"), ["'galactic'", "does not know"]),
    (
        TEXT,
        settings("config.json", quantization_config={"quant_method": "gptq"}),
        ["few bits (gptq)", "full precision"],
    ),
    (TEXT, content("config.json", b"[" * 100_000), ["config.json", "nested too deeply"]),
    (TEXT, content("tokenizer_config.json", b"[" * 100_000), ["tokenizer_config.json"]),
    (TEXT, content("tokenizer.json", b"[" * 100_000 + b"]" * 100_000), ["tokenizer.json"]),
    (TEXT, lambda files: {"tokenizer.json": expression(files, "(a+)+$")}, ["tokenizer.json"]),
    (TEXT, content("model.safetensors", many_tensors(150_000)), ["names 150,000 tensors"]),
    (TEXT, content("model.safetensors", header(2 * 10**9, b"{}")), ["2,000,000,000 bytes"]),
    (TEXT, content("model.safetensors", header(9_000, b"{}")), ["header is cut off"]),
    (TEXT, content("model.safetensors", header(2, b"{1")), ["header is no JSON"]),
    (TEXT, content("model.safetensors", header(10, b'{"a":"bc"}')), ["does not describe"]),
    (
        TEXT,
        settings("config.json", max_position_embeddings=48),
        ["position_embeddings", "24 x 32 in the weights", "48 x 32 by config.json"],
    ),
    (
        PICTURES,
        settings("preprocessor_config.json", size={"height": 10**5, "width": 10**5}),
        ["preprocessor_config.json", "needs more memory"],
    ),
]


@pytest.mark.parametrize(("task", "change", "words"), HOSTILE)
def test_base_when_hostile_then_training_refuses_it_with_file_and_reason(
    task: str, change: Any, words: list[str], bases: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    for name, value in {**bases[task], **change(bases[task])}.items():
        (tmp_path / name).write_bytes(value)
    with pytest.raises(RecipeError) as caught:
        assert_sound(recipe(task), PINNED, ModelFolders(tmp_path))
    told = " ".join(problem.message for problem in caught.value.problems)
    assert [word for word in words if word not in told] == [], told
    assert all(problem.key == "base_model" for problem in caught.value.problems)


@pytest.mark.parametrize("task", [TEXT, WRITES, PICTURES])
def test_base_when_sound_then_it_is_looked_at_once(
    task: str,
    bases: dict[str, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base_models, "cache_folder", lambda: tmp_path / "cache")
    folder = tmp_path / "base"
    folder.mkdir()
    for name, value in bases[task].items():
        (folder / name).write_bytes(value)
    assert_sound(recipe(task), PINNED, ModelFolders(folder))
    monkeypatch.setattr(base_models, "_ask", lambda *seen: ["looked again"])
    assert_sound(recipe(task), PINNED, ModelFolders(folder))
    (folder / "config.json").write_bytes(bases[task]["config.json"] + b"\n")
    with pytest.raises(RecipeError, match="looked again|1 problem"):
        assert_sound(recipe(task), PINNED, ModelFolders(folder))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(10000) %}" * 3 + "{% endfor %}" * 3, "takes more than 1.5 s of a"),
        ("{{ messages[-1]['content'] }}", "drops turns"),
        ("{% for m in messages %}", "is no template"),
    ],
)
def test_template_of_a_recipe_when_bad_then_refused_in_a_child_by_its_key(
    template: str, words: str, bases: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    for name, value in bases[WRITES].items():
        (tmp_path / name).write_bytes(value)
    wanted = recipe(WRITES, train__language={"chat_template": template})
    with pytest.raises(RecipeError) as caught:
        assert_sound(wanted, PINNED, ModelFolders(tmp_path))
    (problem,) = caught.value.problems
    assert problem.key == "train.language.chat_template"
    assert words in problem.message


def test_template_of_a_recipe_when_sound_then_it_is_looked_at_once_and_anew_once_it_changes(
    bases: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_models, "cache_folder", lambda: tmp_path / "cache")
    folder = tmp_path / "base"
    folder.mkdir()
    for name, value in bases[WRITES].items():
        (folder / name).write_bytes(value)
    seen: list[str] = []
    monkeypatch.setattr(base_models, "_ask", lambda name, arguments: seen.append(name) or [])
    for template in ("chatml", "chatml", "plain"):
        wanted = recipe(WRITES, train__language={"chat_template": template})
        assert_sound(wanted, PINNED, ModelFolders(folder))
    assert seen == ["look", "look_at_template", "look_at_template"]


# What the list of files shows


class HubOfFiles:
    """A hub whose only repo lies in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list_files(self, repo: Repo, revision: str) -> Iterator[RepoFile]:
        files = sorted(self.folder.iterdir())
        return [RepoFile(p.name, p.stat().st_size, "b", None) for p in files]  # type: ignore[return-value]

    def download(self, repo: Repo, commit_sha: str, **options: Any) -> Path:
        return self.folder


def fetched(task: str, folder: Path, scratch: Path) -> FetchedBase:
    hub: Any = HubOfFiles(folder)
    return fetch_base(recipe(task), PINNED, hub, scratch)


@pytest.mark.parametrize(
    ("task", "auto_class"), [(TEXT, "SequenceClassification"), (WRITES, "CausalLM")]
)
def test_weights_when_only_pickled_then_says_how_to_convert_them(
    task: str, auto_class: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(RecipeError) as caught:
        fetched(task, tmp_path, tmp_path / "scratch")
    [problem] = caught.value.problems
    for word in ("pytorch_model.bin", "can run code", "save_pretrained", "hf upload", auto_class):
        assert word in problem.message


def test_weights_when_the_recipe_begins_from_scratch_then_none_are_needed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    hub: Any = HubOfFiles(tmp_path)
    made = fetch_base(recipe(TEXT, train__method="scratch"), PINNED, hub, tmp_path / "scratch")
    assert made == FetchedBase(ModelFolders(tmp_path))


def test_weights_when_the_index_names_a_file_that_is_not_there_then_it_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(header(2, b"{}"))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "other.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RecipeError) as caught:
        fetched(TEXT, tmp_path, tmp_path / "scratch")
    assert "names other.safetensors, which the repo does not have" in str(caught.value)


def test_base_when_it_is_an_adapter_and_the_task_takes_none_then_says_what_to_do(
    tmp_path: Path,
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(header(2, b"{}"))
    with pytest.raises(RecipeError) as caught:
        fetched(TEXT, tmp_path, tmp_path / "scratch")
    assert "is an adapter" in str(caught.value)
    assert "merge it into its base" in str(caught.value)


def test_files_when_too_large_then_they_are_not_fetched() -> None:
    files = [
        RepoFile("tokenizer.json", 500_000_000, "b", None),
        RepoFile("config.json", 30_000_000, "b", None),
        RepoFile("model.safetensors", 9_000_000_000, "b", None),
        RepoFile("pictures/film.mp4", 9_000_000_000, "b", None),
    ]
    told = size_faults(files)
    assert [fault.split()[0] for fault in told] == ["tokenizer.json", "config.json"]
    assert "has 500 MB, at most 100 MB are read" in told[0]
    assert weights_faults(files, "org/base", "AutoModel") == []


def test_header_when_it_is_whole_then_gives_shapes(tmp_path: Path) -> None:
    path = text_base(tmp_path) / "model.safetensors"
    assert read_header(path)["embeddings.position_embeddings.weight"]["shape"] == [24, 32]


# Tokens and positions


def test_tokens_when_beyond_the_embeddings_then_named_with_id_and_size(tmp_path: Path) -> None:
    folder = language_base(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder, vocab_size=len(tokenizer))
    model = AutoModelForCausalLM.from_config(config)
    assert token_faults(tokenizer, model) == []
    size = len(tokenizer)
    tokenizer.add_tokens([AddedToken("<|extra|>", special=True)])
    [told] = token_faults(tokenizer, model)
    assert f"'<|extra|>' has the id {size}" in told
    assert f"{size} embeddings" in told


class Unlimited:
    """A tokenizer that knows of no limit."""

    model_max_length = 10**30


SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
SMALL |= {"intermediate_size": 8}


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (CamembertConfig(**SMALL, max_position_embeddings=66), 64),
        (RobertaConfig(**SMALL, max_position_embeddings=66, pad_token_id=3), 62),
        (MPNetConfig(**SMALL, max_position_embeddings=66), 64),
        (GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9, n_positions=66), 66),
        (OPTConfig(**SMALL, max_position_embeddings=66, word_embed_proj_dim=8, ffn_dim=8), 66),
        (LlamaConfig(**SMALL, max_position_embeddings=66), 66),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_longest_input_when_positions_begin_behind_the_padding_then_counts_them_whatever_the_family(
    config: Any, longest: int
) -> None:
    assert longest_input(Unlimited, config) == longest


# Adapters


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"target_modules": ["q_proj", "lm_head"]}, ["'lm_head'", "tie_word_embeddings"]),
        ({"target_modules": ["embed_tokens"]}, ["'embed_tokens'", "cannot be merged"]),
        ({"target_modules": ".*(q_proj|lm_head)"}, ["names lm_head"]),
        ({"modules_to_save": ["lm_head"]}, ["'lm_head' names lm_head", "tie_word"]),
        ({"target_modules": ".*nothing"}, ["'.*nothing' matches no module"]),
        ({"target_modules": "(("}, ["'((' is no regular expression"]),
        ({"target_modules": ["input_layernorm"]}, ["peft refuses it", "LlamaRMSNorm"]),
    ],
)
def test_lora_when_its_targets_cannot_be_used_then_says_why(
    lora: dict[str, Any], words: list[str]
) -> None:
    config = LlamaConfig(**SMALL, tie_word_embeddings=True)
    with pytest.raises(RecipeError) as caught:
        apply_method(AutoModelForCausalLM.from_config(config), "lora", lora={"r": 2, **lora})
    assert [word for word in words if word not in str(caught.value)] == []


def test_lora_when_all_linear_on_a_tied_head_then_the_head_is_left_out() -> None:
    config = LlamaConfig(**SMALL, tie_word_embeddings=True)
    model, report = apply_method(AutoModelForCausalLM.from_config(config), "lora")
    assert model is not None
    assert not [name for name in report.names if "lm_head" in name or "embed" in name]


@pytest.mark.parametrize("name", TASKS)
def test_outline_when_the_task_is_loaded_then_it_says_the_same(name: str) -> None:
    for answer in OUTLINES[name].answers or (None,):
        assert outline(name, answer) == outline_of(load_task(name, answer))


def test_inspection_when_the_recipe_crosses_into_the_child_then_it_is_the_same() -> None:
    made = recipe(TEXT, train__arguments={"learning_rate": 1e-3})
    assert Recipe.model_validate(made.model_dump(mode="json")) == made


@pytest.mark.parametrize(
    ("is_decoder", "told"),
    [(False, "sees the words that it should"), (True, "behind the padding token's")],
)
def test_writer_when_it_would_not_learn_to_write_then_refused_in_words(
    is_decoder: bool, told: str
) -> None:
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(
        vocab_size=16, intermediate_size=8, max_position_embeddings=20, is_decoder=is_decoder,
        **shape,
    )  # fmt: skip
    [fault] = writing_faults(AutoModelForCausalLM.from_config(config))
    assert told in fault
    assert "roberta" in fault


@pytest.mark.parametrize("config", [GPT2Config, LlamaConfig, OPTConfig])
def test_writer_when_made_to_write_then_has_no_fault(config: Any) -> None:
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16}
    further = {} if config is GPT2Config else {"intermediate_size": 8}
    assert not writing_faults(AutoModelForCausalLM.from_config(config(**shape, **further)))
