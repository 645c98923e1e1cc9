"""A fresh process that loads a model folder as a user would, and says what it makes of rows.

Run as `python -m hub_trainer.stages.publish.reload REQUEST.json ANSWER.json`, without token and
offline. It loads the folder twice: through the task, and with plain transformers.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.inputs import Input, load_input
from hub_trainer.stages.publish.loading import (
    ReloadFailure,
    cut,
    load_tokenizer,
    load_weights,
    step,
)
from hub_trainer.stages.publish.proof import to_plain
from hub_trainer.stages.publish.writer import reload_writer

if TYPE_CHECKING:
    from hub_trainer.answers import Prediction
    from hub_trainer.finetune.heads import AskedHead
    from hub_trainer.tasks import Task


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
    from hub_trainer.tasks import load_task

    task = load_task(request["task"], request["answer"])
    rows = _rows(Path(request["rows_file"]), request["indexes"])
    if task.converses:
        return reload_writer(request, task, rows)
    return _reload_predictor(request, task, rows)


def _reload_predictor(
    request: dict[str, Any], task: "Task", rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    from hub_trainer.tasks import ModelFolders

    folder = Path(request["folder"])
    answer: dict[str, Any] = {"loaded_with": "hub_trainer", "plain": None}
    auto_name = task.card().auto_class
    if auto_name is not None:
        head = task.head
        assert head is not None
        outputs = head.outputs(request["label_names"])
        if outputs:
            _check_outputs(folder, outputs)
        load_weights(folder, auto_name)
        shown = load_input(task.modality)
        if shown.medium is not None:
            _check_processor(folder, shown.medium.processor, shown.plural)
        if any(name.startswith("tokenizer") for name in task.card().files):
            load_tokenizer(folder, chat_template=request["chat_template"])
        with step("pipeline() does not run on the folder"):
            named = task.card().pipeline or request["task"]
            found = _by_pipeline(folder, named, shown, head, rows)
        answer["plain"] = [to_plain(task.answer, one) for one in found]
        which = "" if named == request["task"] else f" of {named}"
        answer["loaded_with"] = f"transformers `pipeline`{which} and hub_trainer"
    with step("the task does not run on the folder"):
        found = task.predict(ModelFolders(folder), rows)
        answer["task"] = [to_plain(task.answer, one) for one in found]
    return answer


def _rows(path: Path, indexes: Sequence[int]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).take(indexes).to_pylist()
    return rows


def _check_outputs(folder: Path, expected: Sequence[str]) -> None:
    from transformers import AutoConfig

    with step("config.json does not load"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        found = [str(config.id2label[index]) for index in sorted(config.id2label)]
    if sorted(found) != sorted(expected):
        raise ReloadFailure(
            f"config.json names other labels: {cut(found)} instead of {cut(expected)}"
        )


def _check_processor(folder: Path, processor: str, plural: str) -> None:
    import transformers

    with step(f"the processor of {plural} does not load"):
        getattr(transformers, processor).from_pretrained(folder, trust_remote_code=False)


def _by_pipeline(
    folder: Path, task: str, shown: Input, head: "AskedHead", rows: Sequence[dict[str, Any]]
) -> list["Prediction"]:
    from transformers import pipeline

    pipe: Any = pipeline(task, model=str(folder), trust_remote_code=False)
    rate = getattr(getattr(pipe, "feature_extractor", None), "sampling_rate", None)
    return head.by_pipeline(pipe, [shown.for_pipeline(row, sampling_rate=rate) for row in rows])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
