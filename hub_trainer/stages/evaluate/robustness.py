"""Sealed rows read once more as a careless sender sends them, and what the model then loses."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hub_trainer.answers import Prediction, Questions, plain_estimate
from hub_trainer.inputs import load_input
from hub_trainer.tasks import ModelFolders, Task

MAX_ROWS = 1_000
"""Sealed rows that are read again, spread evenly."""

Found = Sequence[Prediction]


@dataclass(frozen=True)
class Loss:
    """The primary metric of a model on the same rows, as they are and perturbed."""

    task: Task
    folders: ModelFolders
    primary: str
    names: Sequence[str]
    seed: int

    def measure(self, questions: Questions, found: Found) -> dict[str, Any] | None:
        """Both figures and their difference, with intervals; `found` is of the rows as they are.

        None where there is nothing to perturb.
        """
        perturbation, answer = load_input(self.task.modality).perturbation, self.task.answer
        if perturbation is None:
            return None
        rows = questions.rows
        places = range(0, len(rows), max(1, -(-len(rows) // MAX_ROWS)))
        plain = [rows[place] for place in places]
        changed = [
            perturbation.of(row, Random(f"{self.seed}:{place}"))  # noqa: S311 - no secret
            for place, row in zip(places, plain, strict=True)
        ]
        if all(dict(row) == other for row, other in zip(plain, changed, strict=True)):
            return None
        references = [questions.references[place] for place in places]
        perturbed = answer.over(self.task.predict(self.folders, changed), self.names)
        before = [found[place] for place in places]
        compared = answer.compare(
            self.primary, references, (perturbed, before), self.names, seed=self.seed
        )
        ends = {"low": compared.interval.low, "high": compared.interval.high}
        return {
            "name": perturbation.name,
            "told": perturbation.told,
            "num_examples": len(plain),
            "metric": self.primary,
            "plain": self._value(references, before),
            "perturbed": self._value(references, perturbed),
            "difference": {"value": compared.difference, **ends},
        }

    def _value(self, references: Sequence[Any], found: Found) -> dict[str, float]:
        estimates = self.task.answer.estimates(
            [self.primary], references, found, self.names, seed=self.seed
        )
        return plain_estimate(estimates[self.primary])
