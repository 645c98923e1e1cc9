"""Publishing through a proxy that fails each call in each way, while others download the model.

    python -m tests.benchmarks.publish_faults --publishes 50

Rounds of one model are published one after another, each with one fault: 500, 504 as of a gateway's
time-out, 429 with Retry-After, 409, 412, a connection that is closed or reset, before or after the
call took effect, at one call of a publish; pairs of call and fault are dealt out by the seed. A
publish that fails is run again, as a person would. After each attempt the head is the old commit or
the complete new model, and each run has one commit. Meanwhile four other processes download the
model with the plain client and hold every file against the hashes of the record beside it. The
proof of reloading is taken as given. Prints a closing line.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

# Read when the client is imported: the Local Hub has no Xet storage.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from huggingface_hub import snapshot_download

from hub_trainer.errors import HubError
from hub_trainer.hub import RUN_TRAILER, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.stages import publish
from tests.cards.evidence import LABELS, recipe
from tests.stages.publish import rounds
from tests.stages.publish.proxy import EVERY_FAULT, FaultyHub

MODEL = Repo("ada/model")
MAX_RUNS = 6
NUM_READERS = 4
SCORES = [{label: 0.8 if i % 3 == j else 0.1 for j, label in enumerate(LABELS)} for i in range(12)]
RELOAD = {"rows": 8, "max_difference": 0.0, "loaded_with": "taken as given here"}
STOP = "stop"
PAUSE_SECONDS = 0.2
"""Between two downloads of one reader."""
Fault = tuple[int, str]
"""Which call of a publish, from 0 on, and what becomes of it."""


@dataclass
class Publisher:
    """Publishes round after round, through the proxy, and looks at the Hub itself in between."""

    hub: Hub
    faulty: FaultyHub
    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    parent: str | None = None

    def __post_init__(self) -> None:
        self.shas = rounds.seed_hub(self.hub)
        self.recipe = recipe(publish={"repo_id": MODEL.repo_id, "private": False})
        self.through = Hub(self.faulty.url, self.hub._token)

    def publish(self, number: int, fault: Fault | None) -> int:
        """Publish a round with other weights than the one before; the calls that it took."""
        model, round_dir = self.folder / f"model-{number}", self.folder / f"round-{number:03d}"
        rounds.tiny_text_model(model, seed=number)
        about = {"round": number, "parent": self.parent}
        pins = rounds.write_round(round_dir, self.shas, model, SCORES, **about)
        at, kind = fault or (-1, "")
        self.faulty.arm(lambda call, method, path: kind if call == at else None)
        for _ in range(MAX_RUNS):
            done = self._attempt(round_dir)
            head = self._head()
            if head != self.parent:
                assert head is not None
                assert whole_round(self.hub, head) == number
            if done:
                break
            self.counts["run again"] += 1
        else:
            raise AssertionError(f"round {number} cannot be published: {fault}")
        self.counts["faults met"] += len(self.faulty.faults)
        mark = f"{RUN_TRAILER}: {pins.run_id}"
        made = [one for one in self.hub.history(MODEL) if mark in one.message]
        assert [one.commit_sha for one in made] == [self._head()], fault
        assert not self.hub.pull_requests(MODEL, status=None)
        self.parent = self._head()
        return len(self.faulty.calls)

    def _attempt(self, round_dir: Path) -> bool:
        try:
            publish.run(self.recipe, round_dir, self.through)
        except HubError:
            return False
        return True

    def _head(self) -> str | None:
        return self.hub.resolve(MODEL) if self.hub.exists(MODEL) else None


def whole_round(hub: Hub, commit_sha: str) -> int:
    """The round that a commit holds, every file of it as its record says."""
    record = json.loads(hub.read_file(MODEL, "round.json", commit_sha) or b"")
    assert record["hashes"]
    for path, sha in record["hashes"].items():
        content = hub.read_file(MODEL, path, commit_sha)
        assert content is not None
        assert hashlib.sha256(content).hexdigest() == sha, (commit_sha, path)
    return int(record["round"])


def read_on(url: str, folder: Path) -> None:
    """Download the model again and again until told to stop; say how often, and what was amiss."""
    counts, newest = Counter({"downloads": 0, "mixtures": 0, "steps back": 0}), 0
    for number in itertools.count():
        if (folder / STOP).exists():
            break
        cache = folder / str(os.getpid()) / str(number % 3)
        found = Path(snapshot_download(MODEL.repo_id, endpoint=url, cache_dir=cache))
        record = json.loads((found / "round.json").read_text())
        hashes = {
            path: hashlib.sha256((found / path).read_bytes()).hexdigest()
            for path in record["hashes"]
        }
        counts["downloads"] += 1
        counts["mixtures"] += hashes != record["hashes"]
        counts["steps back"] += record["round"] < newest
        newest = record["round"]
        time.sleep(PAUSE_SECONDS)
    (folder / f"{os.getpid()}.json").write_text(json.dumps(counts))


@contextmanager
def readers(url: str, folder: Path, counts: Counter[str]) -> Iterator[None]:
    """Others who download meanwhile; their counts are added at the end."""
    command = [sys.executable, "-m", "tests.benchmarks.publish_faults", "--read", url, str(folder)]
    started = [subprocess.Popen(command) for _ in range(NUM_READERS)]
    try:
        yield
    finally:
        (folder / STOP).touch()
        codes = [process.wait(timeout=300) for process in started]
    assert codes == [0] * NUM_READERS
    for process in started:
        counts.update(json.loads((folder / f"{process.pid}.json").read_text()))


def run(folder: Path, publishes: int, seed: int) -> str:
    """The closing line of so many publishes with a fault each."""
    sleep = time.sleep
    with (
        patch("hub_trainer.stages.publish.folder.prove_reload", lambda *_: RELOAD),
        patch("time.sleep", lambda seconds: sleep(min(seconds, 0.02))),
        LocalHub() as local,
        FaultyHub(local.url) as faulty,
    ):
        publisher = Publisher(Hub(local.url, local.add_user("ada")), faulty, folder)
        publisher.publish(1, None)
        calls = publisher.publish(2, None)
        plan = [(call, kind) for call in range(calls) for kind in EVERY_FAULT]
        random.Random(seed).shuffle(plan)
        with readers(local.url, folder, publisher.counts):
            for number, fault in enumerate(plan[:publishes], start=3):
                publisher.publish(number, fault)
    found = publisher.counts
    return (
        f"{min(publishes, len(plan))} publishes with a fault each, of {len(plan)} pairs of "
        f"{calls} calls and {len(EVERY_FAULT)} faults; {found['faults met']} faults met, "
        f"{found['run again']} runs again; one commit per run, the head always old or whole; "
        f"{found['downloads']} downloads by {NUM_READERS} readers, {found['mixtures']} mixtures, "
        f"{found['steps back']} steps back"
    )


def main() -> None:
    """Publish, read, count, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--publishes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--read", nargs=2, metavar=("URL", "FOLDER"))
    given = parser.parse_args()
    if given.read:
        read_on(given.read[0], Path(given.read[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        print(run(Path(name), given.publishes, given.seed))


if __name__ == "__main__":
    main()
