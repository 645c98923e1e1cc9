"""Pins of a round: the commit of every repo that it stands on, written before its first stage."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import digest_of, write_durably
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, Repo, RepoIdentity, RepoType
from hub_trainer.lineage.records import ModelRepo, read_model_repo
from hub_trainer.recipe import Recipe, RepoRef

PINS = "pins.json"
LOGGING_ARGUMENTS: frozenset[str] = frozenset(
    ("report_to", "run_name", "project", "trackio_space_id", "disable_tqdm", "log_level")
    + ("logging_dir", "logging_steps", "logging_strategy", "logging_first_step")
    + ("log_level_replica", "log_on_each_node", "save_total_limit", "skip_memory_metrics")
)
"""TrainingArguments that say what is told of a training run, or kept of it on the disk."""


@dataclass(frozen=True)
class PinnedRepo:
    """A repo at the commit that its revision named when the round began."""

    repo_id: str
    repo_type: RepoType
    revision: str
    commit_sha: str
    hub_id: str | None = None
    """The Hub's own id of the repo: a name can be registered again, an id cannot."""
    owner: str | None = None


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
    """Digest of the settings that can change the model, and of where it is published."""
    model_repo: RepoIdentity | None = None
    """Where the round is published, as it was then; None when it was still to be made."""

    def sha_of(self, repo_type: RepoType, repo_id: str, revision: str) -> str:
        """The commit sha of a repo that the recipe names."""
        for pinned in self.all():
            if (pinned.repo_type, pinned.repo_id, pinned.revision) == (
                repo_type,
                repo_id,
                revision,
            ):
                return pinned.commit_sha
        raise KeyError(f"{repo_type} {repo_id}@{revision} is not pinned")

    def all(self) -> list[PinnedRepo]:
        """The base model, if there is one, and the datasets."""
        return [*([self.base_model] if self.base_model else []), *self.datasets]


def model_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that can change the model: where it is published, served, judged
    and reviewed cannot, nor what is logged of its training."""
    content = recipe.model_dump(mode="json")
    kept = {key: content[key] for key in ("task", "base_model", "prepare", "train", "tune")}
    arguments = kept["train"].pop("arguments")
    kept["train"]["arguments"] = {
        key: value for key, value in arguments.items() if key not in LOGGING_ARGUMENTS
    }
    del kept["train"]["profile"]
    kept["collect"] = {"datasets": content["collect"]["datasets"]}
    kept["evaluate"] = {"primary": content["evaluate"]["primary"]}
    return kept


def settings_digest(recipe: Recipe) -> str:
    """Changes when the round must be pinned anew."""
    return digest_of({**model_settings(recipe), "publish": recipe.publish.repo_id})


def pin_round(recipe: Recipe, round_dir: Path, hub: Hub) -> Pins:
    """The pins of the round in `round_dir`; those that are there already are kept.

    A round that was begun resumes with what it began with, even if the repos have moved on. When
    the settings that can change the model have changed since, the round is pinned anew.
    """
    begun = load_pins(round_dir)
    if begun and begun.recipe_digest == settings_digest(recipe):
        return begun
    pins = new_pins(recipe, hub, read_model_repo(hub, recipe.publish.repo_id))
    write_pins(round_dir, pins)
    return pins


def new_pins(recipe: Recipe, hub: Hub, repo: ModelRepo | None) -> Pins:
    """Pins of the next round, with every repo as it is now."""
    rounds = repo.rounds if repo else []
    accepted = recipe.publish.accept_commit is not None
    has_model = repo is not None and (repo.promoted or accepted)
    return Pins(
        round=max((record.round for record in rounds), default=0) + 1,
        run_id=str(uuid.uuid4()),
        parent=repo.tip if repo and has_model else None,
        base_model=_pin(hub, "model", recipe.base_model) if recipe.base_model else None,
        datasets=tuple(_pinned_datasets(recipe, hub)),
        recipe_digest=settings_digest(recipe),
        model_repo=repo.identity if repo else None,
    )


def write_pins(round_dir: Path, pins: Pins) -> None:
    """Write the pins into the round's folder."""
    round_dir.mkdir(parents=True, exist_ok=True)
    write_durably(round_dir / PINS, json.dumps(asdict(pins), indent=1).encode())


def pinned_ratings(recipe: Recipe, pins: Pins) -> PinnedRepo | None:
    """The ratings that a round stands on; None when the recipe names none, or there are none."""
    ratings = recipe.collect.ratings
    known = (one for one in pins.datasets if ratings and one.repo_id == ratings.repo_id)
    return next(known, None)


def load_pins(round_dir: Path) -> Pins | None:
    """The pins of a round that was begun, or None. Raises UsageError when they are damaged."""
    path = round_dir / PINS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        base, repo = content["base_model"], content.get("model_repo")
        loaded = {
            "base_model": PinnedRepo(**base) if base else None,
            "datasets": tuple(PinnedRepo(**pinned) for pinned in content["datasets"]),
            "model_repo": RepoIdentity(**repo) if repo else None,
        }
        return Pins(**{**content, **loaded})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            "The round's pins cannot be read.",
            where=str(path),
            got=str(error),
            do=f"Remove {round_dir}; the round is then begun anew.",
        ) from None


def _pinned_datasets(recipe: Recipe, hub: Hub) -> Iterator[PinnedRepo]:
    prepare = recipe.prepare
    named: list[RepoRef] = list(recipe.collect.datasets)
    named += [split for split in (prepare.test_split, prepare.validation_split) if split]
    named += [recipe.collect.ratings] if recipe.collect.ratings else []
    seen: set[tuple[str, str]] = set()
    for ref in named:
        key = (ref.repo_id, ref.revision)
        if key in seen:
            continue
        optional = ref is recipe.collect.ratings
        if optional and not hub.exists(Repo(ref.repo_id, "dataset")):
            continue
        seen.add(key)
        yield _pin(hub, "dataset", ref)


def _pin(hub: Hub, repo_type: RepoType, ref: RepoRef) -> PinnedRepo:
    found = hub.identify(Repo(ref.repo_id, repo_type), ref.revision)
    return PinnedRepo(
        ref.repo_id, repo_type, ref.revision, found.commit_sha, found.hub_id, found.owner
    )
