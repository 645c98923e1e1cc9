"""From a contributor's file to an open pull request: read, map, check, place, propose."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.checks.comment import inert
from hub_trainer.checks.contents import check_personal_data, check_rows, check_text
from hub_trainer.checks.flags import text_flags
from hub_trainer.checks.joining import Destination
from hub_trainer.checks.named_request import open_request
from hub_trainer.checks.personal import NO_TRACES, find_traces
from hub_trainer.checks.policy import Policy, open_policy
from hub_trainer.checks.review_context import Tip, fork_of, load_tip
from hub_trainer.checks.verdict import Check
from hub_trainer.contribute.contribution_faults import all_faults, of_block, of_reading
from hub_trainer.contribute.local_file import read_local
from hub_trainer.contribute.media_files import media_files
from hub_trainer.duplicates import find_duplicates
from hub_trainer.errors import CellsRefused, DataError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.inputs.media import Medium, medium_of_column, medium_of_reader
from hub_trainer.privacy import SECRET_KINDS, scan_text
from hub_trainer.recipe import DatasetSource, ReviewSection
from hub_trainer.rows import RawSplit, RowSpec, SplitFiles, canonical_rows
from hub_trainer.rows.column_guesses import infer_spec
from hub_trainer.rows.fetch import fetch_rows
from hub_trainer.rows.own_schema import OwnSchema, schema_faults
from hub_trainer.tasks import outline
from hub_trainer.tasks.declared import BLOCK

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LISTED = 100
MAX_ROWS_NAMED = 5


@dataclass(frozen=True)
class Proposal:
    """Rows in the dataset's own schema, not yet sent."""

    dataset: Repo
    tip: Tip
    there: SplitFiles
    split: str
    files: Mapping[str, bytes]
    rows: int
    labels: Mapping[str, int]
    checks: tuple[Check, ...]
    """What can be seen of the rows alone."""
    notes: tuple[str, ...]
    """How the file was read, where that may surprise."""

    @property
    def path(self) -> str:
        """The file that is added, or the first of several pictures or sounds."""
        return next(iter(self.files))


@dataclass(frozen=True)
class Contribution:
    """The pull request that holds the rows, and what review may say of them."""

    pull_request: int
    url: str
    path: str
    rows: int
    labels: Mapping[str, int]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {**vars(self), "labels": dict(self.labels), "warnings": list(self.warnings)}


def contribute(
    hub: Hub,
    dataset_id: str,
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    config: str | None = None,
    split: str = "train",
) -> Contribution:
    """Open a pull request with the rows of a file; the same file again finds the same one.

    `columns` maps the dataset's column names to the file's, where they differ.
    """
    return send(hub, propose(hub, dataset_id, path, columns=columns, config=config, split=split))


def propose(
    hub: Hub,
    dataset_id: str,
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    config: str | None = None,
    split: str = "train",
) -> Proposal:
    """The rows of a file as the dataset would hold them; nothing is sent.

    Raises one error with every fault of the file that can be seen.
    """
    limits = ReviewSection()
    raw = read_local(path, max_bytes=limits.max_bytes)
    repo = Repo(dataset_id, "dataset")
    tip = load_tip(hub, repo, hub.resolve(repo))
    faults: list[DataError] = []
    try:
        policy = open_policy(hub, dataset_id)
    except DataError as error:
        policy = None
        faults.append(of_block(error, hub, dataset_id, path))
    there = tip.split_files(config, split)
    medium = medium_of_reader(there.reader)
    if medium is not None:
        made = _made_as_files(raw, there.files[split], medium, str(path))
    else:
        dropped = policy.source.drop_columns if policy else ()
        destination = Destination(tip, split, config)
        made = _made_as_table(raw, destination, columns or {}, dropped, hub, str(path))
    faults += made.faults
    if raw.table.num_rows > limits.max_rows:
        got = f"{raw.table.num_rows:,} rows of at most {limits.max_rows:,}"
        do = "Split it into several contributions."
        what = "That is more than a pull request may bring."
        faults.append(DataError(what, where=str(path), got=got, do=do))
        raise all_faults(faults, (), path)
    checks: list[Check] = []
    labels: dict[str, int] = {}
    if made.good is not None and policy is not None:
        spec = _spec(policy, made.good, where=dataset_id)
        try:
            checks, labels, found = _check_rows(made.good, made.numbers, spec, limits, str(path))
            faults += found
        except DataError as error:
            source = DatasetSource(repo_id=dataset_id, config=there.config, split=split)
            own = _own_fault(hub, source, tip.commit_sha, spec)
            faults.append(of_reading(error, policy, own, hub, path))
    if faults:
        raise all_faults(faults, [check for check in checks if not check.passed], path)
    rows, notes = raw.table.num_rows, (*there.notes, *made.true_of(raw.notes), *made.notes)
    return Proposal(repo, tip, there, split, made.files, rows, labels, tuple(checks), notes)


@dataclass(frozen=True)
class _Made:
    """A file's rows as the dataset would hold them, as far as they can be."""

    files: Mapping[str, bytes]
    """Empty where there are faults."""
    good: RawSplit | None
    """The rows without a fault, as review will read them; None where no row is."""
    numbers: Sequence[int]
    """Their numbers in the file, from 1."""
    faults: Sequence[DataError] = ()
    notes: Sequence[str] = ()
    untrue: tuple[str, ...] = ()
    """Beginnings of notes on the file that do not hold for what is made of it."""

    def true_of(self, notes: Sequence[str]) -> list[str]:
        """Those notes on the file that hold."""
        return [note for note in notes if not note.startswith(self.untrue)]


def _made_as_files(raw: RawSplit, there: Sequence[str], medium: Medium, where: str) -> _Made:
    every = range(1, raw.table.num_rows + 1)
    try:
        return _Made(media_files(raw, there, medium, where=where), raw, every)
    except CellsRefused as error:
        left = [number for number in every if number not in error.rows]
        good = raw.taken([number - 1 for number in left]) if left else None
        return _Made({}, good, left, [error])


def _made_as_table(
    raw: RawSplit,
    destination: Destination,
    columns: Mapping[str, str],
    dropped: Sequence[str],
    hub: Hub,
    where: str,
) -> _Made:
    with tempfile.TemporaryDirectory(prefix="hub-trainer-schema-") as scratch:
        schema = destination.read_schema(hub, Path(scratch))
    _assert_used(columns, schema, destination.tip.repo.repo_id)
    optional = [name for name in dropped if name not in columns]
    read = partial(schema_faults, schema=schema, columns=columns, where=where, optional=optional)
    faults, own = read(raw)
    numbers = list(range(1, raw.table.num_rows + 1))
    if own is None:
        refused = [error for error in faults if isinstance(error, CellsRefused)]
        at_fault = {number for error in refused for number in error.rows}
        numbers = [number for number in numbers if number not in at_fault]
        if len(refused) == len(faults) and numbers:
            _, own = read(raw.taken([number - 1 for number in numbers]))
        return _Made({}, None if own is None else _as_raw(own, schema), numbers, faults)
    taken = {name.strip().casefold() for name in (*schema.columns, *columns.values())}
    extra = [name for name in raw.table.column_names if name.strip().casefold() not in taken]
    left = f"columns that the dataset does not have are left out: {', '.join(extra)}"
    notes = [left] if extra else []
    as_texts = [name for name in raw.written if _is_of_texts(name, schema, columns)]
    notes += [
        f"the dataset holds texts in {name!r}: the numbers there are kept as they are written"
        for name in as_texts
    ]
    untrue = tuple(f"the column {name!r} holds numbers" for name in as_texts)
    try:
        content = destination.encode(own, schema, where=where)
    except DataError as error:
        return _Made({}, _as_raw(own, schema), numbers, [error])
    name = f"{hashlib.sha256(content).hexdigest()[:12]}.{destination.suffix}"
    files = {destination.place(name): content}
    return _Made(files, _as_raw(own, schema), numbers, notes=notes, untrue=untrue)


def _is_of_texts(theirs: str, schema: OwnSchema, columns: Mapping[str, str]) -> bool:
    """Whether the dataset's column for one of a file holds texts that are features."""
    ours = {given: name for name, given in columns.items()}.get(theirs, theirs)
    feature = schema.features.get(ours)
    is_text = isinstance(feature, Mapping) and feature.get("dtype") in ("string", "large_string")
    return is_text and ours != schema.label


def _own_fault(hub: Hub, source: DatasetSource, commit_sha: str, spec: RowSpec) -> DataError | None:
    """What is wrong with the dataset's own rows, read so; None where they can be."""
    with tempfile.TemporaryDirectory(prefix="hub-trainer-own-") as scratch:
        try:
            fetch_rows(hub, source, commit_sha, spec, scratch=Path(scratch), first_file_only=True)
        except DataError as error:
            return error
    return None


def send(
    hub: Hub,
    proposal: Proposal,
    checks: Sequence[Check] | None = None,
    *,
    into: int | None = None,
) -> Contribution:
    """Open the pull request; `checks` are those of a foresight, where there was one.

    With the number of an open one in `into`, the files take the place of those that it adds.
    """
    repo, files = proposal.dataset, proposal.files
    digest = hashlib.sha256(b"".join(files[path] for path in sorted(files))).hexdigest()
    old = () if into is None else _added_by(hub, proposal, into)
    made = hub.commit(
        repo,
        Changes(files=files, deletions=tuple(path for path in old if path not in files)),
        message=f"Add {proposal.rows} rows",
        run_id=f"contribute-{digest}",
        pull_request=_describe(proposal.rows, proposal.labels, proposal.tip)
        if into is None
        else into,
    )
    assert made.pull_request is not None, "a commit that opens a pull request has its number"
    url = hub.discussion_page(repo, made.pull_request)
    failed = [one for one in (checks or proposal.checks) if not one.passed]
    warnings = tuple(f"{check.name}: {check.detail}" for check in failed)
    return Contribution(
        made.pull_request, url, proposal.path, proposal.rows, proposal.labels, warnings
    )


def _added_by(hub: Hub, proposal: Proposal, number: int) -> list[str]:
    """Files that an open pull request adds to the dataset. Raises UsageError for a closed one."""
    another = "Leave out --pr to open another."
    request = open_request(hub, proposal.dataset, number, if_merged=another, if_closed=another)
    assert request.head_sha is not None, "an open pull request has a commit"
    fork_sha = fork_of(hub, proposal.dataset, proposal.tip.commit_sha, request.head_sha)
    fork, head = (
        {file.path for file in hub.list_files(proposal.dataset, sha)}
        for sha in (fork_sha, request.head_sha)
    )
    return sorted(head - fork)


def _assert_used(columns: Mapping[str, str], schema: OwnSchema, dataset_id: str) -> None:
    unknown = [name for name in columns if name not in schema.features]
    if unknown:
        raise UsageError(
            f"--column names a column that the dataset does not have: {unknown[0]}.",
            where=dataset_id,
            got=f"columns {', '.join(schema.columns)}",
            do="Write dataset_column=file_column.",
        )


def _spec(policy: Policy, table: RawSplit, *, where: str) -> RowSpec:
    """The columns as the owner's model reads them, else as they can be told from the rows."""
    if policy.task is None:
        try:
            return infer_spec(table)
        except DataError as error:
            raise DataError(
                "No column can be told to be the answer, and neither the dataset's card nor a "
                "published model says which it is.",
                where=where,
                got=error.got,
                do=f"Ask its owner to write `{BLOCK}: {{task: TASK, columns: {{OURS: THEIRS}}}}` "
                f"into the block at the top of the card of {where}, or to publish a first round; "
                "or upload the file as it is, for the owner to review with a recipe: "
                f"hf upload {where} FILE --repo-type dataset --create-pr",
            ) from None
    known, source = outline(policy.task, policy.answer, policy.beside), policy.source
    return RowSpec(
        known.modality,
        dict(known.columns),
        dict(source.columns),
        drop_columns=tuple(source.drop_columns),
    )


def _check_rows(
    raw: RawSplit, numbers: Sequence[int], spec: RowSpec, limits: ReviewSection, where: str
) -> tuple[list[Check], dict[str, int], list[DataError]]:
    """What review will find in the rows alone, rows per label, and what stops them here.

    `numbers` are those of the rows in the file.
    """
    canonical = canonical_rows(raw, spec, source=where, where=where)
    rows = canonical.table.to_pylist()
    faults = []
    secrets, personal = check_personal_data(find_traces(rows, [""] * len(rows)), NO_TRACES)
    if not secrets.passed:
        faults.append(
            DataError(
                "The rows hold secrets, which must not be published.",
                where=where,
                got=_secret_places(raw, numbers) or secrets.detail,
                do="Take them out, and revoke them if they are real.",
            )
        )
    groups = find_duplicates(rows, spec.modality, None)
    repeats = sum(len(group.exact) for group in groups)
    broken = [numbers[place - 1] for place, _ in canonical.first_dropped]
    checks = [
        *check_rows(len(rows), canonical.dropped, max_rows=limits.max_rows, first_dropped=broken),
        Check(
            "duplicates",
            repeats <= limits.max_duplicate_fraction * len(rows),
            f"{repeats} of {len(rows)} rows repeat another",
        ),
        personal,
        check_text(text_flags(rows)),
    ]
    answer = spec.answer
    return checks, answer.counts([row[answer.column] for row in rows]), faults


def _secret_places(raw: RawSplit, numbers: Sequence[int]) -> str:
    """Which kinds of secrets are in which column and rows, never the secrets themselves."""
    places: dict[str, list[int]] = {}
    rows = raw.table.drop_columns(list(raw.media)).to_pylist()
    for number, row in zip(numbers, rows, strict=True):
        for name, value in row.items():
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            for kind in sorted({one.kind for one in scan_text(text)} & SECRET_KINDS):
                places.setdefault(f"{kind} in column {name}", []).append(number)
    return "; ".join(f"{place}, {_rows_named(rows)}" for place, rows in places.items())


def _rows_named(rows: Sequence[int]) -> str:
    shown = ", ".join(f"{row:,}" for row in rows[:MAX_ROWS_NAMED])
    more = len(rows) - MAX_ROWS_NAMED
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}" + (f" and {more:,} more" * (more > 0))


def _as_raw(table: "pa.Table", schema: OwnSchema) -> RawSplit:
    """The rows as review will read them: files as bytes, classes with their names."""
    media = {}
    for name in (name for name in schema.columns if schema.holds_files(name)):
        place = table.column_names.index(name)
        contents = table[name].combine_chunks().field("bytes")
        table = table.set_column(place, name, contents)
        media[name] = medium_of_column(schema.features[name], contents)
    names = {name: schema.label_names(name) for name in schema.columns}
    classes = {name: tuple(found) for name, found in names.items() if found is not None}
    lists = {name: schema.list_names(name) for name in schema.columns}
    return RawSplit(
        table.replace_schema_metadata(None),
        "default",
        classes,
        media,
        list_names={name: tuple(found) for name, found in lists.items() if found is not None},
    )


def _describe(rows: int, labels: Mapping[str, int], tip: Tip) -> str:
    licence = tip.card.get("license")
    shown = sorted(labels.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_LISTED]
    lines = [f"| {inert(name, 80)} | {count} |" for name, count in shown]
    more = len(labels) - len(shown)
    terms = (
        f"These rows are offered under the dataset's licence, {inert(str(licence), 80)}."
        if licence
        else "The dataset names no licence; these rows are offered on the terms of its owner."
    )
    return "\n".join(
        [
            f"{rows} rows for this dataset, in its own schema.",
            "",
            *(["| label | rows |", "|-------|------|"] if lines else []),
            *lines,
            *([f"| and {more} more labels | |"] if more > 0 else []),
            "",
            terms,
        ]
    )
