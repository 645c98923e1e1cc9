"""A Local Hub for the stages, and a download cache of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub_trainer.hub import Hub
from hub_trainer.local_hub import LocalHub


@pytest.fixture(scope="session")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture
def hub(local: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return Hub(local.url, local.token)
