"""`hub-trainer contribute`: say what review would say, ask where somebody can answer, then send."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from hub_trainer.checks.inspection import CHECKERS
from hub_trainer.checks.verdict import Check
from hub_trainer.cli.output import progress_bars, say
from hub_trainer.contribute import foresee, propose, send
from hub_trainer.errors import DataError
from hub_trainer.hub import Hub
from hub_trainer.sandbox import kept_warm

PERSONAL = "personal data"
"""Name of the check for it."""
MAX_LABELS = 8


@dataclass(frozen=True)
class Sending:
    """What becomes of rows that were checked."""

    yes: bool = False
    """They are sent whatever review would say; nobody is asked."""
    dry_run: bool = False
    """They are not sent."""
    into: int | None = None
    """The pull request in which they take the place of others; None opens one."""


def contribute_file(
    hub: Hub,
    dataset_id: str,
    path: Path,
    *,
    columns: Mapping[str, str],
    sending: Sending = Sending(),
) -> dict[str, Any]:
    """Propose a file's rows, and give what `--json` shows.

    Without a terminal nobody is asked: what a person would look at goes ahead, and what review
    would refuse is an error unless `sending.yes`. So is personal data, which a pull request shows
    to all who see the dataset, whatever becomes of it.
    """
    with progress_bars() as report, kept_warm(CHECKERS):
        report("contribute", 0.0, f"reading {path.name}")
        proposal = propose(hub, dataset_id, path, columns=columns)
        for note in proposal.notes:
            say(f"note: {note}", style="yellow")
        labels = f": {_counted(proposal.labels)}" if proposal.labels else ""
        say(f"{proposal.rows:,} rows for {dataset_id}{labels}")
        report("contribute", 0.3, "checking them as review will")
        checks = foresee(hub, proposal)
        failed = [check for check in checks if not check.passed]
        passed = len(checks) - len(failed)
        told = f"{passed} of {len(checks)} checks passed; review also asks a published model"
        report("contribute", 1.0, told)
    refused = [check for check in failed if check.blocks == "refuse"]
    private = [check for check in failed if check.name == PERSONAL]
    for check in failed:
        does = "would refuse" if check.blocks == "refuse" else "would ask a person"
        rows = f" ({check.numbers})" if check.rows else ""
        say(f"review {does}: {check.name}: {check.detail}{rows}", style="yellow")
    shown = {
        "rows": proposal.rows,
        "labels": dict(proposal.labels),
        "notes": list(proposal.notes),
        "warnings": [f"{check.name}: {check.detail}" for check in failed],
        "would_refuse": [check.name for check in refused],
    }
    asked = sys.stdin.isatty() and not sending.yes and not sending.dry_run
    if refused and not sending.yes and not asked:
        raise _would_be_refused(refused, dataset_id, path)
    if private and not (sending.yes or asked or sending.dry_run):
        raise _would_be_seen(private, dataset_id, path)
    if sending.dry_run:
        say("Nothing was sent. Leave out --dry-run to open the pull request.")
        return {**shown, "pull_request": None}
    if asked and not typer.confirm(
        "Open the pull request?", default=not (refused or private), err=True
    ):
        say("Nothing was sent.")
        return {**shown, "pull_request": None}
    made = send(hub, proposal, checks, into=sending.into)
    does = "proposes" if sending.into is None else "now proposes"
    say(f"Pull request {made.pull_request} {does} {made.rows:,} rows: {made.url}")
    return {**shown, **made.to_dict()}


def _would_be_refused(refused: Sequence[Check], dataset_id: str, path: Path) -> DataError:
    return DataError(
        "Review would refuse these rows, so nothing was sent.",
        where=str(path),
        got="; ".join(f"{check.name}: {check.detail}" for check in refused),
        do="Correct the rows, or leave them out. To have them refused on the Hub all the same: "
        f"hub-trainer contribute {dataset_id} {path} --yes",
    )


def _would_be_seen(private: Sequence[Check], dataset_id: str, path: Path) -> DataError:
    return DataError(
        "These rows hold personal data, which a pull request shows to all who see the dataset: "
        "nothing was sent.",
        where=str(path),
        got="; ".join(check.detail for check in private),
        do="Take it out of the rows; or, where everybody may know it, "
        f"hub-trainer contribute {dataset_id} {path} --yes",
    )


def _counted(labels: Mapping[str, int]) -> str:
    shown = sorted(labels.items(), key=lambda entry: (-entry[1], entry[0]))
    named = ", ".join(f"{name} {count:,}" for name, count in shown[:MAX_LABELS])
    more = len(shown) - MAX_LABELS
    return f"{named} and {more} more labels" if more > 0 else named
