"""The last look at a folder: what must not be published is found, and all of it is named."""

import json
import sys
from pathlib import Path

import pytest

from hub_trainer.errors import TrainingError
from hub_trainer.stages.publish.last_look import CHUNK_BYTES, assert_publishable

TOKEN = b"local-token-0123456789"


def holds_token(content: bytes) -> bool:
    return TOKEN in content


@pytest.fixture
def folder(tmp_path: Path, model: Path) -> Path:
    copy = tmp_path / "round" / "publish"
    copy.mkdir(parents=True)
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "README.md").write_text("# model\n")
    (copy / ".eval_results").mkdir()
    (copy / ".eval_results" / "data.yaml").write_text("[]\n")
    return copy


def look(folder: Path) -> None:
    assert_publishable(folder, holds_token=holds_token, round_dir=folder.parent)


def refused(folder: Path) -> str:
    with pytest.raises(TrainingError, match="may not be published") as caught:
        look(folder)
    assert "Nothing was sent" in str(caught.value)
    assert caught.value.got is not None
    return caught.value.got


def test_folder_when_good_then_nothing_is_said(folder: Path) -> None:
    look(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("training_args.bin", "optimizer.pt", "model.pkl", "pytorch_model.bin", "a.npy", "run.py"),
        *("model.joblib", "notes", ".env", "events.out.tfevents.1"),
    ],
)
def test_folder_when_a_file_is_of_another_kind_then_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    assert f"{name} is of no kind that is published" in refused(folder)


def test_folder_when_a_file_is_hidden_then_refused(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache" / "a.json").write_text("{}")
    assert ".cache/a.json is hidden" in refused(folder)


def test_folder_when_a_file_is_a_link_then_refused(folder: Path) -> None:
    (folder / "passwd.txt").symlink_to("/etc/passwd")
    assert "passwd.txt is a link" in refused(folder)


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        (b"hf_" + b"a1B2" * 9, "a Hugging Face token"),
        (TOKEN, "the token in use"),
        (b"-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        (b"-----BEGIN PRIVATE KEY-----", "a private key"),
        (b"ghp_" + b"a1B2" * 9, "a GitHub token"),
        (b" AKIAABCDEFGHIJKLMNOP ", "an AWS access key"),
    ],
)
def test_folder_when_a_file_holds_a_secret_then_it_is_named_and_not_shown(
    folder: Path, secret: bytes, kind: str
) -> None:
    (folder / "vocab.txt").write_bytes(b"word\n" + secret + b"\nword")
    told = refused(folder)
    assert f"vocab.txt holds {kind}" in told
    assert secret.decode().strip() not in told


def test_folder_when_a_secret_lies_across_two_pieces_then_found(folder: Path) -> None:
    filler = b"word\n" * (CHUNK_BYTES // 5 + 1)
    content = filler[: CHUNK_BYTES - 10] + b" hf_" + b"a1B2" * 9 + b" end"
    (folder / "vocab.txt").write_bytes(content)
    assert "holds a Hugging Face token" in refused(folder)


def test_folder_when_a_name_merely_looks_like_a_token_then_let_through(folder: Path) -> None:
    (folder / "notes.txt").write_text("hf_model and shf_" + "a" * 40 + " hf_hub_download")
    look(folder)


def test_folder_when_the_config_names_a_folder_of_this_machine_then_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["nested"] = [{"_name_or_path": str(folder.parent / "train" / "model")}]
    (folder / "config.json").write_text(json.dumps(config))
    assert f"config.json names {folder.parent}/train/model of this machine" in refused(folder)


def test_folder_when_the_card_names_a_folder_of_this_machine_then_refused(folder: Path) -> None:
    (folder / "README.md").write_text(f"Trained in {sys.prefix}/lib.\n")
    assert f"README.md names {sys.prefix} of this machine" in refused(folder)


@pytest.mark.parametrize("value", ["/", "a/b/c", "/no/such/place/here", "https://a.example/b/c"])
def test_folder_when_a_value_is_no_path_of_this_machine_then_let_through(
    folder: Path, value: str
) -> None:
    (folder / "settings.json").write_text(json.dumps({"value": value}))
    look(folder)


def test_folder_when_a_vocabulary_has_paths_as_words_then_let_through(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps({"/usr/bin": 1, "words": ["/usr/bin/env"]}))
    look(folder)


def test_folder_when_json_is_broken_then_refused(folder: Path) -> None:
    (folder / "settings.json").write_text("{")
    with pytest.raises(TrainingError, match="settings.json is not valid JSON"):
        look(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_folder_when_weights_are_not_finite_then_the_tensor_is_named(
    folder: Path, value: float
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    broken = weights["classifier.weight"].to(torch.bfloat16)
    broken[0, 0] = value
    weights["classifier.weight"] = broken
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "model.safetensors has values that are not finite in classifier.weight" in refused(
        folder
    )


def test_folder_when_weights_are_torn_then_refused(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert "model.safetensors is no valid safetensors file" in refused(folder)


def test_folder_when_several_things_are_wrong_then_all_are_named(folder: Path) -> None:
    (folder / "a.pkl").write_bytes(b"x")
    (folder / "b.txt").write_bytes(TOKEN)
    told = refused(folder)
    assert "a.pkl" in told
    assert "b.txt" in told


def with_adapter(folder: Path, **changes: object) -> None:
    config = {"base_model_name_or_path": "ada/base", "revision": "c" * 40, **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def test_adapter_when_it_names_the_commit_of_its_base_then_let_through(folder: Path) -> None:
    with_adapter(folder)
    look(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base_model_name_or_path": "base"}, "names no repo of the Hub as its base model: 'base'"),
        ({"base_model_name_or_path": "/opt/models/x"}, "no repo of the Hub as its base model"),
        ({"base_model_name_or_path": None}, "no repo of the Hub as its base model: None"),
        ({"revision": "main"}, "names no commit of its base model: revision 'main'"),
        ({"revision": None}, "names no commit of its base model: revision None"),
    ],
)
def test_adapter_when_its_base_is_not_pinned_then_refused(
    folder: Path, changes: dict[str, object], told: str
) -> None:
    with_adapter(folder, **changes)
    named = refused(folder)
    assert named.startswith("adapter_config.json names no")
    assert told in named
