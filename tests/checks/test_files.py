import pytest

from hub_trainer.checks.file_names import (
    FileChanges,
    check_files,
    compare_listings,
    data_files,
    path_fault,
    suffix_of,
)
from hub_trainer.checks.verdict import Check, decide
from hub_trainer.hub import RepoFile


def _file(path: str, *, size: int = 10, blob: str = "a", lfs: str | None = None) -> RepoFile:
    return RepoFile(path, size, blob, lfs)


def _added(*paths: str, size: int = 10) -> FileChanges:
    return FileChanges(tuple(_file(path, size=size) for path in paths), (), ())


def _failed(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks if not check.passed}


def test_listings_when_compared_then_each_path_is_in_one_group() -> None:
    base = [_file("a"), _file("b"), _file("c", lfs="1")]
    head = [_file("a"), _file("c", lfs="2"), _file("d")]
    changes = compare_listings(base, head)
    assert [f.path for f in changes.added] == ["d"]
    assert [f.path for f in changes.modified] == ["c"]
    assert [f.path for f in changes.deleted] == ["b"]
    assert changes.touched == ["b", "c", "d"]


def test_added_data_when_clean_then_every_check_passes() -> None:
    checks = check_files(_added("data/train-x.parquet"), max_bytes=100)
    assert decide(checks) == "merge"
    assert [f.path for f in data_files(_added("a.csv", "README.md"))] == ["a.csv"]


@pytest.mark.parametrize(
    "path",
    ["loader.py", "data/x.pkl", "data/x.npy", "demo.ipynb", "model.bin", "x.svg", "Makefile"]
    + ["data/train.parquet.py", "weights.pt", "a.html", "data/x.arrow", "x.tar.gz"],
)
def test_file_types_when_no_data_then_refused(path: str) -> None:
    found = _failed(check_files(_added(path), max_bytes=100))
    assert found["file types"].blocks == "refuse"
    assert repr(path) in found["file types"].detail
    assert "allowed: bmp, csv" in found["file types"].detail


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("data/../../x.csv", "leaves its folder"),
        ("/etc/x.csv", "leaves its folder"),
        ("data\\x.csv", "leaves its folder"),
        ("hf://x/y.csv", "leaves its folder"),
        ("zip::x.csv", "leaves its folder"),
        (".github/x.csv", "is hidden"),
        ("data/.x.csv", "is hidden"),
        (".huggingface.yaml", "is hidden"),
        ("data//x.csv", "is hidden"),
        ("data/\u202evsc.csv", "holds invisible characters"),
        ("data/a\nb.csv", "holds invisible characters"),
        ("data/[ab].csv", "holds a wildcard"),
        ("README.md/x.csv", "stands where the card belongs"),
        ("readme.MD", "stands where the card belongs"),
        ("x" * 300 + ".csv", "is longer than 200 characters"),
    ],
)
def test_path_when_unsafe_then_says_why(path: str, fault: str) -> None:
    assert path_fault(path) == fault
    assert "file names" in _failed(check_files(_added(path), max_bytes=100))


@pytest.mark.parametrize("path", ["data/train-x.parquet", "train/cat/1 (2).png", "données.csv"])
def test_path_when_plain_then_no_fault(path: str) -> None:
    assert path_fault(path) is None


def test_size_when_over_budget_then_refused() -> None:
    assert "size" in _failed(check_files(_added("a.csv", size=101), max_bytes=100))
    many = _added(*(f"{number}.png" for number in range(4)))
    found = _failed(check_files(many, max_bytes=100, max_files=3))
    assert found["size"].detail.startswith("4 files of at most 3")


def test_existing_data_when_changed_then_a_person_decides() -> None:
    file = _file("data/train.parquet")
    for changes in (FileChanges((), (file,), ()), FileChanges((), (), (file,))):
        checks = check_files(changes, max_bytes=100)
        assert decide(checks) == "human"
    assert "is deleted" in _failed(checks)["existing files"].detail


def test_card_when_changed_then_it_is_left_to_the_card_checks() -> None:
    changes = FileChanges((), (_file("README.md"),), ())
    assert decide(check_files(changes, max_bytes=100)) == "merge"
    settings = FileChanges((_file(".gitattributes"),), (), ())
    assert decide(check_files(settings, max_bytes=100)) == "human"


def test_nothing_when_changed_then_a_person_decides() -> None:
    found = _failed(check_files(FileChanges((), (), ()), max_bytes=100))
    assert found["existing files"].detail == "nothing differs from main"


def test_many_faults_when_listed_then_the_detail_stays_short() -> None:
    found = _failed(check_files(_added(*(f"{n}.py" for n in range(900))), max_bytes=10**6))
    assert "and 895 more" in found["file types"].detail
    assert len(found["file types"].detail) < 600


def test_files_when_archives_or_sheets_then_says_how_to_bring_their_rows() -> None:
    found = _failed(check_files(_added("data/a.zip", "data/b.xlsx"), max_bytes=100))
    detail = found["file types"].detail
    assert "save each sheet as CSV" in detail
    assert "; unpack it, and upload the files themselves" in detail


def test_suffix_when_read_then_lower_case_of_the_last() -> None:
    assert [suffix_of(p) for p in ("a.CSV", "a.b/c", "x.tar.gz")] == ["csv", "", "gz"]
