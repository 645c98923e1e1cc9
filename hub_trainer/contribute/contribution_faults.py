"""Faults of a contribution: all of a file at once, and those of the dataset's own card as such."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hub_trainer.checks.comment import ADVICE
from hub_trainer.checks.policy import Policy
from hub_trainer.checks.verdict import Check
from hub_trainer.errors import DataError, ExitCode, HubTrainerError, Problem, ProblemsError
from hub_trainer.hub import Hub
from hub_trainer.tasks.declared import BLOCK


class ContributionError(ProblemsError):
    """Several things are wrong with a file, or with the dataset that it is for."""

    exit_code = ExitCode.DATA


def all_faults(
    faults: Sequence[HubTrainerError], failed: Iterable[Check], path: Path
) -> HubTrainerError:
    """One error that tells all: faults, and checks of the other rows that did not pass."""
    problems = [Problem("file", f.what, where=f.where, got=f.got, do=f.do) for f in faults]
    problems += [
        Problem(
            "file", f"Review would stop: {check.name}.", got=_found(check), do=ADVICE[check.name]
        )
        for check in failed
    ]
    return ContributionError(problems, source=str(path)) if problems[1:] else faults[0]


def _found(check: Check) -> str:
    return f"{check.detail} ({check.numbers})" if check.rows else check.detail


def of_reading(
    error: DataError, policy: Policy, own: DataError | None, hub: Hub, path: Path
) -> DataError:
    """A fault met in reading a file's rows as the dataset's are read, for who gave the file.

    `own` is what is met in reading the dataset's own rows so: then no file can mend it.
    """
    if own is not None:
        return _of_dataset(own, policy, hub, path)
    do = error.do
    if do and "recipe" in do:  # the contributor has none
        do = "Correct the rows, or leave them out: the dataset's own rows can be read so."
    return DataError(error.what, where=error.where, got=error.got, do=do)


def _of_dataset(own: DataError, policy: Policy, hub: Hub, path: Path) -> DataError:
    source = policy.source
    page, what = f"{hub.url}/datasets/{source.repo_id}", f"{own.what[0].lower()}{own.what[1:]}"
    said = [f"columns: {dict(source.columns)}"] if source.columns else []
    said += [f"drop_columns: {list(source.drop_columns)}"] if source.drop_columns else []
    declared = ", ".join([f"task: {policy.task}", *said])
    if policy.is_of_card:
        told, where = "its card declares", f"{page}, README.md: {BLOCK}"
        mends = f"correct `{BLOCK}` at the top of the card"
    else:
        told, where = "the model of its owner was trained", policy.origin
        mends = "publish a round that reads the dataset as it is now"
    return DataError(
        f"The dataset's own rows cannot be read as {told}: {what}",
        where=where,
        got=f"{declared}; {own.got}" if own.got else declared,
        do=_way_round(source.repo_id, page, mends, path),
    )


def of_block(error: DataError, hub: Hub, dataset_id: str, path: Path) -> DataError:
    """A card's block that cannot be used, for a contributor, who cannot change the card."""
    page = f"{hub.url}/datasets/{dataset_id}"
    mends = f"correct `{BLOCK}` at the top of the card, or to remove it"
    do = _way_round(dataset_id, page, mends, path)
    return DataError(error.what, where=error.where, got=error.got, do=do)


def _way_round(dataset_id: str, page: str, mends: str, path: Path) -> str:
    return (
        f"Nothing in {path} can mend it. Ask the dataset's owner, at {page}/discussions, to {mends}"
        "; or upload the file as it is, for the owner to review with a recipe: "
        f"hf upload {dataset_id} {path} --repo-type dataset --create-pr"
    )
