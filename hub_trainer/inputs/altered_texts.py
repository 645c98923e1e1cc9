"""Copies of texts that were altered, told from texts that only resemble each other by chance.

Each word of a reference that a text holds gives evidence, in nats: how seldom a text of that length
holds it by chance, from the references themselves. So a copy is seen with filler before, behind or
between its words, in another order, with typing errors, with some words replaced, written without
spaces or with one behind each letter, and inside a longer text. The distance is the share of the
reference's evidence that is missing; a reference whose words prove too little is never near.

A content is the texts of a row. Of a pair both must be there, in either order: what is alike stays
so when it is turned round, and a row that shares one text only is an honest one. The distance is
that of the text of which more is missing.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

from hub_trainer.inputs.near_texts import normal_text

if TYPE_CHECKING:
    import numpy as np

REACH = 0.4
"""Distance within which texts are near when the recipe's `near` is 0.85."""
MARGIN = 5.0
"""Nats by which the evidence must exceed what the best of all references has by chance."""
MISSING = 1.5
"""Nats that a word costs which the text does not hold; a rare word may have been replaced."""
TYPED = 0.7
"""Similarity of a word and its misspelling."""
SHORT_WORD = 3
MOST_COMPARISONS = 10_000
"""Pairs of words that are compared for typing errors, per pair of texts."""
LONG_WORD = 12
"""Letters from which a word of a script without case is taken for a phrase without spaces."""
GRAM = 3
COMMON_SHARE, COMMON = 0.1, 20
"""Share and number of references from which a feature no longer says which it may be."""
CANDIDATES = 3
BLOCK = 256

PART = 0.4
"""Share of a reference's letters from which a part of it counts as a copy."""
PART_CHANCE = 0.02
"""Share of the references of which another one may hold so much as if they were a part of it."""
READS_BETTER = 0.2
"""Share of words that a way of reading must make known before a text is read so."""

_WORD = re.compile(r"[^\W_]+")
_LEET = "4@301!5$7"
_READINGS = (
    lambda text: text.translate(str.maketrans(_LEET, "aaeoiisst")),
    lambda text: text.translate(str.maketrans(_LEET, "aaeollsst")),
    lambda text: re.sub(r"([^\W\d_])\1+", r"\1", text),
)
"""Ways in which a text can be read that hides its words: signs for letters, letters doubled."""
_IDEOGRAPH = re.compile("[\u2e80-\u9fff]")


@dataclass(frozen=True)
class _Text:
    """A text as it is compared."""

    words: tuple[str, ...]
    distinct: frozenset[str]
    joined: str
    """All words without a space."""


Content = tuple[_Text, ...]
"""The texts of a row in their order."""


class References:
    """Contents that no other one may be a copy of."""

    def __init__(self, contents: Sequence[Sequence[str]]) -> None:
        import numpy as np

        read = [_read(content) for content in contents]
        self._contents, texts = read, [text for content in read for text in content]
        self._num_texts = len(texts)
        self._counts = Counter(word for text in texts for word in text.distinct)
        self._full = [[sum(map(self._rarity, one.distinct)) for one in content] for content in read]
        self._least = math.log(max(1, len(read))) + MARGIN
        self._features = _telling_features(read)
        rarity = [math.log((len(read) + 1) / count) for _, count in self._features.values()]
        self._weights = np.array(rarity or [0.0], np.float32)
        held = self._matrix(read)
        self._norms = np.maximum(held @ self._weights, 1e-6)
        self._weighted = held.multiply(self._weights).tocsr().T
        self.own = self._nearest(read, self._distance, others_only=True)[1]
        """Distance of each reference from the nearest other one: what chance brings."""
        parts = sorted(self._nearest(read, self._distance_of_part, others_only=True)[1])
        by_chance = [float(one) for one in parts[int(PART_CHANCE * len(parts)) :][:1]]
        self._part_reach = min([REACH, *by_chance])

    def nearest(self, contents: Sequence[Sequence[str]]) -> tuple["np.ndarray", "np.ndarray"]:
        """Per content the nearest reference, and its distance; infinite when none is any near."""
        read = [tuple(map(self._read_best, content)) for content in contents]
        return self._nearest(read, self._distance_of_all, others_only=False)

    def _read_best(self, text: str) -> _Text:
        """The text as written, or in the way in which the references have most of its words."""
        best = plain = _read_one(text)
        known = self._share_known(plain) + READS_BETTER
        for reading in _READINGS if known < 1 else ():
            one = _read_one(reading(_bare(text)))
            share = self._share_known(one)
            if share > known:
                best, known = one, share
        return best

    def _share_known(self, text: _Text) -> float:
        return sum(word in self._counts for word in text.words) / max(1, len(text.words))

    def _nearest(
        self,
        contents: Sequence[Content],
        distance_of: Callable[[Content, int], float],
        *,
        others_only: bool,
    ) -> tuple["np.ndarray", "np.ndarray"]:
        import numpy as np

        best, distances = np.zeros(len(contents), np.int64), np.full(len(contents), np.inf)
        for row, candidates in self._candidates(contents):
            for reference in candidates:
                if others_only and reference == row:
                    continue
                distance = distance_of(contents[row], int(reference))
                if distance < distances[row]:
                    best[row], distances[row] = reference, distance
        return best, distances

    def _candidates(self, contents: Sequence[Content]) -> Iterator[tuple[int, set[int]]]:
        """Each content with references that share most features: of theirs, or of both."""
        import numpy as np

        if not self._contents or not self._features:
            return
        count = min(CANDIDATES + 1, len(self._contents))
        for start in range(0, len(contents), BLOCK):
            held = self._matrix(contents[start : start + BLOCK])
            norms = np.maximum(held @ self._weights, 1e-6)
            shared = (held @ self._weighted).toarray()
            for scores in (shared / self._norms, shared / np.sqrt(self._norms * norms[:, None])):
                top = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                for row, places in enumerate(top):
                    likely = {int(n) for n in places if scores[row, n] > 0}
                    yield start + row, likely

    def _matrix(self, contents: Sequence[Content]) -> Any:
        import numpy as np
        from scipy.sparse import csr_matrix

        places: list[int] = []
        ends = [0]
        for content in contents:
            places += [self._features[f][0] for f in _features(content) if f in self._features]
            ends.append(len(places))
        ones = np.ones(len(places), np.float32)
        return csr_matrix((ones, places, ends), (len(contents), max(1, len(self._features))))

    def _rarity(self, word: str, longer: float = 1.0) -> float:
        """Nats that the word proves in a text so many times as long as the reference."""
        share = (self._counts.get(word, 0) + 0.5) / (self._num_texts + 1)
        return -math.log(share if longer <= 1 else 1 - (1 - share) ** longer)

    def _distance(self, content: Content, number: int) -> float:
        """Of the texts in the order in which they are nearest."""
        reference = self._contents[number]
        if len(content) > 1 and _signs_of(content) == _signs_of(reference):
            return 0.0
        if sum(self._full[number]) < self._least:
            return math.inf
        return min(self._distance_in_order(turned, number) for turned in permutations(content))

    def _distance_of_all(self, content: Content, number: int) -> float:
        """The distance of a copy of the whole, or of a part on the same scale."""
        whole = self._distance(content, number)
        if not self._part_reach:
            return whole
        return min(whole, self._distance_of_part(content, number) * REACH / self._part_reach)

    def _distance_of_part(self, content: Content, number: int) -> float:
        """The share of a text's own evidence that a longer reference lacks, if there is enough."""
        text, reference = content[0], self._contents[number][0]
        is_part = PART * len(reference.joined) <= len(text.joined) < len(reference.joined)
        if len(content) > 1 or not is_part:
            return math.inf
        full = sum(map(self._rarity, text.distinct))
        if full < self._least:
            return math.inf
        return 1 - self._evidence_in(reference, text, full) / full

    def _distance_in_order(self, content: Content, number: int) -> float:
        """The largest share of a text's evidence that is missing, if there is enough in all."""
        worst, total = 0.0, 0.0
        for text, one, full in zip(
            content, self._contents[number], self._full[number], strict=True
        ):
            if bool(text.words) != bool(one.words):
                return math.inf
            if one.words:
                evidence = self._evidence_in(text, one, full)
                total += evidence
                worst = max(worst, 1 - evidence / full)
        return worst if total >= self._least else math.inf

    def _evidence_in(self, text: _Text, reference: _Text, full: float) -> float:
        longer = len(text.joined) / len(reference.joined)
        if reference.joined in text.joined:
            return full - math.log(max(1.0, longer))
        evidence = self._evidence(text, reference, max(1.0, longer))
        if len(text.words) > 2 * len(reference.words) + 8:
            window = self._window(text, reference)
            evidence = max(evidence, self._evidence(window, reference) - math.log(longer))
        return evidence

    def _evidence(self, text: _Text, reference: _Text, longer: float = 1.0) -> float:
        rarities = {word: self._rarity(word, longer) for word in reference.distinct}
        missing = [word for word in reference.distinct if word not in text.distinct]
        found = sum(rarities.values()) - sum(rarities[word] for word in missing)
        return found + sum(
            share * rarities[word] if share else -min(rarities[word], MISSING)
            for word, share in _altered_words(missing, text)
        )

    def _window(self, text: _Text, reference: _Text) -> _Text:
        """The part of a longer text that holds most of the reference's words."""
        import numpy as np

        proven = [self._rarity(w) if w in reference.distinct else 0.0 for w in text.words]
        length = 2 * len(reference.words) + 4
        sums = np.convolve(proven, np.ones(length), "valid")
        start = int(sums.argmax())
        return _as_text(text.words[start : start + length])


def _altered_words(missing: Sequence[str], text: _Text) -> Iterator[tuple[str, float]]:
    """How much of each missing word a text holds: within another word, or with typing errors.

    In long texts only some of the words are looked for, and the others share their mean.
    """
    from rapidfuzz.distance import Indel
    from rapidfuzz.process import extractOne

    long_words = sorted(word for word in missing if len(word) > SHORT_WORD)
    step = 1 + len(long_words) * len(text.distinct) // MOST_COMPARISONS
    shares = []
    for word in long_words[::step]:
        if word in text.joined:
            shares.append(0.9)
            continue
        typed = extractOne(
            word, text.distinct, scorer=Indel.normalized_similarity, score_cutoff=TYPED
        )
        shares.append(typed[1] - 0.1 if typed else 0.0)
    mean = sum(shares) / max(1, len(shares))
    looked_for = dict(zip(long_words[::step], shares, strict=True))
    for word in missing:
        yield word, looked_for.get(word, mean if len(word) > SHORT_WORD else 0.0)


def _read(content: Sequence[str]) -> Content:
    return tuple(map(_read_one, content))


def _read_one(text: str) -> _Text:
    return _as_text([part for word in _WORD.findall(_bare(text)) for part in _parts(word)])


def _as_text(words: Sequence[str]) -> _Text:
    return _Text(tuple(words), frozenset(words), "".join(words))


def _signs_of(content: Content) -> list[str]:
    """What the texts of a content say, in whichever order."""
    return sorted(text.joined for text in content)


def _bare(text: str) -> str:
    """The normal text without accents."""
    parts = unicodedata.normalize("NFKD", normal_text(text))
    return "".join(sign for sign in parts if unicodedata.category(sign) != "Mn")


def _parts(word: str) -> list[str]:
    """The word itself; of a phrase in a script that sets no spaces, its pairs of signs."""
    caseless = all(unicodedata.category(sign) == "Lo" for sign in word)
    if not caseless or len(word) < LONG_WORD and not _IDEOGRAPH.search(word):
        return [word]
    return [word[n : n + 2] for n in range(max(1, len(word) - 1))]


def _features(content: Content) -> set[str]:
    """What candidates are found by: words, and trigrams of joined texts whatever their spaces."""
    found = {f" {word}" for text in content for word in text.distinct}
    for padded in (text.joined.ljust(GRAM) for text in content):
        found |= {padded[n : n + GRAM] for n in range(len(padded) - GRAM + 1)}
    return found


def _telling_features(contents: Sequence[Content]) -> dict[str, tuple[int, int]]:
    """Feature -> its place and the references that have it, of those that not too many have."""
    counts = Counter(feature for content in contents for feature in _features(content))
    most = max(COMMON, COMMON_SHARE * len(contents))
    known = [(feature, count) for feature, count in sorted(counts.items()) if count <= most]
    return {feature: (place, count) for place, (feature, count) in enumerate(known)}
