"""Which round a run begins or resumes, decided from the record on the Hub."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub_trainer import loop
from hub_trainer.errors import HubError, RecipeError, UsageError
from hub_trainer.hub import Hub
from hub_trainer.lineage import RoundRecord, load_pins, write_pins
from hub_trainer.local_hub import LocalHub
from hub_trainer.loop import (
    Start,
    assert_offered,
    begin_round,
    read_status,
    result_of_start,
    start_round,
)
from hub_trainer.loop.claim import claimed
from hub_trainer.recipe import Recipe, load_recipe
from tests.lineage.published import (
    BASE,
    CARD,
    DATA,
    MODEL,
    OWNER,
    RECIPE,
    keep,
    put,
    recipe_file,
    record_of,
    seed,
    send,
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    with LocalHub() as local:
        hub = Hub(local.url, local.add_user(OWNER))
        seed(hub)
        yield hub


@pytest.fixture
def first(hub: Hub, tmp_path: Path) -> RoundRecord:
    return send(hub, record_of(hub, recipe_file(tmp_path).recipe, 1))


def start(hub: Hub, *overrides: str, text: str = RECIPE, fresh: bool = False) -> Start:
    return start_round(recipe_file(Path.cwd(), *overrides, text=text), hub, fresh=fresh)


def test_start_when_there_is_no_round_then_the_first_begins_and_says_its_commits(hub: Hub) -> None:
    found = start(hub)
    assert (found.kind, found.round_dir) == ("begins", Path("rounds/pets/round-001"))
    assert found.lines() == [
        "Round 1 begins in rounds/pets/round-001, the first of ada/model.",
        f"  base model  ada/base@main at {hub.resolve(BASE)[:7]}",
        f"  data        ada/data@main at {hub.resolve(DATA)[:7]}",
    ]
    assert not Path("rounds").exists()


@pytest.mark.parametrize("verdict", ["promote", "hold", "reject"])
def test_start_when_nothing_is_new_then_no_round_whatever_the_verdict(
    hub: Hub, tmp_path: Path, verdict: str
) -> None:
    recipe = recipe_file(tmp_path).recipe
    sent = send(hub, record_of(hub, recipe, 1, verdict))
    if verdict != "promote":  # a pull request counts when its author has written to main
        put(hub, MODEL, {"README.md": CARD}, "Words")
    found = start(hub)
    assert (found.kind, found.pins) == ("nothing new", None)
    assert "Nothing is new since round 1" in found.lines()[0]
    told = result_of_start(found, hub).to_json()
    assert (told["start"], told["new"], told["verdict"]) == ("nothing new", [], verdict)
    assert told["round_dir"] is None
    page = f"{hub.url}/ada/model/discussions/{sent.pull_request}"
    assert told["model"]["url"] == (None if verdict == "promote" else page)
    assert not Path("rounds").exists()


SAME_RECIPE = """\
publish: {license: mit, private: false, repo_id: ada/model}  # other keys, other order
evaluate: {primary: accuracy, metrics: [f1_macro, accuracy], slices: [text]}
serve: {repo_id: ada/demo, ratings_repo_id: ada/ratings}
review: {max_rows: 7}
curate: {min_raters: 9}
gate: {alpha: 0.1}
train: {method: full, arguments: {learning_rate: 1.0e-2, logging_steps: 3}, profile: true}
prepare: {test_split: {split: test, repo_id: ada/data, revision: main}}
collect: {datasets: [ada/data], ratings: ada/ratings}
base_model: ada/base@main
task: text-classification
"""


def test_start_when_only_what_cannot_change_the_model_differs_then_no_round(
    hub: Hub, first: RoundRecord
) -> None:
    found = start(hub, text=SAME_RECIPE)
    assert found.kind == "nothing new"
    told = "\n".join(found.lines())
    assert "gate.alpha (0.1, was 0.05) cannot change the model: it applies from the next" in told
    assert "evaluate.metrics" in told


def test_start_when_repos_have_commits_that_leave_the_files_alone_then_no_round(
    hub: Hub, first: RoundRecord
) -> None:
    more = {"README.md": CARD + b"More.\n", "notes.md": b"x", "LICENSE": b"x"}
    sha = put(hub, DATA, more, "Words")
    put(hub, BASE, {"README.md": CARD + b"More.\n"}, "Words")
    put(hub, MODEL, {"README.md": CARD}, "Words")
    found = start(hub)
    assert found.kind == "nothing new"
    assert f"  ada/data is at {sha[:7]}, with the same train files" in found.lines()
    assert any("with the same model files" in line for line in found.lines())


def test_start_when_data_moved_to_another_repo_or_name_then_compared_by_content(
    hub: Hub, first: RoundRecord
) -> None:
    put(hub, DATA, {"train-00.csv": b"text,label\na,b\n"}, "Rename", "train.csv")
    assert start(hub).kind == "nothing new"
    assert start(hub, f"collect.datasets=[ada/data@{hub.resolve(DATA)}]").kind == "nothing new"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("train.seed=1",), "train.seed (1, was 0)"),
        (("train.arguments.learning_rate=0.02",), "train.arguments.learning_rate (0.02, was 0.01)"),
        (("train.arguments.warmup_steps=2",), "train.arguments.warmup_steps (2, was not set)"),
        (("prepare.max_length=9",), "prepare.max_length (9, was not set)"),
        (
            ("evaluate.metrics=[mcc]", "evaluate.primary=mcc"),
            "evaluate.primary (mcc, was accuracy)",
        ),
        (("collect.datasets=[{repo_id: ada/data, fraction: 0.5}]",), "collect.datasets.0.fraction"),
        (("base_model=null",), "the base model (none, was ada/base)"),
    ],
)
def test_start_when_a_setting_can_change_the_model_then_a_round_that_names_it(
    hub: Hub, first: RoundRecord, overrides: tuple[str, ...], told: str
) -> None:
    found = start(hub, *overrides)
    assert found.kind == "begins"
    assert found.news is not None
    assert any(told in one for one in found.news.new)
    assert found.lines()[0].startswith("Round 2 begins in rounds/pets/round-002. New since round 1")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"train.csv": b"text,label\na,b\nc,d\n"}, "1 file of ada/data (train)"),
        ({"test.csv": b"text,label\na,b\n"}, "1 file of ada/data (test)"),
        ({"train-2.csv": b"text,label\nz,b\n"}, "1 file of ada/data (train)"),
    ],
)
def test_start_when_data_is_new_then_a_round_that_names_it(
    hub: Hub, first: RoundRecord, files: dict[str, bytes], told: str
) -> None:
    put(hub, DATA, files, "More")
    found = start(hub)
    assert found.news is not None
    assert found.news.new == (told,)


def test_start_when_the_base_is_new_then_a_round_that_names_it(
    hub: Hub, first: RoundRecord
) -> None:
    put(hub, BASE, {"model.safetensors": b"better"}, "Better")
    found = start(hub)
    assert found.news is not None
    assert found.news.new == ("the base model ada/base (model.safetensors changed)",)


def test_start_when_a_round_was_begun_then_resumes_unless_fresh(
    hub: Hub, first: RoundRecord
) -> None:
    begin_round(start(hub, "train.seed=1"))
    folder = Path("rounds/pets/round-002")
    pins = load_pins(folder)
    sha = put(hub, DATA, {"train.csv": b"text,label\na,b\nc,d\n"}, "More")
    found = start(hub, "train.seed=1", "serve={repo_id: ada/s, ratings_repo_id: ada/r}")
    assert (found.kind, found.pins) == ("resumes", pins)
    assert f"  ada/data has moved on to {sha[:7]} since" in found.lines()
    assert found.lines()[-1] == f"  --fresh begins it anew (or remove {folder})"
    (folder / "collect").mkdir()
    anew = start(hub, "train.seed=1", fresh=True)
    begin_round(anew, fresh=True)
    assert anew.kind == "begins"
    assert load_pins(folder) == anew.pins != pins
    assert not (folder / "collect").exists()
    assert start(hub, "train.seed=2").kind == "begins"


def test_start_when_another_machine_sent_the_round_then_the_begun_one_is_stale(
    hub: Hub, first: RoundRecord, tmp_path: Path
) -> None:
    begin_round(start(hub, "train.seed=1"))
    send(hub, record_of(hub, recipe_file(tmp_path, "train.seed=1").recipe, 2, "hold"))
    assert start(hub, "train.seed=1").kind == "nothing new"
    again = start(hub, "train.seed=2")
    assert (again.kind, again.round_dir) == ("begins", Path("rounds/pets/round-003"))
    explicit = start_round(
        recipe_file(tmp_path, "train.seed=2"), hub, round_dir=Path("rounds/pets/round-002")
    )
    assert explicit.kind == "begins"
    assert explicit.pins is not None
    assert explicit.pins.round == 3


def test_start_when_a_round_was_sent_and_cut_off_then_it_is_finished(
    hub: Hub, tmp_path: Path
) -> None:
    begun = start(hub)
    assert begun.pins is not None
    begin_round(begun)
    made = record_of(hub, recipe_file(tmp_path).recipe, 1)
    made = send(hub, replace(made, run_id=begun.pins.run_id))
    found = start(hub)
    assert (found.kind, found.pins) == ("resumes", begun.pins)
    assert "was sent already and cut off then" in found.lines()[0]
    keep(hub, begun.round_dir, made, begun.pins)
    done = start(hub)
    assert (done.kind, done.is_here) == ("nothing new", True)
    assert result_of_start(done, hub).round_dir == "rounds/pets/round-001"
    shutil.rmtree("rounds")
    assert start(hub).kind == "nothing new"


def test_start_when_pins_are_damaged_then_told_and_fresh_helps(
    hub: Hub, first: RoundRecord
) -> None:
    folder = Path("rounds/pets/round-002")
    folder.mkdir(parents=True)
    (folder / "pins.json").write_text('{"round": 2')
    with pytest.raises(UsageError, match="The round's pins cannot be read") as caught:
        start(hub, "train.seed=1")
    assert "Remove rounds/pets/round-002" in str(caught.value.do)
    anew = start(hub, "train.seed=1", fresh=True)
    begin_round(anew, fresh=True)
    assert load_pins(folder) == anew.pins


def test_fresh_when_the_folder_is_no_round_then_it_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("x")
    found = start_round(recipe_file(tmp_path), hub, round_dir=mine, fresh=True)
    with pytest.raises(UsageError, match="The folder holds no round, so it is not cleared"):
        begin_round(found, fresh=True)
    assert (mine / "chapter.txt").exists()


def test_start_when_a_pinned_commit_is_gone_then_told(hub: Hub, first: RoundRecord) -> None:
    begun = start(hub, "train.seed=1")
    assert begun.pins is not None
    other = replace(begun.pins.datasets[0], commit_sha="c" * 40)
    write_pins(begun.round_dir, replace(begun.pins, datasets=(other,)))
    with pytest.raises(HubError, match="The dataset that this round was begun with is gone"):
        start(hub, "train.seed=1")


def test_claim_when_another_process_holds_the_folder_then_told(tmp_path: Path) -> None:
    again = claimed(tmp_path / "round")
    told = pytest.raises(UsageError, match="Another process works on this round")
    with claimed(tmp_path / "round"), told, again:
        raise AssertionError
    with claimed(tmp_path / "round"):
        pass


def test_status_when_main_is_not_what_a_round_published_then_both_are_told(
    hub: Hub, first: RoundRecord, tmp_path: Path
) -> None:
    records, rounds, fault = read_status(recipe_file(tmp_path), hub)
    assert (len(records), rounds[0].round, fault) == (1, 1, None)
    put(hub, MODEL, {"evil.py": b"x"}, "Help")
    records, _, fault = read_status(recipe_file(tmp_path), hub)
    assert len(records) == 1
    assert fault is not None
    assert "evil.py added" in str(fault.got)


def test_round_when_the_task_does_not_offer_a_setting_then_it_does_not_begin(
    tmp_path: Path,
) -> None:
    """`check` says it; a round that was not checked would end in training by it."""
    path = tmp_path / "cats.yaml"
    path.write_text(
        "task: tabular-classification\n"
        "collect: {datasets: [a/rows]}\n"
        "train: {estimator: logistic}\n"
        "evaluate: {metrics: [accuracy], primary: accuracy}\n"
        "publish: {repo_id: a/model}\n"
    )
    with pytest.raises(RecipeError) as caught:
        assert_offered(load_recipe(path))
    [problem] = caught.value.problems
    assert (problem.key, problem.line) == ("train.estimator", 3)
    assert "'logistic'" in problem.message
    assert "logistic_regression" in problem.message


def test_start_when_settings_changed_since_a_round_was_begun_then_its_training_is_said_to_go(
    hub: Hub,
) -> None:
    begin_round(start(hub))
    assert "dropped" not in start(hub).lines()[0]
    told = start(hub, "train.seed=3").lines()[0]
    assert told == (
        "Round 1 begins in rounds/pets/round-001, the first of ada/model. What was begun there "
        "with other settings is dropped, as its training does not fit them."
    )


def test_stage_when_one_of_several_processes_then_nothing_waits_for_the_others_before_they_may_go(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a task offers is judged with TrainingArguments, which joins all processes; the others
    wait for this one's sign and would never come."""
    done: list[str] = []

    def run(stage: str, recipe: Recipe, round_dir: Path, hub: Hub, **_: object) -> None:
        done.append(stage)

    monkeypatch.setattr(loop, "run_stage", run)
    monkeypatch.setattr(loop, "assert_offered", lambda of: done.append("judged"))
    monkeypatch.setattr(loop, "round_result", lambda folder: {})
    for processes, told in (("2", []), ("1", ["judged"])):
        monkeypatch.setenv("WORLD_SIZE", processes)
        done.clear()
        loop.run_until("train", recipe_file(tmp_path), tmp_path / processes, hub)
        assert done == [*told, "collect", "prepare", "train"]
        assert (tmp_path / processes / ".upstream-ready").exists()
