"""A fresh process that loads a model folder as a user would, and says what it makes of rows.

Run as `python -m hub_trainer.stages.publish.reload REQUEST.json ANSWER.json`, without token and
offline. It loads the folder twice: through the task, and with plain transformers.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.stages.publish.loading import (
    ReloadFailure,
    cut,
    load_tokenizer,
    load_weights,
    step,
)
from hub_trainer.stages.publish.writer import reload_writer

if TYPE_CHECKING:
    from hub_trainer.tasks import ClassificationTask


def main(request_file: str, answer_file: str) -> None:
    """Read the request, write the answer; a failure is an answer too."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    try:
        answer = reload(request)
    except ReloadFailure as failure:
        answer = {"failure": str(failure)}
    Path(answer_file).write_text(json.dumps(answer), encoding="utf-8")


def reload(request: dict[str, Any]) -> dict[str, Any]:
    """What each way of loading the folder gives; raises ReloadFailure naming the step."""
    from hub_trainer.tasks import is_generation, load_task

    task = load_task(request["task"])
    rows = _rows(Path(request["rows_file"]), request["indexes"])
    if is_generation(task):
        return reload_writer(request, task, rows)
    return _reload_classifier(request, task, rows)


def _reload_classifier(
    request: dict[str, Any], task: "ClassificationTask", rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    folder = Path(request["folder"])
    answer: dict[str, Any] = {"loaded_with": "hub_trainer", "plain": None}
    auto_name = task.card().auto_class
    if auto_name is not None:
        _check_labels(folder, request["label_names"])
        load_weights(folder, auto_name)
        _check_processor(folder, task.modality, request["chat_template"])
        with step("pipeline() does not run on the folder"):
            answer["plain"] = _pipeline_scores(folder, request["task"], task.modality, rows)
        answer["loaded_with"] = "transformers `pipeline` and hub_trainer"
    with step("the task does not run on the folder"):
        answer["task"] = [dict(one.scores) for one in task.predict(folder, rows)]
    return answer


def _rows(path: Path, indexes: Sequence[int]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).take(indexes).to_pylist()
    return rows


def _check_labels(folder: Path, expected: Sequence[str]) -> None:
    from transformers import AutoConfig

    with step("config.json does not load"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        found = [str(config.id2label[index]) for index in sorted(config.id2label)]
    if sorted(found) != sorted(expected):
        raise ReloadFailure(
            f"config.json names other labels: {cut(found)} instead of {cut(expected)}"
        )


def _check_processor(folder: Path, modality: str, chat_template: bool) -> None:
    from transformers import AutoImageProcessor

    if modality == "image":
        with step("the image processor does not load"):
            AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    else:
        load_tokenizer(folder, chat_template=chat_template)


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
    from hub_trainer.pictures import open_image

    return open_image(row["image"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
