"""What the Space does, whoever asks for it: predict and keep, check a rating and keep it."""

import asyncio
import hashlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from hub_trainer.errors import DataError
from hub_trainer.ratings import Generation, NewRating, Outbox, RatingRefused
from hub_trainer.rows import row_id
from hub_trainer.space.raters import Rater
from hub_trainer.space.settings import SpaceSettings, consent_text
from hub_trainer.tasks import ClassificationTask, Prediction, Widgets

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
TICKET_SECONDS = 24 * 3600
MAX_ROW_BYTES = 20_000_000
MAX_TICKET_CHARACTERS = 1_000


@dataclass(frozen=True)
class Shown:
    """A prediction, and the signed ticket with which it can be rated."""

    prediction: Prediction
    ticket: str


@dataclass(frozen=True)
class Loaded:
    """The model at hand: the task, the folder it is in, and the task's inputs and outputs."""

    task: ClassificationTask
    model_dir: Path
    widgets: Widgets


class SpaceService:
    """Predictions and ratings over a store; refusals are RatingRefused, bad input is DataError."""

    def __init__(
        self,
        settings: SpaceSettings,
        loaded: Loaded,
        outbox: Outbox,
        *,
        key: bytes,
        needs_account: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.loaded, self.outbox = settings, loaded, outbox
        self.needs_account = needs_account
        self.consent = consent_text(settings)
        self._consent_version = hashlib.sha256(self.consent.encode()).hexdigest()[:12]
        self._store, self._now = outbox.store, now
        self._signer = URLSafeTimedSerializer(key, salt="hub-trainer generation")

    def predict(self, values: Sequence[Any], rater: Rater) -> Shown:
        """Ask the model, and keep what was asked and answered."""
        row = self._row(values)
        [prediction] = self.loaded.task.predict(self.loaded.model_dir, [row])
        generation_id = secrets.token_hex(16)
        generation = Generation(
            generation_id=generation_id,
            row=row,
            row_id=row_id(row, self.loaded.task.modality),
            model=f"{self.settings.model_repo_id}@{self.settings.commit_sha}",
            prediction=prediction.label,
            scores=prediction.scores,
            rater=rater.pseudonym,
            created=self._now(),
        )
        _kept(self._store.add_generation(generation))
        return Shown(prediction, self._signer.dumps([generation_id, prediction.label]))

    async def rate(self, ticket: str, kind: str, answer: str | None, rater: Rater) -> str:
        """Keep a rating; returns its id once it is on the disk."""
        rating = self._rating(ticket, kind, answer or "", rater)
        limit = self.settings.ratings_per_hour
        future = self._store.add_rating(rating, max_per_hour=limit)
        try:
            rating_id = await asyncio.wrap_future(future)
        except sqlite3.Error as error:
            raise _not_kept(error) from error
        self.outbox.notify()
        return rating_id

    def forget_unrated(self) -> None:
        """Delete inputs whose ticket has run out and that nobody rated."""
        try:
            self._store.forget_unrated(before=self._now() - TICKET_SECONDS)
        except sqlite3.Error as error:
            log.warning("inputs that were not rated could not be deleted: %s", error)

    def _row(self, values: Sequence[Any]) -> dict[str, Any]:
        row = self.loaded.widgets.to_row(values)
        size_bytes = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if size_bytes > MAX_ROW_BYTES:
            raise DataError(
                f"The input is too large: {size_bytes:,} bytes, and {MAX_ROW_BYTES:,} is the limit."
            )
        faults = self.loaded.task.problems({**row, "label": self.settings.label_names[0]})
        if faults:
            raise DataError(f"The model cannot take this: {'; '.join(faults)}.")
        return row

    def _rating(self, ticket: str, kind: str, answer: str, rater: Rater) -> NewRating:
        if self.needs_account and rater.tier == "anonymous":
            raise RatingRefused("Sign in to rate.", reason="rater", do="Then ask the model again.")
        generation_id, predicted = self._open(ticket)
        if kind not in ("right", "wrong"):
            raise RatingRefused(f"A rating is right or wrong, not {kind!r:.40}.", reason="invalid")
        label = self._label(kind, answer, predicted)
        return NewRating(
            rating_id=secrets.token_hex(16),
            generation_id=generation_id,
            rater=rater.pseudonym,
            rater_tier=rater.tier,
            kind="right" if kind == "right" else "wrong",
            answer=label,
            consent=self._consent_version,
            created=self._now(),
        )

    def _label(self, kind: str, answer: str, predicted: str) -> str:
        """The label that the rating stands for."""
        if kind == "right":
            if answer not in ("", predicted):
                raise RatingRefused(
                    "A right prediction has no other answer.",
                    reason="invalid",
                    do="Rate it wrong to give another answer.",
                )
            return predicted
        if answer not in self.settings.label_names:
            raise RatingRefused(
                f"{answer!r:.60} is no label." if answer else "The right answer is missing.",
                reason="invalid",
                do="Choose one of the labels first.",
            )
        if answer == predicted:
            raise RatingRefused(
                "That is what the model said.", reason="invalid", do="Rate it right instead."
            )
        return answer

    def _open(self, ticket: str) -> tuple[str, str]:
        """Generation id and predicted label of a ticket that this server signed."""
        try:
            if len(ticket) > MAX_TICKET_CHARACTERS:
                raise BadSignature("too long")
            generation_id, predicted = self._signer.loads(ticket, max_age=TICKET_SECONDS)
        except SignatureExpired:
            raise RatingRefused(
                "This prediction is more than a day old.", reason="expired", do="Ask again."
            ) from None
        except BadSignature:
            raise RatingRefused(
                "This is not a prediction of this Space.",
                reason="unknown",
                do="Ask the model first.",
            ) from None
        return generation_id, predicted


def _kept(future: "Future[Answer]") -> Answer:
    try:
        return future.result()
    except sqlite3.Error as error:
        raise _not_kept(error) from error


def _not_kept(error: sqlite3.Error) -> RatingRefused:
    log.error("nothing can be kept: %s", error)
    return RatingRefused(
        "Nothing can be kept at the moment.", reason="storage", do="Try again later."
    )
