"""Records of rounds: what each published model says of itself, read back from the Hub."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any

from hub_trainer.errors import HubError
from hub_trainer.hub import HistoryEntry, Hub, Repo, RepoIdentity
from hub_trainer.recipe.value_faults import faults_of
from hub_trainer.reports import DatasetReport

RECORD = "round.json"
SCHEMA_VERSION = 3
"""2 added `baselines`, `hashes`, `repo`, and ids and owners of the other repos; 3 `answer`."""
VERDICTS = ("promote", "hold", "reject")
NOT_WRITTEN = ("commit_sha", "pull_request")


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
    datasets: list[DatasetReport]
    """The splits that it read."""
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
    """What a model of labels chooses from."""
    files: list[str]
    """Paths that this round committed."""
    written: dict[str, Any] | None = None
    """For a model that writes: how its answers were sampled, how long they were, who won how often;
    None for other models."""
    answer: str | None = None
    """Name of what the model predicts; None for one that writes, and in records of version 2."""
    baselines: list[dict[str, Any]] | None = None
    """Name, description and metrics of what is reached without this round's training."""
    hashes: dict[str, str] = field(default_factory=dict)
    """Path -> sha256 of each file that makes the model; none in records of version 1."""
    repo: dict[str, Any] | None = None
    """`hub_id` and `owner` of the model repo when the round was sent."""
    tune: dict[str, Any] | None = None
    """What a search over settings tried and chose; None where there was none."""
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
        for name in NOT_WRITTEN:
            del content[name]
        content["datasets"] = [one.to_json() for one in self.datasets]
        return {"schema_version": SCHEMA_VERSION, **content}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RoundRecord":
        """From round.json, of this version or an earlier one.

        Raises ValueError with what is wrong with it.
        """
        version = content.get("schema_version", 1)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ValueError(f"{RECORD} has schema_version {version!r}: hub-trainer is too old")
        known = [one for one in fields(cls) if one.name not in NOT_WRITTEN]
        needed = {one.name for one in known if MISSING is one.default is one.default_factory}
        missing = needed - set(content)
        if missing:
            raise ValueError(f"{RECORD} lacks {', '.join(sorted(missing))}")
        given = {one.name: content[one.name] for one in known if one.name in content}
        for one in given["datasets"] if isinstance(given["datasets"], list) else ():
            if not isinstance(one, dict) or not {"repo_id", "commit_sha"} <= one.keys():
                raise ValueError(f"in {RECORD} an entry of datasets names no repo at a commit")
        record: RoundRecord = _shape().validate_python(given)
        _assert_sound(record)
        return record


@cache
def _shape() -> Any:
    """What pydantic checks: the types of all fields."""
    from pydantic import TypeAdapter

    return TypeAdapter(RoundRecord)


def _assert_sound(record: RoundRecord) -> None:
    """Raise ValueError for a record of the right types that says what none can."""
    faults = []
    if record.gate.get("verdict") not in VERDICTS:
        faults.append(f"gate.verdict is {record.gate.get('verdict')!r}")
    if not isinstance(record.gate.get("reasons", []), list):
        faults.append("gate.reasons is no list")
    if record.round < 1:
        faults.append(f"round is {record.round}")
    if "value" not in record.metrics.get(record.primary, {}):
        faults.append(f"metrics has no value of {record.primary!r}")
    if not isinstance((record.recipe.get("publish") or {}).get("repo_id"), str):
        faults.append("recipe names no model repo")
    if faults:
        raise ValueError(f"in {RECORD} {'; '.join(faults)}")


@dataclass(frozen=True)
class ModelRepo:
    """A model repo as the Hub shows it: which one it is, its history, and its rounds."""

    repo_id: str
    identity: RepoIdentity
    history: list[HistoryEntry]
    """Commits of main, newest first."""
    promoted: list[RoundRecord]
    """Those on main, each with the first commit that holds it, oldest first."""
    held: list[RoundRecord]
    """Those in pull requests of people who have written to main."""

    @property
    def tip(self) -> str:
        """The commit at which main is."""
        return self.identity.commit_sha

    @property
    def rounds(self) -> list[RoundRecord]:
        """All rounds in order."""
        return sorted([*self.promoted, *self.held], key=lambda one: (one.round, one.created_at))


def parse_record(content: bytes) -> RoundRecord:
    """The record in a round.json. Raises ValueError with what is wrong with it, in one line."""
    from pydantic import ValidationError

    try:
        loaded = json.loads(content)
        if not isinstance(loaded, dict):
            raise ValueError(f"{RECORD} holds no record")
        return RoundRecord.from_json(loaded)
    except ValidationError as error:
        first = faults_of(error, RoundRecord)[0]
        raise ValueError(f"in {RECORD} {first.sentence}, got {first.got}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{RECORD} is no valid JSON ({error})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{RECORD} is no text in UTF-8") from None
    except RecursionError:
        raise ValueError(f"{RECORD} is nested too deeply") from None


def read_record(hub: Hub, repo_id: str, commit_sha: str) -> RoundRecord | None:
    """The record that a model commit holds, or None when it holds none that can be read."""
    content = hub.read_file(Repo(repo_id), RECORD, commit_sha)
    if content is None:
        return None
    try:
        record = parse_record(content)
    except ValueError:
        return None
    return replace(record, commit_sha=commit_sha)


def read_rounds(hub: Hub, repo_id: str) -> list[RoundRecord]:
    """All rounds of a model repo in order: those on main, and those held back in pull requests."""
    repo = read_model_repo(hub, repo_id)
    return repo.rounds if repo else []


def read_model_repo(hub: Hub, repo_id: str) -> ModelRepo | None:
    """A model repo and its rounds; None when there is no such repo.

    A pull request counts when its author has committed to main, so that a stranger's pull request
    cannot pose as a round.
    """
    repo = Repo(repo_id)
    if not hub.exists(repo):
        return None
    identity, history = hub.identify(repo), hub.history(repo)
    authors = {author for entry in history for author in entry.authors}
    promoted = list(_promoted(hub, repo_id, [entry.commit_sha for entry in history]))
    held = []
    for request in hub.pull_requests(repo, status=None):
        if request.author in authors and request.head_sha:
            record = read_record(hub, repo_id, request.head_sha)
            if record and record.run_id not in {known.run_id for known in promoted}:
                held.append(replace(record, pull_request=request.number))
    return ModelRepo(repo_id, identity, history, promoted, held)


def _promoted(hub: Hub, repo_id: str, newest_first: list[str]) -> Iterator[RoundRecord]:
    """Rounds on main; a commit that leaves round.json alone repeats its parent's record."""
    found: dict[str, RoundRecord] = {}
    for commit_sha in reversed(newest_first):
        record = read_record(hub, repo_id, commit_sha)
        if record and record.run_id not in found:
            found[record.run_id] = record
    yield from found.values()


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
