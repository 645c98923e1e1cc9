"""A whole loop of a language model on a Local Hub: examples, Space, ratings, KTO, gate.

    python -m tests.benchmarks.story_loop --base MODEL

MODEL is a folder with a model of small stories, as TinyStories 260K. It writes the examples itself:
stories of which a request is made afterwards, for the character they begin with and a thing that
they happen to hold. The crowd is simulated and says so: a thumb goes up when a story keeps the
character and the thing, and a fifth of all thumbs are flipped. Requests of the sealed test are
never shown to the Space. Prints a line of JSON.
"""

import argparse
import json
import os
import random
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

# Read when the client is imported: the Local Hub has no Xet storage.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.loop import curate_ratings, run_round, start_space
from hub_trainer.recipe import load_recipe

HERE = Path(__file__).parent / "stories"
RECIPES = Path(__file__).parents[2] / "recipes" / "text-generation"
ORG = "stories"
WORDS = yaml.safe_load((HERE / "words.yaml").read_text())
CHARACTERS: list[str] = WORDS["characters"]
THINGS: list[str] = WORDS["things"]
FLIPPED = 0.2
NUM_RATERS = 10
CARD = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: {split}
    path: data/{split}-*
---
"""


@dataclass(frozen=True)
class Request:
    """A story that is asked for."""

    character: str
    thing: str

    @property
    def prompt(self) -> str:
        """What the model is given."""
        return f"A story about {self.character} and a {self.thing}:"

    def is_kept(self, story: str) -> bool:
        """The judge: both are in the story."""
        return all(re.search(rf"\b{word}\b", story) for word in (self.character, self.thing))


def write_stories(base: Path, count: int, seed: int) -> list[str]:
    """Stories as the base model tells them, to their last whole sentence."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hub_trainer.finetune.language.generate import Sampling, generate

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    openings = [
        f"Once upon a time, there was a little {child} named {character}."
        for character in CHARACTERS
        for child in ("girl", "boy")
    ]
    prompts = [tokenizer(opening)["input_ids"] for opening in openings]
    stories = []
    for turn in range(count // len(openings)):
        sampling = Sampling(
            120, temperature=0.8, top_p=0.95, seed=seed + turn, stops=(tokenizer.eos_token_id,)
        )
        told = generate(model, prompts, sampling, batch_size=len(prompts))
        for prompt, answer in zip(prompts, told, strict=True):
            story = tokenizer.decode([*prompt, *answer], skip_special_tokens=True).strip()
            stories.append(story[: story.rfind(".") + 1])
    return stories


def requests_kept(stories: Sequence[str], seed: int) -> dict[Request, list[str]]:
    """Stories by the request that each happens to keep."""
    rng = random.Random(seed)
    found: dict[Request, list[str]] = defaultdict(list)
    for story in stories:
        [character] = re.findall(r"named (\w+)\.", story)[:1] or [""]
        kept = [thing for thing in THINGS if Request(character, thing).is_kept(story)]
        if kept:
            found[Request(character, rng.choice(kept))].append(story)
    return dict(found)


def deal(
    kept: dict[Request, list[str]], num_sealed: int, seed: int
) -> tuple[dict[str, list[dict[str, Any]]], list[Request]]:
    """(rows by split, requests that are not sealed); stories of sealed requests are left out."""
    every = [Request(character, thing) for character in CHARACTERS for thing in THINGS]
    random.Random(seed).shuffle(every)
    sealed, open_to = every[:num_sealed], every[num_sealed:]
    rows = {
        "train": [row_of(one, story) for one in open_to for story in kept.get(one, ())],
        "test": [row_of(one, _beginning(one)) for one in sealed],
    }
    return rows, open_to


def _beginning(request: Request) -> str:
    return f"Once upon a time, {request.character} had a {request.thing}."


def row_of(request: Request, story: str) -> dict[str, Any]:
    """A row of a data set of prompts and completions."""
    expected = [request.character, request.thing]
    return {"prompt": request.prompt, "completion": f"\n{story}", "expected": expected}


def seed_hub(hub: Hub, base: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    """The base model, the examples and the sealed requests."""
    model = Repo(f"{ORG}/tinystories-260k")
    hub.create_repo(model, private=False)
    files = {path.name: path.read_bytes() for path in sorted(base.iterdir()) if path.is_file()}
    hub.commit(model, Changes(files), message="The base model", run_id="seed-model")
    for name, split in (("requested-stories", "train"), ("sealed-requests", "test")):
        repo = Repo(f"{ORG}/{name}", "dataset")
        hub.create_repo(repo, private=split == "test")
        content = {
            "README.md": CARD.format(split=split).encode(),
            f"data/{split}-00000.parquet": parquet(rows[split]),
        }
        hub.commit(repo, Changes(content), message="Rows", run_id=f"seed-{name}")


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def rate_stories(
    space_url: str, raters: Sequence[str], asked: Sequence[Request], seed: int
) -> dict[str, int]:
    """Let the simulated crowd ask for stories and rate them; each rater has a token."""
    shares = [asked[number :: len(raters)] for number in range(len(raters))]
    jobs = [
        (space_url, token, own, seed + n)
        for n, (token, own) in enumerate(zip(raters, shares, strict=True))
    ]
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda job: _rate_as(*job), jobs))
    return {key: sum(count[key] for count in counts) for key in ("rated", "kept", "up", "flipped")}


def _rate_as(space_url: str, token: str, asked: Sequence[Request], seed: int) -> dict[str, int]:
    from gradio_client import Client

    rng = random.Random(seed)
    counts = dict.fromkeys(("rated", "kept", "up", "flipped"), 0)
    client: Any = Client(space_url, headers={"Authorization": f"Bearer {token}"}, verbose=False)
    for request in asked:
        told = client.predict(request.prompt, "", api_name="/chat")
        kept, flips = request.is_kept(told["answer"]), rng.random() < FLIPPED
        rating = "up" if kept != flips else "down"
        client.predict(told["generation_id"], rating, "", api_name="/rate")
        counts["rated"] += 1
        counts["kept"] += kept
        counts["flipped"] += flips
        counts["up"] += kept != flips
    return counts


def run_loop(
    base: Path, folder: Path, *, stories: int, ratings: int, sealed: int
) -> dict[str, Any]:
    """Two rounds and what lies between them."""
    rows, open_to = deal(requests_kept(write_stories(base, stories, 0), 0), sealed, 0)
    with LocalHub(folder / "hub") as local:
        hub = Hub(local.url, local.add_user("maintainer"))
        local.add_org(ORG, {"maintainer": "admin"})
        raters = [local.add_user(f"rater-{number:02d}") for number in range(NUM_RATERS)]
        seed_hub(hub, base, rows)
        sft, kto = (load_recipe(RECIPES / f"tinystories_{kind}.yaml") for kind in ("sft", "kto"))
        first = run_round(sft, folder / "round-001", hub, progress=report)
        rng = random.Random(1)
        asked = [rng.choice(open_to) for _ in range(ratings)]
        space = start_space(
            sft, hub, round_dir=folder / "round-001", variables={"RATINGS_PER_HOUR": str(ratings)}
        )
        try:
            said = rate_stories(space.url, raters, asked, 1)
        finally:
            space.stop()
        curated = curate_ratings(kto, hub, round_dir=folder / "round-002")
        second = run_round(kto, folder / "round-002", hub, progress=report)
    return {
        "rounds": [first.to_json(), second.to_json()],
        "simulated_ratings": said,
        "curated": curated["summary"],
        "win_rate": second.win_rate,
    }


def report(stage: str, share: float, doing: str) -> None:
    """Say what goes on."""
    print(f"{stage:10} {share:4.0%}  {doing}", flush=True)


def main() -> None:
    """Run the loop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--stories", type=int, default=2500)
    parser.add_argument("--ratings", type=int, default=500)
    parser.add_argument("--sealed", type=int, default=200)
    options = parser.parse_args()
    folder = options.dir or Path(tempfile.mkdtemp(prefix="story-loop-"))
    counts = {name: getattr(options, name) for name in ("stories", "ratings", "sealed")}
    print(json.dumps(run_loop(options.base, folder, **counts)))


if __name__ == "__main__":
    main()
