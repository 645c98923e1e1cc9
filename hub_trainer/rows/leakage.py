"""Rows that repeat what is sealed: by their content, and in dialogues by question or answer."""

from collections.abc import Sequence
from functools import cached_property

from hub_trainer.duplicates import Match, Row, SealedRows, is_copy
from hub_trainer.inputs import load_input


class SealedExamples:
    """Sealed rows of a dataset, made ready to be compared with many others.

    Of dialogues a row must repeat neither a sealed one, nor its prompt with another answer, nor its
    answer under another prompt. A prompt that is the same counts always; parts of rows that
    are altered or stand inside another text count as far as chance does not bring them.
    """

    def __init__(self, sealed: Sequence[Row], modality: str, near: float | None) -> None:
        self._sealed, self._modality, self._near = sealed, modality, near
        self._dialogue = load_input(modality).dialogue

    def __len__(self) -> int:
        return len(self._sealed)

    def nearest(self, rows: Sequence[Row]) -> list[Match]:
        """Each row that is any near to a sealed one, once, with the nearest."""
        found: dict[int, Match] = {}
        for match in self._all_matches(rows):
            known = found.get(match.row)
            if known is None or match.remoteness < known.remoteness:
                found[match.row] = match
        return [found[row] for row in sorted(found)]

    def copies_among(self, rows: Sequence[Row]) -> list[Match]:
        """The rows that repeat a sealed one, each once."""
        return [match for match in self.nearest(rows) if is_copy(match)]

    def _all_matches(self, rows: Sequence[Row]) -> list[Match]:
        matches = self._whole.nearest(rows)
        if self._dialogue is None or self._questions is None:
            return matches
        matches += self._questions.nearest(self._dialogue.questions(rows))
        for part in self._parts:
            matches += part.nearest(rows)
        return matches

    @cached_property
    def _whole(self) -> SealedRows:
        return SealedRows(self._sealed, self._modality, self._near)

    @cached_property
    def _questions(self) -> SealedRows | None:
        """Sealed rows as what they ask; None where none of them asks for anything."""
        if self._dialogue is None or not self._dialogue.asked(self._sealed):
            return None
        return SealedRows(self._dialogue.questions(self._sealed), self._modality, None)

    @cached_property
    def _parts(self) -> list[SealedRows]:
        """Questions alone and answers alone, to be found inside of rows."""
        if self._dialogue is None or self._near is None:
            return []
        asked = self._dialogue.asked(self._sealed)
        return [
            SealedRows(part, self._modality, self._near) for part in self._dialogue.parts(asked)
        ]


def find_sealed(
    rows: Sequence[Row], sealed: Sequence[Row], modality: str, near: float | None
) -> list[Match]:
    """Rows that repeat a sealed row or a part of it, each once; see SealedExamples."""
    return SealedExamples(sealed, modality, near).copies_among(rows)
