"""A Local Hub with the corpus' datasets on it: pull requests are opened there and reviewed."""

import json
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from hub_trainer.checks.policy import Policy
from hub_trainer.checks.verdict import Verdict
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import DatasetSource, ReviewSection
from hub_trainer.stages.review import review_pull_request
from tests.stages.review_corpus import CARD, TEST_CARD, Case, draw, kinds, parquet


class ReviewHub:
    """The hub, its owner, a contributor, and one dataset with a sealed test per kind and draw."""

    def __init__(self, local: LocalHub) -> None:
        self.local = local
        self.owner = Hub(local.url, local.token)
        self.contributor = Hub(local.url, local.add_user("alice"))
        self._ready: set[str] = set()

    def dataset(self, name: str, number: int = 0) -> Repo:
        """The dataset of a kind; made on first use, its sealed rows in a private repo."""
        repo = Repo(f"{self.local.user}/{name}-{number}", "dataset")
        if repo.repo_id not in self._ready:
            divided = draw(name, number)
            self._fill(repo, CARD, "data/train-00000-of-00001.parquet", name, divided.base)
            sealed = Repo(f"{repo.repo_id}-sealed", "dataset")
            self._fill(sealed, TEST_CARD, "data/test-00000-of-00001.parquet", name, divided.sealed)
            self._ready.add(repo.repo_id)
        return repo

    def _fill(self, repo: Repo, card: str, path: str, name: str, rows: Any) -> None:
        self.owner.create_repo(repo, private=repo.repo_id.endswith("-sealed"))
        files = {"README.md": card.encode(), path: parquet(kinds()[name], rows)}
        self.owner.commit(repo, Changes(files=files), message="Begin", run_id=str(uuid.uuid4()))

    def policy(self, repo: Repo, **review: Any) -> Policy:
        """Rules without a recipe, but with the sealed rows."""
        sealed = DatasetSource(repo_id=f"{repo.repo_id}-sealed", split="test")
        source = DatasetSource(repo_id=repo.repo_id)
        return Policy(source, ReviewSection(**review), "a test", test_split=sealed)

    def open(self, case: Case, number: int = 0) -> tuple[Repo, int]:
        """Open a case's pull request as the contributor."""
        repo = self.dataset(case.kind, number)
        changes = Changes(files=dict(case.files), deletions=case.deletions)
        made = self.contributor.commit(
            repo, changes, message="Rows", run_id=str(uuid.uuid4()), pull_request="Some rows"
        )
        assert made.pull_request is not None
        return repo, made.pull_request

    def review(self, case: Case, number: int = 0) -> Verdict:
        """Open and check a case's pull request; nothing is merged."""
        repo, opened = self.open(case, number)
        with tempfile.TemporaryDirectory() as work:
            return review_pull_request(
                self.owner, repo.repo_id, opened, self.policy(repo), Path(work)
            )

    def is_right(self, case: Case, verdict: Verdict) -> bool:
        """Whether a verdict is right: a leak may be merged too when all its rows are left out."""
        details = [check.detail for check in verdict.checks if check.name == "test leakage"]
        counts = [sum(map(int, re.findall(r"(\d+) (?:exact|near)", detail))) for detail in details]
        left_out = counts[0] if counts and details[0].endswith("what is merged") else 0
        merged = verdict.verdict == "merge" and 0 < case.leaked <= left_out
        return merged or verdict.verdict in case.right

    @cached_property
    def url(self) -> str:
        """Address of the hub."""
        return self.local.url


@contextmanager
def bench() -> Iterator[ReviewHub]:
    """A bench on a Local Hub of its own."""
    with LocalHub() as local:
        yield ReviewHub(local)


def call_here(function_path: str, arguments: Any, *, folder: Path, limits: Any = None) -> Any:
    """In place of the sandbox: the same function in this process, for tests of what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    module, _, name = function_path.partition(":")
    value = getattr(import_module(module), name)(**arguments)
    return json.loads(json.dumps(value.to_json() if hasattr(value, "to_json") else value))
