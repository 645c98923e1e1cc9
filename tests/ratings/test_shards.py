"""The files of a ratings dataset."""

import json
import re
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from PIL import Image

from hub_trainer.errors import DataError
from hub_trainer.ratings import RatedGeneration, RatingStore, ratings_card, read_shards
from hub_trainer.ratings.rating_store import Shard
from hub_trainer.ratings.shards import pack_shard, parse_shard_path, shard_path
from tests.ratings.factory import SAMPLING, answer, generation, keep_pair, rating
from tests.sounds import encoded, tone


def _png() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (4, 3), "red").save(buffer, "PNG")
    return buffer.getvalue()


ROWS: dict[str, dict[str, object]] = {
    "text": {"text": "a text"},
    "image": {"image": _png()},
    "audio": {"audio": encoded(tone())},
    "table": {"age": 3, "name": None, "weight": 1.5, "tall": True},
}


def _rated(seq: int, row: dict[str, object]) -> RatedGeneration:
    name = f"g{seq}"
    return RatedGeneration(seq, rating(name), generation(name, row=row))


def _dataset(folder: Path, modality: str, count: int = 3) -> Path:
    """A ratings dataset as the Hub would hold it, in two files."""
    for first in range(1, count + 1, 2):
        rated = [_rated(seq, ROWS[modality]) for seq in range(first, min(first + 2, count + 1))]
        content = pack_shard(rated, modality=modality, task="some-task", epoch="e1")
        path = folder / shard_path("org/space", "e1", first, rated[-1].seq, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    card = ratings_card(
        task="some-task", space="org/space", licence={"license": "cc0-1.0"}, consent="Some words."
    )
    (folder / "README.md").write_text(card)
    return folder


@pytest.mark.parametrize("modality", list(ROWS))
def test_shards_when_read_give_the_rows_that_were_rated(tmp_path: Path, modality: str) -> None:
    ratings = read_shards(_dataset(tmp_path, modality))
    assert [one["rating_id"] for one in ratings] == ["rating-g1", "rating-g2", "rating-g3"]
    assert all(one["row"] == ROWS[modality] for one in ratings)
    assert ratings[0]["answer"] == "dog"
    assert ratings[0]["day"] == "2023-11-14"


def test_pairs_when_kept_then_both_texts_come_back_and_texts_have_no_column_more(
    tmp_path: Path,
) -> None:
    pair, text = {"text": "a", "text_pair": "and b"}, {"text": "a"}
    for number, row in enumerate((pair, text), start=1):
        rated = [_rated(number, row)]
        content = pack_shard(rated, modality="text", task="t", epoch=f"e{number}")
        path = tmp_path / shard_path("org/space", f"e{number}", number, number, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        assert ("text_pair" in pq.read_table(path).column_names) == (row is pair)
    assert [one["row"] for one in read_shards(tmp_path)] == [pair, text]
    folder = tmp_path / "ratings" / "org--space" / "e1"
    loaded = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert (loaded[0]["text"], loaded[0]["text_pair"]) == ("a", "and b")
    table = pack_shard([_rated(1, ROWS["table"] | pair)], modality="table", task="t", epoch="e")
    assert "text_pair" not in pq.read_table(BytesIO(table)).column_names


@pytest.mark.parametrize("modality", list(ROWS))
def test_dataset_when_loaded_as_anyone_would_shows_its_columns(
    tmp_path: Path, modality: str
) -> None:
    folder = _dataset(tmp_path / "repo", modality)
    rows = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == 3
    assert rows[0]["scores"] == [{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}]
    if modality == "image":
        assert rows[0]["image"].size == (4, 3)
    if modality == "audio":
        assert rows[0]["audio"] == {"bytes": ROWS["audio"]["audio"], "path": None}


def _rated_dialogues(folder: Path) -> list[RatedGeneration]:
    """A thumb, an edit, a choice and a tie, through a store."""
    store = RatingStore(folder)
    store.add_generation(answer("a1")).result()
    plain = {"text": "Once", "prompt": '"Once"'}
    store.add_generation(answer("a2", row=plain)).result()
    keep_pair(store)
    for name, changes in (
        ("a1", {"kind": "down", "answer": ""}),
        ("a2", {"kind": "edit", "answer": "Better \u202e."}),
        ("p-right", {"kind": "prefer", "answer": "", "pair_id": "p"}),
        ("p-left", {"kind": "tie", "answer": "", "pair_id": "p"}),
    ):
        store.add_rating(rating(name, f"r-{len(name)}-{name}", **changes), max_per_hour=9).result()
    rated = store.rated(Shard(1, 9))
    store.close()
    return rated


def _dialogues(folder: Path) -> Path:
    rated = _rated_dialogues(folder / "store")
    content = pack_shard(rated, modality="prompt", task="text-generation", epoch="e")
    path = folder / shard_path("a/b", "e", 1, 4, content)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_dialogues_when_read_have_prompts_answers_sampling_and_rivals(tmp_path: Path) -> None:
    _dialogues(tmp_path)
    thumb, edit, choice, tie = read_shards(tmp_path)
    assert thumb["row"] == {"text": "user: Hi"}
    assert json.loads(thumb["prompt"]) == [{"role": "user", "content": "Hi"}]
    assert (thumb["kind"], thumb["prediction"], thumb["answer"]) == ("down", "answer a1", "")
    assert (json.loads(thumb["sampling"]), thumb["rival"]) == (SAMPLING, None)
    assert (json.loads(edit["prompt"]), edit["answer"]) == ("Once", "Better \u202e.")
    assert (choice["generation_id"], choice["prediction"]) == ("p", "answer p-right")
    assert choice["model"] == "org/rival@" + "b" * 40
    assert json.loads(choice["rival"]) == {
        "model": "org/model@" + "a" * 40,
        "completion": "answer p-left",
        "sampling": SAMPLING,
        "side": "left",
    }
    assert (tie["generation_id"], tie["prediction"]) == ("p", "answer p-left")
    assert json.loads(tie["rival"])["side"] == "right"


def test_dialogues_when_loaded_as_anyone_would_are_columns_of_text(tmp_path: Path) -> None:
    _dialogues(tmp_path / "repo")
    folder = tmp_path / "repo"
    card = ratings_card(
        task="text-generation", space="a/b", licence={}, consent="x", dialogues=True
    )
    (folder / "README.md").write_text(card)
    rows = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["kind"] == ["down", "edit", "prefer", "tie"]
    assert rows[0]["rival"] is None
    assert json.loads(rows[2]["rival"])["completion"] == "answer p-left"
    listed = set(re.findall(r"^\| `(\w+)`", card, re.MULTILINE))
    assert listed | {"task", "epoch", "seq"} == set(rows.column_names)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("prompt", "{", "whose prompt is not"),
        ("prompt", None, "whose prompt is not"),
        ("prompt", "[]", "whose prompt is not"),
        ("prompt", '[{"role": "user"}]', "whose prompt is not"),
        ("prompt", '[{"role": "user", "content": 1}]', "whose prompt is not"),
        ("prompt", "[" * 100_000, "whose prompt is not"),
        ("text", None, "without its text"),
        ("sampling", "[]", "whose sampling is not"),
        ("rival", "1", "whose rival is not"),
        ("rival", "{}", "whose rival is not"),
        ("rival", "", "whose rival is not"),
        ("rival", None, "rating r-7-p-right whose rival is not"),
    ],
)
def test_dialogues_when_a_cell_is_not_what_it_should_be_say_so(
    tmp_path: Path, column: str, value: str | None, message: str
) -> None:
    path = _dialogues(tmp_path)
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array([value] * 4, pa.string())), path)
    with pytest.raises(DataError) as caught:
        read_shards(tmp_path)
    assert message in str(caught.value)


def test_shard_when_packed_again_has_the_same_bytes() -> None:
    rated = [_rated(seq, ROWS["text"]) for seq in range(1, 4)]
    first, second = (pack_shard(rated, modality="text", task="t", epoch="e") for _ in range(2))
    assert first == second
    assert shard_path("a/b", "e", 1, 3, first) == shard_path("a/b", "e", 1, 3, second)


def test_path_when_parsed_gives_space_epoch_and_bounds() -> None:
    name = parse_shard_path(shard_path("org/space", "e1", 7, 12, b"content"))
    assert name == ("org--space", "e1", 7, 12)
    for other in (
        "README.md",
        "ratings/x.parquet",
        "ratings/a/b/c.parquet",
        "data/a/b/1-2-x.parquet",
    ):
        assert parse_shard_path(other) is None


def test_read_when_a_rating_is_there_twice_gives_it_once(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "text")
    [first, _] = sorted(folder.rglob("*.parquet"))
    (first.parent / "again.parquet").write_bytes(first.read_bytes())
    assert len(read_shards(folder)) == 3


def test_read_when_a_file_is_broken_names_it(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "text")
    (folder / "ratings" / "bad.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="not a readable parquet file") as caught:
        read_shards(folder)
    assert "ratings/bad.parquet" in str(caught.value)


def test_read_when_columns_are_missing_names_them(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "text")
    path = next(folder.rglob("*.parquet"))
    pq.write_table(pq.read_table(path).drop_columns(["rater", "seq"]), path)
    with pytest.raises(DataError, match="another schema") as caught:
        read_shards(folder)
    assert "missing columns: rater, seq" in str(caught.value)


def test_read_when_a_column_has_another_type_says_so(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "text")
    path = next(folder.rglob("*.parquet"))
    table = pq.read_table(path)
    place = table.column_names.index("seq")
    pq.write_table(table.set_column(place, "seq", pa.array(["x"] * len(table))), path)
    with pytest.raises(DataError, match="another schema"):
        read_shards(folder)


@pytest.mark.parametrize("content", [None, "[1]", "{"])
def test_read_when_the_rated_row_is_gone_says_which(tmp_path: Path, content: str | None) -> None:
    folder = _dataset(tmp_path, "table")
    path = next(folder.rglob("*.parquet"))
    table = pq.read_table(path)
    place = table.column_names.index("features")
    column = pa.array([content] * len(table), pa.string())
    pq.write_table(table.set_column(place, "features", column), path)
    with pytest.raises(DataError, match="does not hold what was rated") as caught:
        read_shards(folder)
    assert "rating-g" in str(caught.value)


def test_read_when_an_image_is_only_a_path_refuses_it(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "image")
    path = next(folder.rglob("*.parquet"))
    table = pq.read_table(path)
    place = table.column_names.index("image")
    secret = pa.array(
        [{"bytes": None, "path": "/etc/hostname"}] * len(table), table.schema.field(place).type
    )
    pq.write_table(table.set_column(place, "image", secret), path)
    with pytest.raises(DataError, match="does not hold what was rated") as caught:
        read_shards(folder)
    assert "never followed" in str(caught.value)


def test_card_when_written_has_metadata_that_parses_and_the_consent() -> None:
    card = ratings_card(task="image-classification", space="a/b", licence={}, consent="Words.")
    front = yaml.safe_load(card.split("---")[1])
    assert "license" not in front
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "ratings/**/*.parquet"}]
    assert "> Words." in card
    assert json.dumps(front)
