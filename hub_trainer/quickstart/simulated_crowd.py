"""A simulated crowd that rates through the Space's own API: some slip, two sabotage."""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_trainer.quickstart.seed import LABELS, Digits

NUM_RATERS, NUM_SABOTEURS, SLIP_FRACTION, RATERS_PER_PICTURE = 12, 2, 0.15, 5


@dataclass(frozen=True)
class Rater:
    """One simulated person: a name, a token of theirs on the Hub, and how they answer."""

    name: str
    token: str
    sabotages: bool


def rater_names() -> list[str]:
    """Names of the crowd's accounts."""
    return [f"rater-{number:02d}" for number in range(1, NUM_RATERS + 1)]


def assign_pictures(num_pictures: int, seed: int) -> list[list[int]]:
    """For each rater the pictures they see; each picture is seen by RATERS_PER_PICTURE of them."""
    import numpy as np

    rng = np.random.default_rng(seed)
    seen: list[list[int]] = [[] for _ in range(NUM_RATERS)]
    for picture in range(num_pictures):
        for rater in rng.choice(NUM_RATERS, RATERS_PER_PICTURE, replace=False):
            seen[rater].append(picture)
    return seen


def believed_labels(truth: Sequence[str], rater: Rater, seed: int) -> list[str]:
    """What a rater takes each picture for: the truth, a slip, or the saboteurs' agreed lie."""
    import numpy as np

    rng = np.random.default_rng(seed)
    believed = []
    for label in truth:
        if rater.sabotages:
            believed.append(LABELS[(LABELS.index(label) + 1) % 10])
        elif rng.random() < SLIP_FRACTION:
            believed.append(str((int(label) + rng.integers(1, 10)) % 10))
        else:
            believed.append(label)
    return believed


def rate_pictures(
    space_url: str,
    digits: Digits,
    raters: Sequence[Rater],
    *,
    seed: int,
    progress: Callable[[float, str], None],
) -> int:
    """Let every rater try the model on their pictures and rate it; returns the ratings saved."""
    seen = assign_pictures(len(digits.pictures), seed)
    total, saved = sum(map(len, seen)), 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(4) as pool:
        paths = _write(digits, Path(folder))
        jobs = [
            (space_url, rater, [paths[i] for i in own], [digits.labels[i] for i in own], seed + n)
            for n, (rater, own) in enumerate(zip(raters, seen, strict=True))
        ]
        for count in pool.map(lambda job: _rate_as(*job), jobs):
            saved += count
            progress(saved / total, f"{saved} of {total} ratings saved")
    return saved


def _rate_as(space_url: str, rater: Rater, paths: list[Path], truth: list[str], seed: int) -> int:
    from gradio_client import Client, handle_file

    client: Any = Client(
        space_url, headers={"Authorization": f"Bearer {rater.token}"}, verbose=False
    )
    for path, belief in zip(paths, believed_labels(truth, rater, seed), strict=True):
        prediction, generation_id = client.predict(handle_file(path), api_name="/predict")
        right = prediction["label"] == belief
        client.predict(
            generation_id,
            "right" if right else "wrong",
            None if right else belief,
            api_name="/rate",
        )
    return len(paths)


def _write(digits: Digits, folder: Path) -> list[Path]:
    paths = []
    for index, picture in enumerate(digits.pictures):
        path = folder / f"{index:04d}.png"
        path.write_bytes(picture)
        paths.append(path)
    return paths
