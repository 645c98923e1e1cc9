"""From a contributor's file to an open pull request: read, map, check, place, propose."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.checks.comment import inert
from hub_trainer.checks.contents import check_personal_data, check_text
from hub_trainer.checks.flags import text_flags
from hub_trainer.checks.joining import Destination
from hub_trainer.checks.personal import NO_TRACES, find_traces
from hub_trainer.checks.policy import Policy, open_policy
from hub_trainer.checks.review_context import Tip, fork_of, load_tip
from hub_trainer.checks.verdict import Check
from hub_trainer.contribute.local_file import read_local
from hub_trainer.contribute.media_files import media_files
from hub_trainer.duplicates import find_duplicates
from hub_trainer.errors import DataError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.inputs.media import medium_of_column, medium_of_reader
from hub_trainer.privacy import SECRET_KINDS, scan_text
from hub_trainer.recipe import ReviewSection
from hub_trainer.rows import RawSplit, RowSpec, SplitFiles, canonical_rows
from hub_trainer.rows.columns import infer_spec
from hub_trainer.rows.own_schema import OwnSchema, in_own_schema
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
    """The rows of a file as the dataset would hold them; nothing is sent."""
    limits = ReviewSection()
    raw = read_local(path, max_bytes=limits.max_bytes)
    repo = Repo(dataset_id, "dataset")
    tip = load_tip(hub, repo, hub.resolve(repo))
    policy = open_policy(hub, dataset_id)
    there = tip.split_files(config, split)
    where, notes = str(path), [*there.notes, *raw.notes]
    medium = medium_of_reader(there.reader)
    if medium is not None:
        files, table = media_files(raw, there.files[split], medium, where=where), raw
    else:
        destination = Destination(tip, split, config)
        suffix = destination.suffix
        with tempfile.TemporaryDirectory(prefix="hub-trainer-schema-") as scratch:
            schema = destination.read_schema(hub, Path(scratch))
        _assert_used(columns or {}, schema, dataset_id)
        unused = [name for name in policy.source.drop_columns if name not in (columns or {})]
        own = in_own_schema(raw, schema, columns or {}, where=where, optional=unused)
        taken = {name.strip().casefold() for name in (*schema.columns, *(columns or {}).values())}
        extra = [name for name in raw.table.column_names if name.strip().casefold() not in taken]
        if extra:
            notes.append(f"columns that the dataset does not have are left out: {', '.join(extra)}")
        content = destination.encode(own, schema, where=where)
        name = f"{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
        files = {destination.place(name): content}
        table = _as_raw(own, schema)
    spec = _spec(policy, table, where=dataset_id)
    checks, labels = _check_rows(table, spec, limits, where=where)
    rows = table.table.num_rows
    return Proposal(repo, tip, there, split, files, rows, labels, tuple(checks), tuple(notes))


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
    request = hub.pull_request(proposal.dataset, number)
    if request.status != "open" or request.head_sha is None:
        raise UsageError(
            f"Pull request {number} is not open.",
            where=hub.discussion_page(proposal.dataset, number),
            got=request.status,
            do="Leave out --pr to open another.",
        )
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
    raw: RawSplit, spec: RowSpec, limits: ReviewSection, *, where: str
) -> tuple[list[Check], dict[str, int]]:
    """What review will find in the rows alone, and rows per label. Secrets stop here."""
    if raw.table.num_rows > limits.max_rows:
        raise DataError(
            "That is more than a pull request may bring.",
            where=where,
            got=f"{raw.table.num_rows:,} rows of at most {limits.max_rows:,}",
            do="Split it into several contributions.",
        )
    canonical = canonical_rows(raw, spec, source=where, where=where)
    rows = canonical.table.to_pylist()
    groups = find_duplicates(rows, spec.modality, None)
    repeats = sum(len(group.exact) for group in groups)
    secrets, personal = check_personal_data(find_traces(rows, [""] * len(rows)), NO_TRACES)
    if not secrets.passed:
        raise DataError(
            "The rows hold secrets, which must not be published.",
            where=where,
            got=_secret_places(raw) or secrets.detail,
            do="Take them out, and revoke them if they are real.",
        )
    broken = sum(canonical.dropped.values())
    checks = [
        Check("whole rows", not broken, f"{broken} rows are empty or broken"),
        Check(
            "duplicates",
            repeats <= limits.max_duplicate_fraction * len(rows),
            f"{repeats} of {len(rows)} rows repeat another",
        ),
        personal,
        check_text(text_flags(rows)),
    ]
    answer = spec.answer
    return checks, answer.counts([row[answer.column] for row in rows])


def _secret_places(raw: RawSplit) -> str:
    """Which kinds of secrets are in which column and rows, never the secrets themselves."""
    places: dict[str, list[int]] = {}
    for number, row in enumerate(raw.table.drop_columns(list(raw.media)).to_pylist(), start=1):
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
