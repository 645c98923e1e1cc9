"""A search chooses settings on validation rows, survives what kills it; train takes its choice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.artifacts import find_artifact
from hub_trainer.errors import DataError, TrainingError, UsageError
from hub_trainer.hub import Hub
from hub_trainer.lineage import PinnedRepo
from hub_trainer.lineage.tuned import read_tuned, tuned_recipe
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe, SearchRange
from hub_trainer.rows import row_files
from hub_trainer.stages import train, tune
from hub_trainer.stages.tune import trial_process
from hub_trainer.stages.tune import trial_worker as worker
from hub_trainer.stages.tune.study import Study
from tests.stages.prepared import prepare_round, push_model
from tests.tasks.factory import recipe, table_rows, text_base, text_rows

DEPTH, RATE = "train.estimator_arguments.max_depth", "train.arguments.learning_rate"
SCRIPTED = (sys.executable, str(Path(__file__).with_name("scripted_trials.py")))
SPACE = {DEPTH: SearchRange(low=1, high=9)}


def table_recipe(trials: int = 4, workers: int = 1, **changes: Any) -> Recipe:
    search = {DEPTH: {"low": 1, "high": 6}}
    searched = {"trials": trials, "workers": workers, "search": search, **changes}
    forest = {"estimator": "random_forest", "estimator_arguments": {"n_estimators": 20}}
    return recipe("tabular-classification", base_model=None, train=forest, tune=searched)


def table_round(folder: Path) -> Path:
    return prepare_round(folder, table_rows(100), table_rows(20, seed=1))


def trials_of(round_dir: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((round_dir / "tune" / "trials.json").read_text())
    return found


# The study


def done(score: float) -> dict[str, Any]:
    return {"event": "done", "score": score, "seconds": 1.0}


def study_in(folder: Path, **changes: Any) -> Study:
    return Study(folder, SPACE, **{"maximizes": True, "seed": 0, **changes})


def test_study_when_opened_again_then_goes_on_as_it_would_have_gone(tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = study_in(tmp_path / "whole")
    drawn = []
    for _ in range(4):
        attempt = whole.begin()
        drawn.append(attempt.settings)
        whole.end(attempt.number, done(attempt.settings[DEPTH]))
    whole.close()
    before = study_in(tmp_path / "cut")
    for _ in range(2):
        attempt = before.begin()
        before.end(attempt.number, done(attempt.settings[DEPTH]))
    lost = before.begin()  # at work when the process is killed
    before.close()
    after = study_in(tmp_path / "cut")
    again = after.begin()
    assert again.settings == lost.settings == drawn[2]
    assert (again.repeats, len(after.ended)) == (0, 2)
    after.end(again.number, done(1.0))
    assert len(after.ended) == 3
    after.close()


def test_study_when_a_trial_falls_behind_then_it_is_pruned(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    for value in (0.5, 0.6, 0.7, 0.8):
        attempt = study.begin()
        assert not study.prunes(attempt.number, 1, value)
        assert not study.prunes(attempt.number, 2, value)
        study.end(attempt.number, done(value))
    behind, ahead = study.begin(), study.begin()
    assert not study.prunes(behind.number, 1, 0.1)
    assert study.prunes(behind.number, 2, 0.2)
    assert not study.prunes(ahead.number, 2, 0.9)
    study.end(behind.number, {"event": "pruned", "seconds": 1.0})
    assert [trial.state.name for trial in study.ended].count("PRUNED") == 1
    study.close()


def test_study_when_a_process_died_then_its_trial_is_repeated_once(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    first = study.begin()
    assert study.died(first.number, "killed")
    second = study.begin()
    assert (second.settings, second.repeats) == (first.settings, 1)
    assert study.ended == []
    assert not study.died(second.number, "killed again")
    [ended] = study.ended
    assert (ended.state.name, ended.user_attrs["why"]) == ("FAIL", "killed again")
    study.close()


def test_importances_when_one_setting_decides_then_it_has_most(tmp_path: Path) -> None:
    space = {DEPTH: SearchRange(low=1, high=9), "train.other": SearchRange(choices=["a", "b"])}
    study = Study(tmp_path, space, maximizes=True, seed=0)
    assert study.importances() == {}
    for _ in range(12):
        attempt = study.begin()
        study.end(attempt.number, done(attempt.settings[DEPTH]))
    found = study.importances()
    assert found[DEPTH] > 0.8
    assert sum(found.values()) == pytest.approx(1)
    study.close()


def test_study_when_scores_are_alike_then_nothing_is_said_of_importance(tmp_path: Path) -> None:
    study = study_in(tmp_path, maximizes=False)
    for _ in range(3):
        study.end(study.begin().number, done(1.0))
    assert study.importances() == {}
    assert study.best is not None
    assert study.best.number == 0
    study.close()


# One trial


class Parent:
    """What a process of trials is told, and what it tells."""

    def __init__(self, prunes_at: int | None = None) -> None:
        self.told: list[Mapping[str, Any]] = []
        self.prunes_at = prunes_at

    def tell(self, message: Mapping[str, Any]) -> None:
        self.told.append(message)

    def ask(self) -> dict[str, Any]:
        return {"prune": self.told[-1]["count"] == self.prunes_at}

    def trials(self, chosen: Recipe, round_dir: Path, base: Path | None) -> trial_process.Trials:
        setup = {
            "recipe": chosen.model_dump(mode="json", exclude_unset=True),
            "prepared": str(round_dir / "prepare"),
            "label_names": json.loads((round_dir / "prepare" / "manifest.json").read_text())[
                "outputs"
            ]["label_names"],
            "base": [str(base), None] if base else None,
            "maximizes": True,
        }
        return trial_process.Trials(setup, self.tell, self.ask)


@pytest.fixture
def text_round(tmp_path: Path) -> Path:
    return prepare_round(tmp_path / "round", text_rows(80), text_rows(9, seed=7))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return text_base(tmp_path / "base")


def text_recipe(base_model: str = "org/base", **changes: Any) -> Recipe:
    arguments = {"num_train_epochs": 3, "per_device_train_batch_size": 16}
    search = {RATE: {"low": 1e-8, "high": 1e-2, "log": True}}
    return recipe(
        "text-classification",
        base_model=base_model,
        train__arguments=arguments,
        tune={"trials": 4, "search": search, **changes},
    )


def test_trial_when_it_evaluates_then_each_is_told_and_the_sealed_rows_are_not_read(
    text_round: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(path: Path) -> Any:
        read.append(path.name)
        return row_files.read_rows(path)

    monkeypatch.setattr(trial_process, "read_rows", reading)
    parent = Parent()
    trials = parent.trials(text_recipe(), text_round, base)
    trials.run({"settings": {RATE: 3e-3}, "folder": str(tmp_path / "trial")})
    evaluated = [one for one in parent.told if one["event"] == "evaluated"]
    assert [one["count"] for one in evaluated] == [1, 2, 3]
    last = parent.told[-1]
    assert last["event"] == "done"
    assert last["score"] == pytest.approx(max(one["value"] for one in evaluated))
    assert read == ["train.parquet", "validation.parquet"]
    assert not (tmp_path / "trial").exists()


def test_trial_when_pruned_then_it_trains_no_further(
    text_round: Path, base: Path, tmp_path: Path
) -> None:
    parent = Parent(prunes_at=2)
    trials = parent.trials(text_recipe(), text_round, base)
    trials.run({"settings": {RATE: 1e-8}, "folder": str(tmp_path / "trial")})
    assert [one["event"] for one in parent.told if one["event"] != "progress"] == [
        "evaluated",
        "evaluated",
        "pruned",
    ]


def test_trial_when_it_cannot_train_then_says_why_and_the_next_one_runs(
    text_round: Path, base: Path, tmp_path: Path
) -> None:
    parent = Parent()
    trials = parent.trials(text_recipe(), text_round, base)
    for settings in ({RATE: 1e38}, {RATE: 1e-3}):
        trials.run({"settings": settings, "folder": str(tmp_path / "trial")})
    ends = [one for one in parent.told if one["event"] in ("done", "failed")]
    assert [one["event"] for one in ends] == ["failed", "done"]
    assert "not finite" in ends[0]["why"]


# The stage


@pytest.fixture
def no_hub() -> Hub:
    return Hub("http://127.0.0.1:1", "token")


def test_search_when_made_then_train_takes_what_it_chose(
    hub: Hub, local: LocalHub, base: Path, tmp_path: Path
) -> None:
    pinned = push_model(hub, f"{local.user}/{tmp_path.name.lower()}", base)
    folder = prepare_round(
        tmp_path / "round", text_rows(80), text_rows(9, seed=7), base_model=pinned
    )
    sealed = folder / "prepare" / "test.parquet"
    sealed.write_bytes(b"x" * sealed.stat().st_size)  # whoever reads it fails
    chosen = text_recipe(pinned.repo_id, trials=3, workers=2)
    said: list[tuple[float, str]] = []
    made = tune.run(chosen, folder, hub, progress=lambda share, doing: said.append((share, doing)))
    found = read_tuned(chosen, folder)
    assert found is not None
    assert found.trials == {"done": 3, "pruned": 0, "failed": 0, "cut_off": 0}
    scores = {one["number"]: one["score"] for one in trials_of(folder)}
    assert found.score == max(scores.values()) == scores[found.best_trial]
    assert said[0] == (0.0, "downloading the base model")
    assert said[-1] == (1.0, f"3 of 3 trials, best accuracy {found.score:.4f}")
    assert {path.name for path in made.folder.iterdir()} == {
        "study.db", "trials.json", "tune.json", "manifest.json", "worker-0.log", "worker-1.log"
    }  # fmt: skip
    trained = train.run(chosen, folder, hub)
    arguments = trained.manifest["inputs"]["train"]["arguments"]
    assert arguments["learning_rate"] == found.chosen[RATE]
    assert tuned_recipe(chosen, folder).train.arguments == arguments
    assert trained.outputs["fit"]["best_metric"] == pytest.approx(found.score)
    assert tune.run(chosen, folder, hub).manifest == made.manifest


def test_search_when_the_recipe_asks_for_none_then_says_so(tmp_path: Path, no_hub: Hub) -> None:
    with pytest.raises(UsageError, match="asks for no search"):
        tune.run(table_recipe(trials=0), tmp_path, no_hub)


def test_search_when_nothing_is_prepared_then_says_what_to_do(tmp_path: Path, no_hub: Hub) -> None:
    with pytest.raises(DataError, match="no prepared rows to try"):
        tune.run(table_recipe(), tmp_path, no_hub)


def test_search_when_there_are_no_validation_rows_then_says_so(tmp_path: Path, no_hub: Hub) -> None:
    prepare_round(tmp_path, [], [])
    with pytest.raises(DataError, match="no validation rows") as caught:
        tune.run(table_recipe(), tmp_path, no_hub)
    assert "tune.trials: 0" in str(caught.value.do)


def test_train_when_the_search_was_not_made_then_says_what_to_do(
    tmp_path: Path, no_hub: Hub
) -> None:
    with pytest.raises(DataError, match="has not been made") as caught:
        train.run(table_recipe(), table_round(tmp_path), no_hub)
    assert "hub-trainer tune" in str(caught.value.do)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that take a moment and train nothing."""
    monkeypatch.setattr(worker, "COMMAND", SCRIPTED)


@pytest.mark.usefixtures("scripted")
def test_search_when_every_trial_fails_then_says_why_the_first_did(
    tmp_path: Path, no_hub: Hub
) -> None:
    chosen = table_recipe(trials=2, search={DEPTH: {"low": 20, "high": 30}})
    with pytest.raises(TrainingError, match="No trial of the search") as caught:
        tune.run(chosen, table_round(tmp_path), no_hub)
    assert re.match(r"2 failed; the first: \d\d is too deep", str(caught.value.got))
    assert not (tmp_path / "tune").exists()


@pytest.mark.usefixtures("scripted")
def test_search_when_a_trial_kills_its_process_twice_then_it_has_failed(
    tmp_path: Path, no_hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = table_recipe(trials=2, search={DEPTH: {"choices": [60, 70]}})
    with pytest.raises(TrainingError, match="No trial of the search") as caught:
        tune.run(chosen, table_round(tmp_path), no_hub)
    assert caught.value.got == "2 failed; the first: its process ended with 9"
    assert caplog.text.count("it is tried again") == 2
    assert caplog.text.count("it has failed") == 2


@pytest.mark.usefixtures("scripted")
def test_search_when_the_minutes_are_over_then_no_trial_begins_but_one_is_made(
    tmp_path: Path, no_hub: Hub
) -> None:
    chosen = table_recipe(trials=50, minutes=0.0001)
    tune.run(chosen, table_round(tmp_path), no_hub)
    found = read_tuned(chosen, tmp_path)
    assert found is not None
    assert found.trials["done"] == 1


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize(("high", "own"), [(2, True), (6, False)])
def test_search_when_no_trial_is_better_than_the_recipe_then_the_recipe_stays(
    tmp_path: Path, no_hub: Hub, high: int, own: bool
) -> None:
    search = {DEPTH: {"choices": [1, high]}}
    chosen = table_recipe(trials=6, search=search)
    tune.run(chosen, table_round(tmp_path), no_hub)
    found = read_tuned(chosen, tmp_path)
    assert found is not None
    assert (found.written_score, found.trials["done"]) == (0.3, 6)
    assert found.score == (0.3 if own else 0.6)
    assert found.chosen == ({} if own else {DEPTH: 6})
    assert (found.best_trial is None) is own
    expected = chosen.train.estimator_arguments | ({} if own else {"max_depth": 6})
    assert tuned_recipe(chosen, tmp_path).train.estimator_arguments == expected


def test_search_when_a_process_cannot_start_then_says_what_it_said(
    tmp_path: Path, no_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (sys.executable, "-c", "raise SystemExit('no such library')")
    monkeypatch.setattr(worker, "COMMAND", broken)
    with pytest.raises(TrainingError, match="ended before its first trial|No trial") as caught:
        tune.run(table_recipe(), table_round(tmp_path), no_hub)
    assert "process ended with 1" in str(caught.value.got)


def children_of(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(one) for one in path.read_text().split()]


@pytest.mark.usefixtures("scripted")
def test_search_when_a_worker_is_killed_then_its_trial_is_made_again(
    tmp_path: Path, no_hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    killed: list[int] = []
    before = children_of(os.getpid())

    def kill(share: float, doing: str) -> None:
        del share
        if doing.startswith("1 of 3") and not killed:
            killed.extend(set(children_of(os.getpid())) - set(before))
            for one in killed:
                os.kill(one, signal.SIGKILL)

    chosen = table_recipe(trials=3)
    tune.run(chosen, table_round(tmp_path), no_hub, progress=kill)
    assert len(killed) == 1
    found = read_tuned(chosen, tmp_path)
    assert found is not None
    assert (found.trials["done"], found.trials["cut_off"]) == (3, 1)
    lost, again = (one for one in trials_of(tmp_path) if one["number"] in (1, 2))
    assert (lost["state"], lost["settings"]) == ("cut off", again["settings"])
    assert "it is tried again" in caplog.text


SEARCH = """
import sys
from pathlib import Path
from hub_trainer.hub import Hub
from hub_trainer.recipe import Recipe
from hub_trainer.stages import tune
from hub_trainer.stages.tune import trial_worker as worker
worker.COMMAND = (sys.executable, sys.argv[3])
recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
tune.run(recipe, Path(sys.argv[2]), Hub("http://127.0.0.1:1", "token"),
         progress=lambda share, doing: print(doing, flush=True))
"""


@pytest.mark.usefixtures("scripted")
def test_search_when_killed_then_the_same_call_goes_on_and_no_process_is_left(
    tmp_path: Path, no_hub: Hub
) -> None:
    folder = table_round(tmp_path / "round")
    chosen = table_recipe(trials=6, workers=2)
    (tmp_path / "recipe.json").write_text(chosen.model_dump_json(exclude_unset=True))
    command = [sys.executable, "-c", SEARCH, str(tmp_path / "recipe.json"), str(folder)]
    process = subprocess.Popen([*command, SCRIPTED[1]], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("2 of 6"):
            break
    workers = children_of(process.pid)
    assert len(workers) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    for _ in range(100):
        if not any(Path(f"/proc/{one}").exists() for one in workers):
            break
        time.sleep(0.1)
    assert [one for one in workers if Path(f"/proc/{one}").exists()] == []
    assert find_artifact(folder / "tune") is None
    tune.run(chosen, folder, no_hub)
    found = read_tuned(chosen, folder)
    assert found is not None
    assert found.trials["done"] == 6
    assert found.trials["cut_off"] >= 1
    kept = trials_of(folder)
    lost = [one["settings"] for one in kept if one["state"] == "cut off"]
    tried = [one["settings"] for one in kept if one["state"] == "complete"]
    assert [one for one in lost if one not in tried] == []


@pytest.mark.slow
def test_pinned_base_when_a_method_that_needs_no_weights_is_searched_then_they_are_fetched(
    hub: Hub, local: LocalHub, base: Path, tmp_path: Path
) -> None:
    pinned: PinnedRepo = push_model(hub, f"{local.user}/{tmp_path.name.lower()}", base)
    folder = prepare_round(tmp_path / "round", text_rows(40), [], base_model=pinned)
    search = {"train.method": {"choices": ["scratch", "head"]}}
    chosen = text_recipe(pinned.repo_id, trials=2, search=search)
    tune.run(chosen, folder, hub)
    found = read_tuned(chosen, folder)
    assert found is not None
    assert found.trials["done"] + found.trials["pruned"] == 2
