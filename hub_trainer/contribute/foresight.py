"""Foresight of a review: its own checks, run by the contributor on rows not yet sent."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hub_trainer.checks.inspection import inspect_files
from hub_trainer.checks.policy import open_policy
from hub_trainer.checks.review_context import prepare_context, whole_split
from hub_trainer.checks.verdict import Check
from hub_trainer.contribute.proposal import Proposal
from hub_trainer.errors import DataError, HubError
from hub_trainer.hub import Hub
from hub_trainer.rows import write_card

log = logging.getLogger(__name__)


def foresee(hub: Hub, proposal: Proposal) -> Sequence[Check]:
    """The checks of review on these rows, as far as a contributor can run them.

    The published model is not fetched for this: a probe of the dataset's rows judges the labels.
    Where the dataset itself cannot be read, what is seen of the rows alone.
    """
    policy = replace(open_policy(hub, proposal.dataset.repo_id), model=None)
    split = whole_split(policy.source)
    if split != proposal.split:
        return proposal.checks
    with tempfile.TemporaryDirectory(prefix="hub-trainer-foresight-") as scratch:
        folder = Path(scratch) / "new"
        for path, content in proposal.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        write_card(folder, proposal.there.card)
        try:
            context = prepare_context(hub, policy, proposal.tip, Path(scratch))
            return inspect_files(folder, context, split=split).checks
        except (DataError, HubError) as error:
            log.warning("The rows cannot be compared with the dataset's: %s", error.what)
            return proposal.checks
