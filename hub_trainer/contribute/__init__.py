"""A file of rows becomes a pull request on a dataset, in the dataset's own schema."""

from hub_trainer.contribute.foresight import foresee
from hub_trainer.contribute.proposal import Contribution, Proposal, contribute, propose, send

__all__ = ["Contribution", "Proposal", "contribute", "foresee", "propose", "send"]
