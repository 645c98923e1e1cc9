"""A Space of sounds: a recording becomes a row, is answered, rated, and kept as a file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.sounds import inspect, open_sound
from hub_trainer.space.page import _as_inputs
from hub_trainer.space.shown_rows import ShownRows, encode_shown, read_shown
from hub_trainer.tasks import ModelFolders, Widgets, load_task
from tests.sounds import encoded, tone
from tests.space.factory import QUIET, RunningSpace, running_space

pytestmark = QUIET
ADA = {"Authorization": "Bearer hf_ada"}
NAMES = ["low", "high"]


class PitchTask:
    """Says whether a sound is low or high, by the task's own inputs."""

    name = "audio-classification"
    modality = "audio"
    answer = load_answer("label")

    def predict(self, folders: ModelFolders, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        found = []
        for row in rows:
            samples, rate = open_sound(row["audio"])
            pitch = np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)
            label = "high" if pitch > 600 else "low"
            found.append(Prediction(label, {name: 0.9 if name == label else 0.1 for name in NAMES}))
        return found

    def problems(self, row: Mapping[str, Any]) -> list[str]:
        return []

    def widgets(self, examples: Sequence[Any]) -> Widgets:
        return load_task(self.name).widgets(examples)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def space(local: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSpace]:
    folder = tmp_path_factory.mktemp("space")
    shown = ShownRows([{"audio": encoded(tone())}])
    with running_space(
        folder, local, task=PitchTask(), shown=shown, label_names=NAMES, ratings_per_hour=1_000
    ) as running:
        yield running


@pytest.fixture
def client(space: RunningSpace) -> Iterator[Client]:
    client = Client(space.url, headers=ADA, verbose=False)
    yield client
    client.close()


def _sent(client: Client, folder: Path, content: bytes, name: str = "a.wav") -> Any:
    (folder / name).write_bytes(content)
    return client.predict(handle_file(folder / name), api_name="/predict")


@pytest.mark.parametrize(
    ("pitch", "kind", "name"),
    [(300, "WAV", "a.wav"), (900, "MP3", "a.mp3"), (900, "OGG", "a.ogg"), (300, "FLAC", "a.flac")],
)
def test_sound_when_sent_then_is_answered_whatever_its_format(
    client: Client, tmp_path: Path, pitch: float, kind: str, name: str
) -> None:
    content = encoded(tone(1.0, pitch=pitch, rate=16_000), 16_000, kind)
    label, ticket = _sent(client, tmp_path, content, name)
    assert label["label"] == ("high" if pitch > 600 else "low")
    assert ticket


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(np.zeros(8_000, np.float32)), "silent sound"),
        (encoded(tone(61.0)), "sound longer than 60 seconds"),
        (b"hello, no sound", "no sound in a known format"),
    ],
)
def test_sound_when_of_no_use_then_the_visitor_is_told_why(
    client: Client, tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(AppError, match=f"The model cannot take this: {message}"):
        _sent(client, tmp_path, content)


def test_sound_when_missing_then_the_visitor_is_told(client: Client) -> None:
    with pytest.raises(AppError, match="There is no sound yet"):
        client.predict(None, api_name="/predict")


def test_rating_when_of_a_sound_then_the_sound_is_kept_with_it(
    client: Client, space: RunningSpace, local: LocalHub, tmp_path: Path
) -> None:
    _, ticket = _sent(client, tmp_path, encoded(tone(0.7, pitch=250, rate=16_000), 16_000, "FLAC"))
    assert client.predict(ticket, "wrong", "high", api_name="/rate")["saved"]
    space.service.intake.outbox.flush()
    hub, repo = Hub(local.url, local.token), Repo("admin/ratings", "dataset")
    folder = hub.download(repo, hub.resolve(repo), allow=[SHARDS])
    rating = read_shards(folder)[-1]
    assert (rating["prediction"], rating["answer"], rating["kind"]) == ("low", "high", "wrong")
    assert rating["row"]["audio"][:4] == b"RIFF"
    assert inspect(rating["row"]["audio"]).seconds == pytest.approx(0.7)


def test_examples_when_of_sounds_then_are_files_with_their_ending(tmp_path: Path) -> None:
    shown = ShownRows([{"audio": encoded(tone())}])
    for name, content in encode_shown(shown).items():
        (tmp_path / name).write_bytes(content)
    (row,) = read_shown(tmp_path).examples
    [[path]] = _as_inputs([row])
    assert Path(path).name == "Example 1.wav"
    assert Path(path).read_bytes() == encoded(tone())
