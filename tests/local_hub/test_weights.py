"""What model info says of weights, from the headers of safetensors and GGUF files."""

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import BadRequestError

from hub_trainer.local_hub import weights
from hub_trainer.local_hub.gguf import read_gguf
from hub_trainer.local_hub.safetensors import read_files, read_index, read_parameters


def safetensors(**tensors: tuple[str, list[int]]) -> bytes:
    """A file whose header names tensors; their bytes are zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = {"F32": 4, "BF16": 2, "I64": 8}[dtype]
        for each in shape:
            size *= each
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*, version: int = 3, tensors: tuple[tuple[int, ...], ...] = ((4, 3), (5,))) -> bytes:
    """A GGUF header with the kinds of values that are in use, and tensors of these shapes."""
    values = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b" * 3000),
        text("tokenizer.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 0.25),
        text("llama.context_length") + struct.pack("<II", 4, 2048),
        text("llama.rope.scale") + struct.pack("<Id", 12, 1.0),
    ]
    shapes = [
        text(f"t{number}")
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        + struct.pack("<IQ", 0, 0)
        for number, shape in enumerate(tensors)
    ]
    head = b"GGUF" + struct.pack("<IQQ", version, len(shapes), len(values))
    return head + b"".join(values) + b"".join(shapes)


def add(api: HfApi, repo_id: str, **files: bytes) -> None:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(repo_id, operations, commit_message="Weights")


def test_model_info_when_there_is_one_safetensors_file_then_parameters_by_type(
    api: HfApi, repo_id: str
) -> None:
    content = safetensors(w=("F32", [4, 3]), b=("F32", [3]), i=("I64", []), h=("BF16", [0, 5]))
    add(api, repo_id, **{"model.safetensors": content, "other.safetensors": content})
    found = api.model_info(repo_id).safetensors
    assert found is not None
    assert (found.parameters, found.total) == ({"F32": 15, "I64": 1, "BF16": 0}, 16)
    assert api.model_info(repo_id, expand=["safetensors"]).safetensors == found
    metadata = api.get_safetensors_metadata(repo_id)
    assert metadata.parameter_count == found.parameters
    assert metadata.files_metadata["model.safetensors"].metadata == {"format": "pt"}


def test_model_info_when_the_weights_are_in_shards_then_those_of_the_index_are_added_up(
    api: HfApi, repo_id: str
) -> None:
    shards = {"a": "model-1.safetensors", "b": "part/model-2.safetensors"}
    index = {"metadata": {"total_size": 28}, "weight_map": shards}
    add(
        api,
        repo_id,
        **{
            "model.safetensors.index.json": json.dumps(index).encode(),
            "model-1.safetensors": safetensors(a=("F32", [5])),
            "part/model-2.safetensors": safetensors(b=("BF16", [4])),
            "left-over.safetensors": safetensors(c=("F32", [100])),
        },
    )
    found = api.model_info(repo_id).safetensors
    assert found is not None
    assert (found.parameters, found.total) == ({"F32": 5, "BF16": 4}, 9)
    assert api.get_safetensors_metadata(repo_id).parameter_count == found.parameters


def test_sharded_metadata_when_asked_for_then_all_headers_come_at_once(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    names = {"a": "m-1.safetensors", "b": "m-2.safetensors"}
    index = json.dumps({"metadata": {"total_size": 28}, "weight_map": names}).encode()
    shards = {
        "part/m-1.safetensors": safetensors(a=("F32", [5])),
        "part/m-2.safetensors": safetensors(b=("BF16", [4])),
    }
    add(api, repo_id, **shards, **{"part/i.json": index, "lost/i.json": index, "text": b"x"})
    found = api.get_sharded_safetensors_metadata(repo_id, filename="part/i.json")
    assert (found.metadata, found.weight_map) == ({"total_size": 28}, names)
    assert found.parameter_count == {"F32": 5, "BF16": 4}
    for path, message in (
        ("lost/i.json", "m-1.safetensors is missing or is not a safetensors file"),
        ("text", "text is missing or is not an index"),
        ("none", "none is missing or is not an index"),
    ):
        answer = http.get(f"/api/models/{repo_id}/safetensors-metadata/{path}")
        assert (answer.status_code, message in answer.json()["error"]) == (422, True)


def test_sharded_metadata_when_the_headers_are_too_large_together_then_413(
    api: HfApi, http: httpx.Client, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MAX_JSON_BYTES", 150)
    index = json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}).encode()
    one = safetensors(a=("F32", [5]))
    add(api, repo_id, **{"1.safetensors": one, "2.safetensors": one, "i.json": index})
    answer = http.get(f"/api/models/{repo_id}/safetensors-metadata/i.json")
    assert (answer.status_code, "150 bytes together" in answer.text) == (413, True)


def test_model_info_when_there_is_only_an_adapter_then_it_is_counted(
    api: HfApi, repo_id: str
) -> None:
    add(api, repo_id, **{"adapter_model.safetensors": safetensors(a=("F32", [7]))})
    found = api.model_info(repo_id).safetensors
    assert found is not None
    assert found.total == 7


def test_model_info_when_asked_for_an_older_commit_then_its_weights(
    api: HfApi, repo_id: str
) -> None:
    add(api, repo_id, **{"model.safetensors": safetensors(a=("F32", [7]))})
    first = api.model_info(repo_id).sha
    add(api, repo_id, **{"model.safetensors": safetensors(a=("F32", [8]))})
    totals = [api.model_info(repo_id, revision=each).safetensors for each in (first, "main")]
    assert [each.total for each in totals if each is not None] == [7, 8]


def test_model_info_when_there_are_no_weights_then_no_such_fields(
    api: HfApi, http: httpx.Client, repo_id: str
) -> None:
    assert api.model_info(repo_id).safetensors is None
    assert {"safetensors", "gguf"}.isdisjoint(http.get(f"/api/models/{repo_id}").json())


def test_model_info_when_there_is_a_gguf_file_then_total_architecture_and_context(
    api: HfApi, repo_id: str
) -> None:
    add(api, repo_id, **{"a.gguf": b"not one", "q4.gguf": gguf()})
    expected = {"total": 17, "architecture": "llama", "context_length": 2048}
    assert api.model_info(repo_id).gguf == expected
    (listed,) = api.list_models(author="admin", search=repo_id.split("/")[1], expand=["gguf"])
    assert listed.gguf == expected


def test_model_info_when_the_pointer_names_a_file_of_another_repo_then_nothing_is_told(
    api: HfApi, other: HfApi, http: httpx.Client, new_repo: Callable[..., str]
) -> None:
    secret = new_repo(private=True)
    add(api, secret, **{"model.safetensors": safetensors(a=("F32", [12345]))})
    (entry,) = api.get_paths_info(secret, "model.safetensors")
    assert entry.lfs is not None
    mine = other.create_repo("weights-thief", exist_ok=True).repo_id
    line = {"path": "model.safetensors", "algo": "sha256", "oid": entry.lfs.sha256}
    body = [{"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": line}]
    answer = http.post(
        f"/api/models/{mine}/commit/main",
        content="\n".join(map(json.dumps, body)),
        headers={"Authorization": f"Bearer {other.token}"},
    )
    assert answer.status_code == 400
    assert other.model_info(mine).safetensors is None


def test_list_models_when_a_size_is_asked_for_then_only_models_of_that_size(
    api: HfApi, new_repo: Callable[..., str]
) -> None:
    small, large, none = new_repo(), new_repo(), new_repo()
    add(api, small, **{"model.safetensors": safetensors(a=("F32", [1500]))})
    add(api, large, **{"x.gguf": gguf(tensors=((2_500_000,),))})

    def found(span: str) -> set[str]:
        return {each.id for each in api.list_models(author="admin", num_parameters=span)}

    assert found("min:1K,max:2K") & {small, large, none} == {small}
    assert found("min:0.5M") & {small, large, none} == {large}
    assert found("max:3M") & {small, large, none} == {small, large}
    order = [each.id for each in api.list_models(author="admin", sort="num_parameters")]
    assert order.index(large) < order.index(small) < order.index(none)
    with pytest.raises(BadRequestError, match="must look like min:6B,max:128B, not 'large'"):
        found("large")


def header(value: Any) -> bytes:
    data = json.dumps(value).encode()
    return struct.pack("<Q", len(data)) + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1\0\0",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        header([1]),
        header({"a": 5}),
        header({"a": {"dtype": "F32"}}),
        header({"a": {"dtype": "F32", "shape": "123"}}),
        header({"a": {"dtype": "F32", "shape": [-1]}}),
        header({"a": {"dtype": "F32", "shape": [True]}}),
        header({"a": {"dtype": "F32", "shape": [2**52, 2]}}),
        header({"a": {"dtype": "F32", "shape": [1] * 65}}),
        header({f"{n}": {"dtype": f"T{n}", "shape": [1]} for n in range(65)}),
        struct.pack("<Q", 20_000) + b"[" * 20_000,
    ],
)
def test_read_parameters_when_it_is_no_safetensors_file_then_none(content: bytes) -> None:
    assert read_parameters(io.BytesIO(content)) is None


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"weight_map": [1]}', b'{"weight_map": {"a": []}}']
)
def test_read_index_when_it_is_no_index_then_none(content: bytes) -> None:
    assert read_files(io.BytesIO(content)) is None
    assert read_index(io.BytesIO(content)) is None


def array_of_arrays() -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGML" + bytes(100),
        gguf(version=1),
        gguf()[:-20],
        gguf(tensors=((2**40, 2**40),)),
        gguf(tensors=((1,) * 9,)),
        b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IQ", 8, 2**40),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 99),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 4, 2**60),
        array_of_arrays(),
    ],
)
def test_read_gguf_when_it_is_no_header_that_can_be_read_then_none(content: bytes) -> None:
    assert read_gguf(io.BytesIO(content)) is None


def test_headers_when_many_were_read_then_only_so_many_are_remembered(
    api: HfApi, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MAX_REMEMBERED", 3)
    for number in range(1, 6):
        add(api, repo_id, **{"model.safetensors": safetensors(a=("F32", [number]))})
        found = api.model_info(repo_id).safetensors
        assert found is not None
        assert found.total == number
        assert len(weights._remembered) <= 3
