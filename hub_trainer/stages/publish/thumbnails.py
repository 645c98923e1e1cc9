"""Thumbnails of a few training rows for the card, or the reason why it has none."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.answers import Answer
from hub_trainer.artifacts import write_durably
from hub_trainer.cards import EXAMPLES_FIGURE, Thumbnails, sharing_problem
from hub_trainer.errors import HubError
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import PinnedRepo
from hub_trainer.recipe import Recipe
from hub_trainer.rows import read_table
from hub_trainer.rows.row_files import ROW_ID
from hub_trainer.stages.publish.round import FinishedRound
from hub_trainer.stages.publish.sources import licensed_works, training_datasets

if TYPE_CHECKING:
    from hub_trainer.tasks import Row

MAX_GROUPS = 8
ROWS_EACH = 4


def draw_thumbnails(finished: FinishedRound, hub: Hub, folder: Path) -> Thumbnails | None:
    """Write the picture into `folder`; None for a task whose rows are nothing to look at."""
    from hub_trainer.tasks import task_of  # heavy; `check` imports this package too

    task = task_of(finished.recipe)
    draw = task.card().draw_rows
    if draw is None:
        return None
    reason = _reason_against(finished, hub)
    if reason:
        return Thumbnails(left_out=reason)
    names = finished.prepared.label_names
    prepared = finished.artifacts["prepare"].folder / "train.parquet"
    groups = few_rows(prepared, task.answer, names, seed=finished.recipe.train.seed)
    path = folder / EXAMPLES_FIGURE
    path.parent.mkdir(exist_ok=True)
    write_durably(path, draw(groups))
    return Thumbnails(list(groups), len(names), ROWS_EACH)


def few_rows(
    prepared: Path, answer: Answer, names: Sequence[str], *, seed: int
) -> dict[str, list["Row"]]:
    """A few rows of a few labels, chosen by the seed whatever the order of the rows.

    Labels stand in the order of `names`. Only the chosen rows are read as Python values.
    """
    table = read_table(prepared)
    row_ids = table[ROW_ID].to_pylist()
    found = answer.strata(table[answer.column].to_pylist())
    members: dict[str, list[int]] = {}
    for index in sorted(range(table.num_rows), key=row_ids.__getitem__):
        members.setdefault(found[index], []).append(index)
    known = [name for name in names if name in members]
    ordered = [*known, *sorted(members.keys() - set(known))]
    rng = random.Random(seed)  # noqa: S311 - no secret
    drawn = set(rng.sample(ordered, min(MAX_GROUPS, len(ordered))))
    groups: dict[str, list[Any]] = {}
    for name in ordered:
        if name in drawn:
            chosen = rng.sample(members[name], min(ROWS_EACH, len(members[name])))
            groups[name] = table.take(chosen).to_pylist()
    return groups


def _reason_against(finished: FinishedRound, hub: Hub) -> str | None:
    """Why the rows may not be shown, as what follows `because`; None when they may."""
    if finished.recipe.publish.notice:
        return "the model comes with a notice, and what it learned from may be sensitive"
    sources = training_datasets(finished.pins.datasets, finished.collected.datasets)
    for work in licensed_works(hub, None, sources):
        if problem := sharing_problem(work):
            return problem
    if closed := _closed_source(sources, finished.recipe, hub):
        return closed
    if any(finished.prepared.personal_data.values()):
        return "patterns of personal data were found in the rows"
    return None


def _closed_source(sources: Sequence[PinnedRepo], recipe: Recipe, hub: Hub) -> str | None:
    """A source that not everybody can read who can see the model."""
    model = Repo(recipe.publish.repo_id)
    # The setting is used when the repo is made; from then on the Hub knows better.
    if hub.is_private(model) if hub.exists(model) else recipe.publish.private:
        return None
    for source in sources:
        try:
            is_open = hub.is_open(Repo(source.repo_id, "dataset"))
        except HubError:
            is_open = None
        if is_open is None:
            return f"the Hub does not say whether everybody can read {source.repo_id}"
        if not is_open:
            return f"{source.repo_id} is private or gated, and this model is public"
    return None
