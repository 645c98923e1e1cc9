"""Pictures of a round and of what the Local Hub shows of it: terminal, card, review, added rows.

    python -m tests.pictures.pages docs/images

It seeds a Local Hub, checks a recipe with two faults and one without, runs a round, opens a good
and a bad pull request, reviews both, and photographs what a person would see.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Read when the client is imported: the Local Hub has no Xet storage.
os.environ["HF_HUB_DISABLE_XET"] = "1"

from huggingface_hub import HfApi

from hub_trainer.contribute import contribute
from hub_trainer.hub import Hub
from hub_trainer.local_hub import LocalHub
from tests.cli.seeded import TABLE, seed, write_recipe
from tests.pictures.terminal import as_it_stood, draw, run_in_terminal
from tests.space.browser import running_browser
from tests.tasks.factory import table_rows

COMMAND = [sys.executable, "-m", "hub_trainer"]
WIDTH, MAX_HEIGHT = 1100, 1400
Screens = list[tuple[str, str]]


def shown(*commands: Sequence[str]) -> Screens:
    """Each command as it is written, and what stood in the terminal at its end."""
    return [
        (f"hub-trainer {' '.join(words)}", as_it_stood(run_in_terminal([*COMMAND, *words])))
        for words in commands
    ]


def write_csv(path: Path, rows: Sequence[Any]) -> Path:
    """Rows of the factory as a person's own file."""
    names = [name for name in rows[0] if not name.startswith("_")]
    lines = [
        ",".join("" if row[name] is None else str(row[name]) for name in names) for row in rows
    ]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return path


def open_pull_requests(local: LocalHub, folder: Path) -> None:
    """Good rows of one contributor, and rows of another whose labels are turned."""
    good = table_rows(40, seed=7)
    names = sorted({row["label"] for row in good})
    turned = [
        {**row, "label": names[1 - names.index(row["label"])]} for row in table_rows(40, seed=8)
    ]
    for name, rows in (("ada", good), ("bob", turned)):
        person = Hub(local.url, local.add_user(name))
        contribute(person, TABLE, write_csv(folder / f"{name}.csv", rows))


def photograph(pages: dict[str, str], into: Path) -> None:
    """Each address as a picture of the page from its top."""
    with running_browser() as browser:
        for name, url in pages.items():
            page = browser.new_page(viewport={"width": WIDTH, "height": 800})
            page.goto(url)
            page.wait_for_timeout(500)
            height = min(page.evaluate("document.documentElement.scrollHeight"), MAX_HEIGHT)
            page.set_viewport_size({"width": WIDTH, "height": height})
            page.screenshot(path=into / name)
            page.close()


def take(into: Path) -> None:
    """Everything, on a hub that is gone afterwards."""
    into = into.resolve()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, LocalHub(Path(scratch) / "hub") as local:
        folder = Path(scratch) / "work"
        folder.mkdir()
        seed(Hub(local.url, local.token), Path(scratch))
        api = HfApi(local.url, local.token)
        api.update_repo_settings(TABLE, repo_type="dataset", private=False)
        os.environ.update(local.environment())
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        os.chdir(folder)
        write_recipe(Path("animals.yaml"), "table")
        faulty = {"datasets": [{"repo_id": "admin/animal", "split": "train"}]}
        write_recipe(Path("faulty.yaml"), "table", collect=faulty, train={"estimator": "forest"})
        draw(shown(("check", "faulty.yaml"), ("check", "animals.yaml")), into / "check.png")
        draw(shown(("run", "animals.yaml")), into / "run.png")
        open_pull_requests(local, folder)
        requests = f"{local.url}/datasets/{TABLE}/discussions"
        photograph({"pull-request.png": f"{requests}/1"}, into)
        subprocess.run([*COMMAND, "review", TABLE, "--all"], check=False)
        pages = {
            "card.png": f"{local.url}/admin/animals-model",
            "review.png": f"{requests}/2",
        }
        api.update_repo_settings("admin/animals-model", private=False)
        photograph(pages, into)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
