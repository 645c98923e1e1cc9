import gzip
import resource
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import Limits, read_split
from hub_trainer.rows.budget import check_files
from tests.rows.conftest import Folder, parquet


def bomb(cells: int, size: int) -> bytes:
    """A parquet file of a few hundred bytes that stands for cells x size."""
    values = pa.array([0] * cells, pa.int32()), pa.array(["x" * size])
    table = pa.table({"text": pa.DictionaryArray.from_arrays(*values)})
    return parquet(table, compression="zstd", store_schema=False)


def test_parquet_when_it_unfolds_like_a_bomb_then_is_refused_in_little_memory(
    folder: Folder,
) -> None:
    content = bomb(1_900, 1_000_000)
    assert len(content) < 20_000
    root = folder({"train.parquet": content})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="unfolds like a bomb") as caught:
        read_split(root)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, f"{grown} KiB"
    assert "train.parquet" in str(caught.value)


def test_parquet_when_it_decodes_to_too_much_then_names_the_limit(folder: Folder) -> None:
    root = folder({"train.parquet": bomb(100, 1_000)})
    with pytest.raises(DataError, match="decodes to too many bytes") as caught:
        read_split(root, limits=Limits(max_bytes=50_000))
    assert "The limit is 50,000" in str(caught.value)


def test_files_when_together_they_are_too_large_then_refused(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.csv" for i in range(3)]
    for path in paths:
        path.write_text("a\n" * 100)
    with pytest.raises(DataError, match="split decodes to too many bytes"):
        check_files(paths, "csv", Limits(max_bytes=500), where="x")


def test_gzip_when_it_unfolds_like_a_bomb_then_is_refused_while_it_unfolds(tmp_path: Path) -> None:
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" * 60_000_000, 6))
    tracemalloc.start()
    with pytest.raises(DataError, match="unfolds like a bomb"):
        check_files([path], "csv", Limits(), where="x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_archive_when_of_another_kind_then_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.zip"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="Archives are not read"):
        check_files([path], "imagefolder", Limits(), where="x")


def test_table_when_much_repeats_honestly_then_it_is_read(folder: Folder) -> None:
    root = folder(
        {"train.parquet": pa.table({"text": ["the same"] * 50_000, "label": ["a"] * 50_000})}
    )
    assert read_split(root).table.num_rows == 50_000
