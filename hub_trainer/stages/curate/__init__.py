"""The curate stage: what raters agree on becomes a pull request on the dataset."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hub_trainer.artifacts import Artifact, Draft, find_artifact, write_artifact
from hub_trainer.checks.bench import load_tip, whole_split
from hub_trainer.duplicates import content_keys
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, Repo
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.recipe import DatasetSource, Recipe, RepoRef
from hub_trainer.rows import RowSpec
from hub_trainer.rows.fetch import fetch_rows
from hub_trainer.stages.curate.crowd import (
    KnownRows,
    Outcome,
    aggregate,
    count_ratings,
    examples_of,
    summarise,
)
from hub_trainer.stages.curate.proposal import Target, build_file, describe, propose, read_schema
from hub_trainer.tasks import ClassificationTask, classification, load_task

logger = logging.getLogger(__name__)
Progress = Callable[[float, str], None]
Shas = Mapping[tuple[str, str], str]
"""(repo_id, revision) of a dataset -> the commit at which it is read."""


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Propose the agreed examples; the same ratings again find the same pull request.

    It runs between rounds, when the pins of a round are old: the newest ratings are compared with
    the newest rows, at the commits that these have now.
    """
    ratings, source = _ratings_ref(recipe), _target_source(recipe)
    test = recipe.prepare.test_split
    repos: list[RepoRef] = [source, *([test] if test else [])]
    if hub.exists(Repo(ratings.repo_id, "dataset")):
        repos.append(ratings)
    shas = {_key(r): hub.resolve(Repo(r.repo_id, "dataset"), r.revision) for r in repos}
    inputs = {
        "stage": "curate",
        "task": recipe.task,
        "ratings": ratings.model_dump(),
        "target": source.model_dump(),
        "test": test.model_dump() if test else None,
        "commits": sorted((*key, sha) for key, sha in shas.items()),
        "curate": recipe.curate.model_dump(),
    }
    folder = round_dir / "curate"
    done = find_artifact(folder, inputs)
    if done:
        return done
    with write_artifact(folder, inputs) as draft:
        if _key(ratings) in shas:
            _curate(recipe, shas, hub, draft, progress)
        else:
            _nothing(draft, f"{ratings.repo_id} does not exist yet: there are no ratings.")
    assert draft.artifact is not None
    logger.info("curate: %s", draft.outputs["summary"])
    return draft.artifact


@dataclass(frozen=True)
class _Bench:
    """What the stage works with: everything at its pinned commit."""

    recipe: Recipe
    shas: Shas
    task: ClassificationTask
    hub: Hub
    scratch: Path

    def sha(self, ref: RepoRef) -> str:
        """The commit at which a dataset is read."""
        return self.shas[_key(ref)]


def _curate(recipe: Recipe, shas: Shas, hub: Hub, draft: Draft, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="hub-trainer-curate-") as scratch:
        bench = _Bench(recipe, shas, classification(load_task(recipe.task)), hub, Path(scratch))
        progress(0.0, "reading ratings and rows")
        outcome = _agreed(bench, draft)
        if not outcome.examples:
            counts = {**draft.outputs["dropped_ratings"], **outcome.skipped}
            _nothing(draft, f"No new example: {_reasons(counts)}.")
            return
        progress(0.7, f"proposing {len(outcome.examples)} examples")
        source = _whole(_target_source(recipe))
        target = Target(source, load_tip(hub, Repo(source.repo_id, "dataset"), bench.sha(source)))
        schema = read_schema(hub, target, bench.scratch)
        file = build_file(outcome.examples, target, schema, bench.task.modality)
    if file is None:
        count = len(outcome.examples)
        _nothing(draft, f"No new example: {count} have labels that the dataset does not.")
        return
    ref = _ratings_ref(recipe)
    ratings = f"{ref.repo_id}@{bench.sha(ref)}"
    made = propose(hub, target, file, describe(recipe, ratings, file.rows, draft.outputs))
    (draft.folder / PurePosixPath(file.path).name).write_bytes(file.content)
    draft.outputs.update(
        repo_id=source.repo_id,
        pull_request=made.pull_request,
        commit_sha=made.commit_sha,
        url=made.url,
        path=file.path,
        rows=file.rows,
        unknown_labels=file.unknown_labels,
        summary=f"Pull request {made.pull_request} on {source.repo_id} adds {file.rows} examples.",
    )


def _agreed(bench: _Bench, draft: Draft) -> Outcome:
    """What the crowd agrees on; the numbers go into the draft's outputs."""
    ref = _ratings_ref(bench.recipe)
    repo, into = Repo(ref.repo_id, "dataset"), bench.scratch / "ratings"
    folder = bench.hub.download(repo, bench.sha(ref), allow=[SHARDS], into=into)
    ratings = count_ratings(read_shards(folder), bench.task)
    known = _known_rows(bench) if ratings.votes else KnownRows({}, frozenset())
    aggregation = aggregate(ratings, known, bench.recipe.curate)
    outcome = examples_of(ratings, aggregation, known, bench.task)
    draft.outputs.update(summarise(ratings, outcome))
    return outcome


def _known_rows(bench: _Bench) -> KnownRows:
    """Read the dataset's rows and the sealed ones, as content keys."""
    source, test = _whole(_target_source(bench.recipe)), bench.recipe.prepare.test_split
    labels_of: dict[str, set[str]] = {}
    for key, label in _keys(bench, source, "target"):
        labels_of.setdefault(key, set()).add(label)
    sealed = {key for key, _ in _keys(bench, test, "test")} if test else set()
    frozen = {key: frozenset(labels) for key, labels in labels_of.items()}
    return KnownRows(frozen, frozenset(sealed))


def _keys(bench: _Bench, source: DatasetSource, name: str) -> Iterator[tuple[str, str]]:
    """(content key, label) of each row of a source."""
    task = bench.task
    spec = RowSpec(
        modality=task.modality,
        kinds=dict(task.columns),
        columns=dict(source.columns),
        drop_columns=tuple(source.drop_columns),
    )
    fetched = fetch_rows(bench.hub, source, bench.sha(source), spec, scratch=bench.scratch / name)
    rows = fetched.table.to_pylist()
    keys = content_keys(rows, task.modality)
    yield from zip(keys, (str(row["label"]) for row in rows), strict=True)


def _whole(source: DatasetSource) -> DatasetSource:
    """The split itself, where the recipe takes a slice of it."""
    return source.model_copy(update={"split": whole_split(source), "fraction": 1.0})


def _nothing(draft: Draft, summary: str) -> None:
    draft.outputs.update(pull_request=None, rows=0, summary=summary)


def _key(ref: RepoRef) -> tuple[str, str]:
    return ref.repo_id, ref.revision


def _ratings_ref(recipe: Recipe) -> RepoRef:
    if recipe.collect.ratings is None:
        serve = recipe.serve
        do = f"Add collect.ratings: {serve.ratings_repo_id if serve else 'org/name-ratings'}"
        raise UsageError("The recipe names no dataset of ratings.", where="collect.ratings", do=do)
    return recipe.collect.ratings


def _target_source(recipe: Recipe) -> DatasetSource:
    wanted = recipe.curate.repo_id
    for source in recipe.collect.datasets:
        if wanted in (None, source.repo_id):
            return source
    raise UsageError(
        "Ratings can only join a dataset that the recipe collects.",
        where="curate.repo_id",
        got=str(wanted),
        do=f"Name one of {', '.join(s.repo_id for s in recipe.collect.datasets)}, or leave it out.",
    )


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {why}" for why, n in sorted(counts.items()) if n) or "no ratings"
