"""How review asks the published model about written answers, and what it says where it cannot."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.checks import inspection, review_context
from hub_trainer.checks.inspection import PROMPTED, ReviewContext, _check_prompted
from hub_trainer.checks.policy import PinnedModel, Policy
from hub_trainer.checks.published_model import PublishedModel
from hub_trainer.checks.reading import Reading
from hub_trainer.checks.schema_changes import Schema
from hub_trainer.errors import DataError, TrainingError
from hub_trainer.recipe import DatasetSource, ReviewSection
from hub_trainer.rows import RowSpec

QUALITY = {
    "wrong_fraction": 0.4,
    "low": 0.3,
    "high": 0.5,
    "p_value": 1e-9,
    "disagreement": -0.2,
    "reference_disagreement": -1.0,
    "num_rows": 100,
    "doubtful": [7, 3],
}
POLICY = Policy(
    DatasetSource(repo_id="org/data"),
    ReviewSection(),
    "a test",
    task="text-generation",
    model=PinnedModel("org/model", "a" * 40, ()),
)


MODEL = PublishedModel("text-generation", None, folder="m", num_bytes=1)


def context(tmp_path: Path) -> ReviewContext:
    spec = RowSpec("prompt", {"example": "completion"})
    reading = Reading(tmp_path / "rows.parquet", Schema(9, {}, {}, {}), spec, 9, {}, {})
    return ReviewContext(tmp_path, reading, reading, None, ReviewSection(), MODEL)


def test_answers_when_the_model_doubts_them_then_refused_with_their_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def run(function: str, arguments: Any, **options: Any) -> Any:
        asked.update(arguments, function=function, **options)
        return {"judge": "the published model", "quality": QUALITY, "groups": [], "told": "It says"}

    monkeypatch.setattr(inspection, "run_sandboxed", run)
    found = _check_prompted({"modality": "prompt"}, MODEL, context(tmp_path))
    assert (found.name, found.outcome, found.rows) == (PROMPTED, "refuse", (3, 7))
    assert found.detail == "It says; 40% look wrong (30% to 50%), at most 10%"
    assert PublishedModel.from_json(asked["model"]) == MODEL
    assert asked["limits"] == inspection.WEIGH_LIMITS


@pytest.mark.parametrize("fails", [False, True])
def test_answers_when_no_model_can_tell_then_it_is_said_and_nothing_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fails: bool,
) -> None:
    def run(*arguments: Any, **options: Any) -> None:
        if fails:
            raise DataError("It took too long.")

    monkeypatch.setattr(inspection, "run_sandboxed", run)
    found = _check_prompted({}, MODEL, context(tmp_path))
    assert found.passed
    assert found.detail == "no model can tell whether they answer their prompts"
    told = "The published model cannot be asked about answers: It took too long."
    assert (told in caplog.text) == fails


@dataclass
class File:
    path: str
    size_bytes: int


class Repos:
    """A hub of which only the files of each repo are asked."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes

    def list_files(self, repo: Any, commit_sha: str) -> list[File]:
        size = self.sizes[repo.repo_id.rpartition("/")[2]]
        return [File("model.safetensors", size), File("README.md", 10**12)]


@pytest.fixture
def _downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    monkeypatch.setattr(review_context, "download_model", lambda *a, **k: folder)
    monkeypatch.setattr(review_context, "adapter_base", lambda *a: ("org/base", "b" * 40))
    monkeypatch.setattr(review_context, "download_folders", lambda *a: (folder, tmp_path / "base"))


@pytest.mark.usefixtures("_downloads")
def test_writer_when_it_is_an_adapter_then_its_base_comes_with_it(tmp_path: Path) -> None:
    hub: Any = Repos(model=10, base=1000)
    found = review_context._fetch_writer(hub, POLICY, tmp_path)
    assert found is not None
    assert (found.num_bytes, found.base) == (1010, str(tmp_path / "base"))
    unknown = replace(POLICY, model=None)
    assert review_context._fetch_writer(hub, unknown, tmp_path) is None


@pytest.mark.usefixtures("_downloads")
def test_writer_when_it_is_too_large_then_it_is_not_fetched_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    hub: Any = Repos(model=10, base=2_000_000_000)
    assert review_context._fetch_writer(hub, POLICY, tmp_path) is None
    told = "org/model is not asked about answers: its weights are 2,000,000,010 bytes, at most "
    assert f"{told}1,500,000,000 are loaded" in caplog.text


def test_writer_when_it_cannot_be_loaded_then_nobody_is_asked_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise TrainingError("The model needs code of its repo.")

    monkeypatch.setattr(review_context, "download_model", fail)
    hub: Any = Repos()
    assert review_context._fetch_writer(hub, POLICY, tmp_path) is None
    assert "cannot be asked about answers: The model needs code of its repo." in caplog.text
