"""A round of pictures is published with a few of its training rows, or with the reason why not."""

import io
import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hub_trainer.answers import load_answer
from hub_trainer.cards.contact_sheet import contact_sheet
from hub_trainer.errors import HubError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import read_record
from hub_trainer.recipe import Recipe
from hub_trainer.rows import write_rows
from hub_trainer.stages import publish
from hub_trainer.stages.publish.thumbnails import few_rows
from tests.cards.evidence import LABELS, PREPARED, recipe
from tests.stages.publish import rounds
from tests.stages.publish.conftest import SCORES

FIGURE = "figures/examples.png"
SEALED = (255, 0, 255)
COLOURS = {LABELS[0]: (220, 30, 30), LABELS[1]: (30, 200, 40), LABELS[2]: (40, 40, 230)}
CLEAN = {**PREPARED, "personal_data": {"train": {}, "validation": {}, "test": {}}}
LABEL = load_answer("label")
NUMBERS = itertools.count(1)


def picture(colour: Sequence[int], seed: int = 0) -> bytes:
    """A square of one colour on noise, as a file."""
    pixels = np.random.default_rng(seed).integers(0, 100, (40, 40, 3), dtype=np.uint8)
    pixels[8:32, 8:32] = colour
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def row(label: str, colour: Sequence[int], number: int) -> dict[str, Any]:
    return {"image": picture(colour, number), "label": label, "_row_id": f"{number:064x}"}


def train_rows(each: int = 6) -> list[dict[str, Any]]:
    return [
        row(label, colour, 100 * at + n)
        for at, (label, colour) in enumerate(COLOURS.items())
        for n in range(each)
    ]


@pytest.fixture
def dataset(hub: Hub, shas: dict[str, str]) -> Callable[..., Repo]:
    """A dataset repo of the test's own: `dataset(license="mit", private=False)`."""

    def make(license: str | None = "cc-by-4.0", *, private: bool = False) -> Repo:
        repo = Repo(f"ada/pictures-{next(NUMBERS)}", "dataset")
        hub.create_repo(repo, private=private)
        card = f"---\nlicense: {license}\n---\n" if license else "---\nlanguage: en\n---\n"
        made = hub.commit(repo, Changes({"README.md": card.encode()}), message="x", run_id="x")
        shas[repo.repo_id] = made.commit_sha
        return repo

    return make


@pytest.fixture
def asked(repo: Repo) -> Callable[..., Recipe]:
    """The recipe of an image round whose model is public."""

    def make(**published: Any) -> Recipe:
        return recipe(
            task="image-classification",
            publish={"repo_id": repo.repo_id, "private": False, "license": "other", **published},
        )

    return make


Published = Callable[..., tuple[str, bytes | None]]


@pytest.fixture
def published(
    hub: Hub, repo: Repo, shas: dict[str, str], model: Path, tmp_path: Path, proven: None
) -> Published:
    """Publish a round of pictures: its card, and the figure if there is one."""

    def go(of: Recipe, data: Repo, prepared: Any = CLEAN) -> tuple[str, bytes | None]:
        round_dir = tmp_path / "round"
        sealed = [row(LABELS[n % 3], SEALED, 1000 + n) for n in range(len(SCORES))]
        splits = {"train": train_rows(), "test": sealed, "validation": sealed}
        about = {"data_repo": data.repo_id, "prepared": prepared, "splits": splits}
        rounds.write_round(round_dir, shas, model, SCORES, **about)
        sha = publish.run(of, round_dir, hub).outputs["commit_sha"]
        card = hub.read_file(repo, "README.md", sha) or b""
        assert hub.card_problems(card.decode()) == []
        return card.decode(), hub.read_file(repo, FIGURE, sha)

    return go


def paragraph(card: str) -> str:
    """What opens the section on the training data."""
    return card.split("## Training data\n\n")[1].split("\n\n| dataset")[0]


def test_card_when_the_rows_are_pictures_then_shows_some_of_each_label(
    hub: Hub,
    repo: Repo,
    dataset: Callable[..., Repo],
    asked: Callable[..., Recipe],
    published: Published,
) -> None:
    card, figure = published(asked(), dataset())
    assert figure is not None
    assert paragraph(card) == (
        "![Up to 4 training rows of each label: card arrival, lost\\_card, top up]"
        f"({FIGURE})\n\nUp to 4 training rows of each label, chosen at random and under the "
        "licence of their dataset: `card arrival`, `lost_card`, `top up`."
    )
    with Image.open(io.BytesIO(figure)) as sheet:
        pixels = np.asarray(sheet).reshape(-1, 3)
    for colour in COLOURS.values():
        assert (pixels == colour).all(axis=1).sum() == 4 * (2 * 24) ** 2  # enlarged twice
    assert not (pixels == SEALED).all(axis=1).any()
    page = httpx.get(f"{hub.url}/{repo.repo_id}").text
    assert f'/image/main/{FIGURE}" alt="Up to 4 training rows of each label: card' in page
    record = read_record(hub, repo.repo_id, hub.resolve(repo))
    assert record is not None
    assert {FIGURE, "figures/training.png", "figures/confusion.png"} < set(record.files)
    assert FIGURE not in record.hashes


def test_card_when_the_model_is_private_too_then_shows_rows_of_a_private_source(
    dataset: Callable[..., Repo], asked: Callable[..., Recipe], published: Published
) -> None:
    card, figure = published(asked(private=True), dataset(private=True))
    assert figure is not None
    assert f"]({FIGURE})" in card


REASONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "notice": (
        {},
        {"notice": "Not for diagnosis."},
        "the model comes with a notice, and what it learned from may be sensitive",
    ),
    "no licence": ({"license": None}, {}, "{data} names no licence"),
    "own terms": (
        {"license": "other\nlicense_name: museum-terms"},
        {},
        "{data} is under museum-terms, terms that a person has to read",
    ),
    "one of two": (
        {"license": "[mit, cc-by-nd-4.0]"},
        {"private": True},
        "{data} is cc-by-nd-4.0, which lets nobody share what is made from it",
    ),
    "private": (
        {"private": True},
        {},
        "{data} is private or gated, and this model is public",
    ),
}


@pytest.mark.parametrize("case", REASONS)
def test_card_when_rows_may_not_be_shown_then_says_why_in_a_sentence(
    case: str,
    dataset: Callable[..., Repo],
    asked: Callable[..., Recipe],
    published: Published,
) -> None:
    about, section, reason = REASONS[case]
    data = dataset(**about)
    card, figure = published(asked(**section), data)
    assert figure is None
    told = reason.format(data=data.repo_id)
    assert paragraph(card) == f"No training rows are shown, because {told}."
    assert FIGURE not in card


def test_card_when_personal_data_was_found_then_shows_no_rows(
    dataset: Callable[..., Repo], asked: Callable[..., Recipe], published: Published
) -> None:
    card, figure = published(asked(), dataset(), PREPARED)
    assert figure is None
    assert paragraph(card) == (
        "No training rows are shown, because patterns of personal data were found in the rows."
    )


def test_card_when_the_source_is_gated_then_shows_no_rows(
    hub: Hub, dataset: Callable[..., Repo], asked: Callable[..., Recipe], published: Published
) -> None:
    data = dataset()
    hub._api.update_repo_settings(data.repo_id, repo_type="dataset", gated="auto")
    card, figure = published(asked(), data)
    assert figure is None
    assert f"because {data.repo_id} is private or gated, and this model is public." in card


@pytest.mark.parametrize("silent", ["none", "error"])
def test_card_when_the_hub_does_not_say_who_can_read_a_source_then_shows_no_rows(
    silent: str,
    dataset: Callable[..., Repo],
    asked: Callable[..., Recipe],
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_open(hub: Hub, repo: Repo) -> bool | None:
        if silent == "error":
            raise HubError("It does not answer.")
        return None

    monkeypatch.setattr(Hub, "is_open", is_open)
    data = dataset()
    card, figure = published(asked(), data)
    assert figure is None
    told = f"the Hub does not say whether everybody can read {data.repo_id}"
    assert paragraph(card) == f"No training rows are shown, because {told}."


def test_card_when_the_model_was_made_public_since_then_the_setting_does_not_count(
    hub: Hub,
    repo: Repo,
    dataset: Callable[..., Repo],
    asked: Callable[..., Recipe],
    published: Published,
) -> None:
    hub.create_repo(repo, private=False)
    card, figure = published(asked(private=True), dataset(private=True))
    assert figure is None
    assert "is private or gated, and this model is public." in card


@pytest.mark.parametrize(("num_labels", "drawn"), [(1, 1), (2, 2), (12, 8), (77, 8)])
def test_rows_when_chosen_then_a_few_labels_in_their_order_and_a_few_rows_of_each(
    num_labels: int, drawn: int, tmp_path: Path
) -> None:
    names = [f"label {n}" for n in range(num_labels)]
    rows = [row(name, (9, 9, 9), 10 * n + k) for n, name in enumerate(names) for k in range(5)]
    path = tmp_path / "train.parquet"
    write_rows(path, pa.Table.from_pylist(rows))
    found = few_rows(path, LABEL, names, seed=3)
    assert len(found) == drawn
    assert list(found) == [name for name in names if name in found]
    for name, chosen in found.items():
        assert len({one["_row_id"] for one in chosen}) == 4
        assert {one["label"] for one in chosen} == {name}
    other = few_rows(path, LABEL, names, seed=4)
    assert other != found


def test_rows_when_in_another_order_then_the_sheet_has_the_same_bytes(tmp_path: Path) -> None:
    rows = train_rows()
    sheets = []
    for seed in (0, 1):
        random.Random(seed).shuffle(rows)
        path = tmp_path / f"{seed}.parquet"
        write_rows(path, pa.Table.from_pylist(rows))
        found = few_rows(path, LABEL, LABELS, seed=0)
        sheets.append(contact_sheet({k: [one["image"] for one in v] for k, v in found.items()}))
    assert sheets[0] == sheets[1]


def test_rows_when_a_label_has_fewer_then_all_of_them_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    write_rows(path, pa.Table.from_pylist([*train_rows(5), row("new", (9, 9, 9), 5000)]))
    found = few_rows(path, LABEL, LABELS, seed=0)
    assert {name: len(rows) for name, rows in found.items()} == {
        **dict.fromkeys(LABELS, 4),
        "new": 1,
    }
    assert list(found)[-1] == "new"
