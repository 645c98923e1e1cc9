import datetime
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from hub_trainer.checks import joining
from hub_trainer.checks.comment import marker_of
from hub_trainer.contribute import Contribution, contribute, proposal, propose, send
from hub_trainer.contribute.contribution_faults import ContributionError
from hub_trainer.errors import DataError, ExitCode, HubError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import ReviewSection
from tests.stages.review_hub import call_here

CARD = """---
license: cc-by-4.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
# A dataset
"""


class Shop:
    """A Local Hub with a text dataset, an image dataset and a contributor."""

    def __init__(self, local: LocalHub) -> None:
        self.owner = Hub(local.url, local.token)
        self.alice = Hub(local.url, local.add_user("alice"))
        self.texts = self._dataset(f"{local.user}/texts", _text_parquet())
        self.pictures = self._dataset(f"{local.user}/pictures", _picture_parquet())
        self.local = local

    def _dataset(self, repo_id: str, content: bytes) -> Repo:
        return self.dataset(repo_id, {"data/train-00000-of-00001.parquet": content})

    def dataset(self, repo_id: str, files: dict[str, bytes], card: str = CARD) -> Repo:
        repo = Repo(repo_id, "dataset")
        self.owner.create_repo(repo, private=False)
        content = {"README.md": card.encode(), **files}
        self.owner.commit(repo, Changes(content), message="Begin", run_id=repo_id)
        return repo

    def rows_of(self, repo: Repo, made: Contribution) -> list[dict[str, Any]]:
        """The rows that a pull request brings, as they stand in its file."""
        head = self.owner.pull_request(repo, made.pull_request).head_sha
        assert head is not None
        content = self.owner.read_file(repo, made.path, head)
        assert content is not None
        return pq.read_table(io.BytesIO(content)).to_pylist()


def _text_parquet() -> bytes:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["ham", "spam"])}
    )
    return _parquet({"text": ["hello", "win now"], "label": [0, 1]}, features)


def _picture_parquet() -> bytes:
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])}
    )
    cells = [{"bytes": _png(10), "path": None}, {"bytes": _png(200), "path": None}]
    return _parquet({"image": cells, "label": [0, 1]}, features)


def _parquet(columns: dict[str, list[Any]], features: Any) -> bytes:
    import datasets

    datasets.disable_progress_bars()
    out = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(out)
    return out.getvalue()


def _png(grey: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    pixels = np.full((8, 8), grey, "uint8")
    pixels[0, 0] = 255 - grey
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Read the dataset's schema in this process, but for the tests that say sandbox."""
    if "sandbox" not in request.node.name:
        monkeypatch.setattr(joining, "run_sandboxed", call_here)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with LocalHub() as local:
        yield Shop(local)


def test_csv_when_contributed_through_the_sandbox_then_a_pull_request_in_its_schema(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "more.csv"
    file.write_text("label,text,note\nspam,buy it,x\nham,good morning,y\n")
    made = contribute(shop.alice, shop.texts.repo_id, file)
    assert shop.rows_of(shop.texts, made) == [
        {"text": "buy it", "label": 1},
        {"text": "good morning", "label": 0},
    ]
    assert made.path.startswith("data/train-")
    assert (made.rows, made.labels, made.warnings) == (2, {"spam": 1, "ham": 1}, ())
    request = shop.owner.pull_request(shop.texts, made.pull_request)
    assert (request.author, request.status) == ("alice", "open")
    text = shop.owner.comments(shop.texts, made.pull_request)[0][1]
    assert "| spam | 1 |" in text
    assert "offered under the dataset's licence, cc-by-4.0" in text


def test_file_when_contributed_twice_then_the_same_pull_request(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "again.csv"
    file.write_text("text,label\nonce more,ham\n")
    first = contribute(shop.alice, shop.texts.repo_id, file)
    assert contribute(shop.alice, shop.texts.repo_id, file) == first


def test_column_when_the_dataset_has_none_of_it_then_a_note_says_that_it_is_left_out(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "wide.csv"
    file.write_text("text,label,Colour\nhey you,ham,red\n", encoding="utf-8")
    wide = propose(shop.alice, shop.texts.repo_id, file)
    assert "columns that the dataset does not have are left out: Colour" in wide.notes


def test_jsonl_when_columns_are_named_then_taken(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"utterance": "hey", "kind": "ham"}, {"utterance": "prize", "kind": 1}]
    file.write_text(
        "".join(json.dumps({**row, "kind": str(row["kind"])}) + "\n" for row in rows[:1])
    )
    made = contribute(
        shop.alice, shop.texts.repo_id, file, columns={"text": "utterance", "label": "kind"}
    )
    assert shop.rows_of(shop.texts, made) == [{"text": "hey", "label": 0}]


def test_parquet_when_its_class_numbers_differ_then_mapped_by_name(
    shop: Shop, tmp_path: Path
) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["spam", "ham"])}
    )
    file = tmp_path / "mine.parquet"
    file.write_bytes(_parquet({"text": ["free", "lunch"], "label": [0, 1]}, features))
    made = contribute(shop.alice, shop.texts.repo_id, file)
    assert shop.rows_of(shop.texts, made) == [
        {"text": "free", "label": 1},
        {"text": "lunch", "label": 0},
    ]


def test_folder_of_images_when_contributed_then_bytes_and_labels_by_folder(
    shop: Shop, tmp_path: Path
) -> None:
    for name, grey in (("dark", 20), ("light", 230)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(_png(grey))
    (tmp_path / "notes.txt").write_text("not an image")
    made = contribute(shop.alice, shop.pictures.repo_id, tmp_path)
    rows = shop.rows_of(shop.pictures, made)
    assert {(row["image"]["bytes"], row["label"]) for row in rows} == {
        (_png(20), 0),
        (_png(230), 1),
    }
    assert all(row["image"]["path"] is None for row in rows)


@pytest.mark.filterwarnings("ignore")  # `datasets` leaves metadata.csv open
def test_folder_when_a_table_labels_its_images_then_read(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png(33))
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,light\n")
    made = contribute(shop.alice, shop.pictures.repo_id, tmp_path)
    assert shop.rows_of(shop.pictures, made) == [
        {"image": {"bytes": _png(33), "path": None}, "label": 1}
    ]


def test_merged_rows_when_loaded_then_the_dataset_is_whole(shop: Shop, tmp_path: Path) -> None:
    from hub_trainer.rows import read_split

    file = tmp_path / "whole.csv"
    file.write_text("text,label\nlast one,spam\n")
    made = contribute(shop.alice, shop.texts.repo_id, file)
    head = shop.owner.pull_request(shop.texts, made.pull_request).head_sha
    assert head is not None
    folder = tmp_path / "all"
    shop.owner.download(shop.texts, head, allow=["*.parquet", "*.md"], into=folder)
    raw = read_split(folder)
    assert raw.table.num_rows == 3
    assert raw.class_names == {"label": ("ham", "spam")}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_dataset_when_of_plain_text_then_the_file_is_too(
    shop: Shop, tmp_path: Path, suffix: str
) -> None:
    content = {
        "csv": b"text,label\na,x\nb,y\n",
        "jsonl": b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
    }[suffix]
    repo = shop.dataset(
        f"{shop.local.user}/plain-{suffix}",
        {f"train.{suffix}": content},
        card="---\nlanguage: en\n---\n# No configs",
    )
    file = tmp_path / "more.csv"
    file.write_text('text,label\n"c, too",x\n')
    made = contribute(shop.alice, repo.repo_id, file)
    assert made.path.endswith(f".{suffix}")
    head = shop.owner.pull_request(repo, made.pull_request).head_sha
    assert head is not None
    written = shop.owner.read_file(repo, made.path, head)
    assert written is not None
    assert b"c, too" in written
    text = shop.owner.comments(repo, made.pull_request)[0][1]
    assert "names no licence" in text


def test_warnings_when_review_would_stop_it_then_said_beforehand(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "odd.csv"
    file.write_text(
        "text,label\nmail jo@example.org,ham\nsame,ham\nsame,ham\nsame,ham\nx\u202ey,spam\n"
    )
    warnings = contribute(shop.alice, shop.texts.repo_id, file).warnings
    assert [line.split(":")[0] for line in warnings] == [
        "duplicates",
        "personal data",
        "hidden text",
    ]
    assert not any("jo@" in line for line in warnings)


def _error(shop: Shop, path: Path, repo: Repo | None = None, **named: Any) -> Any:
    before = len(shop.owner.pull_requests(repo or shop.texts, status=None))
    with pytest.raises((DataError, UsageError, ContributionError)) as caught:
        contribute(shop.alice, (repo or shop.texts).repo_id, path, **named)
    assert len(shop.owner.pull_requests(repo or shop.texts, status=None)) == before
    return caught.value


def test_column_when_missing_then_error_lists_what_is_there(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("sentence,label\na,ham\n")
    error = _error(shop, file)
    assert error.what == "The file lacks columns of the dataset: text."
    assert error.got == "columns sentence, label"
    assert "--column " in error.do


def test_label_when_unknown_then_error_lists_the_known(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("text,label\na,ham\nb,eggs\nc,eggs\nd,\ne,Spamm\n")
    error = _error(shop, file)
    assert error.what == "The dataset does not have these labels."
    assert error.got == (
        "'eggs' (2 rows, the first row 2), 'Spamm' (row 5, nearest to 'spam'), no label (row 4)"
    )
    assert "Use its labels: ham, spam." in error.do


def test_cells_when_several_are_wrong_then_all_are_told_with_what_else_is(
    shop: Shop, tmp_path: Path
) -> None:
    import datasets

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["ham", "spam"]),
            "day": datasets.Value("date32"),
            "words": datasets.Value("int64"),
        }
    )
    days = [datetime.date(2024, 1, 1)] * 2
    columns = {"text": ["hello", "win now"], "label": [0, 1], "day": days, "words": [1, 2]}
    files = {"data/train-00000-of-00001.parquet": _parquet(columns, features)}
    repo = shop.dataset(f"{shop.local.user}/dated", files)
    file = tmp_path / "many.csv"
    token = "hf_abcdefgHIJKLMNOP0123456789abcdefgh"
    file.write_text(
        "text,label,day,words\n"
        "good morning,ham,2024-02-30,2\n"
        "buy it,eggs,2024-02-03,2\n"
        "one,ham,2024-02-03,many\n"
        "two,ham,2024-02-03,few\n"
        f"use {token},spam,2024-02-04,2\n"
        ",spam,2024-02-05,2\n"
        "fine,ham,2024-02-06,3\n"
    )
    error = _error(shop, file, repo)
    assert [(one.message, one.got) for one in error.problems] == [
        ("The dataset does not have these labels.", "'eggs' (row 2)"),
        (
            "Column 'day' cannot be written as the dataset has it.",
            "'2024-02-30' in row 1, string",
        ),
        (
            "Column 'words' cannot be written as the dataset has it.",
            "'many' in row 3, 'few' in row 4, string",
        ),
        (
            "The rows hold secrets, which must not be published.",
            "hub token in column text, row 5",
        ),
        ("Review would stop: whole rows.", "1 with no text; the first: row 6"),
    ]
    assert error.problems[-1].do == "Fill in or drop the rows that are empty or broken."
    assert error.exit_code == ExitCode.DATA
    assert all(one.do and one.where for one in error.problems[:-1])


def test_columns_when_one_is_missing_then_faults_of_the_others_are_told_too(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "x.csv"
    file.write_text("sentence,label\na,eggs\n")
    assert [one.message for one in _error(shop, file).problems] == [
        "The file lacks columns of the dataset: text.",
        "The dataset does not have these labels.",
    ]


def test_folder_when_a_picture_is_broken_and_a_label_unknown_then_both_are_told(
    shop: Shop, tmp_path: Path
) -> None:
    pictures = {"dark/a.png": _png(10), "dark/b.png": b"no picture", "grey/c.png": _png(99)}
    for name, content in pictures.items():
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / name).write_bytes(content)
    files = {f"{n}/{i}.png": _png(i) for i, n in enumerate(("dark", "dark", "light", "light"))}
    folders = shop.dataset(
        f"{shop.local.user}/shades", files, "---\nlicense: cc-by-4.0\n---\n# Shades\n"
    )
    for repo in (shop.pictures, folders):
        labels, broken = _error(shop, tmp_path / "new", repo).problems
        assert labels.message == "The dataset does not have these labels."
        assert "'grey' (row 3" in labels.got
        assert broken.got == "1 with no image in a known format; the first: row 2"


@pytest.mark.parametrize(
    ("block", "what", "got"),
    [
        (
            {"task": "tabular-regression", "columns": {"target": "prize"}},
            "the dataset has no column 'prize' for target.",
            "task: tabular-regression, columns: {'target': 'prize'}; columns size, price",
        ),
        (
            {"task": "tabular-regression", "columns": {"target": "price"}, "drop_columns": ["id"]},
            "drop_columns names a column that the dataset does not have: id.",
            "task: tabular-regression, columns: {'target': 'price'}, drop_columns: ['id']; "
            "columns size, price",
        ),
    ],
)
def test_card_when_it_declares_what_the_dataset_has_not_then_the_card_is_named(
    shop: Shop, tmp_path: Path, block: dict[str, Any], what: str, got: str
) -> None:
    card = f"---\nlicense: cc-by-4.0\nhub_trainer: {json.dumps(block)}\n---\n# Houses\n"
    name = f"houses-{len(got)}"
    rows = b"size,price\n" + b"".join(b"%d,%d.5\n" % (n * 7 % 50, n) for n in range(30))
    repo = shop.dataset(f"{shop.local.user}/{name}", {"train.csv": rows}, card)
    file = tmp_path / "more.csv"
    file.write_text("size,price\n3,4.5\n")
    error = _error(shop, file, repo)
    page = f"{shop.local.url}/datasets/{repo.repo_id}"
    assert error.what == f"The dataset's own rows cannot be read as its card declares: {what}"
    assert error.where == f"{page}, README.md: hub_trainer"
    assert error.got == got
    assert error.do == (
        f"Nothing in {file} can mend it. Ask the dataset's owner, at {page}/discussions, to "
        "correct `hub_trainer` at the top of the card; or upload the file as it is, for the owner "
        f"to review with a recipe: hf upload {repo.repo_id} {file} --repo-type dataset --create-pr"
    )


def test_card_when_its_block_is_broken_then_told_beside_the_files_own_faults(
    shop: Shop, tmp_path: Path
) -> None:
    card = "---\nhub_trainer: {task: 5}\n---\n# Mail\n"
    files = {"train.parquet": _text_parquet()}
    repo = shop.dataset(f"{shop.local.user}/mail", files, card)
    file = tmp_path / "more.csv"
    file.write_text("text,label\nhi,eggs\n")
    block, label = _error(shop, file, repo).problems
    assert block.message.startswith("The dataset's card says how its rows are read, and that can")
    assert block.where == f"{shop.local.url}/datasets/{repo.repo_id}, README.md: hub_trainer"
    assert f"Nothing in {file} can mend it. Ask the dataset's owner" in block.do
    assert label.message == "The dataset does not have these labels."


def test_card_when_too_large_then_says_what_can_be_done(shop: Shop, tmp_path: Path) -> None:
    card = CARD + "x" * 200_000
    repo = shop.dataset(f"{shop.local.user}/tome", {"data/train-0.parquet": _text_parquet()}, card)
    file = tmp_path / "more.csv"
    file.write_text("text,label\nhi,ham\n")
    error = _error(shop, file, repo)
    assert error.what == "README.md is larger than 200,000 bytes."
    assert error.got == f"{len(card):,} bytes"
    assert error.do == (
        "Move long lists, tables and pictures into files of the repo and link to them; if the repo "
        "is not yours, ask its owner to."
    )


def test_rows_when_none_can_be_used_then_no_recipe_is_spoken_of(shop: Shop, tmp_path: Path) -> None:
    card = CARD.replace("---\n# A", "hub_trainer: {task: text-classification}\n---\n# A")
    files = {"data/train-00000-of-00001.parquet": _text_parquet()}
    repo = shop.dataset(f"{shop.local.user}/letters", files, card)
    file = tmp_path / "empty.csv"
    file.write_text('text,label\n"",ham\n')
    error = _error(shop, file, repo)
    assert (error.what, error.got) == ("No row is left after cleaning.", "1 row: 1 no text")
    assert error.do == (
        "Correct the rows, or leave them out: the dataset's own rows can be read so."
    )


def test_secret_when_in_a_row_then_nothing_is_sent(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    token = "hf_abcdefgHIJKLMNOP0123456789abcdefgh"
    lines = "".join(f"use {token} {n},ham\n" for n in range(7))
    file.write_text(f"text,label\nfine,ham\n{lines}")
    error = _error(shop, file)
    assert error.what == "The rows hold secrets, which must not be published."
    assert error.got == "hub token in column text, rows 2, 3, 4, 5, 6 and 2 more"
    assert token not in str(error)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.csv", b"", "The file is empty."),
        ("x.parquet", b"PAR1 broken", "The parquet file is broken."),
        ("x.pkl", b"\x80", "Files of this kind are not read."),
        ("x.jsonl", b"{broken\n", "The dataset cannot be read."),
        ("missing.csv", None, "There is no such file."),
    ],
)
def test_file_when_unusable_then_error_says_why(
    shop: Shop, tmp_path: Path, name: str, content: bytes | None, what: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    error = _error(shop, file)
    assert error.what == what
    assert name in str(error.where)


def test_file_when_it_has_a_header_alone_then_error_says_so(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("text,label\n")
    error = _error(shop, file)
    assert error.what == "The file has a header and no rows."
    assert (error.where, error.got) == (str(file), "columns text, label")
    assert error.do == "Write its rows below the header."


def test_file_when_too_large_then_error_names_the_limit(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.csv"
    file.write_text("text,label\na,ham\nb,ham\n")
    monkeypatch.setattr(proposal, "ReviewSection", lambda: ReviewSection(max_bytes=10))
    assert _error(shop, file).got == "23 bytes of at most 10"
    monkeypatch.setattr(proposal, "ReviewSection", lambda: ReviewSection(max_rows=1))
    assert _error(shop, file).got == "2 rows of at most 1"


def test_folder_when_without_images_or_labels_then_error_says_how(
    shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert (
        _error(shop, tmp_path, shop.pictures).what == "The folder holds no pictures and no sounds."
    )
    (tmp_path / "b.png").write_bytes(_png(1))
    (tmp_path / "dark").mkdir()
    (tmp_path / "dark" / "c.png").write_bytes(_png(2))
    error = _error(shop, tmp_path, shop.pictures)
    assert (error.what, error.got) == ("Some pictures have no label.", "b.png")
    error = _error(shop, tmp_path / "b.png", shop.pictures)
    assert error.what == "A picture alone has no label."


@pytest.mark.parametrize("inside", [True, False])
def test_folder_when_of_one_class_then_its_name_is_the_label(
    shop: Shop, tmp_path: Path, inside: bool
) -> None:
    folder = tmp_path / "new" / "light"
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"{number}.png").write_bytes(_png(190 + number + 10 * inside))
    (folder / "._1.png").write_bytes(b"what a Mac leaves behind")
    made = contribute(shop.alice, shop.pictures.repo_id, folder if inside else tmp_path / "new")
    assert [row["label"] for row in shop.rows_of(shop.pictures, made)] == [1, 1]


def test_folder_when_its_name_is_no_label_then_error_lists_them(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "grey").mkdir()
    (tmp_path / "grey" / "1.png").write_bytes(_png(99))
    error = _error(shop, tmp_path, shop.pictures)
    assert (error.what, error.got) == ("The dataset does not have these labels.", "'grey' (row 1)")
    assert "dark, light" in error.do


def test_file_when_written_by_hand_then_becomes_the_datasets_own(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "more.csv"
    file.write_text("\ufeff Label ;TEXT\n Spam;007\nham ;None\n1;x, y\n", encoding="utf-8")
    made = contribute(shop.alice, shop.texts.repo_id, file)
    assert shop.rows_of(shop.texts, made) == [
        {"text": "007", "label": 1},
        {"text": "None", "label": 0},
        {"text": "x, y", "label": 1},
    ]


def test_columns_when_the_dataset_can_do_without_then_are_left_empty(
    shop: Shop, tmp_path: Path
) -> None:
    chats = {"id": ["1", "2"], "source": ["a", "b"], "prompt": ["hi", "ho"]}
    content = _parquet({**chats, "completion": ["x", "y"]}, None)
    repo = shop._dataset(f"{shop.local.user}/chats", content)
    file = tmp_path / "x.jsonl"
    file.write_text('{"completion": "well", "prompt": "how are you"}\n')
    made = contribute(shop.alice, repo.repo_id, file)
    row = {"id": None, "source": None, "prompt": "how are you", "completion": "well"}
    assert shop.rows_of(repo, made) == [row]
    file.write_text('{"prompt": "how are you", "id": "3"}\n')
    assert _error(shop, file, repo).what == "The file lacks columns of the dataset: completion."


def test_dataset_when_it_has_a_row_counter_then_none_is_asked_for(
    shop: Shop, tmp_path: Path
) -> None:
    files = {"train.csv": b";text;label\n0;a b;x\n1;c d;y\n"}
    repo = shop.dataset(f"{shop.local.user}/counted", files, card="---\nlanguage: en\n---\n#")
    file = tmp_path / "x.csv"
    file.write_text("text,label\ne f,x\n")
    made = contribute(shop.alice, repo.repo_id, file)
    head = shop.owner.pull_request(repo, made.pull_request).head_sha
    assert head is not None
    written = shop.owner.read_file(repo, made.path, head)
    assert written == b'"Unnamed: 0";"text";"label"\n;"e f";"x"\n'


@pytest.mark.parametrize("name", ["x.xlsx", "x.zip"])
def test_file_when_a_sheet_or_an_archive_then_error_says_what_to_do(
    shop: Shop, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert "Save each sheet" in (do := _error(shop, tmp_path / name).do) or "Unpack" in do


def test_texts_when_given_for_images_then_error(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("image,label\n/etc/passwd,dark\n")
    assert _error(shop, file, shop.pictures).what == "The column holds no pictures or sounds."


def test_numbers_when_given_as_words_then_error_names_the_column(
    shop: Shop, tmp_path: Path
) -> None:
    import datasets

    features = datasets.Features(
        {"age": datasets.Value("int64"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    content = _parquet({"age": [1, 2], "label": [0, 1]}, features)
    repo = shop._dataset(f"{shop.local.user}/table", content)
    file = tmp_path / "x.csv"
    file.write_text("age,label\nold,a\n")
    error = _error(shop, file, repo)
    assert error.what == "Column 'age' cannot be written as the dataset has it."
    assert error.got == "'old' in row 1, string"
    assert error.do == "The dataset's age is int64; write the values so."


def test_numbers_when_the_dataset_holds_texts_there_then_the_note_is_true(
    shop: Shop, tmp_path: Path
) -> None:
    import datasets

    features = datasets.Features(
        {
            "length": datasets.Value("string"),
            "width": datasets.Value("float64"),
            "label": datasets.ClassLabel(names=["a", "b"]),
        }
    )
    rows = {"length": ["-", "2,5"], "width": [1.5, 2.5], "label": [0, 1]}
    repo = shop._dataset(f"{shop.local.user}/lengths", _parquet(rows, features))
    file = tmp_path / "x.csv"
    file.write_text("length;width;label\n3,5;4,5;a\n5,5;6,5;b\n")
    notes = propose(shop.alice, repo.repo_id, file).notes
    assert [note for note in notes if "'length'" in note] == [
        "the dataset holds texts in 'length': the numbers there are kept as they are written"
    ]
    assert any(note.startswith("the column 'width' holds numbers with a dec") for note in notes)


def test_dates_when_the_dataset_has_nothing_else_then_other_texts_are_named(
    shop: Shop, tmp_path: Path
) -> None:
    import datasets

    features = datasets.Features(
        {"day": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    days = ["2024-01-31", "2024-02-01", None]
    content = _parquet({"day": days, "label": [0, 1, 0]}, features)
    repo = shop._dataset(f"{shop.local.user}/days", content)
    file = tmp_path / "x.csv"
    file.write_text("day,label\n2024-03-01,a\n31.02.2024,b\n,a\nNA,b\n03/04/2024,a\n01.03.2024,b\n")
    error = _error(shop, file, repo)
    told = [one for one in error.problems if one.message == "A cell cannot be read as a date."]
    assert [(one.got, one.do) for one in told] == [
        (
            "'31.02.2024' in row 2, '03/04/2024' in row 5, string",
            "The dataset's day holds dates: write them as 2024-03-31.",
        )
    ]


def test_number_when_one_is_a_word_beside_decimal_commas_then_the_word_is_named(
    shop: Shop, tmp_path: Path
) -> None:
    import datasets

    features = datasets.Features(
        {"sqm": datasets.Value("float64"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    content = _parquet({"sqm": [1.5, 2.5], "label": [0, 1]}, features)
    repo = shop._dataset(f"{shop.local.user}/areas", content)
    file = tmp_path / "x.csv"
    file.write_text("sqm;label\n84,1;a\nbig;b\n")
    assert _error(shop, file, repo).got == "'big' in row 2, string"


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_numbers_when_written_with_a_decimal_comma_then_join_a_column_of_numbers(
    shop: Shop, tmp_path: Path, suffix: str
) -> None:
    import datasets

    features = datasets.Features(
        {"weight": datasets.Value("float64"), "label": datasets.Value("string")}
    )
    content = {
        "parquet": _parquet({"weight": [1.5, 2.0], "label": ["a", "b"]}, features),
        "csv": b"weight;label\n1,5;a\n2,25;b\n",
    }[suffix]
    repo = shop.dataset(f"{shop.local.user}/weights-{suffix}", {f"data/train-0.{suffix}": content})
    file = tmp_path / "german.csv"
    file.write_text("weight;label\n28,95;a\n1.234,5;b\n")
    made = propose(shop.alice, repo.repo_id, file)
    assert any("a decimal comma, as '28,95'" in note for note in made.notes)
    written = made.files[made.path]
    if suffix == "csv":
        assert written == b'"weight";"label"\n"28,95";"a"\n"1234,5";"b"\n'
    else:
        assert pq.read_table(io.BytesIO(written))["weight"].to_pylist() == [28.95, 1234.5]


def test_columns_when_named_but_unknown_then_error(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("text,label\na,ham\n")
    error = _error(shop, file, columns={"txt": "text"})
    assert error.what == "--column names a column that the dataset does not have: txt."


def test_dataset_when_a_folder_of_images_then_error_says_what_to_do(
    shop: Shop, tmp_path: Path
) -> None:
    files = {"train/dark/1.png": _png(1), "train/light/2.png": _png(250)}
    repo = shop.dataset(
        f"{shop.local.user}/folder", files, card="---\nlanguage: en\n---\n# Pictures"
    )
    file = tmp_path / "x.csv"
    file.write_text("text,label\na,dark\n")
    error = _error(shop, file, repo)
    assert error.what == "This dataset takes no file of rows."
    assert "hf upload" in error.do


def test_pictures_when_the_dataset_is_of_folders_then_join_its_folders(
    shop: Shop, tmp_path: Path
) -> None:
    files = {"train/dark/1.png": _png(1), "train/light/2.png": _png(250)}
    repo = shop.dataset(f"{shop.local.user}/folders", files, card="---\nlanguage: en\n---\n#")
    (tmp_path / "Light").mkdir()
    (tmp_path / "Light" / "a.png").write_bytes(_png(240))
    made = contribute(shop.alice, repo.repo_id, tmp_path)
    assert made.path.startswith("train/light/")
    head = shop.owner.pull_request(repo, made.pull_request).head_sha
    assert head is not None
    assert shop.owner.read_file(repo, made.path, head) == _png(240)


def test_card_when_it_names_one_file_then_error_says_there_is_no_room(
    shop: Shop, tmp_path: Path
) -> None:
    card = CARD.replace("data/train-*", "only.csv")
    repo = shop.dataset(f"{shop.local.user}/closed", {"only.csv": b"text,label\na,x\n"}, card)
    file = tmp_path / "x.csv"
    file.write_text("text,label\nb,x\n")
    error = _error(shop, file, repo)
    assert error.what == "The dataset's card leaves no room for another file of this split."
    assert "only.csv" in error.got


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "text,label\na,ham\nb,\nc,\n"),
        ("x.jsonl", '{"text": "a", "label": "ham"}\n{"text": "b"}\n{"text": "c", "label": null}\n'),
    ],
)
def test_label_when_missing_then_error_names_the_row(
    shop: Shop, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    error = _error(shop, tmp_path / name)
    assert (error.what, error.got) == ("Rows have no label.", "2 rows, the first row 2")


def test_labels_when_json_mixes_kinds_then_each_is_known(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    lines = ['"ham"', "1", "1.0", '"1"']
    rows = (f'{{"text": "mixed {n}", "label": {one}}}\n' for n, one in enumerate(lines))
    file.write_text("".join(rows))
    made = contribute(shop.alice, shop.texts.repo_id, file)
    assert made.labels == {"ham": 1, "spam": 3}


def test_text_when_the_datasets_encoding_has_no_room_then_error_names_row_and_sign(
    shop: Shop, tmp_path: Path
) -> None:
    card = CARD.replace("- config_name: default", "- config_name: default\n  encoding: latin-1")
    there = "text,label\ncaf\u00e9,a\nb,b\n".encode("latin-1")
    repo = shop.dataset(f"{shop.local.user}/latin", {"data/train-0.csv": there}, card)
    file = tmp_path / "x.csv"
    file.write_text("text,label\nth\u00e9,a\n\u2603 snow,a\n")
    error = _error(shop, file, repo)
    assert error.what == "The dataset's encoding, latin-1, has no room for a character."
    assert (error.where, error.got) == (f"{file}, row 2", "'\u2603'")


def test_sets_when_the_dataset_has_classes_then_counted_by_name(shop: Shop, tmp_path: Path) -> None:
    import datasets

    names = datasets.Sequence(datasets.ClassLabel(names=["x", "y"]))
    content = _parquet(
        {"text": ["a", "b"], "labels": [[0, 1], []]},
        datasets.Features({"text": datasets.Value("string"), "labels": names}),
    )
    repo = shop._dataset(f"{shop.local.user}/sets", content)
    file = tmp_path / "x.csv"
    file.write_text("text,labels\nc,\"['y', 'x']\"\nd,X\n")
    assert contribute(shop.alice, repo.repo_id, file).labels == {"x": 2, "y": 1}
    file.write_text("text,labels\nc,x\nd,x|z\n")
    assert _error(shop, file, repo).got == "'z' (row 2)"


def test_pictures_when_of_kinds_that_are_not_read_then_said(shop: Shop, tmp_path: Path) -> None:
    for name, content in (("dark/1.png", _png(21)), ("dark/2.heic", b"x"), ("light/3.avif", b"x")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    made = proposal.propose(shop.alice, shop.pictures.repo_id, tmp_path)
    assert made.rows == 1
    assert made.notes == ("2.heic, 3.avif left aside: save pictures as PNG or JPEG",)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_turns_when_called_as_sharegpt_calls_them_then_as_the_dataset_does(
    shop: Shop, tmp_path: Path
) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    there = json.dumps({"messages": turns}).encode()
    repo = shop.dataset(f"{shop.local.user}/turns", {"data/train-0.jsonl": there + b"\n" + there})
    file = tmp_path / "x.jsonl"
    said = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
    file.write_text(json.dumps({"messages": said}) + "\n")
    made = proposal.propose(shop.alice, repo.repo_id, file)
    [content] = made.files.values()
    assert json.loads(content)["messages"] == [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}
    ]  # fmt: skip
    said[1]["from"] = "bob"
    file.write_text(json.dumps({"messages": said}) + "\n")
    assert _error(shop, file, repo).got == "a turn is by no known speaker"


def test_pull_request_when_mended_then_the_new_rows_stand_in_the_place_of_the_old(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\nfirst of mine,ham\nsecond of mine,spam\n")
    made = contribute(shop.alice, shop.texts.repo_id, file)
    count = len(shop.alice.pull_requests(shop.texts, status=None))
    file.write_text("text,label\nfirst of mine,ham\nmended one,ham\nthird,spam\n")
    again = send(shop.alice, propose(shop.alice, shop.texts.repo_id, file), into=made.pull_request)
    assert again.pull_request == made.pull_request
    assert len(shop.alice.pull_requests(shop.texts, status=None)) == count
    head = shop.alice.pull_request(shop.texts, made.pull_request).head_sha
    assert head is not None
    names = {one.path for one in shop.alice.list_files(shop.texts, head)}
    assert (again.path in names, made.path in names) == (True, False)
    assert [row["text"] for row in shop.rows_of(shop.texts, again)][1] == "mended one"


def test_pull_request_when_closed_then_it_is_not_mended(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\nfirst of mine,ham\n")
    made = contribute(shop.alice, shop.texts.repo_id, file)
    shop.alice.close(shop.texts, made.pull_request, "no")
    proposed = propose(shop.alice, shop.texts.repo_id, file)
    with pytest.raises(UsageError, match="is not open") as caught:
        send(shop.alice, proposed, into=made.pull_request)
    assert caught.value.do == "Leave out --pr to open another."
    head = str(shop.owner.pull_request(shop.texts, made.pull_request).head_sha)
    merged = f"**Review: merge.** Merged.\n\n{marker_of(head)}"
    shop.owner.comment(shop.texts, made.pull_request, merged)
    with pytest.raises(UsageError, match=f"Pull request {made.pull_request} is merged: a") as told:
        send(shop.alice, proposed, into=made.pull_request)
    assert str(told.value.got).startswith("closed, with the comment of ")
    assert told.value.do == "Leave out --pr to open another."


def test_pull_request_when_merged_on_the_hub_then_it_is_not_mended(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    files = {"data/train-00000-of-00001.parquet": _text_parquet()}
    repo = shop.dataset(f"{shop.local.user}/merged-by-hand", files)
    file.write_text("text,label\nmerged by hand,ham\n")
    made = contribute(shop.alice, repo.repo_id, file)
    proposed = propose(shop.alice, repo.repo_id, file)
    HfApi(shop.local.url, token=shop.local.token).merge_pull_request(
        repo.repo_id, made.pull_request, repo_type="dataset"
    )
    with pytest.raises(UsageError, match=f"Pull request {made.pull_request} is merged") as caught:
        send(shop.alice, proposed, into=made.pull_request)
    assert (caught.value.got, caught.value.do) == ("merged", "Leave out --pr to open another.")


def test_pull_request_when_of_somebody_else_then_its_rows_are_not_replaced(
    shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\nof alice alone,ham\n")
    made = contribute(shop.alice, shop.texts.repo_id, file)
    before = shop.owner.pull_request(shop.texts, made.pull_request).head_sha
    mallory = Hub(shop.local.url, shop.local.add_user("mallory"))
    file.write_text("text,label\nof mallory,spam\n")
    proposed = propose(mallory, shop.texts.repo_id, file)
    with pytest.raises(HubError):
        send(mallory, proposed, into=made.pull_request)
    assert shop.owner.pull_request(shop.texts, made.pull_request).head_sha == before
    with pytest.raises(HubError):
        send(mallory, proposed, into=9_999)


def test_pull_request_when_main_lost_a_file_since_then_only_its_own_files_are_replaced(
    shop: Shop, tmp_path: Path
) -> None:
    first = "data/train-00000-of-00001.parquet"
    repo = shop.dataset("admin/losing", {first: _text_parquet(), "data/train-old.parquet": b"x"})
    file = tmp_path / "rows.csv"
    old = shop.owner.read_file(repo, first, shop.owner.resolve(repo))
    assert old is not None
    shop.owner.commit(repo, Changes({"data/train-old.parquet": old}), message="Mend", run_id="mend")
    file.write_text("text,label\nbefore,ham\n")
    made = contribute(shop.alice, repo.repo_id, file)
    gone = Changes({}, deletions=("data/train-old.parquet",))
    shop.owner.commit(repo, gone, message="Remove", run_id="remove")
    file.write_text("text,label\nafter,ham\n")
    again = send(shop.alice, propose(shop.alice, repo.repo_id, file), into=made.pull_request)
    head = shop.owner.pull_request(repo, again.pull_request).head_sha
    assert head is not None
    names = {one.path for one in shop.owner.list_files(repo, head)}
    assert {first, "data/train-old.parquet", again.path} <= names
    assert made.path not in names
