"""Rounds and where they came from: the pins of the next one, the records of those before."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import digest_of, write_durably
from hub_trainer.errors import HubError
from hub_trainer.hub import Hub, Repo, RepoType
from hub_trainer.recipe import Recipe, RepoRef

PINS = "pins.json"
RECORD = "round.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class PinnedRepo:
    """A repo at the commit that its revision named when the round began."""

    repo_id: str
    repo_type: RepoType
    revision: str
    commit_sha: str


@dataclass(frozen=True)
class Pins:
    """What a round stands on; written once, before its first stage."""

    round: int
    """Index of the round, from 1, counting those that were held back."""
    run_id: str
    """Names the round's one publication, so that a repeated attempt is recognised."""
    parent: str | None
    """Commit sha of the published model, None before the first."""
    base_model: PinnedRepo | None
    datasets: tuple[PinnedRepo, ...]
    recipe_digest: str

    def sha_of(self, repo_type: RepoType, repo_id: str, revision: str) -> str:
        """The commit sha of a repo that the recipe names."""
        for pinned in (*self.datasets, *([self.base_model] if self.base_model else [])):
            if (pinned.repo_type, pinned.repo_id, pinned.revision) == (
                repo_type,
                repo_id,
                revision,
            ):
                return pinned.commit_sha
        raise KeyError(f"{repo_type} {repo_id}@{revision} is not pinned")


@dataclass(frozen=True)
class RoundRecord:
    """What a published round says of itself: `round.json` in the model repo."""

    round: int
    run_id: str
    created_at: str
    """ISO 8601, UTC."""
    parent: str | None
    task: str
    recipe: dict[str, Any]
    recipe_digest: str
    base_model: dict[str, Any] | None
    datasets: list[dict[str, Any]]
    """repo_id, commit_sha, config, split, role, rows, license of each."""
    ratings: dict[str, Any] | None
    """repo_id and commit_sha of the ratings dataset, when the recipe names one."""
    seed: int
    versions: dict[str, str]
    train: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    published: dict[str, dict[str, float]] | None
    base: dict[str, Any] | None
    primary: str
    p_value: float | None
    gate: dict[str, Any]
    """verdict, reasons, alpha and alpha_spent, required_num_examples, slices."""
    label_names: list[str]
    files: list[str]
    """Paths that this round committed."""
    written: dict[str, Any] | None = None
    """Of a model that writes: how its answers were sampled, how long they were, who won how often;
    None for other models."""
    commit_sha: str | None = None
    """Filled in when it is read back; a commit cannot name itself."""
    pull_request: int | None = None
    """Number of the pull request that holds it when it was not promoted."""

    @property
    def verdict(self) -> str:
        """promote, hold or reject."""
        return str(self.gate["verdict"])

    def to_json(self) -> dict[str, Any]:
        """As it stands in round.json."""
        content = asdict(self)
        del content["commit_sha"], content["pull_request"]
        return {"schema_version": SCHEMA_VERSION, **content}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RoundRecord":
        """From round.json; raises ValueError when a field is missing."""
        names = {field.name for field in fields(cls)}
        missing = {field.name for field in fields(cls) if field.default is MISSING} - set(content)
        if missing:
            raise ValueError(f"{RECORD} lacks {', '.join(sorted(missing))}")
        return cls(**{name: content[name] for name in names & set(content)})


def pin_round(recipe: Recipe, round_dir: Path, hub: Hub) -> Pins:
    """The pins of the round in `round_dir`; those that are there already are kept.

    A round that was begun goes on with what it began with, even if the repos have moved on. When
    the recipe has changed since, the round is pinned anew.
    """
    digest = digest_of(recipe.model_dump(mode="json"))
    begun = load_pins(round_dir)
    if begun and begun.recipe_digest == digest:
        return begun
    records = read_rounds(hub, recipe.publish.repo_id)
    pins = Pins(
        round=max((record.round for record in records), default=0) + 1,
        run_id=str(uuid.uuid4()),
        parent=_parent(hub, recipe.publish.repo_id, records),
        base_model=_pin(hub, "model", recipe.base_model) if recipe.base_model else None,
        datasets=tuple(_pinned_datasets(recipe, hub)),
        recipe_digest=digest,
    )
    round_dir.mkdir(parents=True, exist_ok=True)
    write_durably(round_dir / PINS, json.dumps(asdict(pins), indent=1).encode())
    return pins


def pinned_ratings(recipe: Recipe, pins: Pins) -> PinnedRepo | None:
    """The ratings that a round stands on; None when the recipe names none, or there are none."""
    ratings = recipe.collect.ratings
    known = (one for one in pins.datasets if ratings and one.repo_id == ratings.repo_id)
    return next(known, None)


def load_pins(round_dir: Path) -> Pins | None:
    """The pins of a round that was begun, or None."""
    try:
        content = json.loads((round_dir / PINS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    base = content["base_model"]
    datasets = tuple(PinnedRepo(**pinned) for pinned in content["datasets"])
    return Pins(
        **{**content, "base_model": PinnedRepo(**base) if base else None, "datasets": datasets}
    )


def read_record(hub: Hub, repo_id: str, commit_sha: str) -> RoundRecord | None:
    """The record that a model commit holds, or None when it holds none that can be read."""
    content = hub.read_file(Repo(repo_id), RECORD, commit_sha)
    if content is None:
        return None
    try:
        record = RoundRecord.from_json(json.loads(content))
    except (ValueError, TypeError):
        return None
    return replace(record, commit_sha=commit_sha)


def read_rounds(hub: Hub, repo_id: str) -> list[RoundRecord]:
    """All rounds of a model repo in order: those on main, and those held back in pull requests.

    A pull request counts when its author has committed to main, so that a stranger's pull request
    cannot pose as a round.
    """
    repo = Repo(repo_id)
    if not hub.exists(repo):
        return []
    history = hub.history(repo)
    authors = {author for entry in history for author in entry.authors}
    promoted = list(_promoted(hub, repo_id, [entry.commit_sha for entry in history]))
    held = []
    for request in hub.pull_requests(repo, status=None):
        if request.author in authors and request.head_sha:
            record = read_record(hub, repo_id, request.head_sha)
            if record and record.run_id not in {known.run_id for known in promoted}:
                held.append(replace(record, pull_request=request.number))
    return sorted([*promoted, *held], key=lambda record: (record.round, record.created_at))


def _promoted(hub: Hub, repo_id: str, newest_first: list[str]) -> Iterator[RoundRecord]:
    """Rounds on main; a commit that leaves round.json alone repeats its parent's record."""
    found: dict[str, RoundRecord] = {}
    for commit_sha in reversed(newest_first):
        record = read_record(hub, repo_id, commit_sha)
        if record and record.run_id not in found:
            found[record.run_id] = record
    yield from found.values()


def _parent(hub: Hub, repo_id: str, records: list[RoundRecord]) -> str | None:
    """The tip of main once a round was promoted: what the next commit must stand on."""
    promoted = [record for record in records if record.pull_request is None]
    return hub.resolve(Repo(repo_id)) if promoted else None


def _pinned_datasets(recipe: Recipe, hub: Hub) -> Iterator[PinnedRepo]:
    prepare = recipe.prepare
    named: list[RepoRef] = list(recipe.collect.datasets)
    named += [split for split in (prepare.test_split, prepare.validation_split) if split]
    named += [recipe.collect.ratings] if recipe.collect.ratings else []
    shas: dict[tuple[str, str], str] = {}
    for ref in named:
        key = (ref.repo_id, ref.revision)
        if key in shas:
            continue
        optional = ref is recipe.collect.ratings
        if optional and not hub.exists(Repo(ref.repo_id, "dataset")):
            continue
        shas[key] = hub.resolve(Repo(ref.repo_id, "dataset"), ref.revision)
        yield PinnedRepo(ref.repo_id, "dataset", ref.revision, shas[key])


def _pin(hub: Hub, repo_type: RepoType, ref: RepoRef) -> PinnedRepo:
    commit_sha = hub.resolve(Repo(ref.repo_id, repo_type), ref.revision)
    return PinnedRepo(ref.repo_id, repo_type, ref.revision, commit_sha)


def published_round(hub: Hub, repo_id: str) -> RoundRecord:
    """The newest promoted round. Raises HubError when there is none."""
    promoted = [r for r in read_rounds(hub, repo_id) if r.pull_request is None]
    if not promoted:
        raise HubError(
            "No round of this model has been published yet.",
            where=f"{hub.url}/{repo_id}",
            do="Run a round first: hub-trainer run RECIPE",
        )
    return promoted[-1]
