"""A Space of a model that predicts: predict and keep, check a rating and keep it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub_trainer.answers import SAME, Prediction, RatedAnswer
from hub_trainer.errors import DataError
from hub_trainer.ratings import Generation, NewRating, RatingRefused
from hub_trainer.rows import row_id
from hub_trainer.space.raters import Rater
from hub_trainer.space.rating_intake import RatingIntake
from hub_trainer.tasks import ModelFolders, Task, Widgets

MAX_ROW_BYTES = 20_000_000


@dataclass(frozen=True)
class Shown:
    """A prediction, and the signed ticket with which it can be rated."""

    prediction: Prediction
    ticket: str


@dataclass(frozen=True)
class Loaded:
    """The model at hand: the task, the folder it is in, and the task's inputs."""

    task: Task
    folders: ModelFolders
    widgets: Widgets


class SpaceService:
    """Predictions and ratings; refusals are RatingRefused, bad input is DataError."""

    def __init__(self, loaded: Loaded, intake: RatingIntake) -> None:
        self.loaded, self.intake = loaded, intake

    @property
    def answer(self) -> RatedAnswer:
        """What the model predicts."""
        return self.intake.settings.predicted

    def predict(self, values: Sequence[Any], rater: Rater) -> Shown:
        """Ask the model, and keep what was asked and answered."""
        row = self._row(values)
        self.intake.limits.take(rater.limited_as)
        [prediction] = self.loaded.task.predict(self.loaded.folders, [row])
        said = self.answer.dumps(prediction.value)
        generation_id = secrets.token_hex(16)
        generation = Generation(
            generation_id=generation_id,
            row=row,
            row_id=row_id(row, self.loaded.task.modality),
            model=self.intake.model,
            prediction=said,
            scores=prediction.scores,
            rater=rater.pseudonym,
            created=self.intake.now(),
        )
        self.intake.keep(generation)
        return Shown(prediction, self.intake.ticket(generation_id, said))

    async def rate(self, ticket: str, kind: str, answer: str | None, rater: Rater) -> str:
        """Keep a rating; returns its id once it is on the disk."""
        return await self.intake.save(self._rating(ticket, kind, answer or "", rater))

    def draft(self, ticket: str) -> dict[str, Any]:
        """What a rater of this prediction mends, or chooses from."""
        _, predicted = self.intake.open_ticket(ticket)
        return self.answer.draft(predicted, self.intake.settings.label_names)

    def health(self) -> dict[str, Any]:
        """Which model is served with which labels, and how far the Hub is behind."""
        names = self.intake.settings.label_names
        return {**self.intake.health(), "answer": self.answer.name, "label_names": names}

    def _row(self, values: Sequence[Any]) -> dict[str, Any]:
        row = self.loaded.widgets.to_row(values)
        size_bytes = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if size_bytes > MAX_ROW_BYTES:
            told = (
                f"The input is too large: {size_bytes:,} bytes, and {MAX_ROW_BYTES:,} is the limit."
            )
            raise DataError(told, do="give a smaller one")
        missing = self.answer.faults(None)
        faults = [one for one in self.loaded.task.problems(row) if one not in missing]
        if faults:
            raise DataError(f"The model cannot take this: {'; '.join(faults)}.", do="change it")
        return row

    def _rating(self, ticket: str, kind: str, answer: str, rater: Rater) -> NewRating:
        self.intake.assert_may_rate(rater)
        generation_id, predicted = self.intake.open_ticket(ticket)
        if kind not in ("right", "wrong"):
            raise RatingRefused(f"A rating is right or wrong, not {kind!r:.40}.", reason="invalid")
        said = self._said(kind, answer, predicted)
        return self.intake.rating(
            generation_id, "right" if kind == "right" else "wrong", said, rater
        )

    def _said(self, kind: str, answer: str, predicted: str) -> str:
        """The answer that the rating stands for."""
        if kind == "right":
            if answer not in ("", predicted):
                raise RatingRefused(
                    "A right prediction has no other answer.",
                    reason="invalid",
                    do="Rate it wrong to give another answer.",
                )
            return predicted
        try:
            return self.answer.rating(answer, predicted, self.intake.settings.label_names)
        except ValueError as error:
            do = self.answer.hint if str(error) != SAME else "Rate it right instead."
            raise RatingRefused(str(error), reason="invalid", do=do) from None
