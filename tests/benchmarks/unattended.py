"""Rounds that nobody starts, on a Local Hub with jobs: contributors, outages, a killed job.

    python -m tests.benchmarks.unattended --rounds 30 --folder /tmp/unattended

`hub-trainer automate` is called once, at the beginning. After that no command is typed: two people
send rows of a table by pull request, another one sends rows with flipped labels, copies of
sealed rows and a program, and the Hub's own webhooks and schedule start the rest. Twice the Hub is
killed in the middle of a round and started again on its data, and once the processes of a round's
job are killed. Each good contribution is waited for until the model knows it, held back or not.

At the end every row is counted, and each promoted model is held against the one before on
rows that no round has seen. Prints what happens, and a closing line.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

# Read when the client is imported: the Local Hub has no Xet storage.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

import pandas
import yaml
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download

from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import RoundRecord, read_model_repo
from hub_trainer.tasks import ModelFolders, load_task

REPO = Path(__file__).parents[2]
OWNER, GOOD, HOSTILE = "admin", ("ada", "ben"), "mallory"
DATA, MODEL, SPACE = f"{OWNER}/animals", f"{OWNER}/animals-model", f"{OWNER}/animals-demo"
CARD = "---\nlicense: cc-by-4.0\n---\n# Animals\n\nRows that the script makes up.\n"
COLUMNS = ("size", "legs", "wild", "color", "label")
NUM_FIRST, NUM_SEALED, NUM_UNSEEN, NUM_SENT = 30, 800, 2_000, 30
WORSE = 0.01
"""Accuracy on unseen rows that a promoted model may lose by chance, two errors of 0.5 %."""
TAKES_SECONDS = 420.0
Row = dict[str, Any]


def rows(count: int, rng: random.Random) -> list[Row]:
    """Animals; one label in twelve is a mistake."""
    made = []
    for _ in range(count):
        size, color = round(rng.uniform(0, 10), 4), rng.choice(["red", "green", "blue"])
        label = "big" if size > 5 or color == "red" else "small"
        if rng.random() < 1 / 12:
            label = "small" if label == "big" else "big"
        legs, wild = rng.randint(2, 4), rng.choice(["true", "false"])
        made.append({"size": size, "legs": legs, "wild": wild, "color": color, "label": label})
    return made


def csv(content: Sequence[Row]) -> bytes:
    """As a file."""
    lines = [",".join(COLUMNS), *(",".join(str(row[name]) for name in COLUMNS) for row in content)]
    return ("\n".join(lines) + "\n").encode()


@dataclass
class World:
    """The Hub as a process, its people, and what was sent to it."""

    folder: Path
    rng: random.Random
    say: Callable[[str], None]
    url: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    sent: dict[int, list[Row]] = field(default_factory=dict)
    """Good rows by pull request."""
    hostile: dict[int, str] = field(default_factory=dict)
    """What is wrong, by pull request."""

    def start_hub(self) -> None:
        """Start the server, or start it again on the same data and port."""
        port = self.url.rsplit(":", 1)[-1] or "0"
        accounts = self.folder / "accounts.json"
        if not accounts.exists():
            self.tokens = {
                name: f"hf_{self.rng.getrandbits(128):032x}" for name in (OWNER, *GOOD, HOSTILE)
            }
            told = [{"name": name, "token": token} for name, token in self.tokens.items()]
            accounts.write_text(json.dumps({"users": told, "orgs": []}))
        command = [sys.executable, "-m", "hub_trainer", "hub", "serve", "--allow-jobs"]
        command += ["--port", port, "--data", str(self.folder / "hub"), "--accounts", str(accounts)]
        self.server = subprocess.Popen(
            command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.server.stdout is not None
        self.url = json.loads(self.server.stdout.readline())["url"]

    def stop_hub(self) -> None:
        """Stop it at once, with the jobs that are at work."""
        self.server.kill()
        self.server.wait()
        for pid in jobs_processes(str(self.folder)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def api(self, name: str = OWNER) -> HfApi:
        """The client of a person."""
        return HfApi(endpoint=self.url, token=self.tokens[name])

    @property
    def hub(self) -> Hub:
        """The owner's."""
        return Hub(self.url, self.tokens[OWNER])

    def contribute(self, name: str, content: dict[str, bytes], title: str) -> int:
        """Open a pull request, as the web page or `hf upload --create-pr` does."""
        made = self.api(name).create_commit(
            DATA,
            [CommitOperationAdd(path, data) for path, data in content.items()],
            commit_message=title,
            repo_type="dataset",
            create_pr=True,
        )
        assert made.pr_num is not None
        return int(made.pr_num)

    def records(self) -> list[RoundRecord]:
        """Rounds that are on the Hub."""
        repo = read_model_repo(self.hub, MODEL)
        return repo.rounds if repo else []

    def wait_for_round(self, count: int) -> bool:
        """Whether so many rounds are on the Hub in time."""
        until = time.monotonic() + TAKES_SECONDS
        while time.monotonic() < until:
            if len(self.records()) >= count:
                return True
            time.sleep(2)
        return False

    def wait_for_job(self) -> str | None:
        """Id of a round's job once it trains or is about to."""
        until = time.monotonic() + TAKES_SECONDS
        while time.monotonic() < until:
            for job in self.api().list_jobs(namespace=OWNER, status="RUNNING"):
                if "hub-trainer-round" in (job.labels or {}):
                    return str(job.id)
            time.sleep(0.5)
        return None


def jobs_processes(mark: str) -> Iterator[int]:
    """Processes of jobs whose environment holds the mark, an id or the folder of the Hub."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            told = path.read_bytes().decode(errors="replace")
            if "JOB_ID=" in told and mark in told:
                yield int(path.parent.name)


def seed(world: World, sealed: list[Row], first: list[Row]) -> None:
    """The dataset, open to all, with its sealed split."""
    api = world.api()
    api.create_repo(DATA, repo_type="dataset", private=False)
    files = {"README.md": CARD.encode(), "data/train.csv": csv(first), "data/test.csv": csv(sealed)}
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(DATA, operations, commit_message="Rows", repo_type="dataset")


def write_recipe(folder: Path) -> Path:
    """The recipe of the rounds."""
    content = {
        "task": "tabular-classification",
        "collect": {"datasets": [{"repo_id": DATA, "split": "train"}]},
        "prepare": {"test_split": {"repo_id": DATA, "split": "test"}},
        "train": {"estimator": "logistic_regression"},
        "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
        "publish": {"repo_id": MODEL, "license": "cc-by-4.0", "private": False},
        "serve": {"repo_id": SPACE, "ratings_repo_id": f"{OWNER}/animals-ratings"},
    }
    path = folder / "animals.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def automate(world: World, recipe: Path) -> None:
    """The one command of the whole story."""
    command = [sys.executable, "-m", "hub_trainer", "automate", str(recipe)]
    command += ["--on", "jobs:cpu-basic", "--time", "30m", "--schedule", "*/2 * * * *"]
    environment = {**os.environ, "HF_ENDPOINT": world.url, "HF_TOKEN": world.tokens[OWNER]}
    environment |= {"PYTHONPATH": str(REPO), "HF_HOME": str(world.folder / "hf")}
    told = subprocess.run(
        command, cwd=world.folder, env=environment, capture_output=True, text=True, check=False
    )
    world.say(told.stderr.strip())
    assert told.returncode == 0, told.stderr


def hostile_files(world: World, turn: int, sealed: list[Row]) -> tuple[str, dict[str, bytes]]:
    """What is wrong, and the files."""
    name = f"data/train-m{turn}.csv"
    kind = ("flipped labels", "sealed rows", "a program")[turn % 3]
    if kind == "sealed rows":
        return kind, {name: csv(world.rng.sample(sealed, 12))}
    content = rows(NUM_SENT, world.rng)
    if kind == "flipped labels":
        for row in content:
            row["label"] = "small" if row["label"] == "big" else "big"
        return kind, {name: csv(content)}
    return kind, {name: csv(content), "animals.py": b"import os\nos.system('id')\n"}


def play(world: World, num_rounds: int, sealed: list[Row], seconds: float) -> int:
    """Turns of good and hostile contributions, with the outages; rounds that were not in time.

    No turn begins after so many seconds.
    """
    outages = {num_rounds // 3, 2 * num_rounds // 3} - {0}
    kill_at = num_rounds // 2
    start = time.monotonic()
    late = 0 if world.wait_for_round(1) else 1
    for turn in range(1, num_rounds):
        began = time.monotonic()
        if began - start > seconds:
            world.say(f"the time is up before turn {turn}")
            break
        have = len(world.records())
        if turn % 2:
            kind, files = hostile_files(world, turn // 2, sealed)
            number = world.contribute(HOSTILE, files, f"More animals {turn}")
            world.hostile[number] = kind
        content = rows(NUM_SENT, world.rng)
        author = GOOD[turn % len(GOOD)]
        number = world.contribute(
            author, {f"data/train-{author}{turn}.csv": csv(content)}, f"Animals of {author} {turn}"
        )
        world.sent[number] = content
        if turn in outages and world.wait_for_job():
            world.stop_hub()
            time.sleep(3)
            world.start_hub()
            world.say(f"turn {turn}: the Hub was killed in the middle of a round, and is back")
        elif turn == kill_at and (job := world.wait_for_job()):
            for pid in jobs_processes(f"JOB_ID={job}"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            world.say(f"turn {turn}: the job of a round was killed")
        late += 0 if world.wait_for_round(have + 1) else 1
        verdicts = [record.verdict for record in world.records()]
        took = time.monotonic() - began
        world.say(f"turn {turn}: {len(verdicts)} rounds, the last {verdicts[-1:]}, {took:.0f} s")
    return late


def rows_on_main(world: World, path: Path) -> list[Row]:
    """Every training row that the dataset has at the end."""
    snapshot_download(
        DATA, repo_type="dataset", endpoint=world.url, token=world.tokens[OWNER], local_dir=path
    )
    found: list[Row] = []
    for file in sorted(path.rglob("*.csv")) + sorted(path.rglob("*.parquet")):
        if "test" not in file.name:
            read = pandas.read_csv if file.suffix == ".csv" else pandas.read_parquet
            found += read(file).to_dict("records")
    return found


def key(row: Row) -> tuple[str, ...]:
    """A row by its values, however a file spells them."""
    size = f"{float(row['size']):.4f}"
    return (size, *(str(row[name]).lower() for name in COLUMNS[1:]))


def regressions(world: World, unseen: list[Row]) -> tuple[int, list[float]]:
    """Promoted models that are worse on unseen rows than the one before; the accuracies."""
    task, accuracies = load_task("tabular-classification"), []
    asked = [
        {**row, "wild": row["wild"] == "true", "_row_id": str(index)}
        for index, row in enumerate(unseen)
    ]
    for record in [one for one in world.records() if one.verdict == "promote"]:
        folder = Path(
            snapshot_download(
                MODEL,
                revision=record.commit_sha,
                endpoint=world.url,
                token=world.tokens[OWNER],
                cache_dir=world.folder / "models",
            )
        )
        found = task.predict(ModelFolders(folder), asked)
        right = [one.value == row["label"] for one, row in zip(found, unseen, strict=True)]
        accuracies.append(sum(right) / len(right))
    pairs = zip(accuracies, accuracies[1:], strict=False)
    return sum(now < before - WORSE for before, now in pairs), accuracies


def seconds_to_serve(world: World) -> list[float]:
    """From the merge of the newest rows of each promoted round to the Space with its model."""
    merged = {one.commit_sha: one.created_at for one in world.hub.history(Repo(DATA, "dataset"))}
    served: dict[str, str] = {}
    for entry in world.hub.history(Repo(SPACE, "space")):
        served[entry.title.rpartition(" at ")[2]] = entry.created_at
    took = []
    for record in world.records()[1:]:
        sha = str(record.commit_sha)[:7]
        data = next(one.commit_sha for one in record.datasets if one.role == "train")
        if record.verdict == "promote" and sha in served:
            moments = [datetime.fromisoformat(one) for one in (merged[data], served[sha])]
            took.append((moments[1] - moments[0]).total_seconds())
    return took


def main() -> None:
    """Play, count, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="unattended-"))
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(given.seed)
    sealed, unseen = rows(NUM_SEALED, rng), rows(NUM_UNSEEN, rng)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {text}", flush=True)

    world = World(folder, rng, say)
    world.start_hub()
    try:
        seed(world, sealed, rows(NUM_FIRST, rng))
        automate(world, write_recipe(folder))
        late = play(world, given.rounds, sealed, 60 * given.minutes)
        report(world, late, unseen)
    finally:
        world.stop_hub()


def report(world: World, late: int, unseen: list[Row]) -> None:
    """The closing line, from what is on the Hub."""
    there = {key(row) for row in rows_on_main(world, world.folder / "rows")}
    lost = sum(key(row) not in there for sent in world.sent.values() for row in sent)
    worse, accuracies = regressions(world, unseen)
    states = {
        one.num: one.status for one in world.api().get_repo_discussions(DATA, repo_type="dataset")
    }
    comments = {number: states.get(number) for number in world.hostile}
    told = "".join(one.message for one in world.hub.history(Repo(DATA, "dataset")))
    merged = [number for number in world.hostile if f"review-{number}-" in told]
    world.say(f"hostile pull requests: {comments}; accuracies on unseen rows: {accuracies}")
    records, took = world.records(), seconds_to_serve(world)
    promoted = sum(record.verdict == "promote" for record in records)
    waited = f"{statistics.median(took):.0f} s" if took else "-"
    world.say(
        f"rounds {len(records)} ({promoted} promoted), not in time {late}; "
        f"regressions promoted {worse}; rows lost {lost} of {sum(map(len, world.sent.values()))}; "
        f"hostile merged {len(merged)} of {len(world.hostile)}; "
        f"merge to served, median: {waited} of {len(took)}"
    )


if __name__ == "__main__":
    main()
