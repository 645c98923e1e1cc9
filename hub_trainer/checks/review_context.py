"""Material of a review at pinned commits: main, the pull request's files, sealed rows, a model."""

import glob
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hub_trainer.checks.card_changes import MAX_CARD_BYTES, card_metadata
from hub_trainer.checks.inspection import ReviewContext, read_trusted
from hub_trainer.checks.policy import Policy
from hub_trainer.checks.published_model import PublishedModel
from hub_trainer.checks.reading import Reading
from hub_trainer.errors import DataError, HubTrainerError
from hub_trainer.finetune.model_folder import (
    adapter_base,
    download_folders,
    download_model,
    is_weights,
)
from hub_trainer.hub import MODEL_FILES, Hub, Repo, RepoFile
from hub_trainer.inputs.media import medium_of_reader
from hub_trainer.recipe import DatasetSource
from hub_trainer.rows import RowSpec, SplitFiles, find_split_files
from hub_trainer.rows.card import card_too_large
from hub_trainer.rows.fetch import fetch_files as fetch_split

log = logging.getLogger(__name__)

CARD = "README.md"
MAX_WRITER_BYTES = 1_500_000_000
"""Weights that a child holds in float32, twice the size of bfloat16, beside what it imports."""


@dataclass(frozen=True)
class Tip:
    """A dataset at a commit: the files it lists, and its card."""

    repo: Repo
    commit_sha: str
    files: tuple[RepoFile, ...]
    card_bytes: bytes | None

    @property
    def names(self) -> list[str]:
        """Paths of all files."""
        return [file.path for file in self.files]

    @property
    def card(self) -> dict[str, Any]:
        """The card's metadata."""
        return card_metadata(self.card_bytes)

    def split_files(self, config: str | None, split: str) -> SplitFiles:
        """The files of a split."""
        where = f"{self.repo.repo_id}@{self.commit_sha[:8]}"
        return find_split_files(self.names, self.card, config=config, split=split, where=where)


def load_tip(hub: Hub, repo: Repo, commit_sha: str) -> Tip:
    """List a commit and read its card. Raises DataError for a card too large to be one."""
    files = tuple(hub.list_files(repo, commit_sha))
    size = next((file.size_bytes for file in files if file.path == CARD), None)
    if size is not None and size > MAX_CARD_BYTES:
        raise card_too_large(size, MAX_CARD_BYTES, where=f"{repo.repo_id}@{commit_sha[:8]}")
    card = hub.read_file(repo, CARD, commit_sha) if size is not None else None
    return Tip(repo, commit_sha, files, card)


def fork_of(hub: Hub, repo: Repo, base_sha: str, head_sha: str) -> str:
    """The commit of main that a pull request started from, or last took in."""
    on_main = {entry.commit_sha for entry in hub.history(repo, base_sha)}
    for entry in hub.history(repo, head_sha):
        if entry.commit_sha in on_main:
            return entry.commit_sha
    raise DataError(
        "The pull request shares no commit with main.",
        where=f"{repo.repo_id}@{head_sha[:8]}",
        do="Open it again from the present main.",
    )


def fetch_files(hub: Hub, repo: Repo, commit_sha: str, paths: Sequence[str], folder: Path) -> None:
    """Exactly these files of a commit, as plain files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    allow = [glob.escape(path) for path in paths]
    hub.download(repo, commit_sha, allow=allow, into=folder)


def prepare_context(hub: Hub, policy: Policy, main: Tip, work_dir: Path) -> ReviewContext:
    """Read the dataset's rows, the sealed test rows and the published model, each once."""
    spec = _task_spec(policy)
    base = _read_split(hub, policy.source, main.commit_sha, work_dir / "base", spec)
    test = _read_test(hub, policy, main, work_dir / "test", base.spec)
    fetch = _fetch_writer if base.spec.input.dialogue else _fetch_model
    return ReviewContext(
        folder=work_dir,
        base=base,
        test=test,
        near=policy.near,
        review=policy.review,
        model=fetch(hub, policy, work_dir / "model") if test else None,
    )


def whole_split(source: DatasetSource) -> str:
    """The split that a recipe takes rows of, without the slice it takes."""
    return source.split.partition("+")[0].partition("[")[0].strip()


def _task_spec(policy: Policy) -> RowSpec | None:
    """How a task sees the dataset's columns; None leaves it to the rows themselves."""
    if policy.task is None:
        return None
    from hub_trainer.tasks import load_task

    task = load_task(policy.task, policy.answer, beside=policy.beside)
    return _of_source(RowSpec(task.modality, dict(task.columns)), policy.source)


def _of_source(spec: RowSpec, source: DatasetSource) -> RowSpec:
    """The same task's rows under the names that another source gives its columns."""
    return replace(spec, columns=dict(source.columns), drop_columns=tuple(source.drop_columns))


def _read_split(
    hub: Hub, source: DatasetSource, commit_sha: str, folder: Path, spec: RowSpec | None
) -> Reading:
    """The rows of a split in full, whatever slice of it a recipe trains on."""
    split = whole_split(source)
    source = source.model_copy(update={"split": split})
    where = f"{source.repo_id}@{commit_sha[:8]}"
    found, _ = fetch_split(hub, source, commit_sha, folder, where=where)
    out = folder.with_suffix(".parquet")
    reading = read_trusted(folder, out, config=None, split=split, spec=spec)
    by_folder = medium_of_reader(found.reader) is not None and "dataset_info" not in found.card
    return replace(reading, names_from_folders=by_folder)


def _read_test(hub: Hub, policy: Policy, main: Tip, folder: Path, spec: RowSpec) -> Reading | None:
    """The sealed rows that the policy names, else those of the dataset's own test split, if any."""
    if policy.test_split is not None:
        source = policy.test_split
        commit_sha = hub.resolve(Repo(source.repo_id, "dataset"), source.revision)
        return _read_split(hub, source, commit_sha, folder, _of_source(spec, source))
    source = policy.source.model_copy(update={"split": "test"})
    try:
        return _read_split(hub, source, main.commit_sha, folder, spec)
    except DataError:
        return None


def _fetch_model(hub: Hub, policy: Policy, folder: Path) -> PublishedModel | None:
    """The published model, on this machine's disk; None when none is published."""
    if policy.model is None or policy.task is None:
        return None
    pinned = policy.model
    hub.download(Repo(pinned.repo_id), pinned.commit_sha, allow=MODEL_FILES, into=folder)
    return PublishedModel(
        policy.task,
        policy.answer,
        folder=str(folder.resolve()),
        label_names=tuple(pinned.label_names),
    )


def _fetch_writer(hub: Hub, policy: Policy, folder: Path) -> PublishedModel | None:
    """As `_fetch_model`, of a model that writes, with the base of an adapter; None for one that is
    too large for a child to hold, or that cannot be loaded."""
    del folder  # so large files lie in the client's cache alone
    if policy.model is None or policy.task is None:
        return None
    pinned = policy.model
    try:
        small = download_model(hub, pinned.repo_id, pinned.commit_sha, with_weights=False)
        named = adapter_base(hub, small)
        repos = [(pinned.repo_id, pinned.commit_sha), *([named] if named else [])]
        num_bytes = sum(
            file.size_bytes
            for repo_id, commit_sha in repos
            for file in hub.list_files(Repo(repo_id), commit_sha)
            if is_weights(file.path)
        )
        if num_bytes > MAX_WRITER_BYTES:
            log.warning(
                "%s is not asked about answers: its weights are %s bytes, at most %s are loaded",
                pinned.repo_id, f"{num_bytes:,}", f"{MAX_WRITER_BYTES:,}",
            )  # fmt: skip
            return None
        model, base = download_folders(hub, pinned.repo_id, pinned.commit_sha)
    except HubTrainerError as error:
        log.warning("The published model cannot be asked about answers: %s", error)
        return None
    return PublishedModel(
        policy.task,
        policy.answer,
        folder=str(model.resolve()),
        base=str(base.resolve()) if base else None,
        num_bytes=num_bytes,
    )
