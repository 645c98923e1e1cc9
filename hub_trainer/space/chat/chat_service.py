"""A Space of a language model: answers that are kept as they are written, and ratings of them.

The server keeps the conversation. A client says with which ticket it goes on, and never what a
model has said.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.finetune.language.decoding import Ending
from hub_trainer.inputs.language_examples import example_of
from hub_trainer.ratings import Generation, Pair, RatingRefused
from hub_trainer.rows import row_id
from hub_trainer.space.chat.messages import MAX_MESSAGE_CHARACTERS, checked
from hub_trainer.space.chat.opinions import answer_opinion, pair_opinion
from hub_trainer.space.raters import Rater
from hub_trainer.space.rating_intake import RatingIntake
from hub_trainer.tasks import ModelFolders, Row, Task

MAX_TURNS = 32
"""Messages of a person in one conversation."""
MAX_SEED = 2**31
Turn = Mapping[str, str]


@dataclass(frozen=True)
class ChatModel:
    """A model that answers."""

    name: str
    """repo_id@commit_sha."""
    folders: ModelFolders


@dataclass(frozen=True)
class Written:
    """An answer as far as it is written; the ticket comes with the whole of it."""

    text: str
    ticket: str | None = None
    is_cut: bool = False
    """Whether it ends where the most tokens of an answer are reached."""


@dataclass(frozen=True)
class WrittenPair:
    """Two answers to one prompt as far as they are written, and at last the ticket of the pair."""

    left: str
    right: str
    ticket: str | None = None
    cut_sides: tuple[str, ...] = ()
    """left, right: those that end where the most tokens of an answer are reached."""


def never() -> bool:
    """Nobody stops this answer."""
    return False


def new_seed() -> int:
    """A seed that nobody can guess."""
    return secrets.randbelow(MAX_SEED)


class ChatService:
    """Answers and ratings; refusals are RatingRefused, bad input is DataError.

    One model, or two that answer in pairs: which of them is on which side is told to nobody.
    """

    def __init__(
        self,
        task: Task,
        models: Sequence[ChatModel],
        intake: RatingIntake,
        *,
        key: bytes,
        new_seed: Callable[[], int] = new_seed,
    ) -> None:
        assert intake.settings.generation is not None
        assert task.converses is not None
        self.intake, self.sampling = intake, intake.settings.generation
        self._modality, self._converses = task.modality, task.converses
        self._models, self._key, self._new_seed = models, key, new_seed
        self._store = intake.outbox.store
        asked = example_of(self._prompt_row(models[0], [_said("Hello")])).prompt
        self.remembers = not isinstance(asked, str)
        """Whether a prompt holds the turns before it, as those of a chat template do."""

    def warm_up(self) -> None:
        """Load the models, so that nobody waits for that."""
        for model in self._models:
            row = self._prompt_row(model, [_said("Hello")])
            next(self._converses.stream(model.folders, row, self.sampling, seed=0), None)

    def answer(
        self, message: str, after: str, rater: Rater, *, stopped: Callable[[], bool] = never
    ) -> Iterator[Written]:
        """What the model answers, piece by piece; kept once it is whole, or was stopped.

        `after` is the ticket of the answer that the message follows, empty at the beginning.
        """
        (model,) = self._models
        turns = self._turns(message, after, rater)
        row, seed = self._prompt_row(model, turns), self._new_seed()
        text = ""
        cut = False
        pieces = Ending(self._converses.stream(model.folders, row, self.sampling, seed=seed))
        for piece in pieces:
            text += piece
            yield Written(text)
            cut = stopped()
            if cut:
                break
        sampled = self._sampled(seed, finished=pieces.finished, stopped=cut)
        generation = self._generation(model, row, text, rater, sampled)
        self.intake.keep(generation)
        ticket = self.intake.ticket("answer", generation.generation_id)
        yield Written(text, ticket, is_cut=not pieces.finished and not cut)

    def pair(
        self, message: str, after: str, rater: Rater, *, stopped: Callable[[], bool] = never
    ) -> Iterator[WrittenPair]:
        """What both models answer, in step, so that the faster one cannot be told."""
        turns = self._turns(message, after, rater)
        seeds = [self._new_seed(), self._new_seed()]
        order = self._order(seeds[0])
        rows = [self._prompt_row(model, turns) for model in self._models]
        streams = [
            Ending(self._converses.stream(model.folders, row, self.sampling, seed=seed))
            for model, row, seed in zip(self._models, rows, seeds, strict=True)
        ]
        left, right = (streams[i] for i in order)
        texts = ("", "")
        cut = False
        for pieces in zip_longest(left, right, fillvalue=""):
            texts = (texts[0] + pieces[0], texts[1] + pieces[1])
            yield WrittenPair(*texts)
            cut = stopped()
            if cut:
                break
        # Both are kept under the prompt of the first model, so that they answer the same.
        sides = [
            self._generation(
                self._models[i],
                rows[0],
                text,
                rater,
                self._sampled(seeds[i], finished=streams[i].finished, stopped=cut),
            )
            for i, text in zip(order, texts, strict=True)
        ]
        pair_id = secrets.token_hex(16)
        pair = Pair(pair_id, sides[0].generation_id, sides[1].generation_id)
        self.intake.keep_pair(pair, (sides[0], sides[1]))
        ends = zip(("left", "right"), (left, right), strict=True)
        cut_sides = tuple(name for name, side in ends if not side.finished and not cut)
        yield WrittenPair(*texts, self.intake.ticket("pair", pair_id), cut_sides)

    async def rate(self, ticket: str, kind: str, answer: str | None, rater: Rater) -> str:
        """Keep a rating; returns its id once it is on the disk."""
        self.intake.assert_may_rate(rater)
        what, shown_id = self.intake.open_ticket(ticket)
        read = self._store.pair if what == "pair" else self._store.generation
        shown = await asyncio.to_thread(read, shown_id)
        if shown is None:
            raise RatingRefused(
                "This answer is not known here any more.", reason="unknown", do="Ask again."
            )
        if isinstance(shown, Pair):
            opinion = pair_opinion(shown, kind, answer or "")
        else:
            opinion = answer_opinion(shown, kind, answer or "")
        return await self.intake.save(self.intake.rating(**vars(opinion), rater=rater))

    def health(self) -> dict[str, Any]:
        """Which models answer and how, and how far the Hub is behind."""
        rival = self.intake.settings.rival
        return {
            **self.intake.health(),
            "generation": self.sampling.model_dump(),
            "rival": rival and rival.model_dump(),
        }

    def _turns(self, message: str, after: str, rater: Rater) -> list[Turn]:
        """The conversation up to the message."""
        said = _said(checked(message, name="message", max_characters=MAX_MESSAGE_CHARACTERS))
        self.intake.limits.take(rater.limited_as)
        if not after or not self.remembers:
            return [said]
        earlier = self._earlier(after, rater)
        turns = [
            *json.loads(earlier.row["prompt"]),
            {"role": "assistant", "content": earlier.prediction},
            said,
        ]
        if sum(turn["role"] == "user" for turn in turns) > MAX_TURNS:
            raise DataError(f"A conversation has {MAX_TURNS} turns at most.", do="start a new one")
        return turns

    def _earlier(self, after: str, rater: Rater) -> Generation:
        """The answer that a message follows; of a pair the preferred one."""
        what, shown_id = self.intake.open_ticket(after)
        if what == "pair":
            preferred = self._store.preferred(shown_id)
            if preferred is None:
                raise DataError("Which answer is better?", do="say it, then go on")
            shown_id = preferred
        earlier = self._store.generation(shown_id)
        if earlier is None or earlier.rater != rater.pseudonym:
            raise DataError("This conversation is not known here.", do="start a new one")
        return earlier

    def _prompt_row(self, model: ChatModel, turns: Sequence[Turn]) -> Row:
        return self._converses.prompt_row(model.folders, turns)

    def _order(self, seed: int) -> tuple[int, int]:
        """Which model is left and which right: known to who has the key, and even over seeds."""
        digest = hmac.new(self._key, f"side of {seed}".encode(), sha256).digest()
        return (0, 1) if digest[0] & 1 else (1, 0)

    def _sampled(self, seed: int, *, finished: bool, stopped: bool) -> dict[str, Any]:
        cut = {"stopped": True} if stopped else {}
        return {**self.sampling.model_dump(), "seed": seed, "finished": finished, **cut}

    def _generation(
        self, model: ChatModel, row: Row, text: str, rater: Rater, sampling: Mapping[str, Any]
    ) -> Generation:
        asked = json.dumps(example_of(row).prompt, ensure_ascii=False)
        kept = {"text": row["prompt"], "prompt": asked}
        return Generation(
            generation_id=secrets.token_hex(16),
            row=kept,
            row_id=row_id(kept, self._modality),
            model=model.name,
            prediction=text,
            scores={},
            rater=rater.pseudonym,
            created=self.intake.now(),
            sampling=sampling,
        )


def _said(text: str) -> Turn:
    return {"role": "user", "content": text}
