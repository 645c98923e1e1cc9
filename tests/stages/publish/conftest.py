"""A Hub with data and a base model, and rounds on it whose proof of reloading is taken as given."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.artifacts import Artifact
from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.stages import publish
from tests.cards.evidence import LABELS, recipe
from tests.stages.publish import rounds

SCORES = [{label: 0.8 if i % 3 == j else 0.1 for j, label in enumerate(LABELS)} for i in range(12)]
REPO_NUMBERS = itertools.count(1)
RELOAD = {"rows": 8, "max_difference": 0.0, "loaded_with": "a test"}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    rounds.tiny_text_model(folder)
    return folder


@pytest.fixture(scope="session")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="session")
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.add_user("ada"))


@pytest.fixture(scope="session")
def seeded(hub: Hub) -> dict[str, str]:
    return rounds.seed_hub(hub)


@pytest.fixture
def shas(seeded: dict[str, str]) -> dict[str, str]:
    return dict(seeded)


@pytest.fixture
def repo() -> Repo:
    """A model repo of the test's own; it does not exist yet."""
    return Repo(f"ada/model-{next(REPO_NUMBERS)}")


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the proof of reloading as given: tests of their own run it."""

    def proof(folder: Path, expected: Any, loaded: Any) -> dict[str, Any]:
        assert (folder / "model.safetensors").exists()
        assert len(expected.indexes) == 8
        return RELOAD

    monkeypatch.setattr("hub_trainer.stages.publish.folder.prove_reload", proof)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait between attempts."""
    real = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: real(min(seconds, 0.005)))


Publish = Callable[..., Artifact]


@pytest.fixture
def publish_round(
    tmp_path: Path, shas: dict[str, str], model: Path, hub: Hub, repo: Repo, proven: None
) -> Publish:
    """Write a round's folders and publish it: `publish_round(evaluated=..., parent=...)`."""
    counter = itertools.count(1)

    def go(of: Recipe | None = None, through: Hub | None = None, **about: Any) -> Artifact:
        number = next(counter)
        round_dir = about.pop("round_dir", tmp_path / f"round-{number:03d}")
        if not round_dir.exists():
            options = {"round": number, **about}
            rounds.write_round(round_dir, shas, model, SCORES, **options)
        asked = of or recipe(publish={"repo_id": repo.repo_id})
        return publish.run(asked, round_dir, through or hub)

    return go
