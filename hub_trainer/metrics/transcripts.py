"""Metrics of transcripts: word and character error rates from two counts per example.

N = examples. An example's statistics are its edits (insertions, deletions, substitutions) and the
words or characters of its reference, so that long clips count as much as their words.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hub_trainer.stats.intervals import FloatArray
from hub_trainer.stats.metric import SHARE, Metric, Statistics, ratio

_ERROR_RATE = Metric(ratio, lower_is_better=True)

TRANSCRIPT_METRICS: Mapping[str, Metric] = {
    "wer": _ERROR_RATE,
    "cer": _ERROR_RATE,
    "wer_ortho": _ERROR_RATE,
    "cer_ortho": _ERROR_RATE,
    "exact_match": SHARE,
}
"""Error rates can be over 1: a model may write more than was said."""

MEANINGS: Mapping[str, str] = {
    "wer": "Word error rate: words inserted, left out or replaced, per word that was said; case "
    "and punctuation do not count; lower is better.",
    "cer": "As `wer`, of characters, those between words too.",
    "wer_ortho": "As `wer`, of the texts as they are written: case and punctuation count.",
    "cer_ortho": "As `cer`, of the texts as they are written.",
    "exact_match": "The share of transcripts without a wrong word; case and punctuation do not "
    "count.",
}
"""What each is, for people."""

_ASIDE = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+?\)")
"""What is no speech, as [laughter]."""


@dataclass(frozen=True)
class Edits:
    """What became of the words of one reference."""

    hits: int
    replaced: tuple[tuple[str, str], ...]
    """(word that was said, word that was written), in their order."""
    left_out: tuple[str, ...]
    inserted: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many edits make the reference of what was written."""
        return len(self.replaced) + len(self.left_out) + len(self.inserted)


def normalised(text: str) -> str:
    """Lower case, with blanks in place of punctuation, and without what stands in brackets.

    As Whisper's normaliser for all languages, except that marks stay: without them the words of
    Indic scripts fall to pieces.
    """
    said = unicodedata.normalize("NFKC", _ASIDE.sub("", text.lower()))
    plain = (" " if unicodedata.category(sign)[0] in "PS" else sign for sign in said)
    return " ".join("".join(plain).lower().split())


def transcript_statistics(
    metric: str, references: Sequence[str], found: Sequence[str]
) -> Statistics:
    """Of N references and what was written for each."""
    if metric == "exact_match":
        pairs = zip(references, found, strict=True)
        return Statistics.of_scores([normalised(t) == normalised(g) for t, g in pairs])
    return Statistics.of(edit_counts(metric, references, found))


def edit_counts(metric: str, references: Sequence[str], found: Sequence[str]) -> FloatArray:
    """(N, 2) edits, and words or characters of the reference."""
    unit, _, written = metric.partition("_")
    truth, given = (
        [" ".join(text.split()) if written else normalised(text) for text in side]
        for side in (references, found)
    )
    if unit == "cer":
        truth, given = ([*map(_spelled, side)] for side in (truth, given))
    rows = [
        (one.count, one.hits + len(one.replaced) + len(one.left_out))
        for one in edits_of(truth, given)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def word_accuracy(references: Sequence[str], found: Sequence[str]) -> FloatArray:
    """(N,) 1 minus each example's own word error rate, and never under 0.

    1 where a reference without words was left empty.
    """
    edits, words = edit_counts("wer", references, found).T
    rates = np.divide(edits, words, out=(edits > 0).astype(np.float64), where=words != 0)
    accuracy: FloatArray = 1 - np.minimum(rates, 1.0)
    return accuracy


def edits_of(references: Sequence[str], found: Sequence[str]) -> list[Edits]:
    """The fewest edits of words between each reference and what was written."""
    import jiwer

    if not references:
        return []
    aligned = jiwer.process_words(list(references), list(found))
    rows = []
    for truth, given, chunks in zip(
        aligned.references, aligned.hypotheses, aligned.alignments, strict=True
    ):
        hits, left_out, inserted = 0, [], []
        replaced: list[tuple[str, str]] = []
        for chunk in chunks:
            said = truth[chunk.ref_start_idx : chunk.ref_end_idx]
            written = given[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "equal":
                hits += len(said)
            elif chunk.type == "substitute":
                replaced += zip(said, written, strict=True)
            elif chunk.type == "delete":
                left_out += said
            else:
                inserted += written
        rows.append(Edits(hits, tuple(replaced), tuple(left_out), tuple(inserted)))
    return rows


def _spelled(text: str) -> str:
    """Characters as words; a blank, which would get lost, as one of its own."""
    return " ".join(text.replace(" ", "\N{SYMBOL FOR SPACE}"))
