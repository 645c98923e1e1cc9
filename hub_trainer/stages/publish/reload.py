"""A fresh process that loads a model folder as a user would, and says what it predicts.

Run as `python -m hub_trainer.stages.publish.reload REQUEST.json ANSWER.json`, without token and
offline. It loads the folder twice: through the task, and with plain transformers.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ReloadFailure(Exception):
    """A step of loading that failed, and how."""


def main(request_file: str, answer_file: str) -> None:
    """Read the request, write the answer; a failure is an answer too."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    try:
        answer = reload(request)
    except ReloadFailure as failure:
        answer = {"failure": str(failure)}
    Path(answer_file).write_text(json.dumps(answer), encoding="utf-8")


def reload(request: dict[str, Any]) -> dict[str, Any]:
    """Predictions of the folder by each way of loading it; raises ReloadFailure naming the step."""
    from hub_trainer.tasks import classification, load_task

    task, folder = classification(load_task(request["task"])), Path(request["folder"])
    rows = _rows(Path(request["rows_file"]), request["indexes"])
    answer: dict[str, Any] = {"loaded_with": "hub_trainer", "plain": None}
    auto_name = task.card().auto_class
    if auto_name is not None:
        _check_labels(folder, request["label_names"])
        _check_weights(folder, auto_name)
        _check_processor(folder, task.modality, request["chat_template"])
        with _step("pipeline() does not run on the folder"):
            answer["plain"] = _pipeline_scores(folder, request["task"], task.modality, rows)
        answer["loaded_with"] = "transformers `pipeline` and hub_trainer"
    with _step("the task does not run on the folder"):
        answer["task"] = [dict(one.scores) for one in task.predict(folder, rows)]
    return answer


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Any exception in here is a failure of this step: the process exists to find them."""
    try:
        yield
    except ReloadFailure:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ReloadFailure(f"{what}: {type(error).__name__}: {lines[0][:300]}") from error


def _rows(path: Path, indexes: Sequence[int]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).take(indexes).to_pylist()
    return rows


def _check_labels(folder: Path, expected: Sequence[str]) -> None:
    from transformers import AutoConfig

    with _step("config.json does not load"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        found = [str(config.id2label[index]) for index in sorted(config.id2label)]
    if sorted(found) != sorted(expected):
        raise ReloadFailure(
            f"config.json names other labels: {_cut(found)} instead of {_cut(expected)}"
        )


def _check_weights(folder: Path, auto_name: str) -> None:
    import transformers

    auto_class = getattr(transformers, auto_name)
    with _step("the weights do not load"):
        _, info = auto_class.from_pretrained(
            folder, output_loading_info=True, use_safetensors=True, trust_remote_code=False
        )
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if info.get(kind):
            keys = _cut(sorted(str(key) for key in info[kind]))
            raise ReloadFailure(f"the weights have {kind.replace('_', ' ')}: {keys}")


def _check_processor(folder: Path, modality: str, chat_template: bool) -> None:
    """A tokenizer without its files loads as an empty one, without a word."""
    from transformers import AutoImageProcessor, AutoTokenizer

    if modality == "image":
        with _step("the image processor does not load"):
            AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        return
    with _step("the tokenizer does not load"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ReloadFailure("the tokenizer is missing: what loads has no vocabulary")
    if chat_template and not tokenizer.chat_template:
        raise ReloadFailure("the chat template of the base model is lost")


def _pipeline_scores(
    folder: Path, task: str, modality: str, rows: Sequence[dict[str, Any]]
) -> list[dict[str, float]]:
    from transformers import pipeline

    pipe: Any = pipeline(task, model=str(folder), trust_remote_code=False)
    options = {"truncation": True} if modality == "text" else {}
    top_k = pipe.model.config.num_labels  # None means five to a pipeline of images
    answers = [pipe(_plain_input(row, modality), top_k=top_k, **options) for row in rows]
    return [{one["label"]: float(one["score"]) for one in answer} for answer in answers]


def _plain_input(row: dict[str, Any], modality: str) -> Any:
    if modality == "text":
        return row["text"]
    from io import BytesIO

    from PIL import Image

    return Image.open(BytesIO(row["image"]))


def _cut(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown}, … ({len(names)})" if len(names) > 6 else shown


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
