"""A proposal before it is opened, looked at as review will: rows that it would stop stay out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_trainer.checks.curated import as_curated
from hub_trainer.checks.inspection import inspect_files
from hub_trainer.checks.review_context import fetch_files, whole_split
from hub_trainer.checks.screening import KNOWN, REPEATED, screen, screen_files
from hub_trainer.checks.verdict import Check, VerdictName, decide
from hub_trainer.duplicates import content_keys
from hub_trainer.errors import DataError
from hub_trainer.inputs import load_input
from hub_trainer.rows import read_rows, write_card, write_rows
from hub_trainer.stages.curate.agreed_file import NewFile, build_file, fitting_rows
from hub_trainer.stages.curate.curate_context import CurateContext
from hub_trainer.stages.curate.earlier import Earlier, read_earlier
from hub_trainer.stages.curate.signals import canonical_of
from hub_trainer.tasks import Row

Identity = tuple[str, str]
"""Content key and answer of a row: what a refusal is remembered by."""


@dataclass(frozen=True)
class Vetted:
    """What may be proposed, and what review will say of it."""

    file: NewFile | None
    """None when no example is left."""
    left_out: Mapping[str, int]
    """Reason -> agreed examples that are not proposed."""
    checks: Sequence[Check]
    open: Sequence[Earlier]
    """Earlier proposals that nobody has decided on."""

    @property
    def verdict(self) -> VerdictName:
        """What review would say now."""
        return decide(self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why it would not be merged."""
        return [f"{check.name}: {check.detail}" for check in self.checks if not check.passed]


def vet(context: CurateContext, examples: Sequence[Row]) -> Vetted:
    """The examples that review will take, as a file of the dataset."""
    return _Vetting(context).vet(examples)


def vet_first(context: CurateContext, examples: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """The answers that may begin a dataset of their own, and why others are left out."""
    import pyarrow as pa

    new = context.scratch / "first.parquet"
    write_rows(new, pa.Table.from_pylist([canonical_of(one) for one in examples]))
    deduplicate = context.recipe.prepare.deduplicate
    near = deduplicate.near if deduplicate else None
    unfit = screen(
        new,
        None,
        context.sealed_file(),
        modality=context.task.modality,
        answer=context.task.answer.name,
        near=near,
        max_repeats=0.0,
    )
    kept = [one for number, one in enumerate(examples) if number not in unfit]
    return kept, dict(Counter(unfit.values()))


class _Vetting:
    """One proposal at the dataset's commit, with the context that review would stand at."""

    def __init__(self, context: CurateContext) -> None:
        self.context, self.target = context, context.target
        self.folder = context.scratch / "vetting"
        self.stand = context.stand
        self.schema = self.target.destination.read_schema(context.hub, context.scratch / "schema")
        self.split = whole_split(context.source)
        self.answer = context.task.answer

    def vet(self, examples: Sequence[Row]) -> Vetted:
        rows, misfits = fitting_rows(examples, self.target, self.schema, self.answer)
        earlier = read_earlier(self.context.hub, self.target.tip)
        waiting = [one for one in earlier if one.request.status != "closed"]
        if not rows:
            return Vetted(None, misfits, (), waiting)
        unfit = self._unfit(rows, [one for one in earlier if one.request.status == "closed"])
        left_out = Counter(misfits) + Counter(unfit.values())
        kept = [row for number, row in enumerate(rows) if number not in unfit]
        if not kept:
            return Vetted(None, dict(left_out), (), waiting)
        file = self._build(kept)
        found = inspect_files(self._lay_out(file, "final"), self.stand, split=self.split)
        return Vetted(file, dict(left_out), as_curated(found.checks), waiting)

    def _unfit(self, rows: Sequence[Row], closed: Sequence[Earlier]) -> dict[int, str]:
        """Place of a row -> why it is not proposed."""
        out = self.folder / "new.parquet"
        if load_input(self.context.task.modality).medium:
            # A reader leaves out what is broken, after which places mean other rows.
            unfit = self._screen_rows(rows, out)
        else:
            unfit = self._screen(self._lay_out(self._build(rows), "first"), out)
        refused = self._refused(closed)
        left = {place: row for place, row in enumerate(read_rows(out)) if place not in unfit}
        for place, identity in zip(left, self._identities(list(left.values())), strict=True):
            if identity in refused:
                unfit[place] = f"refused in pull request {refused[identity]}"
        return unfit

    def _refused(self, closed: Sequence[Earlier]) -> dict[Identity, int]:
        """Rows of proposals that were closed, unless rows that stay out now explain why."""
        found: dict[Identity, int] = {}
        for one in closed:
            place = self.folder / f"closed-{one.number}"
            out = place.with_suffix(".parquet")
            try:
                fetch_files(self.context.hub, one.tip.repo, one.tip.commit_sha, one.added, place)
                unfit = self._screen(place, out)
            except DataError:  # nobody can say what it held
                continue
            if not set(unfit.values()) - {KNOWN, REPEATED}:
                found |= dict.fromkeys(self._identities(read_rows(out)), one.number)
        return found

    def _identities(self, rows: Sequence[Mapping[str, Any]]) -> list[Identity]:
        keys = content_keys(rows, self.context.task.modality)
        answer = self.answer
        return [
            (key, answer.dumps(row[answer.column])) for key, row in zip(keys, rows, strict=True)
        ]

    def _screen(self, folder: Path, out: Path) -> dict[int, str]:
        """Place of a row in a folder's file -> why it is left out; writes the rows to `out`."""
        write_card(folder, self.target.destination.there.card)
        policy = self.context.policy
        return screen_files(
            folder,
            out,
            self.stand,
            split=self.split,
            near=policy.near,
            max_repeats=policy.review.max_duplicate_fraction,
        )

    def _screen_rows(self, rows: Sequence[Row], out: Path) -> dict[int, str]:
        import pyarrow as pa

        self.folder.mkdir(exist_ok=True)
        write_rows(out, pa.Table.from_pylist([dict(row) for row in rows]))
        return screen(
            out,
            self.stand.base.path,
            self.context.sealed_file(),
            modality=self.context.task.modality,
            answer=self.answer.name,
            near=self.context.policy.near,
            max_repeats=self.context.policy.review.max_duplicate_fraction,
        )

    def _build(self, rows: Sequence[Row]) -> NewFile:
        return build_file(rows, self.target, self.schema, self.context.task.modality)

    def _lay_out(self, file: NewFile, name: str) -> Path:
        """A folder with the file and a card that says where its split is."""
        folder = self.folder / name
        path = folder / file.path
        path.parent.mkdir(parents=True)
        path.write_bytes(file.content)
        write_card(folder, self.target.destination.there.card)
        return folder
