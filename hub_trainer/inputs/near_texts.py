"""Near-duplicate texts: MinHash over character shingles finds them, exact Jaccard verifies them.

A content is the texts of a row in their order. Pairs are as similar as the less similar of their
texts, so that two which share one of them are no duplicates.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SHINGLE = 5
"""Characters per shingle."""
MAX_SHINGLES = 1_000
"""Shingles with the smallest hashes, which stand for all of a long text (a bottom-k sketch)."""
NUM_PERMUTATIONS = 128
RECALL = 0.99
"""Share of the pairs at the threshold itself that must become candidates."""

# Controls but white space, and the code points that Unicode has nothing drawn for by default:
# soft hyphens, joiners, directions, fillers, selectors of variants, tags.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_ALIKE = {
    "a": "\u0430\u03b1\u0251\u1d00",
    "b": "\u0432\u044c",
    "c": "\u0441\u03f2\u1d04",
    "d": "\u0501",
    "e": "\u0435\u04bd\u1d07",
    "g": "\u0261\u0581",
    "h": "\u043d\u04bb\u0570",
    "i": "\u0456\u03b9\u0131\u0269",
    "j": "\u0458\u03f3",
    "k": "\u043a\u03ba",
    "l": "\u04cf\u029f",
    "m": "\u043c",
    "n": "\u03b7\u0274\u057c",
    "o": "\u043e\u03bf\u0585\u1d0f",
    "p": "\u0440\u03c1",
    "q": "\u051b",
    "r": "\u0433\u0280",
    "s": "\u0455\ua731",
    "t": "\u0442\u03c4",
    "u": "\u03c5\u057d\u1d1c",
    "v": "\u0475\u03bd",
    "w": "\u051d\u0461",
    "x": "\u0445\u03c7",
    "y": "\u0443\u04af\u03b3\u028f",
}
_DRAWN_ALIKE = {ord(sign): letter for letter, signs in _ALIKE.items() for sign in signs}


def normal(content: Sequence[str]) -> bytes:
    """As `normal_text`, encoded; between two texts stands a byte that no text has."""
    return b"\xff".join(normal_text(text).encode("utf-8", "surrogatepass") for text in content)


def normal_text(text: str) -> str:
    """Text with one Unicode form (NFKC), no unseen signs, no case, and single spaces.

    Letters of other scripts that are drawn like Latin ones become those; a text of such a script
    keeps its differences from others, which is all that comparing needs.
    """
    seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(seen.casefold().translate(_DRAWN_ALIKE).split())


def within(contents: Sequence[Sequence[str]], near: float) -> list[tuple[int, int, float]]:
    """(row, leader, similarity) of each content that is near an earlier one that leads a group."""
    index, found = _Index(near), []
    for number, shingles, signature in _sketches(contents):
        match = index.nearest(shingles, signature)
        if match:
            found.append((number, *match))
        else:
            index.add(number, shingles, signature)
    return found


def between(
    contents: Sequence[Sequence[str]], references: Sequence[Sequence[str]], near: float
) -> list[tuple[int, int, float]]:
    """(row, most similar reference, similarity) of each content that is near a reference."""
    index, found = _Index(near), []
    for number, shingles, signature in _sketches(references):
        index.add(number, shingles, signature)
    for number, shingles, signature in _sketches(contents):
        match = index.nearest(shingles, signature)
        if match:
            found.append((number, *match))
    return found


class _Index:
    """Contents to compare with, found by the bands of their MinHash."""

    def __init__(self, near: float) -> None:
        from datasketch import MinHashLSH

        self._near = near
        self._lsh = MinHashLSH(num_perm=NUM_PERMUTATIONS, params=_bands(near))
        self._shingles: dict[int, list[np.ndarray]] = {}

    def add(self, number: int, shingles: "list[np.ndarray]", signature: Any) -> None:
        self._lsh.insert(number, signature, check_duplication=False)
        self._shingles[number] = shingles

    def nearest(self, shingles: "list[np.ndarray]", signature: Any) -> tuple[int, float] | None:
        """The most similar content from the threshold on, the first among equals."""
        scored = [
            (min(map(jaccard, shingles, self._shingles[number])), -number)
            for number in self._lsh.query(signature)
        ]
        similarity, number = max(scored, default=(0.0, 0))
        return (-number, similarity) if scored and similarity >= self._near else None


def jaccard(first: "np.ndarray", second: "np.ndarray") -> float:
    """Share of common shingles; estimated from the smallest hashes where texts are long."""
    import numpy as np

    union = np.union1d(first, second)[:MAX_SHINGLES]
    common = np.intersect1d(first, second, assume_unique=True)
    shared = np.isin(union, common, assume_unique=True).sum()
    return float(shared) / max(1, len(union))


def _bands(near: float) -> tuple[int, int]:
    """(bands, rows): the widest bands that still bring RECALL of the pairs at the threshold."""
    for rows in range(NUM_PERMUTATIONS, 1, -1):
        bands = NUM_PERMUTATIONS // rows
        if bands > 1 and 1 - (1 - near**rows) ** bands >= RECALL:
            return bands, rows
    return NUM_PERMUTATIONS, 1


def _sketches(contents: Sequence[Sequence[str]]) -> Any:
    """(number, shingles of each text, MinHash) of each content.

    The texts of a content take turns in its MinHash. So a band holds some of each, and those that
    share one text only are no candidates.
    """
    from datasketch import MinHash

    empty = MinHash(num_perm=NUM_PERMUTATIONS, hashfunc=int)
    for number, content in enumerate(contents):
        shingles = [_shingle_hashes(normal_text(text)) for text in content]
        signature, *others = [empty.copy() for _ in content]
        for made, hashes in zip((signature, *others), shingles, strict=True):
            made.update_batch(hashes.tolist())
        for place, other in enumerate(others, start=1):
            signature.hashvalues[place :: len(content)] = other.hashvalues[place :: len(content)]
        yield number, shingles, signature


def _shingle_hashes(text: str) -> "np.ndarray":
    """Sorted 32-bit hashes of a text's shingles, the smallest ones of a long text."""
    import numpy as np

    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    if len(points) < SHINGLE:
        points = np.pad(points, (0, SHINGLE - len(points)))
    windows = np.lib.stride_tricks.sliding_window_view(points, SHINGLE).astype(np.uint64)
    hashes = np.zeros(len(windows), np.uint64)
    for place in range(SHINGLE):
        hashes = (hashes ^ windows[:, place]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return np.unique((hashes >> np.uint64(32)).astype(np.uint32))[:MAX_SHINGLES]
