"""Start of a run: which round it begins or resumes and why, read from the Hub's record."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from hub_trainer.artifacts import find_artifact
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import (
    PINS,
    ModelRepo,
    Pins,
    RoundRecord,
    assert_continuous,
    assert_pins_hold,
    assert_sources_continuous,
    changed_files,
    load_pins,
    new_pins,
    read_model_repo,
    remember,
    write_pins,
)
from hub_trainer.lineage.pins import settings_digest
from hub_trainer.loop.claim import claimed
from hub_trainer.loop.news import News, compare_with_round
from hub_trainer.recipe import Recipe, RecipeFile

Kind = Literal["begins", "resumes", "nothing new"]


@dataclass(frozen=True)
class Start:
    """What a run does, decided before anything is written."""

    kind: Kind
    round_dir: Path
    pins: Pins | None
    """Pins of the round that begins or resumes; None when nothing is new."""
    record: RoundRecord | None
    """The last round on the Hub; None before the first."""
    reason: str
    news: News | None = None
    moved: tuple[str, ...] = ()
    """Repos that have moved on since a resumed round was pinned."""

    @property
    def is_here(self) -> bool:
        """Whether the folder holds the last round, which is on the Hub."""
        here = load_pins(self.round_dir)
        return bool(here and self.record and here.run_id == self.record.run_id)

    def lines(self) -> list[str]:
        """What a person is told before the first stage."""
        told = [self.reason, *(f"  {one}" for one in (self.news.unimportant if self.news else ()))]
        if self.pins is None:
            return told
        told += [f"  {name:<11} {what}" for name, what in _pinned(self.pins, self.record)]
        if self.kind == "resumes":
            told += [f"  {one}" for one in self.moved]
            told.append(f"  --fresh begins it anew (or remove {self.round_dir})")
        return told


@dataclass(frozen=True)
class _Look:
    """What the decision rests on."""

    recipe_file: RecipeFile
    hub: Hub
    repo: ModelRepo | None

    @property
    def recipe(self) -> Recipe:
        return self.recipe_file.recipe

    @property
    def rounds(self) -> list[RoundRecord]:
        return self.repo.rounds if self.repo else []

    @property
    def last(self) -> RoundRecord | None:
        return self.rounds[-1] if self.rounds else None

    @cached_property
    def pins(self) -> Pins:
        """Pins of a round that would begin now."""
        pins = new_pins(self.recipe, self.hub, self.repo)
        assert_sources_continuous(self.hub, self.rounds, pins.all())
        return pins

    @cached_property
    def news(self) -> News | None:
        """What such a round would learn from beyond the last one; None before the first."""
        return self.compared(self.pins) if self.last else None

    def compared(self, pins: Pins) -> News:
        """What pins hold that the last round did not have."""
        assert self.last is not None
        return compare_with_round(self.hub, self.recipe, pins, self.last)


def start_round(
    recipe_file: RecipeFile, hub: Hub, *, round_dir: Path | None = None, fresh: bool = False
) -> Start:
    """Decide what a run does. Raises HubError when a repo is not what the rounds before left.

    Whether anything is new is read from the record on the Hub and never from the disk, so that a
    lost folder, or another machine, does not make a round again. A round that was begun here and
    not sent resumes; `fresh` forgets it.
    """
    look = _Look(recipe_file, hub, verified_repo(recipe_file, hub))
    number = look.last.round if look.last else 0
    folder = rounds_folder(recipe_file)
    sent_dir = round_dir or folder / f"round-{number:03d}"
    next_dir = round_dir or folder / f"round-{number + 1:03d}"
    known = _sent_here(look, sent_dir) or (None if fresh else _begun_here(look, next_dir))
    return known or _with_news(look, next_dir, sent_dir, fresh=fresh)


def begin_round(start: Start, *, fresh: bool = False) -> None:
    """Write the pins of a round that begins, and clear what an abandoned one left in its folder."""
    if start.kind != "begins" or start.pins is None:
        return
    with claimed(start.round_dir):
        if fresh:
            _clear(start.round_dir)
        write_pins(start.round_dir, start.pins)


def verified_repo(recipe_file: RecipeFile, hub: Hub) -> ModelRepo | None:
    """The model repo, held against its rounds' records and what this machine remembers of them."""
    recipe = recipe_file.recipe
    repo = read_model_repo(hub, recipe.publish.repo_id)
    memory = remember(rounds_folder(recipe_file), recipe.publish.repo_id)
    assert_continuous(hub, recipe, repo, memory)
    return repo


def rounds_folder(recipe_file: RecipeFile) -> Path:
    """Where the rounds of a recipe are kept."""
    return Path("rounds") / recipe_file.name


def _sent_here(look: _Look, round_dir: Path) -> Start | None:
    """A round of this folder that is on the Hub, and was cut off before its end."""
    pins = load_pins(round_dir)
    record = next((one for one in look.rounds if pins and one.run_id == pins.run_id), None)
    if pins is None or record is None or find_artifact(round_dir / "publish"):
        return None
    if pins.recipe_digest != settings_digest(look.recipe):
        return None
    told = f"Round {pins.round} was sent already and cut off then; it is finished in {round_dir}."
    return Start("resumes", round_dir, pins, record, told)


def _begun_here(look: _Look, round_dir: Path) -> Start | None:
    """A round that was begun in this folder and not sent, if it can resume."""
    pins = load_pins(round_dir)
    if pins is None or pins.run_id in {one.run_id for one in look.rounds}:
        return None
    if pins.recipe_digest != settings_digest(look.recipe) or _is_stale(look, pins):
        return None
    assert_pins_hold(look.hub, pins, round_dir)
    news = look.compared(pins) if look.last else None
    if news is not None and not news.new:
        return None
    told = f"Round {pins.round} resumes in {round_dir}, with the commits that it was begun with."
    moved = tuple(_moved(look, pins))
    return Start("resumes", round_dir, pins, look.last, told, news, moved)


def _is_stale(look: _Look, pins: Pins) -> bool:
    """Whether another round was sent, or another model published, since the round was begun."""
    if look.repo is None:
        return pins.model_repo is not None
    if pins.round != (look.last.round if look.last else 0) + 1:
        return True
    if pins.parent is None:
        return bool(look.repo.promoted)
    model = Repo(look.repo.repo_id)
    if pins.parent not in {entry.commit_sha for entry in look.repo.history}:
        return True
    then, now = (look.hub.list_files(model, sha) for sha in (pins.parent, look.repo.tip))
    return bool(changed_files(then, now))


def _moved(look: _Look, pins: Pins) -> Iterator[str]:
    for one in pins.all():
        now = look.hub.resolve(Repo(one.repo_id, one.repo_type), one.revision)
        if now != one.commit_sha:
            yield f"{one.repo_id} has moved on to {now[:7]} since"


def _with_news(look: _Look, round_dir: Path, last_dir: Path, *, fresh: bool) -> Start:
    """A new round when anything is new since the last one, which `last_dir` may hold."""
    pins, last, news = look.pins, look.last, look.news
    dropped = "" if fresh else _dropped(look, round_dir)
    if last is None or news is None:
        told = (
            f"Round {pins.round} begins in {round_dir}, the first of {look.recipe.publish.repo_id}."
        )
        return Start("begins", round_dir, pins, None, f"{told}{dropped}")
    if news.new:
        told = f"Round {pins.round} begins in {round_dir}. New since round {last.round}: "
        told = f"{told}{', '.join(news.new)}.{dropped}"
        return Start("begins", round_dir, pins, last, told, news)
    verdict = {"promote": "promoted", "hold": "held back", "reject": "rejected"}[last.verdict]
    told = (
        f"Nothing is new since round {last.round}, which was {verdict}: the settings that can "
        "change the model, the files of every split and the base model are the same. No round was "
        "begun and no alpha spent. To train once more all the same, change train.seed."
    )
    here = load_pins(last_dir)
    is_here = here is not None and here.run_id == last.run_id
    return Start("nothing new", last_dir if is_here else round_dir, None, last, told, news)


def _dropped(look: _Look, round_dir: Path) -> str:
    """What becomes of a round that was begun in the folder with other settings."""
    there = load_pins(round_dir)
    if there is None or there.run_id in {one.run_id for one in look.rounds}:
        return ""
    if there.recipe_digest == settings_digest(look.recipe):
        return ""
    return (
        " What was begun there with other settings is dropped, as its training does not fit them."
    )


def _pinned(pins: Pins, last: RoundRecord | None) -> Iterator[tuple[str, str]]:
    """(role, repo at its commit) of all that the round stands on."""
    if pins.parent and pins.model_repo:
        told = f"; the last round was {last.round}" if last else ""
        yield "published", f"{pins.model_repo.repo_id} at {pins.parent[:7]}{told}"
    for one in pins.all():
        role = "base model" if one.repo_type == "model" else "data"
        yield role, f"{one.repo_id}@{one.revision} at {one.commit_sha[:7]}"


def _clear(round_dir: Path) -> None:
    """Remove what an abandoned round has left; only of a folder that is one."""
    if not round_dir.exists() or not any(path.name != ".claim" for path in round_dir.iterdir()):
        return
    if not (round_dir / PINS).exists():
        raise UsageError(
            "The folder holds no round, so it is not cleared.",
            where=str(round_dir),
            do="Name an empty folder, or that of a round.",
        )
    for path in round_dir.iterdir():
        if path.name == ".claim":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
