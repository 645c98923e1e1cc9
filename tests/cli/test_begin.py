"""From one's own file to a first model, and rows proposed with review's own eyes."""

import io
import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_trainer.checks.policy import declared_by
from hub_trainer.cli.hub_serve import _announce
from hub_trainer.contribute import creation, own_columns, propose
from hub_trainer.contribute.local_file import read_local
from hub_trainer.errors import DataError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import TrainSection, load_recipe
from hub_trainer.rows import RawSplit
from hub_trainer.tasks import TASKS, load_task, outline_for
from hub_trainer.tasks.declared import Declared
from hub_trainer.tasks.starters import STARTERS
from tests.cli.conftest import Cli
from tests.cli.seeded import OWNER, TEXT_BASE, parquet
from tests.tasks.factory import table_rows

WORDS = ["river", "window", "paper", "garden", "winter", "engine", "silver", "bottle", "market"]


def texts(count: int, *, seed: int = 0, labels: str = "Spam,Ham,None") -> str:
    rng = random.Random(seed)
    names = labels.split(",")
    rows = (f"{' '.join(rng.choices(WORDS, k=8))},{names[i % len(names)]}\n" for i in range(count))
    return "text,label\n" + "".join(rows)


def test_hub_when_it_answers_then_a_shell_can_run_its_lines(
    local: LocalHub, capsys: pytest.CaptureFixture[str]
) -> None:
    _announce(local)
    lines = [line for line in capsys.readouterr().err.splitlines() if "export" in line]
    script = "\n".join([*lines, 'printf %s "$HF_TOKEN"'])
    told = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == local.token
    assert local.token not in script


def test_starters_when_compared_with_the_tasks_then_each_has_one() -> None:
    assert set(STARTERS) == set(TASKS)


@pytest.mark.parametrize(
    ("said", "primary"),
    [
        ({"chosen": "Yes.", "rejected": "No, never."}, "preference_accuracy"),
        ({"completion": "Yes."}, "completion_loss"),
    ],
)
def test_init_when_rows_are_preferences_then_they_are_what_decides(
    said: dict[str, str], primary: str, cli: Cli, hub: Hub
) -> None:
    rows = [{"prompt": f"Is {n} a number?", **said} for n in range(40)]
    data = Path(f"{primary}.jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = cli("init", "--task", "text-generation", "--data", str(data), "--base-model", TEXT_BASE)
    assert told.code == 0, told.err
    assert load_recipe(data.with_suffix(".yaml")).recipe.evaluate.primary == primary


@pytest.mark.parametrize("task", [name for name in TASKS if name.startswith("tabular-")])
def test_starter_of_a_table_when_written_then_its_method_is_the_default(task: str) -> None:
    assert STARTERS[task].train["method"] == TrainSection.model_fields["method"].default


def test_table_when_begun_then_check_accepts_and_run_trains(cli: Cli, hub: Hub) -> None:
    rows = table_rows(150)
    names = [name for name in rows[0] if not name.startswith("_")]
    lines = [";".join(["", *(name.replace("label", "species") for name in names)])]
    for number, row in enumerate(rows):
        cells = ["" if row[name] is None else str(row[name]) for name in names]
        lines.append(";".join([str(number), *cells]))
    Path("zoo.csv").write_text("\n".join(lines) + "\n")
    told = cli("init", "--task", "tabular-classification", "--data", "zoo.csv", "--json")
    assert told.code == 0, told.err
    assert told.json["columns"] == {"label": "species"}
    assert "'Unnamed: 0' counts the rows: it is left out" in told.json["notes"][0]
    assert told.json["next"] == ["hub-trainer check zoo.yaml", "hub-trainer run zoo.yaml"]
    assert hub.is_private(Repo(f"{OWNER}/zoo", "dataset"))
    card = hub.read_file(Repo(f"{OWNER}/zoo", "dataset"), "README.md", "main")
    assert card is not None
    assert b"None has been chosen" in card
    checked = cli("check", "zoo.yaml")
    assert checked.code == 0, checked.err
    ran = cli("run", "zoo.yaml", "--json")
    assert ran.json["round"] == 1, ran.err
    again = cli("init", "--task", "tabular-classification", "--data", "zoo.csv")
    assert again.code == 2
    assert "The recipe is there already" in again.err
    again = cli("init", "--task", "tabular-classification", "--data", "zoo.csv", "--out", "b.yaml")
    assert "hub-trainer contribute admin/zoo zoo.csv" in again.err


def test_text_when_begun_then_a_label_called_none_is_one(cli: Cli, hub: Hub) -> None:
    Path("words.csv").write_text(texts(60))
    args = ("init", "--task", "text-classification", "--data", "words.csv", "--json")
    told = cli(*args)
    assert told.code == 2
    assert "--base-model org/name" in told.err
    assert "hf upload admin/all-MiniLM-L6-v2 base" in told.err
    assert not hub.exists(Repo(f"{OWNER}/words", "dataset"))
    told = cli(*args, "--base-model", TEXT_BASE, "--repo-id", f"{OWNER}/words")
    assert told.json["labels"] == {"Ham": 20, "None": 20, "Spam": 20}
    assert sum(told.json["rows"].values()) == 60
    assert load_recipe(Path("words.yaml")).recipe.prepare.test_split is not None


def paired(count: int, header: str, *, fractions: bool = False) -> str:
    """Rows of two texts and an answer, under the names of a header."""
    rng, lines = random.Random(3), [header]
    for number in range(count):
        sides = [" ".join(rng.choices(WORDS, k=6)) for _ in range(2)]
        answer = f"{rng.random() * 5:.2f}" if fractions else ["same", "other"][number % 2]
        lines.append(",".join([*sides, answer]))
    return "\n".join(lines) + "\n"


def test_pair_when_its_columns_are_called_so_then_both_texts_are_read(cli: Cli, hub: Hub) -> None:
    Path("twins.csv").write_text(paired(60, "Sentence1,sentence2,label"))
    args = ("--task", "text-classification", "--data", "twins.csv", "--base-model", TEXT_BASE)
    told = cli("init", *args, "--json")
    assert told.code == 0, told.err
    assert told.json["columns"] == {"text": "Sentence1", "text_pair": "sentence2"}
    assert told.json["notes"] == [
        "Sentence1 and sentence2 are read as a pair; to read only one of them, begin anew with "
        "--column text=Sentence1"
    ]
    made = load_recipe(Path("twins.yaml")).recipe
    assert list(outline_for(made).columns) == ["text", "text_pair", "label"]
    assert made.prepare.test_split.columns == made.collect.datasets[0].columns  # type: ignore[union-attr]
    checked = cli("check", "twins.yaml")
    assert (checked.code, "2 labels: other, same" in checked.err) == (0, True), checked.err


@pytest.mark.parametrize(
    ("header", "columns", "found", "note"),
    [
        ("text,remark,label", {}, {}, "the column 'remark' holds texts too"),
        ("sentence1,sentence2,label", {"text": "sentence1"}, {"text": "sentence1"},
         "the column 'sentence2' holds texts too, which the model does not read; if it is to read "
         "pairs, begin anew with --column text=sentence1 --column text_pair=sentence2"),
        ("a,b,label", {"text": "a", "text_pair": "b"}, {"text": "a", "text_pair": "b"},
         "a and b are read as a pair"),
        ("text,text_pair,label", {}, {"text_pair": "text_pair"}, "read as a pair"),
    ],
)  # fmt: skip
def test_texts_when_there_are_two_columns_then_a_note_says_what_is_read(
    tmp_path: Path, header: str, columns: dict[str, str], found: dict[str, str], note: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(paired(30, header))
    raw = read_local(path, max_bytes=10**6)
    wanted = creation.Beginning("text-classification", path, path, columns=columns)
    named = own_columns.named_columns(raw, wanted.task, columns)
    task = creation._task(wanted.task, named)
    chosen = own_columns.find_columns(raw, task, named, where="here")
    assert chosen == found
    [told] = own_columns.pair_notes(raw, task, chosen)
    assert note in told


def test_texts_when_none_can_be_told_then_a_pair_is_offered_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(paired(30, "left,right,label"))
    raw = read_local(path, max_bytes=10**6)
    with pytest.raises(DataError, match="No column can be told to be the text") as caught:
        own_columns.find_columns(raw, load_task("text-classification"), {}, where="here")
    assert caught.value.do == (
        "Name it: --column text=left; and if the model reads pairs, the second: "
        "--column text_pair=right"
    )


def test_answers_when_they_are_fractions_then_a_recipe_has_to_say_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(paired(30, "sentence1,sentence2,score", fractions=True))
    raw = read_local(path, max_bytes=10**6)
    named = own_columns.named_columns(raw, "text-classification", {})
    with pytest.raises(DataError, match="The answers look like numbers") as caught:
        own_columns.find_columns(
            raw, creation._task("text-classification", named), named, where="here"
        )
    assert caught.value.do == (
        "Name them: --column target=score; or, to learn them as labels, --column label=score"
    )
    named["target"] = "score"
    task = creation._task("text-classification", named)
    found = own_columns.find_columns(raw, task, named, where="here")
    assert found == {"text": "sentence1", "text_pair": "sentence2", "target": "score"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (texts(5), ["Too few rows", "--test FILE"]),
        (texts(30, labels="a"), ["cannot be learned", "one label"]),
        ("text,label\n" + "".join(f"t {i},l{i}\n" for i in range(30)), ["a label of its own"]),
        ("a,b,c\n1,2,3\n", ["No column can be told to be the", "--column"]),
        ("", ["empty"]),
    ],
)
def test_init_when_nothing_can_be_learned_then_nothing_is_made(
    cli: Cli, hub: Hub, content: str, words: list[str]
) -> None:
    Path("bad.csv").write_text(content)
    args = ("--task", "text-classification", "--data", "bad.csv", "--base-model", TEXT_BASE)
    told = cli("init", *args)
    assert told.code == 3, told.err
    assert [word for word in words if word not in told.err] == []
    assert not hub.exists(Repo(f"{OWNER}/bad", "dataset"))
    assert not Path("bad.yaml").exists()


@pytest.mark.slow
def test_contribute_when_review_would_refuse_then_says_so_before_it_sends(
    cli: Cli, hub: Hub
) -> None:
    repo = Repo(f"{OWNER}/letters", "dataset")
    hub.create_repo(repo)
    hub.commit(repo, Changes({"train.csv": texts(90).encode()}), message="Seed", run_id="letters")
    Path("copies.csv").write_text(texts(30))
    told = cli("contribute", repo.repo_id, "copies.csv", "--json")
    assert told.code == 3
    assert "duplicates: 0 exact and 0 near repeats within, 30 exact" in told.err
    assert f"hub-trainer contribute {repo.repo_id} copies.csv --yes" in told.err
    assert hub.pull_requests(repo, status=None) == []
    Path("fresh.csv").write_text(texts(30, seed=7) + "write to jo@example.org,Ham\n")
    dry = cli("contribute", repo.repo_id, "fresh.csv", "--dry-run", "--json")
    assert (dry.code, dry.json["pull_request"], dry.json["rows"]) == (0, None, 31)
    assert dry.json["warnings"] == ["personal data: email in 1 row"]
    assert hub.pull_requests(repo, status=None) == []
    told = cli("contribute", repo.repo_id, "fresh.csv", "--json")
    assert told.code == 3
    assert "hold personal data, which a pull request shows to all who see the dataset" in told.err
    assert "email in 1 row" in told.err
    assert hub.pull_requests(repo, status=None) == []
    sent = cli("contribute", repo.repo_id, "fresh.csv", "--yes", "--json")
    assert sent.json["pull_request"] == 1, sent.err
    assert (
        cli("contribute", repo.repo_id, "copies.csv", "--yes", "--json").json["pull_request"] == 2
    )


def test_task_when_misspelt_then_init_names_the_nearest(cli: Cli) -> None:
    Path("rows.csv").write_text(texts(30))
    told = cli("init", "--task", "text-clasification", "--data", "rows.csv")
    assert told.code == 2
    assert "no task 'text-clasification'. Did you mean text-classification?" in told.err
    assert "where: --task" in told.err
    assert "where: recipe" not in told.err


def test_file_when_missing_then_says_which_path_was_looked_for(cli: Cli) -> None:
    args = ("init", "--task", "tabular-classification", "--repo-id", f"{OWNER}/gone")
    for told in (cli(*args, "--data", "gone.csv"), cli("contribute", f"{OWNER}/texts", "gone.csv")):
        assert f"nothing at {cli.folder / 'gone.csv'}" in told.err


def test_labels_when_they_differ_in_case_then_init_says_how_to_join_them(
    cli: Cli, hub: Hub
) -> None:
    Path("mixed.csv").write_text(texts(60, labels="Spam,spam,ham"))
    args = ("init", "--task", "text-classification", "--data", "mixed.csv", "--json")
    told = cli(*args, "--base-model", TEXT_BASE)
    assert told.code == 0, told.err
    assert "write them alike in mixed.csv, remove mixed.yaml" in told.json["notes"][-1]
    assert f"hf repos delete {OWNER}/mixed --type dataset" in told.json["notes"][-1]


def homes(cli: Cli, name: str) -> str:
    """A dataset of homes that `init` made, for which no model is published."""
    rows = "".join(f"{40 + n * 7 % 60}.5,{n % 7},{n * 2}.5\n" for n in range(60))
    Path(f"{name}.csv").write_text(f"size,rooms,price\n{rows}")
    args = ("--data", f"{name}.csv", "--column", "target=price")
    begun = cli("init", "--task", "tabular-regression", *args)
    assert begun.code == 0, begun.err
    return f"{OWNER}/{name}"


def test_number_when_no_model_is_there_then_the_card_says_how_rows_are_read(
    cli: Cli, hub: Hub
) -> None:
    dataset = homes(cli, "homes")
    assert declared_by(hub, dataset) == Declared("tabular-regression", {"target": "price"})
    Path("new.csv").write_text("size,rooms,price\n77.25,3,80.5\n52.75,1,90.25\n")
    told = cli("contribute", dataset, "new.csv", "--yes", "--json")
    assert told.code == 0, told.err
    judged = cli("review", dataset, "--all", "--json")
    assert judged.json["policy"] == "the dataset's own card"
    assert [one["verdict"] for one in judged.json["pull_requests"]] == ["merge"], judged.err
    Path("bad.csv").write_text("size,rooms,price\n1,2,3.5\n1,2,cheap\n")
    told = cli("contribute", dataset, "bad.csv", "--dry-run")
    assert "'cheap' in row 2" in told.err


def test_number_when_neither_model_nor_card_says_it_then_contribute_says_what_can_be_done(
    cli: Cli, hub: Hub
) -> None:
    dataset = homes(cli, "houses")
    changes = Changes({"README.md": b"---\nlanguage: en\n---\n# Houses\n"})
    hub.commit(Repo(dataset, "dataset"), changes, message="Card", run_id="card")
    told = cli("contribute", dataset, "houses.csv", "--dry-run")
    assert told.code == 3
    assert "neither the dataset's card nor a published model says which it is" in told.err
    assert "`hub_trainer: {task: TASK, columns: {OURS: THEIRS}}`" in told.err
    assert f"hf upload {dataset} FILE --repo-type dataset --create-pr" in told.err


def test_card_when_its_declaration_is_broken_then_contribute_says_so_as_review_does(
    cli: Cli, hub: Hub
) -> None:
    dataset = homes(cli, "cottages")
    card = b"---\nhub_trainer: {task: 5, columns: [1]}\n---\n# Cottages\n"
    hub.commit(
        Repo(dataset, "dataset"), Changes({"README.md": card}), message="Card", run_id="broken"
    )
    for told in (
        cli("contribute", dataset, "cottages.csv", "--dry-run"),
        cli("review", dataset, "--all"),
    ):
        assert told.code == 3
        assert "The dataset's card says how its rows are read, and that cannot be used." in told.err
        assert "task is 5, which is none; columns is no mapping of names to names" in told.err


def test_column_when_it_numbers_the_rows_then_no_model_sees_it_and_no_contributor_needs_it(
    cli: Cli, hub: Hub
) -> None:
    rows = "".join(f"{n},{40 + n * 7 % 60},{n * 2}.5\n" for n in range(1, 61))
    Path("flats.csv").write_text(f"ID,size,price\n{rows}")
    args = ("init", "--task", "tabular-regression", "--data", "flats.csv", "--json")
    told = cli(*args, "--column", "target=price")
    assert told.code == 0, told.err
    assert told.json["notes"] == [
        "the column 'ID' numbers the rows, so no model sees it (drop_columns in flats.yaml); who "
        "contributes may leave it out"
    ]
    made = load_recipe(Path("flats.yaml")).recipe
    assert made.collect.datasets[0].drop_columns == ["ID"]
    assert made.prepare.test_split.drop_columns == ["ID"]  # type: ignore[union-attr]
    assert cli("check", "flats.yaml").code == 0
    Path("new.csv").write_text("size,price\n77,180.5\n52,90.25\n")
    told = cli("contribute", f"{OWNER}/flats", "new.csv", "--yes", "--json")
    assert (told.code, told.json["rows"]) == (0, 2), told.err


def test_init_when_several_things_are_wrong_then_all_are_told_at_once(cli: Cli, hub: Hub) -> None:
    Path("rows.csv").write_text(texts(30).replace("text,label", "words,kind"))
    Path("rows.yaml").write_text("there: already")
    args = ("init", "--task", "text-classification", "--data", "rows.csv")
    told = cli(*args, "--base-model", "no/model", "--column", "text=word", "--json")
    assert told.code == 2
    assert "The recipe is there already." in told.err
    assert "The base model is not on this Hub." in told.err
    assert "The file has no column 'word'. No column can be told to be the label." in told.err
    assert "Name them: --column text=words --column label=kind" in told.err
    assert len(told.json["problems"]) == 3
    told = cli("init", "--task", "text-clasification", "--data", "gone.csv")
    assert "no task 'text-clasification'" in told.err
    assert "There is no such file." in told.err


def test_labels_when_alike_then_somebody_at_a_terminal_is_asked_before_anything_is_made(
    cli: Cli, hub: Hub
) -> None:
    Path("twice.csv").write_text(texts(60, labels="Spam,spam,ham"))
    wanted = creation.Beginning(
        "text-classification", Path("twice.csv"), Path("twice.yaml"), base_model=TEXT_BASE
    )
    asked: list[Sequence[str]] = []

    def refuses(notes: Sequence[str]) -> bool:
        asked.append(notes)
        return False

    assert creation.begin(hub, wanted, agrees=refuses) is None
    assert "'Spam' (20 rows), 'spam' (20 rows)" in asked[0][0]
    assert not Path("twice.yaml").exists()
    assert not hub.exists(Repo(f"{OWNER}/twice", "dataset"))


def test_numbers_when_they_have_a_decimal_comma_then_init_writes_numbers(
    cli: Cli, hub: Hub
) -> None:
    rows = "".join(f"{n},5;{n % 7};{n * 2},25\n" for n in range(60))
    Path("semi.csv").write_text(f"size;rooms;weight_kg\n{rows}")
    args = ("init", "--task", "tabular-regression", "--data", "semi.csv")
    begun = cli(*args, "--column", "target=weight_kg", "--json")
    assert begun.code == 0, begun.err
    assert sum("a decimal comma" in note for note in begun.json["notes"]) == 2
    content = hub.read_file(Repo(f"{OWNER}/semi", "dataset"), creation.FILES["train"], "main")
    assert content is not None
    kinds = pq.read_schema(io.BytesIO(content))
    assert [str(kinds.field(name).type) for name in kinds.names] == ["double", "int64", "double"]


def test_codes_when_they_begin_with_zeros_then_init_keeps_them_and_contributors_may_add_some(
    cli: Cli, hub: Hub
) -> None:
    zips = ("02175", "10001", "00501", "94105", "NA")
    rows = "".join(f"{zips[n % 5]},{n % 12 + 1:02d},{n}.5,{'xy'[n % 2]}\n" for n in range(60))
    Path("post.csv").write_text(f"zip,month,size,label\n{rows}NA,12,3.5,z\n")
    args = ("init", "--task", "tabular-classification", "--data", "post.csv", "--json")
    begun = cli(*args)
    assert begun.code == 0, begun.err
    notes = "\n".join(begun.json["notes"])
    assert "the column 'zip' holds numbers written as texts ('02175')" in notes
    assert (
        "the column 'month' holds numbers that begin with zeros, as 01, which is read as 1" in notes
    )
    assert "the label 'z' has a single row" in notes
    content = hub.read_file(Repo(f"{OWNER}/post", "dataset"), creation.FILES["train"], "main")
    made = pq.read_table(io.BytesIO(content or b""))
    assert set(made["zip"].to_pylist()) == {"02175", "10001", "00501", "94105", None}
    assert str(made["month"].type) == "int64"
    Path("more.csv").write_text("zip,month,size,label\n00501,03,7.25,x\n02175,04,8.25,y\n")
    files = propose(hub, f"{OWNER}/post", Path("more.csv")).files
    added = pq.read_table(io.BytesIO(next(iter(files.values()))))
    assert added["zip"].to_pylist() == ["00501", "02175"]


def test_feature_when_called_label_then_what_init_advises_works(cli: Cli, hub: Hub) -> None:
    rows = "".join(f"{n},{'xyz'[n % 3]},{n * 2}.5\n" for n in range(60))
    Path("birds.csv").write_text(f"size,label,weight\n{rows}")
    args = ("init", "--task", "tabular-regression", "--data", "birds.csv")
    args = (*args, "--column", "target=weight")
    told = cli(*args)
    assert told.code == 3
    assert "the column 'label' beside target" in told.err
    assert "drop_columns" not in told.err
    advice = told.err.split()[-1]
    assert advice == "label_value=label"
    begun = cli(*args, "--column", advice)
    assert begun.code == 0, begun.err
    checked = cli("check", "birds.yaml")
    assert checked.code == 0, checked.err


def test_lists_when_a_csv_has_them_in_one_cell_then_contribute_splits_them(
    cli: Cli, hub: Hub
) -> None:
    repo = Repo(f"{OWNER}/sets", "dataset")
    hub.create_repo(repo)
    tags = [["a"], ["a", "b"]]
    rows = [{"text": f"the note {n}", "tags": tags[n % 2], "label": "x"} for n in range(9)]
    hub.commit(repo, Changes(files={"train.parquet": parquet(rows)}), message="a", run_id="sets")
    Path("sets.csv").write_text("text,tags,label\nsome words,a|b,x\nother words,b,x\n")
    content = next(iter(propose(hub, repo.repo_id, Path("sets.csv")).files.values()))
    assert pq.read_table(io.BytesIO(content))["tags"].to_pylist() == [["a", "b"], ["b"]]


def test_own_rows_when_made_a_dataset_then_gaps_are_gaps_and_numbers_numbers(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text("a,target\nred ,1\nNA,2.5\n  ,x\nblue,\n")
    raw = read_local(tmp_path / "a.csv", max_bytes=10_000)
    made = creation._own_table(raw, load_task("tabular-regression"), {})
    assert made["a"].to_pylist() == ["red", None, None, "blue"]
    assert made["target"].to_pylist()[:2] == [1.0, 2.5]
    assert made["target"].type == "double"


def test_own_rows_when_a_class_is_hidden_then_it_is_a_gap() -> None:
    raw = RawSplit(pa.table({"text": ["a", "b"], "label": [-1, 0]}), "default", {"label": ("x",)})
    made = creation._own_table(raw, load_task("text-classification"), {})
    assert made["label"].to_pylist() == [None, "x"]


def test_own_pictures_when_some_lie_deeper_then_refused(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png", "cat/more/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="inside the folder of a label") as caught:
        read_local(tmp_path, max_bytes=10_000)
    assert caught.value.got == "cat/more/3.png"


def test_columns_when_they_cannot_be_told_then_a_likely_one_is_the_example() -> None:
    told = {"review": ["a", "b", "c"], "note": ["x", "x", "y"], "mood": ["up", "up", "down"]}
    raw = RawSplit(pa.table(told), "default")
    task = load_task("text-classification")
    with pytest.raises(DataError) as caught:
        own_columns.find_columns(raw, task, {}, where="x")
    assert caught.value.do == "Name them: --column text=review --column label=mood"
    with pytest.raises(DataError) as caught:
        own_columns.find_columns(raw, task, {"text": "review"}, where="x")
    assert caught.value.do == "Name it: --column label=mood"


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"target": "rents"}, "Name it: --column target=rent"),
        ({"target": "cost"}, "Name it: --column target=rent"),
        ({"target": "rent", "date": "day"}, "Leave out --column date=day"),
        (
            {"target": "rents", "date": "day"},
            "Name it: --column target=rent; leave out --column date=day",
        ),
    ],
)
def test_columns_when_named_but_not_there_then_the_advice_is_near(
    given: dict[str, str], advice: str
) -> None:
    raw = RawSplit(pa.table({"size": [1.5, 2], "floor": [2, 3], "rent": [3.5, 4]}), "default")
    with pytest.raises(DataError, match="The file has no column") as caught:
        own_columns.find_columns(raw, load_task("tabular-regression"), given, where="x")
    assert caught.value.do == advice


def test_columns_when_every_value_is_different_then_no_answer_is_proposed() -> None:
    columns = {"note": ["p", "q", "r"], "name": ["a", "b", "c"]}
    task = load_task("tabular-classification")
    with pytest.raises(DataError) as caught:
        own_columns.find_columns(RawSplit(pa.table(columns), "default"), task, {}, where="x")
    assert caught.value.do == "Name it: --column label=..."
    columns = {"kind": ["p", "q", "p"], **columns}
    with pytest.raises(DataError) as caught:
        own_columns.find_columns(RawSplit(pa.table(columns), "default"), task, {}, where="x")
    assert caught.value.do == "Name it: --column label=kind"


def test_columns_when_one_counts_the_rows_then_it_is_not_the_example() -> None:
    told = ["the door does not close", "a window is broken here", "nobody has seen the key"]
    count = 12
    raw = RawSplit(
        pa.table({"nr": range(count), "said": told * 4, "kind": ["a", "b", "c"] * 4}), "default"
    )
    with pytest.raises(DataError) as caught:
        own_columns.find_columns(raw, load_task("text-classification"), {}, where="x")
    assert caught.value.do == "Name them: --column text=said --column label=kind"
