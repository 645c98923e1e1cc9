"""Opinions on an answer and on a pair of them, from what a client sends."""

from dataclasses import dataclass

from hub_trainer.errors import DataError
from hub_trainer.ratings import Generation, Pair, RatingRefused
from hub_trainer.ratings.rating_records import Kind
from hub_trainer.space.chat.messages import MAX_ANSWER_CHARACTERS, MAX_REASON_CHARACTERS, checked

OF_ANSWERS = ("up", "down", "edit", "report")
OF_PAIRS = ("left", "right", "tie", "report-left", "report-right")


@dataclass(frozen=True)
class Opinion:
    """A rating's own part: of which generation it is, and what it says."""

    generation_id: str
    kind: Kind
    answer: str
    pair_id: str | None = None


def answer_opinion(shown: Generation, kind: str, text: str) -> Opinion:
    """A thumb, an edited answer, or a report with its reason."""
    about = shown.generation_id
    if kind == "up" or kind == "down":
        _check_no_text(text)
        return Opinion(about, "up" if kind == "up" else "down", "")
    if kind == "edit":
        return Opinion(about, "edit", _edited(text, shown.prediction))
    if kind == "report":
        return Opinion(about, "report", _reason(text))
    raise _unknown(kind, OF_ANSWERS)


def pair_opinion(shown: Pair, kind: str, text: str) -> Opinion:
    """The better side, a tie, or a report of one side."""
    sides = {"left": shown.left_id, "right": shown.right_id}
    # Compared, not looked up: a client may send a list or a number for the kind.
    if kind in ("left", "right"):
        _check_no_text(text)
        return Opinion(sides[kind], "prefer", "", shown.pair_id)
    if kind == "tie":
        _check_no_text(text)
        return Opinion(shown.left_id, "tie", "", shown.pair_id)
    if kind in ("report-left", "report-right"):
        return Opinion(sides[kind.removeprefix("report-")], "report", _reason(text))
    raise _unknown(kind, OF_PAIRS)


def _unknown(kind: str, known: tuple[str, ...]) -> RatingRefused:
    names = f"{', '.join(known[:-1])} or {known[-1]}"
    return RatingRefused(f"A rating is {names}, not {kind!r:.40}.", reason="invalid")


def _check_no_text(text: str) -> None:
    if text:
        raise RatingRefused(
            "This rating has no text with it.",
            reason="invalid",
            do="Rate it edit to change the answer, or report to give a reason.",
        )


def _edited(text: str, answer: str) -> str:
    """The edited answer, with the space before it that parts it from a plain prompt."""
    gap = answer[: len(answer) - len(answer.lstrip())]
    edited = gap + _checked(text, "edited answer", MAX_ANSWER_CHARACTERS)
    if edited.strip() == answer.strip():
        raise RatingRefused(
            "That is what the model wrote.", reason="invalid", do="Rate it up instead."
        )
    return edited


def _reason(text: str) -> str:
    return _checked(text, "reason", MAX_REASON_CHARACTERS)


def _checked(text: str, name: str, max_characters: int) -> str:
    try:
        return checked(text, name=name, max_characters=max_characters)
    except DataError as error:
        do = error.do and f"{error.do[0].upper()}{error.do[1:]}."
        raise RatingRefused(error.what, reason="invalid", do=do) from None
