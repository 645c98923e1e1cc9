"""A seeded Local Hub, and the command line called on it in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from hub_trainer.cli import app
from hub_trainer.hub import Hub
from hub_trainer.local_hub import LocalHub
from tests.cli.seeded import seed

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Told:
    """What a command said, and with what code it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of stdout, which is one JSON object."""
        return json.loads(self.out.splitlines()[-1])


class Cli:
    """Calls `hub-trainer`, in this process or as one of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def __call__(self, *arguments: object) -> Told:
        """In this process; an exception that is none of ours is raised as it is."""
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Told(result.exit_code, result.stdout, result.stderr)

    def start(self, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
        """As a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "hub_trainer", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PYTHONPATH": str(REPO), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, **environment: str) -> Told:
        """As a process of its own, to its end."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=280)
        return Told(process.returncode, out, err)


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub() as running:
        seed(Hub(running.url, running.token), tmp_path_factory.mktemp("seed"))
        yield running


@pytest.fixture
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.token)


@pytest.fixture
def cli(local: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    environment = {**local.environment(), "HF_HOME": str(tmp_path / "hf")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Cli(tmp_path, environment)
