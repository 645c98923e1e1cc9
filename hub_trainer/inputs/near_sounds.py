"""Near-duplicate sounds: the same recording in another format, level or rate, and not a look-alike.

Similarity is 1 less three quarters of the part of the wave that the other leaves unexplained: at
0.85 waves correlate by 0.98, as those of one voice that says one word twice hardly ever do.
"""

from collections.abc import Iterator, Sequence

from hub_trainer.inputs.sound_matching import (
    BLOCK,
    Sounds,
    candidates,
    correlation,
    made_ready,
    unexplained,
)
from hub_trainer.sounds import open_sound, sixteen_bits

SCALE = 0.75


def normal(content: bytes) -> bytes:
    """Rate and samples of a sound in one channel, at 16 bits: the same in any container."""
    samples, rate = open_sound(content)
    return f"{rate}".encode() + sixteen_bits(samples).tobytes()


def within(contents: Sequence[bytes], near: float) -> list[tuple[int, int, float]]:
    """(row, leader, similarity) of each sound that is near an earlier one that leads a group."""
    ready = made_ready(contents)
    pairs = {(min(row, other), max(row, other)) for row, other in _candidates(ready, ready)}
    taken: dict[int, tuple[int, float]] = {}
    for row, other in sorted(pairs):
        if row in taken or other in taken:
            continue
        similarity = _similarity(ready, row, ready, other)
        if similarity >= near:
            taken[other] = (row, similarity)
    return [(member, *taken[member]) for member in sorted(taken)]


def between(
    contents: Sequence[bytes], references: Sequence[bytes], near: float
) -> list[tuple[int, int, float]]:
    """(row, most similar reference, similarity) of each sound that is near a reference."""
    ours, theirs = made_ready(contents), made_ready(references)
    best: dict[int, tuple[int, float]] = {}
    for row, other in _candidates(ours, theirs):
        similarity = _similarity(ours, row, theirs, other)
        if similarity >= near and (row not in best or similarity > best[row][1]):
            best[row] = (other, similarity)
    return [(row, *best[row]) for row in sorted(best)]


def _candidates(ours: Sounds, theirs: Sounds) -> Iterator[tuple[int, int]]:
    for start in range(0, len(ours), BLOCK):
        pairs = candidates(ours, theirs, start, min(start + BLOCK, len(ours)))
        yield from zip(pairs.rows.tolist(), pairs.others.tolist(), strict=True)


def _similarity(ours: Sounds, row: int, theirs: Sounds, other: int) -> float:
    return 1 - SCALE * unexplained(correlation(ours.waves[row], theirs.waves[other]))
