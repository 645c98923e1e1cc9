import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.artifacts import Artifact
from hub_trainer.errors import DataError, HubError, RecipeError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import pin_round
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.rows import fetch, read_rows
from hub_trainer.rows.reading_child import read_jobs
from hub_trainer.stages import collect

CARD = "---\nlicense: cc-by-4.0\n---\n# Words\n"
TRAIN = "utterance,intent,site\n" + "".join(f"text {i},{'ab'[i % 2]},s{i % 3}\n" for i in range(20))
TEST = "utterance,intent,site\nnew 1,a,s1\nnew 2,b,s2\n"
FILES = {"README.md": CARD, "train.csv": TRAIN, "test.csv": TEST}
COLUMNS = {"text": "utterance", "label": "intent"}
SOURCE = {"repo_id": "ada/words", "columns": COLUMNS}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with LocalHub() as local:
        hub = Hub(local.url, local.add_user("ada"))
        put(hub, "ada/words", FILES)
        table = "x,severity,arm,ill\n" + "".join(
            f"{i},{i % 4},{'lr'[i % 2]},{i % 2}\n" for i in range(12)
        )
        put(hub, "ada/table", {"train.csv": table, "test.csv": table.replace("\n0,", "\n0.5,")})
        yield hub


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read without a child, for tests that are not about it."""

    def run(function: str, arguments: dict[str, Any], *, folder: Path, limits: Any) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        return json.loads(json.dumps(read_jobs(**json.loads(json.dumps(arguments)))))

    monkeypatch.setattr("hub_trainer.rows.reading_child.run_sandboxed", run)


def put(hub: Hub, repo_id: str, files: Mapping[str, str | bytes]) -> str:
    repo = Repo(repo_id, "dataset")
    hub.create_repo(repo)
    contents = {p: c.encode() if isinstance(c, str) else c for p, c in files.items()}
    run_id = f"{repo_id}-{sorted(contents)}-{hash(tuple(contents.values()))}"
    return hub.commit(repo, Changes(contents), message="Add rows", run_id=run_id).commit_sha


def recipe(task: str = "text-classification", datasets: Any = None, **sections: Any) -> Recipe:
    content: dict[str, Any] = {
        "task": task,
        "collect": {"datasets": datasets or [SOURCE]},
        "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
        "publish": {"repo_id": "ada/model"},
    }
    return Recipe.model_validate({**content, **sections})


def collected(hub: Hub, round_dir: Path, recipe: Recipe, **options: Any) -> Artifact:
    pin_round(recipe, round_dir, hub)
    return collect.run(recipe, round_dir, hub, **options)


def test_collect_when_run_then_rows_and_what_is_known_of_them_are_kept(
    hub: Hub, tmp_path: Path
) -> None:
    steps: list[tuple[float, str]] = []
    plan = recipe(
        prepare={"test_split": {**SOURCE, "split": "test"}},
        evaluate={"metrics": ["accuracy"], "primary": "accuracy", "slices": ["site"]},
    )
    artifact = collected(hub, tmp_path, plan, progress=lambda *step: steps.append(step))
    sha = hub.resolve(Repo("ada/words", "dataset"))
    train = read_rows(artifact.folder / "train.parquet")
    assert len(train) == 20
    assert {row["_source"] for row in train} == {f"ada/words@{sha}"}
    assert list(train[0]) == ["text", "label", "_row", "_source", "_row_id"]
    test = read_rows(artifact.folder / "test.parquet")
    assert [row["site"] for row in test] == ["s1", "s2"]
    assert artifact.outputs["label_names"] == ["a", "b"]
    assert artifact.outputs["features"] == {}
    assert artifact.outputs["warnings"] == []
    assert artifact.outputs["datasets"] == [
        {
            "repo_id": "ada/words",
            "commit_sha": sha,
            "config": "default",
            "split": split,
            "role": split,
            "rows": rows,
            "license": "cc-by-4.0",
            "card_url": f"{hub.url}/datasets/ada/words/blob/{sha}/README.md",
        }
        for split, rows in (("train", 20), ("test", 2))
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collect", "pins.json"]
    assert steps[0] == (0.0, "fetching ada/words")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("has_test_split", [True, False])
def test_collect_when_a_table_keeps_a_slice_from_the_model_then_sealed_rows_have_it(
    has_test_split: bool, hub: Hub, tmp_path: Path
) -> None:
    source = {
        "repo_id": "ada/table",
        "columns": {"label": "ill"},
        "drop_columns": ["severity", "arm"],
    }
    sealed = {"test_split": {**source, "split": "test"}} if has_test_split else {}
    measured = {"metrics": ["accuracy"], "primary": "accuracy", "slices": ["arm"]}
    plan = recipe("tabular-classification", [source], prepare=sealed, evaluate=measured)
    artifact = collected(hub, tmp_path, plan)
    assert list(artifact.outputs["features"]) == ["x"]
    train = read_rows(artifact.folder / "train.parquet")
    assert ("_slice_arm" in train[0]) is not has_test_split
    measured_rows = read_rows(artifact.folder / "test.parquet") if has_test_split else train
    assert [row["_slice_arm"] for row in measured_rows] == ["l", "r"] * 6
    assert not any("severity" in name for name in measured_rows[0])


@pytest.mark.usefixtures("in_process")
def test_collect_when_the_data_is_medical_then_the_model_needs_a_notice(
    hub: Hub, tmp_path: Path
) -> None:
    tagged = CARD.replace("---\n#", "tags: [text, Medical]\n---\n#")
    put(hub, "ada/cases", {**FILES, "README.md": tagged})
    source = {"repo_id": "ada/cases", "columns": COLUMNS}
    with pytest.raises(RecipeError) as caught:
        collected(hub, tmp_path, recipe(datasets=[source]))
    [problem] = caught.value.problems
    assert problem.key == "publish.notice"
    assert "ada/cases is tagged Medical" in problem.message
    assert 'as in notice: "Not a medical device' in problem.message
    noted = {"repo_id": "ada/model", "notice": "For research."}
    collected(hub, tmp_path, recipe(datasets=[source], publish=noted))


@pytest.mark.usefixtures("in_process")
def test_collect_when_run_again_then_does_nothing_until_something_changes(
    hub: Hub, tmp_path: Path
) -> None:
    first = collected(hub, tmp_path, recipe())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hub, "list_files", lambda *a, **k: pytest.fail("asked the Hub"))
        assert collected(hub, tmp_path, recipe()).digest == first.digest
    changed = recipe(prepare={"clean": False})
    assert collected(hub, tmp_path, changed).digest != first.digest


@pytest.mark.usefixtures("in_process")
def test_collect_when_the_branch_moves_then_the_pinned_commit_is_read(
    hub: Hub, tmp_path: Path
) -> None:
    old = put(hub, "ada/moving", FILES)
    plan = recipe(datasets=[{**SOURCE, "repo_id": "ada/moving"}])
    pin_round(plan, tmp_path, hub)
    put(hub, "ada/moving", {"train.csv": "utterance,intent\nchanged,z\n"})
    artifact = collect.run(plan, tmp_path, hub)
    assert artifact.outputs["datasets"][0]["commit_sha"] == old
    assert len(read_rows(artifact.folder / "train.parquet")) == 20


@pytest.mark.usefixtures("in_process")
def test_collect_when_several_datasets_then_joins_and_a_fraction_is_the_seeds_choice(
    hub: Hub, tmp_path: Path
) -> None:
    put(hub, "ada/more", {"train.csv": "text,label\nx,c\ny,a\n"})
    datasets = [{**SOURCE, "fraction": 0.5}, {"repo_id": "ada/more", "split": "train[:1]"}]
    plans = [recipe(datasets=datasets, train={"seed": seed}) for seed in (0, 0, 1)]
    texts = []
    for number, plan in enumerate(plans):
        artifact = collected(hub, tmp_path / str(number), plan)
        texts.append([row["text"] for row in read_rows(artifact.folder / "train.parquet")])
    assert [len(chosen) for chosen in texts] == [11, 11, 11]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0][-1] == "x"
    assert artifact.outputs["label_names"] == ["a", "b", "c"]
    assert artifact.outputs["warnings"] == [
        "ada/more: its card names no licence; ask its owner before you publish a model",
        "training rows: the label 'c' has a single row: nothing can be both learned and measured "
        "of it; bring more rows, or write it as another label",
    ]
    assert artifact.outputs["datasets"][1]["license"] is None


@pytest.mark.usefixtures("in_process")
def test_collect_when_a_table_then_features_are_those_of_the_training_rows(
    hub: Hub, tmp_path: Path
) -> None:
    source = {"repo_id": "ada/table", "columns": {"label": "ill"}}
    plan = recipe(
        "tabular-classification",
        [{**source, "drop_columns": ["severity"]}],
        prepare={"test_split": {**source, "split": "test"}},
    )
    artifact = collected(hub, tmp_path, plan)
    assert artifact.outputs["features"] == {"x": "number", "arm": "category"}
    test = read_rows(artifact.folder / "test.parquet")
    assert list(test[0]) == ["label", "x", "arm", "_row", "_source", "_row_id"]
    assert test[0]["x"] == 0.5
    assert artifact.outputs["label_names"] == ["0", "1"]


@pytest.mark.usefixtures("in_process")
def test_collect_when_tables_differ_in_features_then_says_which(hub: Hub, tmp_path: Path) -> None:
    put(hub, "ada/other-table", {"train.csv": "x,arm,more,ill\na,l,1,0\nb,r,2,1\n"})
    columns = {"label": "ill"}
    datasets = [
        {"repo_id": "ada/table", "columns": columns},
        {"repo_id": "ada/other-table", "columns": columns},
    ]
    with pytest.raises(DataError, match="do not have the same features") as caught:
        collected(hub, tmp_path, recipe("tabular-classification", datasets))
    assert "lacks severity; x is category, not number" in str(caught.value)
    assert "drop_columns" in str(caught.value)
    datasets[0]["drop_columns"] = ["severity"]  # type: ignore[assignment]
    with pytest.raises(DataError) as caught:
        collected(hub, tmp_path, recipe("tabular-classification", datasets))
    assert "has also more" in str(caught.value)


@pytest.mark.usefixtures("in_process")
def test_collect_when_only_the_needed_files_are_named_then_only_they_are_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = "---\nconfigs:\n- config_name: en\n  data_files:\n  - {split: train, path: 'en/1.csv'}\n"
    card += "  - {split: test, path: en/2.csv}\n- config_name: de\n  data_files: de/*.csv\n---\n"
    files = {f"{name}.csv": "text,label\nx,a\ny,b\n" for name in ("en/1", "en/2", "de/1")}
    put(hub, "ada/configs", {"README.md": card, "run.py": "raise SystemExit", **files})
    asked: list[list[str]] = []
    download = Hub.download

    def note(self: Hub, repo: Repo, sha: str, *, allow: Any, into: Any = None) -> Path:
        asked.append(list(allow))
        return download(self, repo, sha, allow=allow, into=into)

    monkeypatch.setattr(Hub, "download", note)
    plan = recipe(datasets=[{"repo_id": "ada/configs", "config": "de"}])
    collected(hub, tmp_path / "de", plan)
    plan = recipe(datasets=[{"repo_id": "ada/configs", "config": "en", "split": "test"}])
    collected(hub, tmp_path / "en", plan)
    assert asked == [["de/1.csv"], ["en/2.csv"]]


@pytest.mark.usefixtures("in_process")
def test_collect_when_a_test_label_is_unseen_in_training_then_names_it(
    hub: Hub, tmp_path: Path
) -> None:
    put(hub, "ada/unseen", {**FILES, "test.csv": "utterance,intent\nx,a\ny,never\n"})
    source = {**SOURCE, "repo_id": "ada/unseen"}
    plan = recipe(datasets=[source], prepare={"test_split": {**source, "split": "test"}})
    with pytest.raises(DataError, match="labels that no training row has") as caught:
        collected(hub, tmp_path, plan)
    assert "never" in str(caught.value)
    assert "prepare.test_split" in str(caught.value)
    assert sorted(
        path.name for path in tmp_path.iterdir() if not path.name.startswith(".collect.")
    ) == ["pins.json"]


@pytest.mark.usefixtures("in_process")
def test_collect_when_every_row_has_a_label_of_its_own_then_says_so(
    hub: Hub, tmp_path: Path
) -> None:
    lines = "utterance,intent\n" + "".join(f"text {n},{n}\n" for n in range(30))
    put(hub, "ada/own-labels", {"train.csv": lines})
    with pytest.raises(DataError, match="a label of its own") as caught:
        collected(hub, tmp_path, recipe(datasets=[{**SOURCE, "repo_id": "ada/own-labels"}]))
    assert "30 labels, as '0'" in str(caught.value)


@pytest.mark.usefixtures("in_process")
def test_collect_when_something_is_odd_then_warns_and_orders_labels(
    hub: Hub, tmp_path: Path
) -> None:
    labels = ["10", "2", "1", "neg", "Neg"]
    lines = ",utterance,intent\n" + "".join(f"{n},text {n},{labels[n % 5]}\n" for n in range(30))
    put(hub, "ada/odd-labels", {"train.csv": lines})
    plan = recipe(datasets=[{**SOURCE, "repo_id": "ada/odd-labels"}])
    artifact = collected(hub, tmp_path, plan)
    assert artifact.outputs["label_names"] == ["1", "2", "10", "Neg", "neg"]
    said = " ".join(artifact.outputs["warnings"])
    assert "'Unnamed: 0' counts the rows" in said
    assert "'Neg' (6 rows), 'neg' (6 rows)" in said


@pytest.mark.usefixtures("in_process")
def test_collect_when_splits_have_the_same_oddity_then_it_is_told_once(
    hub: Hub, tmp_path: Path
) -> None:
    """A repo's splits are named together, another repo's beside them; other texts stand alone."""
    files = {
        f"{split}.csv": "n,x,ill\n" + "".join(f"{n},{n % 3}.5,{n % 2}\n" for n in range(30))
        for split in ("train", "test")
    }
    put(hub, "ada/counted", files)
    put(hub, "ada/counted-too", {"train.csv": files["train.csv"].replace(",0.5,", ",inf,")})
    columns = {"columns": {"label": "ill"}}
    plan = recipe(
        "tabular-classification",
        [{"repo_id": repo, **columns} for repo in ("ada/counted", "ada/counted-too")],
        prepare={"test_split": {"repo_id": "ada/counted", "split": "test", **columns}},
    )
    told = [one for one in collected(hub, tmp_path, plan).outputs["warnings"] if "column" in one]
    assert told == [
        "ada/counted, train and test; ada/counted-too, train: the column 'n' counts the rows one "
        "by one; if it says nothing of them, name it in drop_columns",
        "ada/counted-too, train: the column 'x' is infinite in 10 rows: they are gaps",
    ]


Case = tuple[dict[str, str], dict[str, Any], str, str]
ESCAPE = "---\nconfigs:\n- config_name: x\n  data_files: /etc/passwd\n---\n"
WRONG: dict[str, Case] = {
    "column": (FILES, {"columns": {"text": "utterance"}}, "no column 'label'", "intent, site"),
    "split": (FILES, {**SOURCE, "split": "dev"}, "no split 'dev'", "splits train, test"),
    "config": (FILES, {**SOURCE, "config": "fr"}, "no config 'fr'", "configs default"),
    "slice": (FILES, {**SOURCE, "split": "train[:"}, "not a split", "train[:500]"),
    "drop": (FILES, {**SOURCE, "drop_columns": ["zzz"]}, "not have: zzz", "columns utterance"),
    "empty": ({"train.csv": "utterance,intent\n"}, SOURCE, "a header and no rows", "intent"),
    "corrupt": ({"train.parquet": "PAR1"}, SOURCE, "parquet file is broken", "train.parquet"),
    "script": ({"run.py": "raise SystemExit"}, SOURCE, "cannot be told apart", "parquet, csv"),
    "archive": ({"train.tar": "x"}, SOURCE, "Archives are not read", ".tar"),
    "escape": ({"README.md": ESCAPE, "a.csv": "x"}, SOURCE, "outside the repo", "data_files"),
}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("case", sorted(WRONG))
def test_collect_when_the_data_is_wrong_then_says_what_and_leaves_nothing(
    hub: Hub, tmp_path: Path, case: str
) -> None:
    files, source, what, more = WRONG[case]
    put(hub, f"ada/wrong-{case}", files)
    plan = recipe(datasets=[{**source, "repo_id": f"ada/wrong-{case}"}])
    with pytest.raises(DataError, match=".*") as caught:
        collected(hub, tmp_path, plan)
    assert what in str(caught.value)
    assert more in str(caught.value)
    assert f"ada/wrong-{case}@" in str(caught.value)
    assert not (tmp_path / "collect").exists()
    assert not list(tmp_path.glob(f"{collect.SCRATCH}*"))


def test_collect_when_the_files_are_too_large_then_refuses_before_fetching(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_trainer.rows.limits.Limits.max_bytes", 50)
    monkeypatch.setattr(Hub, "download", lambda *a, **k: pytest.fail("fetched"))
    with pytest.raises(DataError, match="files are too large") as caught:
        collected(hub, tmp_path, recipe())
    assert "The limit is 50 bytes" in str(caught.value)


def test_collect_when_the_hub_is_gone_then_it_is_a_hub_error(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise HubError("The Hub does not answer.")

    pin_round(recipe(), tmp_path, hub)
    monkeypatch.setattr(Hub, "list_files", gone)
    with pytest.raises(HubError, match="does not answer"):
        collect.run(recipe(), tmp_path, hub)
    assert not (tmp_path / "collect").exists()


@pytest.mark.parametrize(
    ("card", "license_"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": ["mit", "cc0-1.0"]}, "mit, cc0-1.0"),
        ({"license": "other", "license_name": "own"}, "own"),
        ({"license": "other"}, "other"),
        ({"license": []}, None),
        ({}, None),
    ],
)
def test_license_when_in_the_card_then_is_taken(card: dict[str, Any], license_: str | None) -> None:
    assert collect._license(card) == license_


def test_patterns_when_there_are_very_many_files_then_all_that_end_alike_are_asked_for() -> None:
    assert fetch._patterns(["a[1].csv"]) == ["a[[]1].csv"]
    many = [f"cat/{i}.png" for i in range(201)]
    assert fetch._patterns([*many, "cat/A.PNG", "metadata.csv"]) == ["*.PNG", "*.csv", "*.png"]


@pytest.mark.usefixtures("in_process")
def test_collect_when_a_source_loses_a_tenth_then_it_is_said_with_its_first_rows(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = "utterance,intent\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(17))
    sha = put(hub, "ada/holes", {"README.md": CARD, "train.csv": f"{content},a\nx,\n,b\n"})
    with caplog.at_level(logging.INFO, "hub_trainer.stages.collect"):
        artifact = collected(hub, tmp_path, recipe(datasets=[{**SOURCE, "repo_id": "ada/holes"}]))
    assert artifact.outputs["left_out"] == {"no text": 2, "no label": 1}
    where = f"ada/holes@{sha[:8]}, split train"
    assert artifact.outputs["first_left_out"] == {
        where: [[18, "no text"], [19, "no label"], [20, "no text"]]
    }
    told = [(record.levelname, record.message) for record in caplog.records]
    assert not [line for _, line in told if line.startswith("collect: 3 left out")]
    warning = f"{where}: 3 of 20 rows left out: 2 no text, 1 no label; the first: row 18 (no text)"
    assert ("WARNING", f"collect: {warning}, row 19 (no label), row 20 (no text)") in told
    assert artifact.outputs["warnings"][0].startswith(warning)


@pytest.mark.usefixtures("in_process")
def test_collect_when_pairs_have_no_number_then_only_a_loss_that_needs_none_takes_them(
    hub: Hub, tmp_path: Path
) -> None:
    table = "question,answer\n" + "".join(f"what is {i}?,it is {i}\n" for i in range(12))
    put(hub, "ada/pairs", {"train.csv": table, "test.csv": table.replace("is", "was")})
    source = {"repo_id": "ada/pairs", "columns": {"text": "question", "text_pair": "answer"}}
    sections: dict[str, Any] = {
        "base_model": "ada/base",
        "datasets": [source],
        "prepare": {"test_split": {**source, "split": "test"}},
        "evaluate": {"metrics": ["recall_at_1"], "primary": "recall_at_1"},
    }
    pinned = {**sections, "base_model": None, "train": {"method": "scratch", "loss": "in_batch"}}
    artifact = collected(hub, tmp_path / "alone", recipe("sentence-similarity", **pinned))
    rows = read_rows(artifact.folder / "train.parquet")
    assert {row["target"] for row in rows} == {1.0}
    assert len(rows) == 12
    scored = recipe("sentence-similarity", **{**pinned, "train": {"method": "scratch"}})
    with pytest.raises(DataError, match="no column 'target' for target"):
        collected(hub, tmp_path / "scored", scored)
