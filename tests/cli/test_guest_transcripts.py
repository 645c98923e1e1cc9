"""Transcripts through the whole loop: round, gate, card, Space, ratings, curate, review."""

import json
import random
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gradio_client import handle_file

from hub_trainer.answers import load_answer
from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.cli.conftest import Cli
from tests.cli.seeded import CARD, OWNER, commit
from tests.cli.test_guest_answers import recipe, space
from tests.space.factory import QUIET
from tests.stages.ratings_on_hub import numbered, send, votes
from tests.tasks.factory import clip as spoken_clip
from tests.tasks.factory import ctc_base, speech_rows

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]

BASE = f"{OWNER}/tiny-ears"
TRANSCRIPT = load_answer("transcript")


def table(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows as a dataset of sounds has them."""
    cells = [{"bytes": row["audio"], "path": None} for row in rows]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    made = pa.table({"audio": pa.array(cells, kind), "sentence": [row["text"] for row in rows]})
    buffer = BytesIO()
    pq.write_table(made, buffer)
    return buffer.getvalue()


@pytest.fixture
def path(cli: Cli, hub: Hub, tmp_path: Path) -> Path:
    """A recipe of a dataset on the Hub."""
    splits = {"train": speech_rows(120, longest=3), "test": speech_rows(60, seed=1, longest=3)}
    files = {f"data/{name}-0.parquet": table(rows) for name, rows in splits.items()}
    commit(hub, Repo(f"{OWNER}/beeps", "dataset"), files)
    folder = ctc_base(tmp_path / "ears")
    weights = {one.name: one.read_bytes() for one in folder.iterdir()}
    commit(hub, Repo(BASE), {**weights, "README.md": CARD.encode()})
    return recipe(
        cli.folder / "beeps.yaml",
        "beeps",
        {"text": "sentence"},
        task="automatic-speech-recognition",
        base_model=BASE,
        train={
            "method": "full",
            "arguments": {
                "learning_rate": 0.005,
                "num_train_epochs": 20,
                "per_device_train_batch_size": 8,
                "report_to": "none",
            },
        },
        evaluate={"metrics": ["wer", "cer", "exact_match"], "primary": "wer"},
    )


def test_transcripts_when_the_loop_runs_then_every_stage_knows_them(
    cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path, path: Path
) -> None:
    checked = cli("check", path)
    assert (checked.code, "3 different ones" in checked.err) == (0, True), checked.err
    assert cli("plan", path).code == 0
    made = cli("run", path, "--json")
    assert (made.code, made.json["verdict"]) == (0, "promote"), made.err
    assert made.json["metrics"]["wer"]["value"] < 0.2
    # The base has no letters, so it says nothing before it has learned some.
    assert [one["name"] for one in made.json["baselines"]] == ["constant", "probe"]
    card = (hub.read_file(Repo(f"{OWNER}/beeps-model"), "README.md", "main") or b"").decode()
    for said in (
        "## Errors",
        "words left out",
        "the transcripts were the same",
        "lower is better",
        'pipeline(\n    "automatic-speech-recognition"',
        "the transcript of the nearest training clip",
    ):
        assert said in card, said
    _rate_in_the_space(cli, hub, local, tmp_path, path)
    _curate_and_review(cli, hub, path)


def _rate_in_the_space(cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path, path: Path) -> None:
    """A clip is answered, and a mended transcript is kept."""
    clip = tmp_path / "clip.wav"
    clip.write_bytes(spoken_clip(["zoom", "hi"], rng=random.Random(3)))
    with space(hub, cli, path, tmp_path, local.add_user("ada")) as client:
        uploaded = client.post("/gradio_api/upload", files={"files": clip.open("rb")}).json()[0]
        value = {**handle_file(str(clip)), "path": uploaded}
        started = client.post("/gradio_api/call/predict", json={"data": [value]})
        told = client.get(f"/gradio_api/call/predict/{started.json()['event_id']}").text
        assert "event: complete" in told, told
        said, ticket = json.loads(told.split("event: complete\ndata: ", 1)[1].splitlines()[0])
        assert TRANSCRIPT.same(said, "zoom hi")
        sent = {"generation_id": ticket, "rating": "wrong", "answer": "..."}
        refused = client.post("/rate", json=sent)
        assert (refused.status_code, "has no word" in refused.text) == (422, True), refused.text
        kept = client.post("/rate", json={**sent, "answer": "zoom  lo"})
        assert kept.status_code == 200, kept.text
        assert client.get("/health").json()["answer"] == "transcript"


def _curate_and_review(cli: Cli, hub: Hub, path: Path) -> None:
    """Two of three raters write nearly the same; review holds rows against the model."""
    fresh = speech_rows(24, seed=9, longest=3)
    said = [
        votes({"audio": row["audio"]}, row["text"], row["text"].title(), "nonsense")
        for row in fresh
    ]
    send(hub, f"{OWNER}/beeps-ratings", "automatic-speech-recognition", "audio", numbered(*said))
    curated = cli("curate", path, "--json")
    assert (curated.code, curated.json["rows"] > 15) == (0, True), curated.err
    reviewed = cli("review", f"{OWNER}/beeps", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] == "merge", verdict["reasons"]
    rows = speech_rows(60, seed=11, longest=3)
    moved = [{**row, "text": other["text"]} for row, other in
             zip(rows, rows[1:] + rows[:1], strict=True)]  # fmt: skip
    (cli.folder / "wrong.parquet").write_bytes(table(moved))
    sent_in = cli("contribute", f"{OWNER}/beeps", cli.folder / "wrong.parquet", "--yes")
    assert sent_in.code == 0, sent_in.err
    reviewed = cli("review", f"{OWNER}/beeps", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] != "merge"
    failed = {one["name"]: one["detail"] for one in verdict["checks"] if not one["passed"]}
    assert "look wrong" in failed["label quality"]
