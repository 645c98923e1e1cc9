"""Shipped recipes as their own header comments run them, on a Local Hub with repos of these names.

The rows are made up and few, in the columns that the public sets have; the models are tiny ones of
the same kind. What is shown is that the commands are right, not how good a model becomes.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.cli.conftest import Cli
from tests.cli.seeded import CARD, parquet
from tests.finetune.language.tiny import WITH_TAGS
from tests.tasks.factory import (
    image_rows,
    sound_rows,
    speech_rows,
    tagged_rows,
    text_base,
    text_rows,
    whisper_base,
)
from tests.tasks.language import language_base

ROOT = Path(__file__).parents[2]
QUICK = ("sentence-similarity", "tabular-classification", "text-classification", "text-generation")
"""Tasks whose recipes are checked in every run of the tests; the others are slow ones."""
RECIPES = sorted((ROOT / "recipes").glob("*/*.yaml"))
ORGS = (
    "HuggingFaceTB", "PolyAI", "SIH", "chehablab", "google-research-datasets",
    "legacy-datasets", "openai", "Deysi", "sentence-transformers", "stories", "trl-lib",
    "your-org", "zalando-datasets",
)  # fmt: skip
COUNT = 48
SHORT = ["train.arguments.max_steps=2", "train.arguments.report_to=none"]
ASKED = [f"What is {n} and {n % 7}?" for n in range(COUNT)]
SAID = [f"It is {n + n % 7}." for n in range(COUNT)]


def chat(*turns: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]


def both(make: Callable[[int], dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of a train and a test split, none of them in both."""
    half = COUNT // 2
    return {"train": [make(n) for n in range(half)], "test": [make(n) for n in range(half, COUNT)]}


def pictures() -> dict[str, list[dict[str, Any]]]:
    rows = image_rows(COUNT)
    return {"train": rows[: COUNT // 2], "test": rows[COUNT // 2 :]}


def clips(rows: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Rows of sounds, as datasets of these have them."""
    return [{"audio": {"bytes": row["audio"], "path": None}, column: row["text"]} for row in rows]


def texts() -> dict[str, list[dict[str, Any]]]:
    return {"train": text_rows(COUNT), "test": text_rows(COUNT // 2, seed=1)}


def spoken() -> dict[str, list[dict[str, Any]]]:
    """Sounds with their speaker, as the recipe's slices ask for."""
    rows = [
        {"audio": {"bytes": row["audio"], "path": None}, "label": row["label"], "speaker": "ada"}
        for row in sound_rows(COUNT)
    ]
    return {"train": rows[: COUNT // 2], "test": rows[COUNT // 2 :]}


DATASETS: dict[str, Callable[[], dict[str, list[dict[str, Any]]]]] = {
    "chehablab/PBC": pictures,
    "zalando-datasets/fashion_mnist": pictures,
    "legacy-datasets/banking77": texts,
    "Deysi/spam-detection-dataset": texts,
    "your-org/heart-disease-four-sites": lambda: {
        split: [
            {
                "age": 40 + n % 31,
                "chol": 200 + 3 * n + shift,
                "sex": n // 2 % 2,
                "site": "va",
                "severity": n % 2,
                "label": ("no_disease", "disease")[n % 2],
            }
            for n in range(4 * COUNT)
        ]
        for shift, split in enumerate(("train", "test"))
    },
    "SIH/palmer-penguins": lambda: {
        "train": [
            {"island": "Biscoe", "bill_length_mm": 38.0 + n % 9 + 0.1 * n, "species": name}
            for n in range(COUNT)
            for name in ("Adelie", "Gentoo")
        ]
    },
    "your-org/free-spoken-digits": spoken,
    "your-org/wine-quality": lambda: {
        split: [
            {"alcohol": 8.0 + n % 7 + 0.1 * shift, "color": "red", "quality": 3 + n % 7}
            for n in range(COUNT)
        ]
        for shift, split in enumerate(("train", "test"))
    },
    "google-research-datasets/go_emotions": lambda: {
        split: [{"text": row["text"], "labels": [row["label"]]} for row in rows]
        for split, rows in {**texts(), "validation": text_rows(COUNT // 2, seed=2)}.items()
    },
    "sentence-transformers/stsb": lambda: {
        split: [
            {"sentence1": row["text"], "sentence2": other["text"], "score": n % 6 / 5}
            for n, (row, other) in enumerate(zip(rows, rows[::-1], strict=True))
        ]
        for split, rows in {**texts(), "validation": text_rows(COUNT // 2, seed=2)}.items()
    },
    "your-org/ncbi-disease-mentions": lambda: {
        split: [
            {
                "tokens": [word for word, _ in row["tags"]],
                "ner_tags": [f"{tag[:2]}Disease" if tag != "O" else tag for _, tag in row["tags"]],
            }
            for row in tagged_rows(COUNT, seed=seed)
        ]
        for seed, split in enumerate(("train", "test", "validation"))
    },
    "PolyAI/minds14": lambda: {"train": clips(speech_rows(COUNT), "transcription")},
    "your-org/yesno": lambda: {
        split: clips(speech_rows(COUNT, seed=seed), "text")
        for seed, split in enumerate(("train", "test"))
    },
    "trl-lib/Capybara": lambda: both(
        lambda n: {"source": "made up", "messages": chat(ASKED[n], SAID[n]), "num_turns": 1}
    ),
    "trl-lib/ultrafeedback_binarized": lambda: both(
        lambda n: {
            "chosen": chat(ASKED[n], SAID[n]),
            "rejected": chat(ASKED[n], "No idea."),
            "score_chosen": 8.0,
            "score_rejected": 2.0,
        }
    ),
    "trl-lib/kto-mix-14k": lambda: both(
        lambda n: {
            "prompt": chat(ASKED[n]),
            "completion": [{"role": "assistant", "content": SAID[n]}],
            "label": n % 2 == 0,
        }
    ),
    "openai/gsm8k": lambda: both(lambda n: {"question": ASKED[n], "answer": SAID[n]}),
    "stories/requested-stories": lambda: {
        "train": [{"prompt": ASKED[n], "completion": f" {SAID[n]}"} for n in range(COUNT)]
    },
    "stories/rated-stories": lambda: {
        "train": [
            {"prompt": ASKED[n], "completion": f" {SAID[n]}", "label": n % 2 == 0}
            for n in range(COUNT)
        ]
    },
    "stories/sealed-requests": lambda: {
        "test": [
            {
                "prompt": f"A story about {n} cats:",
                "completion": " They slept.",
                "expected": ["cats"],
            }
            for n in range(20)
        ]
    },
}
CONFIGS = {
    "openai/gsm8k": "main",
    "google-research-datasets/go_emotions": "simplified",
    "PolyAI/minds14": "de-DE",
}
LANGUAGE = {"HuggingFaceTB/SmolLM2-135M-Instruct": WITH_TAGS, "HuggingFaceTB/SmolLM2-135M": None}
LANGUAGE |= {"stories/tinystories-260k": None, "stories/storyteller": None}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A Local Hub with every repo that a shipped recipe names."""
    scratch = tmp_path_factory.mktemp("named")
    with LocalHub() as running:
        for org in ORGS:
            running.add_org(org, {"admin": "admin"})
        hub = Hub(running.url, running.token)
        for repo_id, make in DATASETS.items():
            config = f"{CONFIGS.get(repo_id, 'data')}/"
            files = {
                f"{config}{split}-00000-of-00001.parquet": parquet(rows)
                for split, rows in make().items()
            }
            _commit(hub, Repo(repo_id, "dataset"), {**files, "README.md": _card(repo_id)})
        for repo_id, template in LANGUAGE.items():
            folder = language_base(scratch / repo_id, template=template, max_length=2048)
            _commit(hub, Repo(repo_id), _files(folder))
        _commit(
            hub,
            Repo("sentence-transformers/all-MiniLM-L6-v2"),
            _files(text_base(scratch / "encoder")),
        )
        ears = whisper_base(scratch / "ears", multilingual=True)
        _commit(hub, Repo("openai/whisper-tiny"), _files(ears))
        hub.create_repo(Repo("stories/storyteller-ratings", "dataset"))
        yield running


def _card(repo_id: str) -> bytes:
    config = CONFIGS.get(repo_id)
    if config is None:
        return CARD.encode()
    files = "".join(f"\n  - {{split: {s}, path: {config}/{s}-*}}" for s in DATASETS[repo_id]())
    configs = f"configs:\n- config_name: {config}\n  data_files:{files}\n"
    return CARD.replace("---\n#", f"{configs}---\n#").encode()


def _files(folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n"}


def _commit(hub: Hub, repo: Repo, files: dict[str, bytes]) -> None:
    hub.create_repo(repo)
    hub.commit(repo, Changes(files), message="Seed", run_id=f"seed {repo.repo_id}")


@pytest.fixture
def at_named(named: LocalHub, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    for name, value in named.environment().items():
        monkeypatch.setenv(name, value)
    return Cli(cli.folder, {**cli.environment, **named.environment()})


def commands(path: Path) -> list[list[str]]:
    """Arguments of each call of `run` in the header, and one more for each setting it advises."""
    header = path.read_text().split("\ntask:")[0]
    lines = re.findall(r"^#\s+hub-trainer run (\S+.*?)(?:\s{2,}#.*)?$", header, re.MULTILINE)
    found = [shlex.split(line.replace("YOU/", "admin/")) for line in lines]
    assert found, f"{path.name} does not say how it is run"
    advised = re.findall(r"\btake (\w[\w.\[\]]*=\S+?)[,.;]? ", header)
    found += [[*found[0], setting] for setting in advised]
    return found


def local(words: list[str]) -> list[object]:
    """The same with the recipe where it lies, and a length that the tiny encoder takes."""
    cut = ("text-classification", "token-classification", "sentence-similarity")
    small = ["prepare.max_length=24"] if any(task in words[0] for task in cut) else []
    return [ROOT / words[0], *words[1:], *small]


CALLS = [
    pytest.param(words, id=f"{path.stem}-{number}")
    for path in RECIPES
    for number, words in enumerate(commands(path))
]
ONE_PER_TASK = {path.parent.name: words.values[0] for path in RECIPES for words in CALLS
                if path.stem == words.id.rpartition("-")[0]}  # fmt: skip


def test_headers_when_read_then_their_commands_and_advice_are_found() -> None:
    assert len(CALLS) >= len(RECIPES) + 3
    assert any("[0]" in word for call in CALLS for word in call.values[0])


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(task, marks=() if task in QUICK else pytest.mark.slow)
        for task in sorted(ONE_PER_TASK)
    ],
)
def test_command_in_a_header_when_checked_then_the_recipe_is_ready(
    task: str, at_named: Cli
) -> None:
    told = at_named("check", *local(ONE_PER_TASK[task]), "--json")
    assert told.json["problems"] == [], told.err
    assert told.code == 0


@pytest.mark.slow
@pytest.mark.parametrize("words", CALLS)
def test_command_in_a_header_when_run_then_a_round_is_published_or_held_back(
    words: list[str], at_named: Cli
) -> None:
    tabular = "tabular" in words[0]
    told = at_named.run("run", *local(words), *([] if tabular else SHORT), "--json",
                        **{"HF_HOME": str(at_named.folder / "hf")})  # fmt: skip
    assert told.code in (0, 6), told.err
    assert told.json["verdict"] in ("promote", "hold", "reject")
