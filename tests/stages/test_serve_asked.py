"""Rows that a Space asks about: known to the dataset, shown without their label, in turn."""

from collections import Counter

import pyarrow as pa

from hub_trainer.rows import write_rows
from hub_trainer.space.page import Place
from hub_trainer.space.shown_rows import ShownRows, encode_shown, read_shown
from hub_trainer.stages.serve.examples import NUM_ASKED, shown_rows
from tests.tasks.factory import image_rows, recipe, text_rows


class PublicHub:
    """Every dataset can be seen by everybody."""

    def is_private(self, repo):
        return False


class PrivateHub(PublicHub):
    def is_private(self, repo):
        return True


def prepared(tmp_path, rows):
    (tmp_path / "prepare").mkdir()
    write_rows(tmp_path / "prepare" / "train.parquet", pa.Table.from_pylist(rows))
    return tmp_path


def served(task, *, private):
    section = {"repo_id": "a/demo", "ratings_repo_id": "a/ratings", "private": private}
    return recipe(task, serve=section)


def test_rows_when_a_space_may_show_them_are_asked_about_without_their_label(tmp_path):
    rows = text_rows(200)
    made = served("text-classification", private=False)
    shown = shown_rows(made, None, prepared(tmp_path, rows), PublicHub())
    assert len(shown.asked) == NUM_ASKED
    assert all(set(row) == {"text"} for row in shown.asked)
    label_of = {row["text"]: row["label"] for row in rows}
    counts = Counter(label_of[row["text"]] for row in shown.asked)
    assert max(counts.values()) - min(counts.values()) <= 1
    again = shown_rows(made, None, tmp_path, PublicHub())
    assert again.asked == shown.asked


def test_rows_when_nobody_else_may_see_them_are_not_asked_about(tmp_path):
    made = served("text-classification", private=False)
    shown = shown_rows(made, None, prepared(tmp_path, text_rows(40)), PrivateHub())
    assert not shown.asked


def test_rows_when_pictures_survive_the_bundle(tmp_path):
    made = served("image-classification", private=True)
    shown = shown_rows(made, None, prepared(tmp_path, image_rows(12)), PrivateHub())
    for name, content in encode_shown(shown).items():
        (tmp_path / name).write_bytes(content)
    found = read_shown(tmp_path)
    assert found.asked == list(shown.asked)
    assert found.asked[0]["image"].startswith(b"\x89PNG")
    assert read_shown(tmp_path / "prepare") == ShownRows([], {})


def test_places_when_a_visitor_goes_on_are_each_row_once_and_in_another_order_for_others():
    orders = set()
    for _ in range(20):
        place = Place.anywhere(12)
        seen = []
        for _ in range(12):
            seen.append(place.number % 12)
            place = place.next()
        assert sorted(seen) == list(range(12))
        orders.add(tuple(seen))
    assert len(orders) > 10
