"""The store of ratings: what is acknowledged is on the disk, once."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_trainer.errors import DataError, UsageError
from hub_trainer.ratings import Pair, RatingRefused, RatingStore
from hub_trainer.ratings.rating_store import Counts, Shard
from tests.ratings.factory import CREATED, answer, generation, keep_pair, rating


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RatingStore]:
    store = RatingStore(tmp_path)
    yield store
    store.close()


def _rate(
    store: RatingStore, generation_id: str, *, max_per_hour: int = 60, **changes: object
) -> str:
    one = rating(generation_id, **changes)
    return store.add_rating(one, max_per_hour=max_per_hour).result()


def test_generation_when_read_back_is_what_was_kept(store: RatingStore) -> None:
    image = generation("g1", row={"image": b"\x89PNG", "width": 3})
    store.add_generation(image).result()
    assert store.generation("g1") == image
    assert store.generation("other") is None


def test_rating_when_the_store_is_opened_again_is_there(tmp_path: Path) -> None:
    store = RatingStore(tmp_path)
    store.add_generation(generation()).result()
    assert _rate(store, "g1") == "rating-g1"
    store.close()
    again = RatingStore(tmp_path)
    assert again.epoch == store.epoch
    shard = again.next_shard(max_rows=10, max_bytes=1000)
    assert shard == Shard(1, 1)
    [rated] = again.rated(shard)
    assert (rated.seq, rated.rating, rated.generation) == (1, rating(), generation())
    again.close()


def test_rating_when_sent_twice_is_kept_once(store: RatingStore) -> None:
    store.add_generation(generation()).result()
    first = _rate(store, "g1", rating_id="one")
    assert _rate(store, "g1", rating_id="two") == first == "one"
    assert store.counts() == Counts(kept=1, waiting=1)


def test_rating_when_the_rater_changes_their_mind_supersedes(store: RatingStore) -> None:
    store.add_generation(generation()).result()
    assert _rate(store, "g1", rating_id="one", kind="wrong", answer="dog") == "one"
    assert _rate(store, "g1", rating_id="two", kind="right", answer="cat") == "two"
    assert _rate(store, "g1", rating_id="three", kind="right", answer="cat") == "two"
    rated = store.rated(Shard(1, 9))
    assert [(r.rating.rating_id, r.rating.answer) for r in rated] == [
        ("one", "dog"),
        ("two", "cat"),
    ]


def test_rating_when_the_generation_is_unknown_is_refused(store: RatingStore) -> None:
    with pytest.raises(RatingRefused, match="not known here any more") as refused:
        _rate(store, "never")
    assert refused.value.reason == "unknown"
    assert store.counts().kept == 0


def test_rating_when_the_generation_is_somebody_elses_is_refused(store: RatingStore) -> None:
    store.add_generation(generation(rater="ada")).result()
    with pytest.raises(RatingRefused, match="made for somebody else") as refused:
        _rate(store, "g1", rater="bob")
    assert refused.value.reason == "rater"


def test_rating_when_over_the_hourly_limit_is_refused_until_an_hour_has_passed(
    store: RatingStore,
) -> None:
    for number in range(4):
        store.add_generation(generation(f"g{number}")).result()
    for number in range(2):
        _rate(store, f"g{number}", max_per_hour=2)
    with pytest.raises(RatingRefused, match="2 ratings within an hour, and 2 is the limit"):
        _rate(store, "g2", max_per_hour=2)
    assert _rate(store, "g1", max_per_hour=2) == "rating-g1"  # a repeated one is no new one
    assert _rate(store, "g2", max_per_hour=2, created=CREATED + 3601)


def test_shards_when_rows_or_bytes_are_many_are_cut_and_stay_cut(store: RatingStore) -> None:
    for number in range(5):
        row = {"text": "x" * (5000 if number == 3 else 10)}
        store.add_generation(generation(f"g{number}", row=row)).result()
        _rate(store, f"g{number}")
    assert store.next_shard(max_rows=2, max_bytes=1000) == Shard(1, 2)
    assert store.next_shard(max_rows=99, max_bytes=1000) == Shard(1, 2)
    store.mark_sent(Shard(1, 2), "sha")
    assert store.next_shard(max_rows=99, max_bytes=1000) == Shard(3, 3)
    store.mark_sent(Shard(3, 3), "sha")
    assert store.counts() == Counts(kept=5, waiting=2)
    assert store.next_shard(max_rows=99, max_bytes=1000) == Shard(4, 4)
    store.mark_sent(Shard(4, 4), "sha")
    assert store.next_shard(max_rows=99, max_bytes=1000) == Shard(5, 5)
    store.mark_sent(Shard(5, 5), "sha")
    assert store.next_shard(max_rows=99, max_bytes=1000) is None
    assert store.counts() == Counts(kept=5, waiting=0)


def test_settle_when_the_hub_lacks_a_sent_shard_sends_it_again(store: RatingStore) -> None:
    for number in range(2):
        store.add_generation(generation(f"g{number}")).result()
        _rate(store, f"g{number}")
        store.next_shard(max_rows=1, max_bytes=1000)
        store.mark_sent(Shard(number + 1, number + 1), "sha")
    store.settle([Shard(2, 2)], "tip")
    assert store.counts().waiting == 1
    assert store.next_shard(max_rows=9, max_bytes=1000) == Shard(1, 1)
    store.settle([Shard(1, 1), Shard(2, 2)], "tip")
    assert store.counts().waiting == 0


def test_forget_when_nobody_rated_deletes_input_and_picture(store: RatingStore) -> None:
    for name, created in [("old", 1.0), ("rated", 1.0), ("new", 9.0)]:
        row = {"image": name.encode()}
        store.add_generation(generation(name, row=row, created=created)).result()
    _rate(store, "rated")
    assert store.forget_unrated(before=5.0) == 1
    assert store.generation("old") is None
    assert store.generation("rated") is not None
    with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as connection:
        kept = {content for (content,) in connection.execute("SELECT content FROM media")}
    connection.close()
    assert kept == {b"rated", b"new"}


def test_store_when_another_process_has_it_says_so(store: RatingStore) -> None:
    with pytest.raises(UsageError, match="Another process keeps its ratings") as caught:
        RatingStore(store.path.parent)
    assert "RATINGS_DIR" in str(caught.value)


def test_store_when_the_file_is_broken_says_so_and_lets_go(tmp_path: Path) -> None:
    (tmp_path / "ratings.sqlite3").write_bytes(b"not a database at all" * 100)
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be read") as caught:
            RatingStore(tmp_path)
        assert "Move it aside" in str(caught.value)


def test_store_when_pages_are_damaged_says_so_and_lets_go(tmp_path: Path) -> None:
    store = RatingStore(tmp_path)
    for number in range(200):
        store.add_generation(generation(f"g{number}", row={"text": "x" * 500})).result()
    store.close()
    with store.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 20_000)
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be read"):
            RatingStore(tmp_path)


def test_answer_when_read_back_has_its_sampling(store: RatingStore) -> None:
    store.add_generation(answer("a1")).result()
    assert store.generation("a1") == answer("a1")


def test_edit_when_there_is_a_thumb_stands_beside_it(store: RatingStore) -> None:
    store.add_generation(answer("a1")).result()
    for name, kind, text in [
        ("thumb", "down", ""),
        ("edit", "edit", "Better."),
        ("report", "report", "rude"),
        ("second thumb", "up", ""),
        ("second edit", "edit", "Best."),
    ]:
        assert _rate(store, "a1", rating_id=name, kind=kind, answer=text) == name
    found = store._read("SELECT rating_id, superseded_by FROM rating ORDER BY seq")
    assert found == [
        ("thumb", "report"),
        ("edit", "second edit"),
        ("report", "second thumb"),
        ("second thumb", None),
        ("second edit", None),
    ]


def test_pair_when_rated_has_its_rival_and_where_that_was_shown(store: RatingStore) -> None:
    pair = keep_pair(store)
    assert store.pair("p") == pair == Pair("p", "p-left", "p-right")
    assert (store.pair("q"), store.preferred("p")) == (None, None)
    changes = {"kind": "prefer", "answer": "", "pair_id": "p"}
    assert _rate(store, "p-left", rating_id="one", **changes) == "one"
    assert _rate(store, "p-left", rating_id="again", **changes) == "one"
    assert _rate(store, "p-right", rating_id="two", **changes) == "two"
    assert store.preferred("p") == "p-right"
    first, second = store.rated(Shard(1, 9))
    assert (first.generation, first.rival) == (second.rival, second.generation)
    assert (first.rival_side, second.rival_side) == ("right", "left")
    assert first.rating.pair_id == "p"
    assert store._read("SELECT superseded_by FROM rating") == [("two",), (None,)]


def test_pair_when_somebody_elses_is_refused(store: RatingStore) -> None:
    keep_pair(store, rater="ada")
    with pytest.raises(RatingRefused, match="made for somebody else"):
        _rate(store, "p-left", rater="bob", kind="tie", answer="", pair_id="p")


def test_pair_when_one_side_cannot_be_kept_is_not_kept_at_all(store: RatingStore) -> None:
    store.add_generation(answer("p-right")).result()
    with pytest.raises(sqlite3.IntegrityError):
        keep_pair(store)
    assert (store.generation("p-left"), store.pair("p")) == (None, None)


def test_forget_when_a_pair_was_rated_keeps_both_sides(store: RatingStore) -> None:
    for name in ("rated", "reported", "unrated"):
        keep_pair(store, name, created=1.0)
    _rate(store, "rated-right", kind="prefer", answer="", pair_id="rated")
    _rate(store, "reported-left", kind="report", answer="rude")
    assert store.forget_unrated(before=5.0) == 3
    kept = store._read("SELECT generation_id FROM generation ORDER BY 1")
    assert kept == [("rated-left",), ("rated-right",), ("reported-left",)]
    assert store._read("SELECT pair_id FROM pair") == [("rated",)]


EARLIER = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE media (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT;
CREATE TABLE generation (
  generation_id TEXT PRIMARY KEY, fields TEXT NOT NULL, media_column TEXT,
  media_sha256 TEXT REFERENCES media (sha256), row_id TEXT NOT NULL, model TEXT NOT NULL,
  prediction TEXT NOT NULL, scores TEXT NOT NULL, rater TEXT NOT NULL, created REAL NOT NULL
) STRICT;
CREATE INDEX generation_media ON generation (media_sha256);
CREATE TABLE rating (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, rating_id TEXT NOT NULL UNIQUE,
  generation_id TEXT NOT NULL REFERENCES generation (generation_id), rater TEXT NOT NULL,
  rater_tier TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('right', 'wrong')),
  answer TEXT NOT NULL, consent TEXT NOT NULL, created REAL NOT NULL, superseded_by TEXT
) STRICT;
CREATE UNIQUE INDEX current_rating ON rating (rater, generation_id) WHERE superseded_by IS NULL;
CREATE INDEX rating_generation ON rating (generation_id);
CREATE INDEX rating_by_time ON rating (rater, created);
CREATE TABLE shard (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, commit_sha TEXT) STRICT;
INSERT INTO meta VALUES ('epoch', 'e1');
INSERT INTO generation VALUES ('g1', '{"text": "text of g1"}', NULL, NULL, 'row-g1',
  'org/model@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'cat', '{"cat": 0.75, "dog": 0.25}', 'ada',
  1700000000.0);
INSERT INTO rating VALUES (4, 'one', 'g1', 'ada', 'account', 'right', 'cat', 'v1', 1700000000.0,
  'rating-g1');
INSERT INTO rating VALUES (7, 'rating-g1', 'g1', 'ada', 'account', 'wrong', 'dog', 'v1',
  1700000000.0, NULL);
INSERT INTO shard VALUES (4, 4, 'sha');
"""


def test_store_when_of_the_earlier_version_is_taken_over_as_it_was(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ratings.sqlite3")
    connection.executescript(EARLIER)
    connection.close()
    for _ in range(2):
        store = RatingStore(tmp_path)
        assert (store.epoch, store.counts()) == ("e1", Counts(kept=2, waiting=1))
        first, second = store.rated(Shard(1, 9))
        assert (first.seq, first.rating.rating_id, second.seq) == (4, "one", 7)
        assert (second.rating, second.generation) == (rating(), generation())
        assert _rate(store, "g1") == "rating-g1"  # it is the current one still
        store.close()
    store = RatingStore(tmp_path)
    assert _rate(store, "g1", rating_id="new", kind="right", answer="cat") == "new"
    assert [one.seq for one in store.rated(Shard(1, 9))] == [4, 7, 8]
    store.close()


def test_store_when_of_the_version_without_sources_is_taken_over(tmp_path: Path) -> None:
    store = RatingStore(tmp_path)
    store.add_generation(generation("g1")).result()
    assert _rate(store, "g1") == "rating-g1"
    store.close()
    with sqlite3.connect(tmp_path / "ratings.sqlite3") as connection:
        connection.execute("DROP INDEX rating_by_source")
        connection.execute("ALTER TABLE rating DROP COLUMN source")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = RatingStore(tmp_path)
    [kept] = store.rated(Shard(1, 9))
    assert kept.rating == rating("g1")
    store.close()


def test_limit_when_sessions_share_a_source_holds_for_all_of_them(store: RatingStore) -> None:
    for n in range(3):
        store.add_generation(generation(f"g{n}", rater=f"session{n}")).result()
    for n in range(2):
        new = rating(f"g{n}", rater=f"session{n}", rater_tier="anonymous", source="net")
        store.add_rating(new, max_per_hour=2).result()
    third = rating("g2", rater="session2", rater_tier="anonymous", source="net")
    with pytest.raises(RatingRefused, match="You have sent 2 ratings"):
        store.add_rating(third, max_per_hour=2).result()
    assert [one.rating.source for one in store.rated(Shard(1, 9))] == ["net", "net"]


def test_store_when_of_a_later_version_says_so(tmp_path: Path) -> None:
    RatingStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "ratings.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(DataError, match="cannot be read") as caught:
        RatingStore(tmp_path)
    assert "a later version of hub_trainer wrote it: format 9, and 2 is known" in str(caught.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from hub_trainer.ratings import RatingStore
from tests.ratings.factory import generation, rating
store = RatingStore(Path(sys.argv[1]))
for number in range(50):
    name = f"g{number}"
    store.add_generation(generation(name)).result()
    print(store.add_rating(rating(name), max_per_hour=10**9).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_ratings_when_the_process_is_killed_are_there(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    acknowledged = killed.stdout.split()
    assert killed.returncode == -9
    assert len(acknowledged) == 50
    store = RatingStore(tmp_path)
    assert [one.rating.rating_id for one in store.rated(Shard(1, 99))] == acknowledged
    store.close()
