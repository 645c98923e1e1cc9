"""Sounds through the whole loop: round, gate, card, Space, ratings, curate, contribute, review."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.cli.conftest import Cli
from tests.cli.seeded import ARGUMENTS, OWNER, commit
from tests.cli.test_guest_answers import recipe, space
from tests.rows.conftest import parquet
from tests.sounds import encoded, utterance
from tests.space.factory import QUIET
from tests.stages.ratings_on_hub import numbered, send, votes

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]

WORDS = ["left", "right", "stop"]
SPOKEN = (4, 7, 0)
"""Words as `utterance` numbers them; the first two have the same vowels in another order, which a
cheap probe cannot tell."""
NAME = "commands"


def said(count: int, seed: int) -> list[dict[str, Any]]:
    """Each word in turn, by one of two voices."""
    rng = np.random.default_rng(seed)
    return [
        {
            "audio": encoded(utterance(SPOKEN[number % 3], rng, voice=int(rng.integers(2)))),
            "label": WORDS[number % 3],
        }
        for number in range(count)
    ]


def table(rows: Sequence[dict[str, Any]]) -> bytes:
    """As `datasets` writes them."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": row["audio"], "path": None} for row in rows], kind)
    labels = pa.array([WORDS.index(row["label"]) for row in rows])
    features = {
        "audio": {"sampling_rate": 8000, "_type": "Audio"},
        "label": {"names": WORDS, "_type": "ClassLabel"},
    }
    made = pa.table({"audio": cells, "label": labels})
    described = json.dumps({"info": {"features": features}})
    return parquet(made.replace_schema_metadata({"huggingface": described}))


def as_folder(rows: Sequence[dict[str, Any]], folder: Path) -> Path:
    for number, row in enumerate(rows):
        path = folder / row["label"] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["audio"])
    return folder


def test_sounds_when_the_loop_runs_then_every_stage_knows_them(
    cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    files = {
        "data/train-0.parquet": table(said(210, 0)),
        "data/test-0.parquet": table(said(90, 1)),
    }
    commit(hub, Repo(f"{OWNER}/{NAME}", "dataset"), files)
    learned = {**ARGUMENTS, "learning_rate": 0.002, "num_train_epochs": 16}
    path = recipe(
        cli.folder / "commands.yaml",
        NAME,
        {},
        task="audio-classification",
        train={"method": "scratch", "arguments": learned},
        evaluate={"metrics": ["accuracy", "f1_macro"], "primary": "accuracy"},
    )
    made = cli("run", path, "--json")
    assert (made.code, made.json["verdict"]) == (0, "promote"), made.err
    assert made.json["metrics"]["accuracy"]["value"] > 0.9
    assert [one["name"] for one in made.json["baselines"]] == ["constant", "probe"]
    card = (hub.read_file(Repo(f"{OWNER}/{NAME}-model"), "README.md", "main") or b"").decode()
    assert 'pipeline("audio-classification"' in card
    with space(hub, cli, path, tmp_path, local.add_user("ada")) as client:
        row = said(1, 7)[0]
        uploaded = client.post("/gradio_api/upload", files={"files": ("a.wav", row["audio"])})
        value = {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}
        started = client.post("/gradio_api/call/predict", json={"data": [value]})
        answer = client.get(f"/gradio_api/call/predict/{started.json()['event_id']}").text
        assert "event: complete" in answer, answer
        shown, ticket = json.loads(answer.split("event: complete\ndata: ", 1)[1].splitlines()[0])
        assert shown["label"] == row["label"]
        sent = {"generation_id": ticket, "rating": "right", "answer": ""}
        assert client.post("/rate", json=sent).status_code == 200
    _curate_and_review(cli, hub, path)


def _curate_and_review(cli: Cli, hub: Hub, path: Path) -> None:
    fresh = said(12, 9)
    voices = [votes({"audio": row["audio"]}, *[row["label"]] * 3) for row in fresh]
    send(hub, f"{OWNER}/{NAME}-ratings", "audio-classification", "audio", numbered(*voices))
    curated = cli("curate", path, "--json")
    assert (curated.code, curated.json["rows"]) == (0, 12), curated.err
    reviewed = cli("review", f"{OWNER}/{NAME}", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] == "merge", verdict["reasons"]
    good = as_folder(said(30, 11), cli.folder / "good")
    sent_in = cli("contribute", f"{OWNER}/{NAME}", good, "--yes")
    assert sent_in.code == 0, sent_in.err
    reviewed = cli("review", f"{OWNER}/{NAME}", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] == "merge", verdict["reasons"]
    others = dict(zip(WORDS, [*WORDS[1:], WORDS[0]], strict=True))
    wrong = [{**row, "label": others[row["label"]]} for row in said(30, 13)]
    sent_in = cli("contribute", f"{OWNER}/{NAME}", as_folder(wrong, cli.folder / "wrong"), "--yes")
    assert sent_in.code == 0, sent_in.err
    reviewed = cli("review", f"{OWNER}/{NAME}", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    failed = {one["name"]: one["detail"] for one in verdict["checks"] if not one["passed"]}
    assert verdict["verdict"] != "merge"
    assert "look wrong" in failed["label quality"]
