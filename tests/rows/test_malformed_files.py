"""Files that real projects keep because they broke a reader; see the data folder's own list."""

import json
import shutil
from pathlib import Path

import pytest

from hub_trainer.errors import DataError
from hub_trainer.pictures import image_problem
from hub_trainer.rows import RowSpec, canonical_rows, read_split

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "dirty-malformed-files"
UNREADABLE = {
    "made/truncated.parquet": "is broken",
    "made/footer-flipped.parquet": "is broken",
    "made/not-a-parquet.parquet": "not what its name says",
    "parquet/ARROW-GH-41317.parquet": "is broken",
    "parquet/ARROW-GH-47662.parquet": "is broken",
    "parquet/ARROW-RS-GH-6229-LEVELS.parquet": "is broken",
    "made/ragged.csv": "more cells than the header",
    "made/unclosed-quote.csv": "closed inside another cell",
    "made/latin1.csv": "not UTF-8",
    "made/empty.csv": "is empty",
    "made/header-only.csv": "a header and no rows",
    "made/bad-line.jsonl": "cannot be read",
    "made/pickle-in-dataset.pkl": "cannot be told apart",
    "made/zip-slip.zip": "cannot be told apart",
}
ROWS = {"made/mixed-types.jsonl": 40, "made/nan-inf.jsonl": 30, "made/nul-bytes.csv": 40}
ROWS |= {"made/utf16-bom.csv": 40}
ROWS |= {"made/formula-injection.csv": 2, "made/label-out-of-range.csv": 40}

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus of malformed files lies outside this repository"
)


def alone(name: str, tmp_path: Path) -> Path:
    source = CORPUS / name
    shutil.copyfile(source, tmp_path / f"train{source.suffix}")
    return tmp_path


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_file_when_broken_then_the_error_says_how(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=UNREADABLE[name]):
        read_split(alone(name, tmp_path))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_file_when_odd_but_sound_then_its_rows_are_read(name: str, tmp_path: Path) -> None:
    raw = read_split(alone(name, tmp_path))
    spec = RowSpec("text", {"text": "text", "label": "label"})
    assert canonical_rows(raw, spec, source="s").table.num_rows == ROWS[name]


def test_csv_when_tricky_but_valid_then_is_read(tmp_path: Path) -> None:
    files = sorted((CORPUS / "csv-valid-but-tricky").glob("*.csv"))
    assert files
    for file in files:
        folder = tmp_path / file.stem
        folder.mkdir()
        assert read_split(alone(f"csv-valid-but-tricky/{file.name}", folder)).table.num_rows > 0


def test_json_when_anything_at_all_then_rows_or_a_data_error(tmp_path: Path) -> None:
    files = sorted((CORPUS / "json").glob("*.json"))
    assert files
    for file in files:
        folder = tmp_path / file.stem
        folder.mkdir()
        try:
            rows, message = read_split(alone(f"json/{file.name}", folder)).table.num_rows, ""
        except DataError as error:
            rows, message = 0, str(error)
        told = ("The dataset cannot be read", "is empty", "text is not UTF-8")
        assert rows > 0 or any(words in message for words in told)
        assert str(tmp_path) not in message


def test_images_when_broken_or_hostile_then_none_passes_that_cannot_be_drawn() -> None:
    problems = {
        path.name: image_problem(path.read_bytes()) for path in (CORPUS / "images").iterdir()
    }
    assert problems == {
        "bmp_b_badrle.bmp": None,
        "broken.png": "no image in a known format",
        "cross_scan_line_truncated.tga": "no image in a known format",
        "decompression_bomb.gif": "image of more than 16,000,000 pixels",
        "hopper_bad_checksum.msp": "no image in a known format",
        "invalid-exif.jpg": None,
        "truncated_end_chunk.png": "image that cannot be decoded",
    }


def test_corpus_when_listed_then_every_made_file_has_its_expectation() -> None:
    made = {entry["file"] for entry in json.loads((CORPUS / "manifest.json").read_text())}
    covered = {*UNREADABLE, *ROWS, "made/duplicate-header.csv"}
    assert {name for name in made if name.startswith("made/")} <= covered
