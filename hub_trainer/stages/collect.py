"""The collect stage: the splits a recipe names, at pinned commits, become canonical rows."""

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hub_trainer.answers.label_names import single_notes
from hub_trainer.artifacts import Artifact, Draft, make_artifact
from hub_trainer.cards.notices import notice_problem
from hub_trainer.errors import DataError, RecipeError
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins, load_pins
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.columns import UNSEEN
from hub_trainer.recipe.schema import DatasetSource
from hub_trainer.reports import CollectReport, DatasetReport
from hub_trainer.rows import (
    ReadJob,
    ReadResult,
    RowSpec,
    SplitFiles,
    read_sandboxed,
    read_table,
    write_rows,
)
from hub_trainer.rows.fetch import fetch_files
from hub_trainer.rows.left_out import Losses, all_told, left_out_text, total_of
from hub_trainer.tasks import Task, task_of
from hub_trainer.tasks.outlines import Outline, pairs_alone

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Role = Literal["train", "test", "validation"]
SCRATCH = ".collect-files-"


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Source:
    """A split of a dataset repo at a commit, and what its rows are for."""

    dataset: DatasetSource
    commit_sha: str
    role: Role

    @property
    def name(self) -> str:
        """What is written into each row."""
        return f"{self.dataset.repo_id}@{self.commit_sha}"

    @property
    def where(self) -> str:
        """What errors call it."""
        config = f", config {self.dataset.config}" if self.dataset.config else ""
        return f"{self.dataset.repo_id}@{self.commit_sha[:8]}{config}, split {self.dataset.split}"


@dataclass(frozen=True)
class Collected:
    """The rows of one source, and what is known of them."""

    source: Source
    table: "pa.Table"
    result: ReadResult
    license: str | None


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Fetch and read every split; the artifact holds one parquet file per role."""
    pins = load_pins(round_dir)
    assert pins is not None
    sources = sources_of(recipe, pins)

    def make(draft: Draft) -> None:
        logger.debug("collect: %d splits", len(sources))
        for left_over in round_dir.glob(f"{SCRATCH}*"):
            shutil.rmtree(left_over)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=round_dir) as scratch:
            collected = _collect(recipe, sources, hub, Path(scratch), progress)
        report = _write(collected, task_of(recipe), hub, draft)
        for warning in report.warnings:
            logger.warning("collect: %s", warning)
        logger.debug("collect: %s", ", ".join(_summary(collected)))
        if not all_told(map(_losses, collected)):
            logger.info("collect: %s", left_out_text(report.left_out))

    return make_artifact(round_dir / "collect", _inputs(recipe, sources), make)


def sources_of(recipe: Recipe, pins: Pins) -> list[Source]:
    """The splits of a recipe in the order in which they are read."""
    named: list[tuple[DatasetSource | None, Role]] = [
        *((dataset, "train") for dataset in recipe.collect.datasets),
        (recipe.prepare.test_split, "test"),
        (recipe.prepare.validation_split, "validation"),
    ]
    return [
        Source(dataset, pins.sha_of("dataset", dataset.repo_id, dataset.revision), role)
        for dataset, role in named
        if dataset is not None
    ]


def row_spec(recipe: Recipe, task: Task | Outline, source: Source) -> RowSpec:
    """What the task and the recipe want of a source's rows."""
    measured = source.role == "test" or recipe.prepare.test_split is None
    return RowSpec(
        modality=task.modality,
        kinds=dict(task.columns),
        columns=dict(source.dataset.columns),
        slices=tuple(recipe.evaluate.slices) if measured else (),
        drop_columns=tuple(source.dataset.drop_columns),
        matches=pairs_alone(recipe),
        clean=recipe.prepare.clean,
    )


def fetch_split(hub: Hub, source: Source, into: Path) -> tuple[SplitFiles, dict[str, Any]]:
    """Download the files of a split, and only them, into a folder; also gives the whole card."""
    return fetch_files(hub, source.dataset, source.commit_sha, into, where=source.where)


def _inputs(recipe: Recipe, sources: Sequence[Source]) -> dict[str, Any]:
    return {
        "stage": "collect",
        "task": recipe.task,
        "sources": [
            {**source.dataset.model_dump(), "commit_sha": source.commit_sha, "role": source.role}
            for source in sources
        ],
        "slices": recipe.evaluate.slices,
        "clean": recipe.prepare.clean,
        "seed": recipe.train.seed,
    }


def _collect(
    recipe: Recipe, sources: Sequence[Source], hub: Hub, scratch: Path, progress: Progress
) -> list[Collected]:
    """Fetch all sources, then read them in one child without token and network."""
    task = task_of(recipe)
    jobs, licenses, notes, cards = [], [], [], []
    for number, source in enumerate(sources):
        progress(0.7 * number / len(sources), f"fetching {source.dataset.repo_id}")
        folder = scratch / f"source-{number}"
        found, card = fetch_split(hub, source, folder)
        cards.append((source.dataset.repo_id, card))
        licenses.append(_license(card))
        notes.append(found.notes)
        jobs.append(
            ReadJob(
                folder=folder,
                out=scratch / "rows" / f"{number}.parquet",
                spec=row_spec(recipe, task, source),
                source=source.name,
                config=found.config,
                split=source.dataset.split,
                where=source.where,
            )
        )
    if missing := notice_problem(recipe.publish.notice, cards):
        raise RecipeError([missing], source="recipe")
    progress(0.7, "reading rows")
    results = [
        replace(result, notes=(*of_files, *result.notes))
        for of_files, result in zip(
            notes, read_sandboxed(jobs, folder=scratch / "rows"), strict=True
        )
    ]
    tables = [
        _fraction(read_table(job.out), source, recipe.train.seed)
        for job, source in zip(jobs, sources, strict=True)
    ]
    return [Collected(*parts) for parts in zip(sources, tables, results, licenses, strict=True)]


def _fraction(table: "pa.Table", source: Source, seed: int) -> "pa.Table":
    """The share of the rows that the recipe asks for, in their order."""
    import numpy as np

    if source.dataset.fraction == 1.0:
        return table
    wanted = max(1, round(table.num_rows * source.dataset.fraction))
    order = np.random.default_rng(seed).permutation(table.num_rows)
    return table.take(np.sort(order[:wanted]))


def _write(collected: Sequence[Collected], task: Task, hub: Hub, draft: Draft) -> CollectReport:
    tables: dict[str, pa.Table] = {}
    for role in ("train", "test", "validation"):
        parts = [part for part in collected if part.source.role == role]
        if parts:
            tables[role] = _joined(parts)
    features = dict(next(p for p in collected if p.source.role == "train").result.features)
    for role, table in tables.items():
        if role != "train":
            table = _like_train(table, tables["train"], features, collected, role)
        write_rows(draft.folder / f"{role}.parquet", table)
    answer = task.answer
    values = {role: table[answer.column].to_pylist() for role, table in tables.items()}
    answer.assert_taught(values)
    names = answer.names(values["train"], _declared(collected))
    alike = answer.notes(values["train"])
    counts = answer.counts(values["train"])
    single = single_notes({name: counts[name] for name in names if name in counts})
    report = CollectReport(
        label_names=names,
        features=features,
        datasets=[_described(part, hub) for part in collected],
        dropped={part.source.where: dict(part.result.dropped) for part in collected},
        left_out=total_of(part.result.dropped for part in collected),
        first_left_out={
            part.source.where: [list(one) for one in part.result.first_dropped]
            for part in collected
            if part.result.first_dropped
        },
        warnings=[*_warnings(collected, alike), *(f"training rows: {note}" for note in single)],
    )
    draft.outputs |= report.to_json()
    return report


def _joined(parts: Sequence[Collected]) -> "pa.Table":
    """The rows of several sources as one table; a table's features must be the same."""
    import pyarrow as pa

    first = parts[0]
    for part in parts[1:]:
        if dict(part.result.features) != dict(first.result.features):
            raise _different_features(first, part)
    return pa.concat_tables([part.table for part in parts], promote_options="permissive")


def _like_train(
    table: "pa.Table",
    train: "pa.Table",
    features: Mapping[str, str],
    collected: Sequence[Collected],
    role: str,
) -> "pa.Table":
    """Rows of another role with the features of the training rows, in their types."""
    import pyarrow as pa

    if not features:
        return table
    first = next(part for part in collected if part.source.role == "train")
    other = next(part for part in collected if part.source.role == role)
    shared = {name: other.result.features.get(name) for name in features}
    if shared != dict(features):
        raise _different_features(first, other)
    known = [name for name in table.column_names if name in train.column_names]
    kept = [*known, *(name for name in table.column_names if name.startswith(UNSEEN))]
    return pa.concat_tables(
        [train.select(known).slice(0, 0), table.select(list(dict.fromkeys(kept)))],
        promote_options="permissive",
    )


def _declared(collected: Sequence[Collected]) -> list[str]:
    """The classes that the cards of the training data name, in their order."""
    names: dict[str, None] = {}
    for part in collected:
        if part.source.role == "train":
            names |= dict.fromkeys(part.result.label_names or ())
    return list(names)


def _described(part: Collected, hub: Hub) -> DatasetReport:
    dataset, sha = part.source.dataset, part.source.commit_sha
    return DatasetReport(
        repo_id=dataset.repo_id,
        commit_sha=sha,
        config=part.result.config,
        split=dataset.split,
        role=part.source.role,
        rows=part.table.num_rows,
        license=part.license,
        card_url=f"{hub.url}/datasets/{dataset.repo_id}/blob/{sha}/README.md",
    )


def _warnings(collected: Sequence[Collected], alike: Sequence[str]) -> Iterator[str]:
    yield from filter(None, (_losses(part).warning(part.source.where) for part in collected))
    held_by: dict[str, list[DatasetSource]] = {}
    for part in collected:
        for note in part.result.notes:
            held_by.setdefault(note, []).append(part.source.dataset)
    for note, datasets in held_by.items():
        yield f"{_splits_named(datasets)}: {note}"
    if sum(part.source.role == "train" for part in collected) > 1:
        for note in alike:
            yield f"the training rows together: {note}"
    for repo_id in dict.fromkeys(p.source.dataset.repo_id for p in collected if p.license is None):
        yield f"{repo_id}: its card names no licence; ask its owner before you publish a model"


def _splits_named(datasets: Sequence[DatasetSource]) -> str:
    """Splits for people, each repo once: "org/name, train and test"."""
    splits: dict[str, list[str]] = {}
    for one in datasets:
        splits.setdefault(one.repo_id, []).append(one.split)
    return "; ".join(
        f"{repo_id}, {' and '.join(dict.fromkeys(named))}" for repo_id, named in splits.items()
    )


def _losses(part: Collected) -> Losses:
    """What reading a source has cost it."""
    reasons = Counter(part.result.dropped)
    return Losses(part.result.rows + reasons.total(), reasons, list(part.result.first_dropped))


def _license(card: Mapping[str, Any]) -> str | None:
    """The card's licence; several are joined, `other` gives way to its name."""
    found = card.get("license")
    if isinstance(found, list):
        return ", ".join(str(name) for name in found) or None
    if found == "other" and card.get("license_name"):
        return str(card["license_name"])
    return str(found) if found else None


def _summary(collected: Sequence[Collected]) -> Iterator[str]:
    for part in collected:
        yield f"{part.table.num_rows:,} {part.source.role} rows of {part.source.dataset.repo_id}"


def _different_features(first: Collected, second: Collected) -> DataError:
    ours, theirs = dict(first.result.features), dict(second.result.features)
    lacking, more = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    other = [
        f"{n} is {theirs[n]}, not {ours[n]}" for n in ours if theirs.get(n, ours[n]) != ours[n]
    ]
    got = [f"lacks {', '.join(lacking)}"] if lacking else []
    got += [f"has also {', '.join(more)}"] if more and not lacking else []
    return DataError(
        "Two datasets do not have the same features.",
        where=f"{second.source.where}, beside {first.source.where}",
        got="; ".join([*got, *other]),
        do="Rename with columns: or leave out with drop_columns: in the recipe.",
    )
