"""A fresh process that loads a model folder as a user would, and says what it makes of rows.

Run as `python -m hub_trainer.stages.publish.reload REQUEST.json ANSWER.json`, without token and
offline. It loads the folder twice: through the task, and with plain transformers.
"""

import json
import sys
from pathlib import Path
from typing import Any

from hub_trainer.stages.publish.proof import to_plain


def main(request_file: str, answer_file: str) -> None:
    """Read the request, write the answer; a failure is an answer too."""
    from hub_trainer.finetune.reloading import ReloadFailure

    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    try:
        answer = reload(request)
    except ReloadFailure as failure:
        answer = {"failure": str(failure)}
    Path(answer_file).write_text(json.dumps(answer), encoding="utf-8")


def reload(request: dict[str, Any]) -> dict[str, Any]:
    """What each way of loading the folder gives; raises ReloadFailure naming the step."""
    import pyarrow.parquet as pq

    from hub_trainer.finetune.reloading import Promised, step
    from hub_trainer.tasks import PLAIN, Asked, ModelFolders, load_task

    task = load_task(request["task"], request["answer"])
    rows = pq.read_table(request["rows_file"]).take(request["indexes"]).to_pylist()
    base = Path(request["base"]) if request["base"] else None
    folders = ModelFolders(Path(request["folder"]), base)
    promised = Promised(request["label_names"], request["chat_template"], request["template"])
    users = task.as_users(folders, rows, promised)
    with step("the task does not run on the folder"):
        weighed = Asked(answered=(), weighed=range(len(rows)))
        found = task.predict(folders, rows, weighed if users.are_likelihoods else PLAIN)
    plain = users.predictions
    return {
        "plain": None if plain is None else [to_plain(task.answer, one) for one in plain],
        "task": [to_plain(task.answer, one) for one in found],
        "loaded_with": " and ".join([*users.ways, "hub_trainer"]),
        "is_rounded": users.is_rounded,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
