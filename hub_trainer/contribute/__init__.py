"""A file of rows becomes a pull request on a dataset, in the dataset's own schema."""

from hub_trainer.contribute.proposal import Contribution, contribute

__all__ = ["Contribution", "contribute"]
